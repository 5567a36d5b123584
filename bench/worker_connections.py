"""One kept connection to each worker of a server on this machine.

The workers share a listening socket, so the kernel decides whom a connection reaches. Who it was is written in /proc:
the other end of a connection over loopback is a socket of this machine, too, and its number is among a worker's
descriptors.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.x509 import ocsp as x509_ocsp

if TYPE_CHECKING:
    from collections.abc import Iterable

_ATTEMPTS: Final = 500
_SECONDS: Final = 20


class Connection:
    """A connection over which one OCSP request after the other is POSTed."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def status(self, request: bytes) -> x509_ocsp.OCSPCertStatus | None:
        """What the answer to this DER says; None when it is tryLater. Raises ValueError for any other error."""
        self.socket.sendall(
            b"POST /ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(request), request)
        )
        answer = x509_ocsp.load_der_ocsp_response(self._body())
        if answer.response_status is x509_ocsp.OCSPResponseStatus.TRY_LATER:
            return None
        return answer.certificate_status

    def _body(self) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise ValueError(head.decode())
        while len(body) < int(length[1]):
            body += self._some()
        return body

    def _some(self) -> bytes:
        octets = self.socket.recv(65536)
        if not octets:
            raise ConnectionError("the server has closed the connection")
        return octets


def connections(port: int, workers: Iterable[int], request: bytes) -> dict[int, Connection]:
    """A connection to each of these processes, by which ``request`` was asked once. Raises TimeoutError when one of
    them takes none.
    """
    found: dict[int, Connection] = {}
    wanted = set(workers)
    others: list[Connection] = []
    try:
        for _ in range(_ATTEMPTS):
            connection = Connection(port)
            connection.status(request)  # whoever answers has accepted it
            pid = _accepted_by(connection.socket, port, wanted)
            if pid is None or pid in found:
                others.append(connection)
            else:
                found[pid] = connection
            if found.keys() == wanted:
                return found
    finally:
        for connection in others:
            connection.socket.close()
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
