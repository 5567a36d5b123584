"""``make soak``: many minutes at a share of the greatest rate, with revocations and reloads, and what grew meanwhile.

Four `responders load` ask at once: OCSP repeated, OCSP about distinct serials, OCSP with a nonce, and time-stamps.
Every answer is checked. Exit status 1 when one was wrong, when too many failed, or when a worker grew or kept
descriptors.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from cryptography.x509 import ocsp as x509_ocsp
from fuzz_wire import check_log, resources
from issuance_world import issuance, make_csr
from long_run import demo_home, machine, write_notes
from ocsp_wire import cert_id, request
from population import Population, populate
from ports import free_port
from running_server import running_server, until
from strangers import ask, certificate

from ca_store.clock import SystemClock
from ca_store.types import Reason
from issuance.csr import decode_request
from issuance.home import open_core
from issuance.profile import SERVER
from issuance.revocation import revoke
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fuzz_wire import Resources
    from running_server import Server

MINUTES: Final = 20.0
SHARE: Final = 0.7
GROWTH: Final = 0.02
DESCRIPTORS: Final = 4
"""More than before; the admin listener's own connection is one."""
FAILED: Final = 1e-4
"""The share of questions that may go unanswered: a machine that stands still for seconds is not the server's fault."""
_SPARE: Final = 3
"""The same as a number, for a short run: a server that is replaced may end a connection on which a question comes."""
_SERIALS: Final = 5_000
"""More than any of a worker's memories holds here, so that each is full soon."""
_REVOKED: Final = 100
_HEARD_SECONDS: Final = 120.0
"""More than any machine needs for some questions; how long it took is in the result."""
_CACHE: Final = 2_000_000
_RATE_SECONDS: Final = 15
_CONNECTIONS: Final = "16"
"""The most of each load: what connections take is not what grows."""
_SAMPLE_SECONDS: Final = 2.0
_EDGE: Final = 0.1
"""The first and the last tenth of a span are compared, by their medians."""
_RELOADS: Final = (0.04, 0.12, 0.2)
_WATCHED: Final = (0.35, 0.98)
"""The workers of the last reload are measured between these shares of the run."""
_MIB: Final = 1 << 20
LOADS: Final = {
    "OCSP, repeated": ("ocsp", "/ocsp", "--hot", "1", "--hot-serials", "20", "--unassigned", "0"),
    "OCSP, distinct": ("ocsp", "/ocsp", "--hot", "0"),
    "OCSP, nonce": ("ocsp", "/ocsp", "--nonce", "1"),
    "time-stamps": ("tsa", "/tsa", "--unit", "p256", "--unit", "rsa"),
}
"""What each asks, by its name."""


@dataclass
class Watch:
    """What each process holds, sampled again and again."""

    pids: Sequence[int]
    samples: dict[int, list[Resources]] = field(default_factory=dict)

    def look(self) -> None:
        """Once."""
        for pid in self.pids:
            self.samples.setdefault(pid, []).append(resources(pid))


@dataclass(frozen=True)
class Growth:
    """One process's, over the span that was watched."""

    name: str
    first: float
    last: float
    """Octets, the medians of the first and of the last tenth."""
    descriptors: tuple[int, int]
    """Without a client, before and after the load."""

    @property
    def share(self) -> float:
        return self.last / self.first - 1


def growth(name: str, samples: Sequence[Resources], descriptors: tuple[int, int]) -> Growth:
    """From the samples of one process, and the descriptors it had before and after the load."""
    edge = max(1, int(len(samples) * _EDGE))
    first, last = samples[:edge], samples[-edge:]
    resident = [statistics.median(each.resident for each in part) for part in (first, last)]
    return Growth(name, resident[0], resident[1], descriptors)


class Victims:
    """Certificates that nobody else asks about, revoked one after another while the load goes on."""

    def __init__(self, server: Server, count: int) -> None:
        self._server = server
        with open_core(server.home, SystemClock()) as core:
            issuer = core.store.issuer("server-rsa")
            requests = (make_csr(common_name=f"v{number}.example.ac.jp") for number in range(count))
            self._serials = [issue_from_request(core, issuer, SERVER, decode_request(each))[0] for each in requests]
        self.revoked = 0
        self.slowest = 0.0
        """Seconds from the end of the command until eight fresh connections in turn heard of it."""

    def revoke(self) -> None:
        """The next one. Raises AssertionError when an answer is wrong."""
        serial = self._serials[self.revoked]
        assert self._status(serial) is x509_ocsp.OCSPCertStatus.GOOD
        command = ("cert", "revoke", "--ca", "server-rsa", "--serial", f"{serial:x}", "--reason", "superseded")
        issuance(*command, home=self._server.home)
        began = time.monotonic()
        heard = 0
        while heard < 8:
            known = self._status(serial) is x509_ocsp.OCSPCertStatus.REVOKED
            assert known or not heard, "revoked, and then good again"
            heard += known
            assert time.monotonic() < began + _HEARD_SECONDS, "a revocation is not heard of"
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.revoked += 1

    def _status(self, serial: int) -> x509_ocsp.OCSPCertStatus:
        asked = request(cert_id(certificate(self._server.home, "server-rsa"), serial))
        answer = ask(f"{self._server.url}/ocsp", asked)
        return x509_ocsp.load_der_ocsp_response(answer.body).certificate_status


