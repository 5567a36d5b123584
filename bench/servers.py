"""The servers under measurement, each pinned to one core, and the bare signing rate on that core."""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

from certomancer_peer import Peer, make_peer
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from ocsp_peers import OpenSSLPeer, cfssl_command, make_openssl_peer, nginx_command
from population import Population, populate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_SECONDS = 60
CEILING_OCTETS = 1500
WORKERS = (1, 2)
"""How many of them are compared."""


class Servers:
    """Starts the responders, the ceiling and their peers on entering and stops them on leaving."""

    def __init__(self, folder: Path, core: int, certificates: int) -> None:
        self.home = folder / "home"
        names = ["responders", "admin", "no-log", "no-log-admin", "ceiling", "certomancer", "cfssl", "openssl", "nginx"]
        names += [f"workers-{number}{admin}" for number in WORKERS for admin in ("", "-admin")]
        self.ports = {name: free_port() for name in names}
        self.pids: dict[str, int] = {}
        self._core = core
        self._processes: list[subprocess.Popen[bytes]] = []
        subprocess.run(
            [sys.executable, "-m", "issuance", "init", "--demo", "--home", str(self.home), "--base-url",
             self.url("responders")],
            check=True,
        )  # fmt: skip
        self.population = Population("server-rsa", certificates)
        populate(self.home, self.population)
        self.peer: Peer = make_peer(folder / "certomancer", self.ports["certomancer"])
        self.openssl: OpenSSLPeer = make_openssl_peer(folder / "openssl", self.ports["openssl"])
        self._folder = folder

    def url(self, name: str) -> str:
        """The base URL of one of the servers."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def __enter__(self) -> Self:
        ceiling = str(Path(__file__).with_name("ceiling.py"))
        try:
            self._start("ceiling", [sys.executable, ceiling, str(self.ports["ceiling"]), str(CEILING_OCTETS)])
            self._start("certomancer", self.peer.command)
            self._serve("responders", "admin")
            self._serve("no-log", "no-log-admin", "--config", str(self._without_log()))
            for number in WORKERS:
                self._serve(f"workers-{number}", f"workers-{number}-admin", workers=number)
            # A request on its first connection, and no connection without one: it would read that one for ever.
            self._start("openssl", self.openssl.command, probe=False)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(timeout=30)

    def _serve(self, name: str, admin: str, *arguments: str, workers: int | None = None) -> None:
        """One worker on the servers' core; or so many wherever there is room."""
        self._start(
            name,
            [sys.executable, "-m", "responders", "serve", "--home", str(self.home), "--workers", str(workers or 1),
             "--listen", f"127.0.0.1:{self.ports[name]}", "--admin", f"127.0.0.1:{self.ports[admin]}", *arguments],
            ready=f"{self.url(admin)}/readyz", pinned=workers is None,
        )  # fmt: skip
        self._wait_for_selfcheck(admin)

    def _without_log(self) -> Path:
        """The home's configuration of the responders, but for the log of tokens."""
        text = (self.home / "responders.toml").read_text()
        file = self._folder / "no-log.toml"
        file.write_text(text[text.index("[server]") :] + "\n[log]\nenabled = false\n")
        return file

    def start_peers(self, answer: bytes) -> None:
        """Start CFSSL's responder and nginx with this OCSPResponse."""
        self._start("cfssl", cfssl_command(self._folder / "cfssl", self.ports["cfssl"], answer))
        self._folder.chmod(0o755)  # nginx's worker is not root
        self._start("nginx", nginx_command(self._folder / "nginx", self.ports["nginx"], answer))

    def _wait_for_selfcheck(self, admin: str) -> None:
        """It runs once at the start, at idle priority, and would be measured too."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self.url(admin)}/metrics", timeout=5) as answer:  # noqa: S310 - made above
                found = re.search(rb"^responders_selfcheck_timestamp_seconds ([\d.e+]+)", answer.read(), re.MULTILINE)
            if found is not None and float(found[1]) > 0:
                return
            time.sleep(0.2)

    def _start(
        self, name: str, command: Sequence[str], ready: str | None = None, *, probe: bool = True, pinned: bool = True
    ) -> None:
        pin = ["taskset", "-c", str(self._core)] if pinned else []
        process = subprocess.Popen([*pin, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._processes.append(process)
        self.pids[name] = process.pid
        if not probe:
            time.sleep(1)
            return
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise SystemExit(f"{name} did not start: exit status {process.returncode}")
            try:
                urllib.request.urlopen(ready or self.url(name), timeout=2).close()  # noqa: S310 - a URL made above
            except urllib.error.HTTPError as answer:
                if ready is None or answer.code < 500:
                    return
            except OSError:
                time.sleep(0.1)
            else:
                return
            time.sleep(0.05)
        raise SystemExit(f"{name} was not ready within {START_SECONDS} s")


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def bare_signing_rate(key_type: str, core: int) -> float:
    """Signatures a second of ``cryptography`` alone, on the servers' core, deterministic as the responders sign."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return rate(_bare_signer(key_type))
    finally:
        os.sched_setaffinity(0, before)


@functools.cache
def _bare_signer(key_type: str) -> Callable[[bytes], bytes]:
    sha256 = hashes.SHA256()
    if key_type == "p256":
        p256 = ec.generate_private_key(ec.SECP256R1())
        ecdsa = ec.ECDSA(sha256, deterministic_signing=True)
        return lambda message: p256.sign(message, ecdsa)
    rsa3072 = rsa.generate_private_key(65537, 3072)
    pkcs1 = padding.PKCS1v15()
    return lambda message: rsa3072.sign(message, pkcs1, sha256)


def rate(sign: Callable[[bytes], bytes], seconds: float = 0.7) -> float:
    """How often ``sign`` runs in a second, over messages of 200 octets."""
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(50):
            sign(count.to_bytes(200, "big"))
            count += 1
    return count / elapsed
