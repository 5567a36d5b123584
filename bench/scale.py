"""`make bench-scale`: what the service costs with ten thousand, a million and ten million certificates.

One worker for each database and size, all on the first usable core, wrk on the last. Every round asks each of them in
turn, so that the noise of the machine hits all alike; the table shows medians.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from population import MOST
from runs import CONNECTIONS, LOAD_SCRIPT, cpu_seconds
from workload import HASHES, OCSP, distinct_requests, ocsp_request

from ca_store.types import format_serial

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from running_server import Server, running_server
from scale_homes import (
    DATABASES,
    FEW,
    MANY,
    ScaleHome,
    needed_octets,
    present_octets,
    scale_homes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIZES: Final = (10_000, 1_000_000, 10_000_000)
LEAST: Final = 10_000
STARTS: Final = 3
SELFCHECK_SECONDS: Final = 600
COMMANDS: Final = 3
DISTINCT_A_RUN: Final = 7000
"""Or as many as the smallest size has serials for, so that all are asked the same number."""
_RUN_SECONDS: Final = 120
_COMMAND_SECONDS: Final = 300
_GIB: Final = 1 << 30

FIGURES: Final = (
    ("start", "start to ready, s", "{:.2f}"),
    ("distinct-cpu", "distinct serials: CPU µs of the worker", "{:.0f}"),
    ("distinct-rate", "distinct serials: answers/s", "{:,.0f}"),
    ("repeated-cpu", "one serial again: CPU µs", "{:.1f}"),
    ("repeated-rate", "one serial again: answers/s", "{:,.0f}"),
    ("anonymous", "memory of the worker's own, MiB", "{:.0f}"),
    ("mapped", "pages of files it has mapped, MiB", "{:.0f}"),
    ("crl-octets", "CRL with 1 in 50 revoked, kB", "{:,.1f}"),
    ("crl-seconds", "the same: to sign it, s", "{:.2f}"),
    ("crl-grown", "the same: memory that takes, MiB", "{:.0f}"),
    ("few-seconds", "CRL of 20 entries: to sign it, s", "{:.3f}"),
    ("revoke", "`cert revoke`, CRL of 1 in 50, s", "{:.2f}"),
    ("revoke-few", "`cert revoke`, CRL of 20, s", "{:.2f}"),
    ("issue", "`cert issue`, s", "{:.2f}"),
    ("disk", "database, MB", "{:,.0f}"),
)

Measured = dict[str, dict[str, list[float]]]


def measure_starts(homes: Sequence[ScaleHome], measured: Measured) -> None:
    """From the command to the first 200 of ``/readyz``."""
    for _ in range(STARTS):
        for home in homes:
            started = time.perf_counter()
            with running_server(home.path, 1):
                measured[home.path.name]["start"].append(time.perf_counter() - started)


def questions(home: ScaleHome, number_of_them: int) -> Iterator[bytes]:
    """Distinct requests of all parts of the key space. A small home has too few serials: its are asked for under each
    hash algorithm; the others' too, but no serial twice.
    """
    again = 1 if home.many.count >= number_of_them else len(HASHES)
    serials = (home.many.serial(number // again) for number in range(number_of_them))
    return distinct_requests(home.path / "certs" / f"{MANY}.pem", serials, all_hashes=True)


def run(server: Server, requests: Sequence[bytes], folder: Path, core: int, seconds: int | None) -> tuple[float, float]:
    """(answers a second, CPU microseconds of the worker for each): each request once when ``seconds`` is None."""
    file = folder / "requests"
    file.write_bytes(b"".join(len(body).to_bytes(4, "big") + body for body in requests))
    (worker,) = server.worker_pids()
    before = cpu_seconds(worker)
    output = run_wrk(
        ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds or _RUN_SECONDS}s",
         "-s", str(LOAD_SCRIPT), f"{server.url}/ocsp", "--", str(file), "POST", OCSP],
        once=seconds is None,
    )  # fmt: skip
    spent = cpu_seconds(worker) - before
    counted = json.loads(output[output.index("RESULT ") + 7 :].splitlines()[0])
    if counted["failed"]:
        raise SystemExit(f"{server.home.name}: {counted['failed']} of {counted['requests']} requests failed")
    return counted["requests"] / counted["seconds"], spent / max(1, counted["requests"]) * 1e6


def wait_for_selfchecks(servers: Sequence[Server]) -> None:
    """Each runs once at the start, at the least priority, and would be measured too."""
    deadline = time.monotonic() + SELFCHECK_SECONDS
    while not all(server.metric("responders_selfcheck_timestamp_seconds") > 0 for server in servers):
        if time.monotonic() > deadline:
            raise SystemExit(f"the self-checks did not end within {SELFCHECK_SECONDS} s: the machine is busy")
        time.sleep(0.5)


def run_wrk(command: Sequence[str], *, once: bool) -> str:
    """What it says in the end; with ``once`` that comes when it has sent each request."""
    command = [*command, *(["once"] if once else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if once:
            assert process.stderr is not None
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=_RUN_SECONDS + 60)
    if process.returncode:
        raise SystemExit(f"wrk ended with {process.returncode}: {complaint}")
    return said


def measure_answers(
    homes: Sequence[ScaleHome], measured: Measured, folder: Path, cores: Sequence[int], options: argparse.Namespace
) -> None:
    """All servers at once, asked in turn."""
    smallest = min(home.many.count for home in homes)
    a_run = min(DISTINCT_A_RUN, smallest * len(HASHES) // options.rounds)
    with ExitStack() as stack:
        os.sched_setaffinity(0, {cores[0]})  # the servers inherit it
        servers = {home: stack.enter_context(running_server(home.path, 1)) for home in homes}
        os.sched_setaffinity(0, set(cores))
        wait_for_selfchecks(list(servers.values()))
        asked = {home: questions(home, a_run * options.rounds) for home in homes}
        for number in range(options.rounds):
            for home, server in servers.items():
                figures = measured[home.path.name]
                distinct = [next(asked[home]) for _ in range(a_run)]
                rate, cpu = run(server, distinct, folder, cores[-1], None)
                figures["distinct-rate"].append(rate)
                figures["distinct-cpu"].append(cpu)
                repeated = [ocsp_request(home.path / "certs" / f"{MANY}.pem", home.many.serial(0))]
                rate, cpu = run(server, repeated, folder, cores[-1], options.seconds)
                figures["repeated-rate"].append(rate)
                figures["repeated-cpu"].append(cpu)
            print(f"round {number + 1}/{options.rounds}", file=sys.stderr)
        for home, server in servers.items():
            measured[home.path.name] |= memory(server.worker_pids()[0])


def memory(pid: int) -> dict[str, list[float]]:
    """MiB that are a process's own, and its share of the files that are mapped."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return {"anonymous": [kibibytes["Pss_Anon"] / 1024], "mapped": [kibibytes["Pss_File"] / 1024]}


