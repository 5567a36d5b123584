"""`make bench`: requests per second on one core, beside the ceiling, the bare signing rate and certomancer.

Servers run on the first usable core with one worker, wrk on the last. A shared machine changes its speed by a third
within seconds, so each run of a scenario is held against a ceiling and a bare signing rate measured right before and
after it; the table shows the medians of several such ratios, and the server's CPU time per request.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from scenarios import Measurements, Scenario, print_table
from servers import Servers, bare_signing_rate
from workload import make_scenarios

LOAD_SCRIPT = Path(__file__).with_name("load.lua")
CONNECTIONS = 16
AB_A_SECOND = 3_000


@dataclass
class Result:
    """What one wrk run counted."""

    rate: float
    cpu_us: float
    p99_us: float
    failed: int
    rounds: list[float] = field(default_factory=list)


def run_wrk(scenario: Scenario, seconds: int, core: int, folder: Path) -> Result:
    """Send the scenario's requests for so many seconds. Raises SystemExit when an answer was not HTTP 2xx."""
    requests = folder / f"{scenario.key}.requests"
    # What is meant to be asked for the first time must not be asked again in the next round.
    fresh = list(itertools.islice(scenario.requests, scenario.fresh or None))
    if len(fresh) < scenario.fresh:
        raise SystemExit(f"{scenario.name}: more --certificates are needed for so many rounds")
    if scenario.fresh or not requests.exists():
        requests.write_bytes(b"".join(len(body).to_bytes(4, "big") + body for body in fresh))
    if scenario.tool == "ab":
        return run_ab(scenario, fresh[0], seconds, core, folder)
    before = cpu_seconds(scenario.pid)
    output = subprocess.run(
        ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(LOAD_SCRIPT),
         scenario.url, "--", str(requests), scenario.method, scenario.content_type],
        check=True, capture_output=True, text=True, timeout=seconds + 60,
    ).stdout  # fmt: skip
    spent = cpu_seconds(scenario.pid) - before
    counted = json.loads(output[output.index("RESULT ") + 7 :].splitlines()[0])
    if counted["failed"]:
        raise SystemExit(f"{scenario.name}: {counted['failed']} of {counted['requests']} requests failed")
    return Result(
        rate=counted["requests"] / counted["seconds"],
        cpu_us=spent / max(1, counted["requests"]) * 1e6,
        p99_us=counted["p99_us"],
        failed=counted["failed"],
    )


def run_ab(scenario: Scenario, body: bytes, seconds: int, core: int, folder: Path) -> Result:
    """For a server that cannot keep a connection, nor bear one without a request, as wrk opens one at the start, and ab
    leaves one when it stops by its clock: hence a count.
    """
    file = folder / f"{scenario.key}.body"
    file.write_bytes(body)
    before = cpu_seconds(scenario.pid)
    output = subprocess.run(
        ["taskset", "-c", str(core), "ab", "-q", "-c", "1", "-n", str(AB_A_SECOND * seconds), "-s", "10",
         "-p", str(file), "-T", scenario.content_type, scenario.url],
        check=True, capture_output=True, text=True, timeout=seconds + 60,
    ).stdout  # fmt: skip
    spent = cpu_seconds(scenario.pid) - before
    said = dict(line.split(":", 1) for line in output.splitlines() if ":" in line)
    requests, failed = int(said["Complete requests"]), int(said["Failed requests"])
    slowest = next(float(line.split()[1]) for line in output.splitlines() if line.strip().startswith("99%"))
    # A signature in DER has not always the same length, which ab counts as a failure.
    if failed and "Length: " + str(failed) not in output:
        raise SystemExit(f"{scenario.name}: {failed} of {requests} requests failed")
    rate = float(said["Requests per second"].split()[0])
    return Result(rate=rate, cpu_us=spent / max(1, requests) * 1e6, p99_us=slowest * 1000, failed=0)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all below it."""
    ticks = 0
    parents: dict[int, list[int]] = {}
    own: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
        own[int(entry.name)] = int(fields[11]) + int(fields[12])
    waiting = [pid]
    while waiting:
        at = waiting.pop()
        ticks += own.get(at, 0)
        waiting += parents.get(at, [])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="length of one run (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each scenario (default 5)")
    parser.add_argument("--certificates", type=int, default=1_000_000, help="rows in the database (default 1000000)")
    parser.add_argument("--only", default="", help="measure scenarios whose key contains this, and the ceilings")
    options = parser.parse_args()
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
        references = {scenario.key: scenario for scenario in scenarios if scenario.is_ceiling}
        started = time.monotonic()

        def reference(scenario: Scenario) -> float | None:
            """The rate that the scenario is held against, as of now."""
            ceiling = signing = None
            if scenario.ceiling is not None:
                ceiling = run_wrk(references[scenario.ceiling], 1, cores[-1], folder).rate
            if scenario.signature is not None:
                signing = bare_signing_rate(scenario.signature, cores[0])
                measured.add_signing(scenario.signature, signing)
            return scenario.bounded_by(ceiling, signing)

        for round_number in range(options.rounds):
            for scenario in scenarios:
                before = reference(scenario)
                result = run_wrk(scenario, options.seconds, cores[-1], folder)
                after = reference(scenario)
                bound = None if before is None or after is None else (before + after) / 2
                measured.add(scenario.key, result.rate, result.cpu_us, result.p99_us, bound)
            print(f"round {round_number + 1}/{options.rounds}, {time.monotonic() - started:.0f} s", file=sys.stderr)
        print_table(scenarios, measured, statistics.median)


if __name__ == "__main__":
    main()
