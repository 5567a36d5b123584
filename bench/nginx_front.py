"""`make bench-nginx`: the deployed nginx in front of one worker, against that worker alone.

Server and nginx have the first usable core, the load the last. Rates are of the same requests, whose answers are ready
on both sides; a round measures the bare server and nginx right after each other, and the table has the medians of rates
and ratios. Then the hit ratio under a mix of hot and cold serials by GET and POST, and how long nginx goes on with
*good* after a revocation that a PURGE tells it of.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections import defaultdict
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from http_caches import nginx
from population import Population, populate
from ports import free_port
from revocation_lag import GOOD, Requests, first_revoked, percentile, revoking
from running_server import Server, running_server, until
from worker_connections import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LABEL: Final = "server-rsa"
LOAD_SCRIPT: Final = Path(__file__).with_name("load.lua")
OCSP: Final = "application/ocsp-request"
ASKED: Final = 100
"""Different requests, each of which is ready everywhere."""
SERIALS: Final = 20_000
MIX_SECONDS: Final = 10
TARGET: Final = 1.0
"""A cache that is slower than what it caches would be of no use."""


def main() -> None:
    """Measure and print. Exit status 1 when nginx is slower than the server behind it, or forgets nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="length of one run (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind (default 5)")
    parser.add_argument("--revocations", type=int, default=20, help="how many are waited for (default 20)")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the servers, one for the load")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        folder, port = Path(scratch), free_port()
        home = folder / "home"
        make_home(home, port)
        population = Population(LABEL, SERIALS)
        populate(home, population)
        serials = [population.serial(number) for number in range(SERIALS)]
        os.sched_setaffinity(0, {cores[0]})  # which the servers inherit
        server = stack.enter_context(running_server(home, 1))
        stack.enter_context(nginx(folder, port, server.port))
        os.sched_setaffinity(0, {cores[-1]})
        until(lambda: server.metric("responders_selfcheck_timestamp_seconds") > 0, "the self-check does not end")
        asked = Requests(home / "certs" / f"{LABEL}.pem")
        places = {"the server": (server.port, server.worker_pids()), "nginx": (port, family(folder / "pid"))}
        faster = compare(places, [asked.about(serial) for serial in serials[:ASKED]], folder, options)
        print_hit_ratio(server, port, folder, serials[ASKED:])
        print_forgetting(home, port, asked, serials[: options.revocations])
    sys.exit(not faster)


def make_home(home: Path, port: int) -> None:
    """A demo home whose server tells nginx of revocations."""
    init = [sys.executable, "-m", "issuance", "init", "--demo", "--home", str(home)]
    init += ["--base-url", f"http://127.0.0.1:{free_port()}"]
    subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
    with (home / "responders.toml").open("a") as file:
        file.write(f'\n[purge]\ncaches = ["http://127.0.0.1:{port}"]\nposts = true\n')


def compare(
    places: dict[str, tuple[int, list[int]]], requests: list[bytes], folder: Path, options: argparse.Namespace
) -> bool:
    """Print the rates of both; whether nginx is the faster one in each method."""
    files = {"GET": folder / "gets", "POST": folder / "posts"}
    paths = [f"/ocsp/{quote(b64encode(each).decode(), safe='')}".encode() for each in requests]
    for method, sent in (("GET", paths), ("POST", requests)):
        files[method].write_bytes(b"".join(len(each).to_bytes(4, "big") + each for each in sent))
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    cpu: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(-1, options.rounds):  # the first one fills both memories
        for method, file in files.items():
            for name, (port, pids) in places.items():
                before = cpu_seconds(pids)
                count, seconds = run_wrk(port, method, file, options.seconds)
                if number >= 0:
                    rates[method, name].append(count / seconds)
                    cpu[method, name].append((cpu_seconds(pids) - before) / count * 1e6)
    print("| what | requests/s | CPU µs | ÷ the server | target |")
    print("|---|---:|---:|---:|---|")
    faster = True
    for (method, name), found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates[method, "the server"], strict=True))
        verdict = f"≥ {TARGET:g} {'✓' if ratio >= TARGET else '✗'}" if name == "nginx" else ""
        faster &= name != "nginx" or ratio >= TARGET
        figures = f"{statistics.median(found):,.0f} | {statistics.median(cpu[method, name]):.0f} | {ratio:.1f}"
        print(f"| OCSP {method}, ready-made, {name} | {figures} | {verdict} |")
    return faster


def run_wrk(port: int, method: str, file: Path, seconds: int) -> tuple[int, float]:
    """Requests and seconds. Raises SystemExit when an answer was not HTTP 2xx."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", str(LOAD_SCRIPT), f"http://127.0.0.1:{port}/ocsp"]
    output = subprocess.run(
        [*command, "--", str(file), method, OCSP], check=True, capture_output=True, text=True, timeout=seconds + 30
    ).stdout
    counted = json.loads(output[output.index("RESULT ") + 7 :].splitlines()[0])
    if counted["failed"]:
        raise SystemExit(f"{counted['failed']} of {counted['requests']} requests failed")
    return counted["requests"], counted["seconds"]


def print_hit_ratio(server: Server, port: int, folder: Path, serials: Sequence[int]) -> None:
    """What share of the answers nginx gave by itself: the server counts those that it was asked for."""
    file, figures = folder / "serials", folder / "load.json"
    file.write_text("".join(f"{serial:x}\n" for serial in serials))
    asked_before = server.metric("responders_ocsp_answers_total")
    command = [sys.executable, "-m", "responders", "load", "ocsp", "--home", str(server.home), "--serials", str(file)]
    command += ["--url", f"http://127.0.0.1:{port}/ocsp", "--issuer", str(server.home / "certs" / f"{LABEL}.pem")]
    command += ["--duration", str(MIX_SECONDS), "--unassigned", "0", "--json", str(figures)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sent = json.loads(figures.read_text())["sent"]
    share = 1 - (server.metric("responders_ocsp_answers_total") - asked_before) / sent
    print(f"| hits, 9 of 10 about 1,000 of {len(serials):,} serials, by GET and POST | | | {share:.3f} of {sent:,} | |")


def print_forgetting(home: Path, port: int, asked: Requests, serials: Iterable[int]) -> None:
    """From the commit of a revocation to the first *revoked* of nginx, whose entry was *good*."""
    lags = []
    with revoking(home) as revoker, closing(Connection(port)) as client:
        assert revoker.stdin is not None
        assert revoker.stdout is not None
        for serial in serials:
            request = asked.about(serial)
            while client.post(request).fields["x-cache"] != "HIT":
                assert client.status(request) is GOOD
            time.sleep(random.uniform(0, 0.1))
            print(f"{serial:x}", file=revoker.stdin, flush=True)
            committed = int(revoker.stdout.readline()) / 1e9
            lags.append((first_revoked(client, request) - committed) * 1000)
    figures = " · ".join(f"p{share:g} {percentile(lags, share / 100):.0f}" for share in (50, 99))
    print(f"| a revocation behind nginx, ms, {len(lags)} of them | | | {figures} | |")


def family(file: Path) -> list[int]:
    """Nginx's own processes, by the file with the number of the first."""
    main = file.read_text().strip()
    return [int(main), *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time that these have used so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