def measure_issuance(homes: Sequence[ScaleHome], measured: Measured, folder: Path) -> None:
    """CRLs and commands, in processes of their own."""
    request = folder / "request.pem"
    for _ in range(COMMANDS):
        for home in homes:
            figures = measured[home.path.name]
            crl = signed_crl(home, MANY)
            figures["crl-seconds"].append(crl["seconds"])
            figures["crl-octets"].append(crl["octets"] / 1e3)
            figures["crl-grown"].append(crl["grown"] / 1024)
            figures["few-seconds"].append(signed_crl(home, FEW)["seconds"])
            for name, population in (("revoke", home.many), ("revoke-few", home.few)):
                chosen = random.choice([each for each in range(1000) if not population.is_revoked(each)])
                serial = format_serial(population.serial(chosen))
                arguments = ("--ca", population.label, "--serial", serial, "--reason", "superseded")
                figures[name].append(command(home, "cert", "revoke", *arguments))
            request.write_bytes(signing_request(f"bench-{time.time_ns()}.example.ac.jp"))
            arguments = ("--ca", MANY, "--profile", "server", "--csr", str(request))
            figures["issue"].append(command(home, "cert", "issue", *arguments))
    for home in homes:
        measured[home.path.name]["disk"].append(home.octets() / 1e6)


