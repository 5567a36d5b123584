"""`make bench`: ratios to ceilings and peers, and the processor time of a request, in tables and as a page.

Servers run on the first usable core with one worker, wrk on the last. A shared machine changes its speed by a third
within seconds, so each run of a scenario is held against a ceiling and a bare signing rate measured right before and
after it; the tables show the medians of several such ratios, and the server's CPU time per request.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from page import make_page
from results import markdown, summarise
from runs import run, run_generator
from scenarios import Measurements, Scenario
from servers import Servers, bare_signing_rate
from workload import GREATEST_RATE, make_scenarios

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LOAD_SECONDS: Final = 10
"""Of each run of the load generator."""
FROM_MEMORY: Final = ("--ca", "server-rsa", "--hot", "1", "--hot-serials", "100", "--revoked", "0", "--unassigned", "0")


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the server, one for the load")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        servers = stack.enter_context(Servers(folder, cores[0], options.certificates))
        scenarios = [
            scenario
            for scenario in make_scenarios(servers, options.certificates)
            if options.only in scenario.key or scenario.is_ceiling
        ]
        measured = Measurements()
        started = time.monotonic()
        for number in range(1, options.rounds + 1):
            for scenario in scenarios:
                _measure(scenario, scenarios, measured, options.seconds, cores, folder)
            print(f"round {number}/{options.rounds}, {time.monotonic() - started:.0f} s", file=sys.stderr)
        loads = _loads(servers, measured, cores[-1], folder)
    document = summarise(scenarios, measured, *loads)
    print("\n".join(markdown(document)))
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.page is not None:
        options.page.write_text(make_page(document))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="length of one run (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each scenario (default 5)")
    parser.add_argument("--certificates", type=int, default=1_000_000, help="rows in the database (default 1000000)")
    parser.add_argument("--only", default="", help="measure scenarios whose key contains this, and the ceilings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--page", type=Path, metavar="FILE.html", help="write a page with plots")
    return parser


def _measure(
    scenario: Scenario,
    scenarios: Sequence[Scenario],
    measured: Measurements,
    seconds: int,
    cores: Sequence[int],
    folder: Path,
) -> None:
    """One run, between two looks at what it is held against."""

    def bound() -> float | None:
        ceiling = signing = None
        if scenario.ceiling is not None:
            reference = next(each for each in scenarios if each.key == scenario.ceiling)
            ceiling = run(reference, 1, cores[-1], folder).rate
        if scenario.signature is not None:
            signing = bare_signing_rate(scenario.signature, cores[0])
            measured.add_signing(scenario.signature, signing)
        return scenario.bounded_by(ceiling, signing)

    before = bound()
    result = run(scenario, seconds, cores[-1], folder)
    after = bound()
    measured.add(scenario.key, result, None if before is None or after is None else (before + after) / 2)


def _loads(
    servers: Servers, measured: Measurements, core: int, folder: Path
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What ``responders load`` says at half the greatest rate, or half its own where that is less, and as fast as it
    can; nothing where the greatest rate was not measured.
    """
    if not measured.rates[GREATEST_RATE]:
        return None, None
    url = f"{servers.url('responders')}/ocsp"
    run_generator(servers.home, url, 1, core, folder, *FROM_MEMORY)
    full = run_generator(servers.home, url, LOAD_SECONDS, core, folder, *FROM_MEMORY)
    greatest = statistics.median(measured.rates[GREATEST_RATE])
    rate = min(greatest, full["answers_per_second"]) / 2
    return run_generator(servers.home, url, LOAD_SECONDS, core, folder, *FROM_MEMORY, "--rate", f"{rate:.0f}"), full


if __name__ == "__main__":
    main()