def main() -> int:
    """Measure the rate, keep up a share of it, and say what came of it."""
    options = _arguments()
    with TemporaryDirectory(prefix="soak-") as folder:
        home = _make_home(Path(folder))
        with running_server(home, 2) as server:
            rates = {name: options.share * rate for name, rate in _greatest_rates(server, Path(folder)).items()}
            _say(f"{options.share:.0%} of the greatest rates: {_figures(rates)} a second")
            soak = Soak(server, Path(folder), options.minutes * 60, rates)
            soak.run()
            faults = soak.faults()
            try:
                check_log(server.log.read_text())
            except AssertionError as error:
                faults.append(f"the server warned: {error}")
    page = soak.page(options.share)
    sys.stdout.write(page + "\n")
    for fault in faults:
        sys.stderr.write(f"soak: {fault}\n")
    if options.write is not None:
        write_notes(options.write, "\n".join((page, *(f"- **{fault}**" for fault in faults))))
    return 1 if faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=MINUTES, help=f"of load (default: {MINUTES:g})")
    add("--share", type=float, default=SHARE, help=f"of the greatest rate (default: {SHARE:g})")
    add("--write", type=Path, metavar="FILE.md", help="put the result into this page, below its marker")
    return parser.parse_args()


def _make_home(folder: Path) -> Path:
    home = folder / "home"
    base = f"http://127.0.0.1:{free_port()}"
    demo_home(home, "--base-url", base)
    with (home / "responders.toml").open("a") as file:
        file.write(f"\n[ocsp]\ncache_octets = {_CACHE}\n")
    population = Population("server-ecc", _SERIALS)
    populate(home, population)
    with open_core(home, SystemClock()) as core:
        issuer = core.store.issuer("server-ecc")
        for number in range(0, _SERIALS, _SERIALS // _REVOKED):
            revoke(core, issuer, population.serial(number), Reason.superseded, None)
    return home


def _load(server: Server, name: str, result: Path, *pace: str) -> subprocess.Popen[str]:
    protocol, path, *mix = LOADS[name]
    source = ("--ca", "server-ecc") if protocol == "ocsp" else ()
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "responders", "load", protocol, "--home", str(server.home)),
            *(
                "--url",
                f"{server.url}{path}",
                "--json",
                str(result),
                "--processes",
                "1",
                "--most-connections",
                _CONNECTIONS,
                *pace,
                *mix,
                *source,
            ),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _all_loads(server: Server, folder: Path, paces: Mapping[str, Sequence[str]]) -> dict[str, subprocess.Popen[str]]:
    return {name: _load(server, name, folder / f"{number}.json", *paces[name]) for number, name in enumerate(LOADS)}


def _results(processes: dict[str, subprocess.Popen[str]], folder: Path) -> dict[str, Any]:
    """The figures of each, once all have ended."""
    found = {}
    for number, (name, process) in enumerate(processes.items()):
        _, said = process.communicate()
        file = folder / f"{number}.json"
        if not file.exists() or not file.stat().st_size:
            raise AssertionError(f"{name}: {said}")
        found[name] = json.loads(file.read_text())
        file.unlink()
    return found


def _greatest_rates(server: Server, folder: Path) -> dict[str, float]:
    """What each gets when all of them ask as fast as they can, a few connections each."""
    pace = ("--connections", "2", "--duration", str(_RATE_SECONDS))
    results = _results(_all_loads(server, folder, dict.fromkeys(LOADS, pace)), folder)
    return {name: result["right"] / _RATE_SECONDS for name, result in results.items()}