def signed_crl(home: ScaleHome, label: str) -> dict[str, float]:
    """What ``signed_crl.py`` says."""
    script = Path(__file__).with_name("signed_crl.py")
    said: dict[str, float] = json.loads(_output([str(script), str(home.path), label]))
    return said


def command(home: ScaleHome, *arguments: str) -> float:
    """Seconds of an ``issuance`` command, the start of Python included."""
    started = time.perf_counter()
    _output(["-m", "issuance", *arguments, "--home", str(home.path)])
    return time.perf_counter() - started


def _output(arguments: Sequence[str]) -> bytes:
    return subprocess.run(
        [sys.executable, *arguments], check=True, timeout=_COMMAND_SECONDS, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ).stdout  # fmt: skip


def signing_request(host: str) -> bytes:
    """A PKCS #10 request for a host, PEM."""
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    builder = x509.CertificateSigningRequestBuilder(subject).add_extension(names, critical=False)
    return builder.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()).public_bytes(Encoding.PEM)


def print_table(homes: Sequence[ScaleHome], measured: Measured) -> None:
    """Markdown, ready for the documentation."""
    print("| | " + " | ".join(f"{home.database} {home.size:,}" for home in homes) + " |")
    print("|---|" + "---:|" * len(homes))
    for key, name, form in FIGURES:
        middles = [form.format(statistics.median(measured[home.path.name][key])) for home in homes]
        print(f"| {name} | " + " | ".join(middles) + " |")
    ratios = []
    for home in homes:
        smallest = next(each for each in homes if each.database == home.database)
        pairs = zip(measured[home.path.name]["distinct-cpu"], measured[smallest.path.name]["distinct-cpu"], strict=True)
        ratios.append(f"{statistics.median(here / there for here, there in pairs):.2f}")
    print("| distinct serials: CPU ÷ that of the smallest, same round | " + " | ".join(ratios) + " |")


def main() -> None:
    """Make what is missing, measure, print."""
    options = _options()
    # Servers are stopped and folders removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one for the servers, one for the load")
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-scale-")))
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # PostgreSQL runs as another user
        needed = needed_octets(options.databases, options.sizes)
        needed -= present_octets(folder, options.databases, options.sizes)
        free = shutil.disk_usage(folder).free
        print(f"about {needed / _GIB:.1f} GiB are needed in {folder}, {free / _GIB:.1f} are free", file=sys.stderr)
        if free < needed:
            raise SystemExit(f"{folder} has not enough room: choose another --folder, or smaller --sizes")
        homes = stack.enter_context(scale_homes(folder, options.databases, options.sizes))
        measured: Measured = defaultdict(lambda: defaultdict(list))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-scale-")))
        measure_starts(homes, measured)
        measure_answers(homes, measured, scratch, cores, options)
        measure_issuance(homes, measured, scratch)
        print_table(homes, measured)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="certificates, with commas between")
    parser.add_argument("--databases", type=_databases, default=DATABASES, help="sqlite, postgresql or both")
    parser.add_argument("--seconds", type=_positive, default=3, help="of a run of one serial again (default 3)")
    parser.add_argument("--rounds", type=_positive, default=5, help="runs of each (default 5)")
    parser.add_argument("--folder", type=Path, help="where the databases are kept (default: nowhere)")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(sorted({_positive(each) for each in text.split(",")}))
    if not LEAST <= sizes[0] <= sizes[-1] <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is out of range: from {LEAST} to {MOST} certificates")
    return sizes


def _databases(text: str) -> tuple[str, ...]:
    chosen = set(text.split(","))
    if unknown := chosen - set(DATABASES):
        raise argparse.ArgumentTypeError(f"{unknown.pop()} is not one of {', '.join(DATABASES)}")
    return tuple(each for each in DATABASES if each in chosen)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return int(text)


if __name__ == "__main__":
    main()
