"""``make fuzz``: a million mutants, half of them in process and half through the socket of a real server.

In process each reader is fuzzed by atheris, guided by its coverage; where that is not installed, by the mutator alone.
Exit status 1 with the octets when an invariant does not hold, or when the server warned, fell over or kept something.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from fuzz_targets import TARGETS, make_target, mutator
from fuzz_wire import WireFuzzer, check_log, fuzz_settings, resources
from long_run import demo_home
from running_server import running_server, until

if TYPE_CHECKING:
    from running_server import Server

RUNS: Final = 1_000_000
MINUTES: Final = 30.0
_HEADS: Final = 50
"""Of so many requests through the socket one has its header changed: each costs a connection and a deadline."""
_ROUND: Final = 20_000
_WARM: Final = 0.2
_GROWTH: Final = 1.02
_MIB: Final = 1 << 20


def main() -> int:
    """Fuzz in process and through the socket, each for half of the time at most."""
    options = _arguments()
    began = time.monotonic()
    half = options.minutes * 30
    try:
        _in_process(options.runs // 2, options.seed, half, options.corpus)
        _through_the_socket(options.runs // 2, options.seed, options.minutes * 60 - (time.monotonic() - began))
    except (AssertionError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"fuzz: {error!r}\n")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=RUNS, help=f"mutants, half of them through the socket (default: {RUNS})")
    add("--seed", type=int, default=int(time.time()), help="of every choice (default: the time)")
    add("--minutes", type=float, default=MINUTES, help=f"the most that it may take (default: {MINUTES:g})")
    add(
        "--corpus", type=Path, default=Path("build/fuzz"), help="what atheris found worth keeping (default: build/fuzz)"
    )
    return parser.parse_args()


def _in_process(runs: int, seed: int, seconds: float, corpus: Path) -> None:
    """Every reader beside the others, so far as there are cores."""
    guided = importlib.util.find_spec("atheris") is not None
    each = -(-runs // len(TARGETS))
    _say(f"seed {seed}; in process {'guided by coverage' if guided else 'by the mutator alone'}: {each} each")
    if not guided:
        for name in TARGETS:
            _mutate(name, each, seed, time.monotonic() + seconds / len(TARGETS))
        return
    cores = len(os.sched_getaffinity(0))
    for at in range(0, len(TARGETS), cores):
        share = seconds / -(-len(TARGETS) // cores)
        # Each of libFuzzer's runs checks a second mutant besides.
        limits = (
            f"-runs={each // 2}",
            f"-max_total_time={int(share)}",
            f"-seed={seed}",
            "-max_len=20000",
            "-timeout=20",
        )
        program = Path(__file__).with_name("fuzz_guided.py")
        processes = {
            name: subprocess.Popen(
                [sys.executable, program, name, corpus / name, *limits, "-print_final_stats=1", "-verbosity=1"],
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in TARGETS[at : at + cores]
        }
        for name, process in processes.items():
            _, said = process.communicate()
            if process.returncode:
                raise AssertionError(f"{name}: {said[-6000:]}")
            _say(f"  {name}: {_last(said)}")


def _last(said: str) -> str:
    """What libFuzzer says of coverage and runs, without the rest."""
    done = [line for line in said.splitlines() if "DONE" in line or line.startswith("Done ")]
    return "; ".join(" ".join(line.split()) for line in done)


def _mutate(name: str, runs: int, seed: int, end: float) -> None:
    target = make_target(name)
    mutants, done = mutator(target, seed), 0
    while done < runs and time.monotonic() < end:
        octets = mutants.next()
        try:
            target.check(octets)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r} at {octets.hex()}") from error
        done += 1
    target.close()
    _say(f"  {name}: {done} mutants, {target.answered} of them answered")


def _through_the_socket(runs: int, seed: int, seconds: float) -> None:
    with TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        demo_home(home)
        (home / "responders.toml").write_text(fuzz_settings(home))
        with running_server(home, 2) as server:
            _bombard(server, runs, seed, time.monotonic() + seconds)


def _bombard(server: Server, runs: int, seed: int, end: float) -> None:
    fuzzer, warm = WireFuzzer(server, seed), None
    warm_at = time.monotonic() + _WARM * (end - time.monotonic())
    pids = server.worker_pids()
    while fuzzer.findings.sent < runs and time.monotonic() < end:
        fuzzer.bodies_and_paths(min(_ROUND, runs - fuzzer.findings.sent))
        fuzzer.heads(_ROUND // _HEADS)
        if warm is None and (fuzzer.findings.sent >= _WARM * runs or time.monotonic() >= warm_at):
            warm = [resources(pid) for pid in pids]
    found = fuzzer.findings
    until(lambda: server.metric("responders_connections") == 0, "connections are left over")
    if server.worker_pids() != pids:
        raise AssertionError("a worker died")
    check_log(server.log.read_text())
    answers = ", ".join(f"{status or 'ended'}: {times}" for status, times in sorted(found.statuses.items()))
    _say(f"through the socket: {found.sent}, {found.signed} of them signed; {answers}")
    for before, after in zip(warm or (), [resources(pid) for pid in pids], strict=warm is not None):
        _say(
            f"  worker: {before.resident / _MIB:.1f} to {after.resident / _MIB:.1f} MiB resident, "
            f"{before.descriptors} to {after.descriptors} descriptors, after the first fifth and at the end"
        )
        if after.resident > before.resident * _GROWTH + _MIB or after.descriptors > before.descriptors + 2:
            raise AssertionError("a worker keeps what it was sent")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