class Soak:
    """One run."""

    def __init__(self, server: Server, folder: Path, seconds: float, rates: dict[str, float]) -> None:
        self._server = server
        self._folder = folder
        self._seconds = seconds
        self._rates = rates
        self._victims = Victims(server, int(seconds / 10) + 10)
        self._growths: list[Growth] = []
        self._watch: Watch | None = None
        self._idle = [resources(pid).descriptors for pid in self._pids()]
        """Descriptors of each process that has no client."""
        self._results: dict[str, Any] = {}
        self._reloads = 0

    def run(self) -> None:
        """Everything at once, to the end of the load."""
        pace = {
            name: ("--rate", f"{rate:.1f}", "--duration", f"{self._seconds:.0f}") for name, rate in self._rates.items()
        }
        processes = _all_loads(self._server, self._folder, pace)
        try:
            with self._revoking():
                self._attend(processes)
            self._results = _results(processes, self._folder)
        finally:
            for process in processes.values():
                process.kill()
        self._judge()

    def _attend(self, processes: dict[str, subprocess.Popen[str]]) -> None:
        """Reload when it is time, and from the warm-up on watch whoever lives then."""
        began, due = time.monotonic(), list(_RELOADS)
        while any(process.poll() is None for process in processes.values()):
            at = (time.monotonic() - began) / self._seconds
            if due and at >= due[0]:
                self._reload()
                due.pop(0)
            elif _WATCHED[0] <= at < _WATCHED[1]:
                self._watch = self._watch or Watch(self._pids())
                self._watch.look()
            time.sleep(_SAMPLE_SECONDS)

    def _pids(self) -> list[int]:
        return [*self._server.worker_pids(), self._server.process.pid]

    def _judge(self) -> None:
        """Once the load has ended."""
        until(lambda: self._server.metric("responders_connections") == 0, "connections are left over")
        watch = self._watch
        if watch is None:
            return
        if self._pids() != list(watch.pids):
            raise AssertionError("a worker died")
        for number, (pid, idle) in enumerate(zip(watch.pids, self._idle, strict=True)):
            name = f"worker {number + 1}" if number + 1 < len(watch.pids) else "supervisor"
            self._growths.append(growth(name, watch.samples[pid], (idle, resources(pid).descriptors)))

    def _reload(self) -> None:
        said = self._server.log.read_text().count("has taken over")
        self._server.process.send_signal(signal.SIGHUP)
        until(lambda: self._server.log.read_text().count("has taken over") >= said + 2, "no successor takes over")
        until(lambda: len(self._server.worker_pids()) == 2, "the old ones do not end")
        self._reloads += 1

    @contextmanager
    def _revoking(self) -> Iterator[None]:
        over, faults = threading.Event(), list[BaseException]()

        def go() -> None:
            try:
                while not over.wait(10):
                    self._victims.revoke()
            except BaseException as fault:  # noqa: BLE001 - raised again below
                faults.append(fault)

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if faults:
            raise faults[0]

    def faults(self) -> list[str]:
        """What must not be."""
        found = [f"{name}: wrong: {result['wrong']}" for name, result in self._results.items() if result["wrong"]]
        for name, result in self._results.items():
            failed = result["sent"] - result["right"]
            if failed > max(_SPARE, result["sent"] * FAILED):
                found.append(f"{name}: {failed} of {result['sent']} were not answered: {result['failed']}")
        for each in self._growths:
            if each.share > GROWTH:
                found.append(f"{each.name} grew by {each.share:.1%}")
            if each.descriptors[1] > each.descriptors[0] + DESCRIPTORS:
                found.append(f"{each.name} keeps descriptors: {each.descriptors}")
        return found if self._growths else [*found, "the run was too short to measure anything"]

    def page(self, share: float) -> str:
        """The result as Markdown."""
        lines = [
            f"{machine()};",
            f"{self._seconds / 60:g} minutes at {share:.0%} of the greatest rate of the same mix, which was measured",
            f"for {_RATE_SECONDS} s just before; clients and server shared the cores.",
            "",
            "| asked | a second | sent | right | wrong | failed | p50 ms | p99 ms |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for name, result in self._results.items():
            latency = result["latency_ms"]
            wrong = sum(each["count"] for each in result["wrong"].values())
            lines.append(
                f"| {name} | {self._rates[name]:,.0f} | {result['sent']:,} | {result['right']:,} | {wrong} | "
                f"{result['sent'] - result['right'] - wrong} | {latency['p50']:.1f} | {latency['p99']:.1f} |"
            )
        lines += [
            "",
            "| process | memory after warm-up, MiB | at the end, MiB | growth | descriptors, idle |",
            "|---|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {each.name} | {each.first / _MIB:.1f} | {each.last / _MIB:.1f} | {each.share:+.2%} | "
            f"{each.descriptors[0]} to {each.descriptors[1]} |"
            for each in self._growths
        ]
        lines += [
            "",
            f"Meanwhile {self._victims.revoked} certificates were revoked, each known to every worker within",
            f"{self._victims.slowest:.2f} s of the command's end and never taken back; and the configuration was read",
            f"anew {self._reloads} times.",
        ]
        return "\n".join(lines)


def _figures(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
