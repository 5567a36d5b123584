"""`make bench-lag`: from the commit of a revocation to the last worker's first revoked answer, under load.

Certificates are revoked one after the other by a process of its own, by the code behind ``issuance cert revoke``, while
``responders load`` asks at a steady rate. The lag of one is the time from when its commit had returned to when the last
worker had said *revoked* to a client that asks each of them every millisecond. Half of the certificates were *good* in
the cache of every worker, the other half was never asked about before. Between two of them lies a random pause, because
the feed of an SQLite database looks at fixed intervals, and a revocation must not always fall behind such a look.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from population import Population, populate
from ports import free_port
from postgres_server import postgres_pair
from running_server import Server, running_server, until
from worker_connections import Connection, connections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TARGET_MS: Final = 100.0
CASES: Final = {"sqlite": ("sqlite",), "postgresql": ("postgresql", "postgresql, read from a replica")}
KINDS: Final = ("in every cache", "never asked before")

_LABEL: Final = "server-rsa"
_ASKED_BY_LOAD: Final = 2000
_PAUSE: Final = 0.1
_POLL: Final = 0.001
_GIVE_UP: Final = 10.0
GOOD: Final = x509_ocsp.OCSPCertStatus.GOOD
_REVOKED: Final = x509_ocsp.OCSPCertStatus.REVOKED


@dataclass
class Lags:
    """What was measured in one case: milliseconds by kind of certificate."""

    database: str
    workers: int
    of: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    load: str = ""
    own: float = math.inf
    """Milliseconds that 99 of 100 lags do not exceed by the workers' own histogram: the bound of a bucket."""


class Requests:
    """OCSP requests about serials of one CA, as DER."""

    def __init__(self, issuer: Path) -> None:
        certificate = x509.load_pem_x509_certificate(issuer.read_bytes())
        named = x509_ocsp.OCSPRequestBuilder().add_certificate(certificate, certificate, _SHA256).build()
        digest = hashes.Hash(_SHA256)
        digest.update(certificate.subject.public_bytes())
        self._name, self._key = digest.finalize(), named.issuer_key_hash

    def about(self, serial: int) -> bytes:
        """A request without nonce."""
        asked = x509_ocsp.OCSPRequestBuilder().add_certificate_by_hash(self._name, self._key, serial, _SHA256)
        return asked.build().public_bytes(Encoding.DER)


_SHA256: Final = hashes.SHA256()


