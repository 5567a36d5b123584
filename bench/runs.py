"""One run of a scenario: wrk, ab or our own load generator against one server, and the processor time that it took."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from scenarios import Scenario

LOAD_SCRIPT: Final = Path(__file__).with_name("load.lua")
CONNECTIONS: Final = 16
AB_A_SECOND: Final = 3_000


@dataclass(frozen=True)
class Result:
    """What one run counted; ``cpu_us`` is the server's, for a request."""

    rate: float
    cpu_us: float
    p99_us: float


def run(scenario: Scenario, seconds: int, core: int, folder: Path) -> Result:
    """Send the scenario's requests for so many seconds. Raises SystemExit when an answer was not HTTP 2xx."""
    requests = folder / f"{scenario.key}.requests"
    # What is meant to be asked for the first time must not be asked again in the next round.
    fresh = list(itertools.islice(scenario.requests, scenario.fresh or None))
    if len(fresh) < scenario.fresh:
        raise SystemExit(f"{scenario.name}: more --certificates are needed for so many rounds")
    if scenario.fresh or not requests.exists():
        requests.write_bytes(b"".join(len(body).to_bytes(4, "big") + body for body in fresh))
    if scenario.tool == "ab":
        return _run_ab(scenario, fresh[0], seconds, core, folder)
    return _run_wrk(scenario, requests, seconds, core)


def _run_wrk(scenario: Scenario, requests: Path, seconds: int, core: int) -> Result:
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
    )


def _run_ab(scenario: Scenario, body: bytes, seconds: int, core: int, folder: Path) -> Result:
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
    return Result(rate=rate, cpu_us=spent / max(1, requests) * 1e6, p99_us=slowest * 1000)


def run_generator(home: Path, url: str, seconds: int, core: int, folder: Path, *options: str) -> dict[str, Any]:
    """``responders load ocsp`` in one process on its own core, and the JSON that it wrote. Raises SystemExit when an
    answer was wrong or failed.
    """
    summary = folder / "load.json"
    outcome = subprocess.run(
        ["taskset", "-c", str(core), sys.executable, "-m", "responders", "load", "ocsp", "--home", str(home),
         "--url", url, "--duration", str(seconds), "--processes", "1", "--json", str(summary), *options],
        check=False, capture_output=True, text=True, timeout=seconds + 60,
    )  # fmt: skip
    if outcome.returncode:
        raise SystemExit(f"responders load: {outcome.stderr or outcome.stdout}")
    found: dict[str, Any] = json.loads(summary.read_text())
    return found


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
