"""Mutants sent to a running server: bodies and paths over kept connections, headers each over one of its own."""

from __future__ import annotations

import base64
import random
import re
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from countersignatures import lines, request
from fuzz_checks import GOOD, REVOKED, check_countersignature, check_ocsp, check_timestamp
from fuzz_seeds import countersign_seeds, ocsp_seeds, path_seeds, timestamp_seeds
from mutation import Mutator
from ocsp_wire import cert_id, serial_of
from strangers import certificate
from tsa_server import Client

from responders.ocsp_http import decode_path
from tsa.authenticode import looks_like_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.x509 import ocsp as x509_ocsp
    from running_server import Server

PATIENCE: Final = 20.0
TARGETS: Final = ("/ocsp", "/ocsp/", "/tsa", "/tsa/p256", "/")
ALLOWED: Final = frozenset({200, 304, 400, 404, 405, 408, 413, 417})
_PIPELINED: Final = 32
_AT_ONCE: Final = 400
_LENGTH: Final = re.compile(rb"\r\nContent-Length: ([0-9]+)\r\n")
_TYPE: Final = re.compile(rb"\r\nContent-Type: ([^\r]*)\r\n")
_HEADS: Final = (
    b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n",
    b"POST /tsa HTTP/1.1\r\nHost: a\r\nUser-Agent: Transport\r\nContent-Length: %d\r\nConnection: Keep-Alive\r\n\r\n",
    b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n",
    b"POST /ocsp HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
    b"POST /tsa/p256 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
    b'GET /ocsp/%b HTTP/1.1\r\nHost: a\r\nIf-None-Match: "x", W/"y"\r\nContent-Length: 0\r\n\r\n',
    b"GET /ocsp/%b HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
    b"GET /tsa HTTP/1.1\r\nHost: a\r\nAccept: text/html;q=0.9, */*\r\n\r\n",
    b"HEAD /crl/root/1.crl HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n",
    b"GET http://a/ca/root.cer?x=1#y HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


class Exchange(NamedTuple):
    """One request that is HTTP, whatever it asks."""

    octets: bytes
    asked: bytes
    """The body, or what the path stands for; empty when that is nothing."""


@dataclass
class Findings:
    """What a run came to."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    """Of answers; 0 is a connection that was ended without one."""
    signed: int = 0
    """Answers that carry a signature."""


class WireFuzzer:
    """Sends mutants to ``server`` and holds each answer against what was sent. ``number`` decides all of them."""

    def __init__(self, server: Server, number: int) -> None:
        self._server = server
        self._chance = random.Random(number)
        home = server.home
        issuer, good, revoked = (certificate(home, name) for name in ("server-rsa", "demo-good", "demo-revoked"))
        self._rows: Mapping[int, x509_ocsp.OCSPCertStatus] = {serial_of(good): GOOD, serial_of(revoked): REVOKED}
        serials = [*self._rows, 0x1234]
        ocsp = ocsp_seeds([cert_id(issuer, each, digest) for digest in ("sha1", "sha256") for each in serials])
        stamps = timestamp_seeds()
        with Client(server) as client:
            older = countersign_seeds(client.post(stamps[0], "/tsa/p256"))
        self._bodies = [
            (Mutator(ocsp, number), ("/ocsp", "/ocsp/", "/")),
            (Mutator(stamps, number + 1), ("/tsa/p256", "/tsa/p256", "/tsa/p256", "/tsa", "/")),
            (Mutator([lines(each) for each in older], number + 2, older, lines), ("/tsa", "/tsa/p256", "/")),
        ]
        self._paths = Mutator(path_seeds(ocsp), number + 3, ocsp, base64.b64encode)
        path = base64.b64encode(ocsp[0]).replace(b"/", b"%2F")
        heads = [head % (path if b"%b" in head else 80) if b"%" in head else head for head in _HEADS]
        self._heads = Mutator(
            [head + body for head in heads for body in (ocsp[0], stamps[0], lines(request()))], number
        )
        self.findings = Findings()

    def bodies_and_paths(self, count: int) -> None:
        """Requests whose HTTP is in order. Each must be answered."""
        while count > 0:
            batch = [self._post() if self._chance.random() < 0.7 else self._get() for _ in range(_PIPELINED)]
            self._converse(batch)
            count -= len(batch)

    def heads(self, count: int) -> None:
        """Requests whose HTTP is not. Each is answered or ended within the server's deadlines."""
        while count > 0:
            batch = [self._heads.next() for _ in range(min(_AT_ONCE, count))]
            for sent, answer in zip(batch, self._exchange(batch), strict=True):
                self._judge_head(sent, answer)
            count -= len(batch)

    def _post(self) -> Exchange:
        mutator, targets = self._chance.choices(self._bodies, (5, 4, 1))[0]
        body = mutator.next()
        head = f"POST {self._chance.choice(targets)} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        return Exchange(head.encode() + body, body)

    def _get(self) -> Exchange:
        """Octets that end a request line, which is not what is looked at here, are left out."""
        path = bytes(each for each in self._paths.next()[:4000] if 0x20 < each < 0x7F)
        prefix = self._chance.choice((b"/ocsp/", b"/ocsp/", b"/ocsp//", b"/"))
        try:
            asked = decode_path(path.decode())
        except ValueError:
            asked = b""
        return Exchange(b"GET %b%b HTTP/1.1\r\nHost: a\r\n\r\n" % (prefix, path), asked)

    def _converse(self, batch: Sequence[Exchange]) -> None:
        """Ask all at once; whatever follows an answer that ends the connection is asked over another one."""
        rest = list(batch)
        while rest:
            with self._server.connect() as connection, connection.makefile("rb") as file:
                connection.settimeout(PATIENCE)
                connection.sendall(b"".join(each.octets for each in rest))
                answered = 0
                for each in rest:
                    head, body = _read(file)
                    self._judge(each, head, body)
                    answered += 1
                    if b"\r\nConnection: close\r\n" in head:
                        break
                rest = rest[answered:]

    def _judge(self, sent: Exchange, head: bytes, body: bytes) -> None:
        status = int(head[9:12])
        self.findings.sent += 1
        self.findings.statuses[status] += 1
        assert status in ALLOWED, (head, sent)
        if status != 200 or not (found := _TYPE.search(head)):
            return
        match found[1]:
            case b"application/ocsp-response":
                self.findings.signed += check_ocsp(sent.asked, body, self._rows)
            case b"application/timestamp-reply":
                self.findings.signed += check_timestamp(sent.asked, body)
            case b"application/octet-stream":
                assert looks_like_request(sent.asked)
                check_countersignature(sent.asked, body)
                self.findings.signed += 1

    def _judge_head(self, sent: bytes, answer: bytes) -> None:
        self.findings.sent += 1
        if not answer:
            self.findings.statuses[0] += 1
            return
        assert re.match(rb"HTTP/1\.1 [1-4][0-9][0-9] ", answer), (answer, sent)
        status = int(answer[9:12])
        self.findings.statuses[status] += 1
        assert status in ALLOWED | {100}, (answer, sent)

    def _exchange(self, batch: Sequence[bytes]) -> list[bytes]:
        """What each was answered up to the end of its connection, or until nothing more can be expected."""
        answers = [b""] * len(batch)
        poll, open_ones = select.poll(), dict[int, tuple[int, socket.socket]]()
        try:
            for number, octets in enumerate(batch):
                connection = self._server.connect()
                open_ones[connection.fileno()] = number, connection
                poll.register(connection, select.POLLIN)
                connection.sendall(octets)
            deadline = time.monotonic() + PATIENCE
            while open_ones:
                assert time.monotonic() < deadline, f"{len(open_ones)} are neither answered nor ended"
                for descriptor, _ in poll.poll(1000):
                    number, connection = open_ones[descriptor]
                    chunk = _receive(connection)
                    answers[number] += chunk
                    if not chunk or _complete(answers[number]):
                        poll.unregister(descriptor)
                        del open_ones[descriptor]
                        connection.close()
        finally:
            for _, connection in open_ones.values():
                connection.close()
        return answers


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except ConnectionError:
        return b""


def _complete(answer: bytes) -> bool:
    """Whether a whole final response is there; of HEAD, which has no body, the connection's end is waited for."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return _complete(body)
    found = _LENGTH.search(head + b"\r\n")
    return bool(end) and (found is None or len(body) >= int(found[1]) or b"Connection: close" not in head)


def _read(file: BinaryIO) -> tuple[bytes, bytes]:
    """Head and body of the next answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        assert line, f"the connection ended without an answer, after {head!r}"
        head += line
    found = _LENGTH.search(head)
    assert found, head
    return head, b"" if head.startswith(b"HTTP/1.1 304") else file.read(int(found[1]))


@dataclass(frozen=True)
class Resources:
    """What a process holds."""

    resident: int
    """Octets of memory that is its own: the pages of files that it maps come and go."""
    descriptors: int


def resources(pid: int) -> Resources:
    """As the kernel counts them."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))
    return Resources(resident * 1024, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))


def fuzz_settings(home: Path) -> str:
    """The home's configuration with short deadlines, and a cache that is full soon: what grows then is a leak."""
    text = (home / "responders.toml").read_text()
    assert text.count("[server]\n") == 1
    assert "[ocsp]" not in text
    text = text.replace("[server]\n", "[server]\nheader_seconds = 2\nbody_seconds = 2\n")
    return f"{text}\n[ocsp]\ncache_octets = 2000000\n"


def check_log(text: str) -> None:
    """A server that was only asked has nothing to warn of."""
    loud = [line for line in text.splitlines() if re.search(r" (WARNING|ERROR|CRITICAL) |Traceback", line)]
    assert loud == [], "\n".join(loud)
