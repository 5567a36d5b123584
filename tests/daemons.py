"""Servers that no one here wrote, each in a process that listens on loopback as long as a ``with`` block lasts."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from running_server import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

END_SECONDS = 30


@contextmanager
def daemon(command: Sequence[str | Path], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program, wait until it accepts connections on the port, and end it afterwards."""
    with log.open("wb") as written:
        process = subprocess.Popen([str(part) for part in command], stdout=written, stderr=written)
    try:
        until(lambda: process.poll() is not None or _accepts(port), f"{command[0]} does not listen")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(END_SECONDS)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