def main() -> None:
    """Measure every case and print the table. Exit status 1 when a p99 is over the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--revocations", type=int, default=1000, metavar="N", help="in each case (default 1000)")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], metavar="N", help="counts to try (default 2)")
    parser.add_argument("--load", type=float, default=500, metavar="RATE", help="questions a second (default 500)")
    parser.add_argument("--seconds", type=int, default=180, help="after which a case ends early (default 180)")
    options = parser.parse_args()
    names = [name for key, names in CASES.items() if options.database in {key, "both"} for name in names]
    print_head()
    reached = True
    for name in names:
        for workers in options.workers:
            lags = measure(name, workers, options.revocations, options.load, options.seconds)
            reached &= print_rows(lags)
    sys.exit(not reached)


def measure(name: str, workers: int, revocations: int, rate: float, seconds: int) -> Lags:
    """One case in a home of its own."""
    lags = Lags(name, workers)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        home = Path(scratch) / "home"
        make_home(home, name, stack)
        population = Population(_LABEL, revocations + _ASKED_BY_LOAD)
        populate(home, population)
        serials = [population.serial(number) for number in range(population.count)]
        server = stack.enter_context(running_server(home, workers))
        until(lambda: server.metric("responders_selfcheck_timestamp_seconds") > 0, "the self-check does not end")
        asked = Requests(home / "certs" / f"{_LABEL}.pem")
        observed = stack.enter_context(connections(server.port, server.worker_pids(), asked.about(serials[0])))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        watch = Watch(observed, asked, pool)
        revoker = stack.enter_context(revoking(home))
        with loading(server, Path(scratch), serials[revocations:], rate, seconds) as said:
            deadline = time.monotonic() + seconds - 5
            for number in range(revocations):
                if time.monotonic() > deadline:
                    print(f"{name}: ended early, after {number} revocations", file=sys.stderr)
                    break
                time.sleep(random.uniform(0, _PAUSE))
                kind = KINDS[number % 2]
                lags.of[kind].append(watch.lag(serials[number], revoker, cached=kind == KINDS[0]) * 1000)
        lags.load = said[0]
        lags.own = own_percentile(server, 0.99)
    return lags


def make_home(home: Path, name: str, stack: ExitStack) -> None:
    """A demo home on a database of its own, which ends with the stack."""
    init = [sys.executable, "-m", "issuance", "init", "--demo", "--home", str(home)]
    init += ["--base-url", f"http://127.0.0.1:{free_port()}"]
    if name == "sqlite":
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
        return
    pair = stack.enter_context(postgres_pair())
    subprocess.run([*init, "--database", pair.primary.url], check=True, stdout=subprocess.DEVNULL)
    if name != CASES["postgresql"][0]:
        file = home / "responders.toml"
        file.write_text(file.read_text().replace("[database]\n", f'[database]\nread_url = "{pair.replica.url}"\n'))


class Watch:
    """Asks every worker about one certificate at a time, over a kept connection to each."""

    def __init__(self, workers: Sequence[Connection], requests: Requests, pool: ThreadPoolExecutor) -> None:
        self._workers = workers
        self._requests = requests
        self._pool = pool

    def lag(self, serial: int, revoker: subprocess.Popen[str], *, cached: bool) -> float:
        """Revoke a certificate; seconds from its commit to the last worker's first revoked answer, 0 when that was
        earlier than the writer itself knew of its commit.
        """
        request = self._requests.about(serial)
        assert revoker.stdin is not None
        assert revoker.stdout is not None
        asked = []
        if cached:
            for worker in self._workers:
                while [worker.status(request) for _ in range(2)] != [GOOD, GOOD]:
                    time.sleep(_PAUSE)  # tryLater: the machine is busy
            asked = [self._pool.submit(first_revoked, worker, request) for worker in self._workers]
        print(f"{serial:x}", file=revoker.stdin, flush=True)
        committed = int(revoker.stdout.readline()) / 1e9
        if not cached:
            asked = [self._pool.submit(first_revoked, worker, request) for worker in self._workers]
        return max(0.0, max(each.result() for each in asked) - committed)


def first_revoked(worker: Connection, request: bytes) -> float:
    """When it was received: seconds of CLOCK_MONOTONIC. Later than all others when it never came, and then a line says
    what was said instead.
    """
    said: Counter[str] = Counter()
    deadline = time.monotonic() + _GIVE_UP
    while time.monotonic() < deadline:
        status = worker.status(request)
        if status is _REVOKED:
            return time.monotonic()
        said["tryLater" if status is None else status.name] += 1
        time.sleep(_POLL)
    print(f"not revoked within {_GIVE_UP:g} s, but {dict(said)}", file=sys.stderr)
    return time.monotonic()


@contextmanager
def revoking(home: Path) -> Iterator[subprocess.Popen[str]]:
    """The writer, until the block ends."""
    command = [sys.executable, str(Path(__file__).with_name("revoker.py")), str(home), _LABEL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@contextmanager
def loading(server: Server, folder: Path, serials: Sequence[int], rate: float, seconds: int) -> Iterator[list[str]]:
    """Load until the block ends; then the list has a sentence about what came of it: its own p99 says how the machine
    was. Raises SystemExit when an answer was wrong.
    """
    file, figures, said = folder / "serials", folder / "load.json", [""]
    file.write_text("".join(f"{serial:x}\n" for serial in serials))
    command = [sys.executable, "-m", "responders", "load", "ocsp", "--home", str(server.home), "--url"]
    command += [f"{server.url}/ocsp", "--serials", str(file), "--issuer", str(server.home / "certs" / f"{_LABEL}.pem")]
    command += ["--rate", str(rate), "--duration", str(seconds), "--nonce", "0.1", "--processes", "1"]
    if not rate:
        yield said
        return
    before = server.metric("responders_ocsp_answers_total")
    process = subprocess.Popen([*command, "--json", str(figures)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # It has started, and has asked about most of the hot serials for the first time.
        until(lambda: server.metric("responders_ocsp_answers_total") > before + 3 * rate, "there is no load")
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    summary = json.loads(figures.read_text())
    if summary["wrong"]:
        raise SystemExit(f"the load was answered wrong: {summary['wrong']}")
    failed = sum(each["count"] for each in summary["failed"].values())
    said[0] = f"{summary['answers_per_second']:,.0f} answers/s, p99 {summary['latency_ms']['p99']:.1f} ms"
    said[0] += f", {failed} failed" if failed else ""


def own_percentile(server: Server, share: float) -> float:
    """What the workers' own histogram says: the bound of the least bucket that holds so large a share, in ms."""
    name = "responders_ocsp_revocation_lag_seconds"
    text, total = server.admin("/metrics")[1], server.metric(f"{name}_count")
    for bound, count in re.findall(rf'^{name}_bucket{{le="([\d.]+)"}} ([\d.]+)$', text, re.MULTILINE):
        if float(count) >= share * total:
            return float(bound) * 1000
    return math.inf


def print_head() -> None:
    """Of the table, as Markdown."""
    figures = "p50 ms | p95 ms | p99 ms | max ms | p99 target | by the workers' metric | load"
    print(f"| database | workers | certificate | revocations | {figures} |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---|---|---|", flush=True)


def print_rows(lags: Lags) -> bool:
    """One case; whether every p99 reaches the target."""
    reached = True
    everything = [lag for each in lags.of.values() for lag in each]
    for kind, found in (("all", everything), *lags.of.items()):
        figures = " | ".join(f"{percentile(found, share):.1f}" for share in (0.5, 0.95, 0.99, 1))
        good = percentile(found, 0.99) <= TARGET_MS
        reached &= good
        verdict = f"≤ {TARGET_MS:g} {'✓' if good else '✗'}"
        beside = f"p99 ≤ {lags.own:g} ms | {lags.load}" if kind == "all" else " | "
        print(
            f"| {lags.database} | {lags.workers} | {kind} | {len(found)} | {figures} | {verdict} | {beside} |",
            flush=True,
        )
    return reached


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that so large a share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


if __name__ == "__main__":
    main()
