"""A real server beside the tests: ``responders serve`` in processes of its own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ports import free_port, may_serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START_SECONDS = 60
STOP_SECONDS = 40


@dataclass(frozen=True)
class Server:
    """One running server."""

    home: Path
    host: str
    port: int
    admin_port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Of the public listener, without a path."""
        return f"http://{self.host}:{self.port}"

    @property
    def admin_url(self) -> str:
        """Of the admin listener, without a path."""
        return f"http://{self.host}:{self.admin_port}"

    def connect(self) -> socket.socket:
        """A raw connection to the public listener."""
        return socket.create_connection((self.host, self.port), timeout=20)

    def admin(self, path: str) -> tuple[int, str]:
        """Status and text of a GET on the admin listener."""
        connection = http.client.HTTPConnection(self.host, self.admin_port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def ready(self) -> bool:
        """Whether ``/readyz`` says so."""
        try:
            return self.admin("/readyz")[0] == 200
        except OSError:
            return False

    def metric(self, name: str) -> float:
        """The sum of the samples of ``/metrics`` with this name and, among others, these labels."""
        wanted, labels = _sample(name)
        found = [
            float(line.rpartition(" ")[2])
            for line in self.admin("/metrics")[1].splitlines()
            if line[:1] != "#" and _matches(_sample(line.rpartition(" ")[0]), wanted, labels)
        ]
        if not found:
            raise KeyError(name)
        return sum(found)

    def worker_pids(self) -> list[int]:
        """The processes that answer at present."""
        return self._children(b"responders.worker")

    def selfcheck_pids(self) -> list[int]:
        """The processes of the self-check: one, while it runs."""
        return self._children(b"responders.selfcheck_process")

    def _children(self, module: bytes) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split() if module in _command(int(pid))]

    def wait_ready(self) -> None:
        """Raises TimeoutError, or RuntimeError with the log when the server has ended."""
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"serve ended with {self.process.returncode}:\n{self.log.read_text()}")
            if time.monotonic() > deadline:
                raise TimeoutError(self.log.read_text())
            time.sleep(0.05)


@contextmanager
def running_server(
    home: Path, workers: int = 2, *, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Serve ``home`` where its certificates point, or on a free port when that one is taken; stop it afterwards.

    ``environment`` is added to this process's own.
    """
    host, port = _public_address(home)
    admin_port = free_port(host)
    with tempfile.NamedTemporaryFile(prefix="responders-", suffix=".log") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "responders", "serve", "--home", str(home), "--workers", str(workers)),
                *("--listen", f"{host}:{port}", "--admin", f"{host}:{admin_port}", *arguments),
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONWARNINGS": "error", **(environment or {})},
        )
        server = Server(home, host, port, admin_port, process, Path(log.name))
        try:
            server.wait_ready()
            yield server
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a server as an operator would; its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _sample(text: str) -> tuple[str, set[str]]:
    """A metric's name, and each label as it is written."""
    name, _, labels = text.partition("{")
    return name, set(labels.removesuffix("}").split(",")) - {""}


def _matches(sample: tuple[str, set[str]], name: str, labels: set[str]) -> bool:
    return sample[0] == name and labels <= sample[1]


def _command(pid: int) -> list[bytes]:
    """A process's arguments; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _public_address(home: Path) -> tuple[str, int]:
    document = tomllib.loads((home / "responders.toml").read_text())
    base = urlsplit(document.get("issuance", {}).get("base_url", ""))
    if base.hostname == "127.0.0.1" and base.port and may_serve(base.port, home):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((base.hostname, base.port))
            except OSError:
                pass
            else:
                return base.hostname, base.port
    return "127.0.0.1", free_port()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it; ``what`` says what it means that it does not come."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
