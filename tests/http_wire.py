"""HTTP to the octet: what a client wrote is sent as it is, and what comes back is taken apart without forgiveness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from running_server import Server


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    line: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.line.split(" ")[1])

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.fields}

    def field(self, wanted: str) -> str:
        """The value of a field that is there once, exactly as it was sent."""
        (value,) = (value for name, value in self.fields if name.lower() == wanted.lower())
        return value


class Wire:
    """One connection to a running server."""

    def __init__(self, server: Server) -> None:
        self._socket = server.connect()
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def line(self) -> str:
        """One line, which must end as HTTP has it."""
        line = self._file.readline()
        assert line.endswith(b"\r\n"), line
        return line[:-2].decode("latin-1")

    def read(self, *, bodiless: bool = False) -> Answer:
        """The next answer, whose body is as long as it says. ``bodiless`` is the answer to HEAD."""
        return self._answer(*self._head(), bodiless=bodiless)

    def _head(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        line, fields = self.line(), []
        while field := self.line():
            name, colon, value = field.partition(": ")
            assert colon, field
            fields.append((name, value))
        return line, tuple(fields)

    def _answer(self, line: str, fields: tuple[tuple[str, str], ...], *, bodiless: bool) -> Answer:
        found = Answer(line, fields, b"")
        assert "transfer-encoding" not in found.names
        length = int(found.field("Content-Length"))
        body = b"" if bodiless else self._file.read(length)
        assert bodiless or len(body) == length
        return Answer(line, fields, body)

    def read_final(self) -> Answer:
        """The next answer that is not an interim one (RFC 9110 §15.2)."""
        while True:
            line, fields = self._head()
            if line.split(" ")[1] != "100":
                return self._answer(line, fields, bodiless=False)
            assert not fields

    def ask(self, octets: bytes) -> Answer:
        self.send(octets)
        return self.read()

    def ended(self) -> bool:
        """Whether the server closes without another word; waits for it."""
        return self._file.read() == b""


def exchange(server: Server, octets: bytes) -> Answer:
    """One request over a connection of its own."""
    with Wire(server) as wire:
        return wire.ask(octets)


def post(body: bytes, target: str = "/tsa", *fields: str, version: str = "1.1") -> bytes:
    """A POST with these fields besides Host and Content-Length."""
    head = [f"POST {target} HTTP/{version}", "Host: tsa.example.ac.jp", f"Content-Length: {len(body)}", *fields]
    return "".join(f"{line}\r\n" for line in (*head, "")).encode("latin-1") + body


def get(target: str, *fields: str, method: str = "GET") -> bytes:
    """A request without a body."""
    head = [f"{method} {target} HTTP/1.1", *fields]
    if not any(field.startswith("Host:") for field in fields):
        head.append("Host: tsa.example.ac.jp")
    return "".join(f"{line}\r\n" for line in (*head, "")).encode("latin-1")
