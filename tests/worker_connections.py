"""One kept connection to each worker of a server on this machine.

The workers share a listening socket, so the kernel decides whom a connection reaches. Who it was is written in /proc:
the other end of a connection over loopback is a socket of this machine, too, and its number is among a worker's
descriptors.
"""

from __future__ import annotations

import socket
from base64 import b64encode
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from cryptography.x509 import ocsp as x509_ocsp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ATTEMPTS: Final = 500
_SECONDS: Final = 20


@dataclass(frozen=True)
class Told:
    """One HTTP answer; field names are in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


class Connection:
    """A connection over which one OCSP request after the other is asked."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def post(self, request: bytes) -> Told:
        """The answer to a POST of this DER."""
        fields = f"Content-Type: application/ocsp-request\r\nContent-Length: {len(request)}\r\n"
        return self._ask(f"POST /ocsp HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode() + request)

    def get(self, request: bytes, **fields: str) -> Told:
        """The answer to a GET; a field ``if_none_match`` is If-None-Match."""
        named = "".join(f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in fields.items())
        path = quote(b64encode(request), safe="")
        return self._ask(f"GET /ocsp/{path} HTTP/1.1\r\nHost: localhost\r\n{named}\r\n".encode())

    def status(self, request: bytes) -> x509_ocsp.OCSPCertStatus | None:
        """What the answer to a POST says; None when it is tryLater. Raises ValueError for any other error."""
        answer = x509_ocsp.load_der_ocsp_response(self.post(request).body)
        if answer.response_status is x509_ocsp.OCSPResponseStatus.TRY_LATER:
            return None
        return answer.certificate_status

    def _ask(self, message: bytes) -> Told:
        self.socket.sendall(message)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        while len(body) < int(fields.get("content-length", 0)) and status != 304:
            body += self._some()
        return Told(status, fields, body)

    def _some(self) -> bytes:
        octets = self.socket.recv(65536)
        if not octets:
            raise ConnectionError("the server has closed the connection")
        return octets


@contextmanager
def connections(port: int, workers: Iterable[int], request: bytes) -> Iterator[tuple[Connection, ...]]:
    """A connection to each of these processes, by which ``request`` was asked once, until the block ends. Raises
    TimeoutError when one of them takes none.
    """
    with ExitStack() as open_until_the_end:
        found = _found(port, workers, request)
        for connection in found:
            open_until_the_end.callback(connection.close)
        yield found


def _found(port: int, workers: Iterable[int], request: bytes) -> tuple[Connection, ...]:
    found: dict[int, Connection] = {}
    wanted = set(workers)
    others: list[Connection] = []
    try:
        for _ in range(_ATTEMPTS):
            connection = Connection(port)
            connection.post(request)  # whoever answers has accepted it
            pid = _accepted_by(connection.socket, port, wanted)
            if pid is None or pid in found:
                others.append(connection)
            else:
                found[pid] = connection
            if found.keys() == wanted:
                return tuple(found.values())
    except BaseException:
        others += found.values()
        raise
    finally:
        for connection in others:
            connection.close()
    for connection in found.values():
        connection.close()
    raise TimeoutError(f"workers {sorted(wanted - found.keys())} accept no connection")


def _accepted_by(own: socket.socket, port: int, workers: Iterable[int]) -> int | None:
    """The process that has the other end."""
    inode = _inode(port, own.getsockname()[1])
    for pid in workers:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
    return None


def _inode(local: int, remote: int) -> str:
    """Of the socket at ``local`` whose other end is at ``remote``; both are ports."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
            return fields[9]
    return ""
