"""Ports for the servers that tests start.

None is of the range from which the kernel takes ports for connections and for servers that ask for any: a home names
its port long before anybody listens there, and meanwhile it must not become somebody else's. Test processes that run
side by side have ranges of their own.
"""

from __future__ import annotations

import os
import random
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_LOWEST: Final = 12_000
_EACH: Final = 5_000
_RANGES: Final = 4
"""The kernel's begins at 32768, unless somebody has changed that."""


class _Range:
    """Ports in turn, from a random one on: another run of the tests may go on beside this one."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._next = random.randrange(_EACH)

    def take(self) -> int:
        self._next = (self._next + 1) % _EACH
        return self._first + self._next


_range: Final = _Range(_LOWEST + _EACH * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _RANGES))


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, and that this process is not given again soon."""
    for _ in range(_EACH):
        port = _range.take()
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            try:
                stream.bind((host, port))
                datagram.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"none of {_EACH} ports is free")


_owners: Final[dict[int, Path]] = {}


def keep_port(port: int, home: Path) -> None:
    """Let nobody serve at this port but this home: a copy of it names the same port."""
    _owners[port] = home


def may_serve(port: int, home: Path) -> bool:
    """Whether the port is not another home's."""
    return _owners.get(port, home) == home
