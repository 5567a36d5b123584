"""One keep-alive HTTP/1.1 connection that asks one question at a time: no more of HTTP than load needs."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from responders.load.verdict import Response

if TYPE_CHECKING:
    from responders.load.verdict import Inquiry

_HEAD_END: Final = b"\r\n\r\n"
_MOST_HEAD: Final = 16 * 1024
_MOST_BODY: Final = 1 << 20
_STATUS_LINE: Final = len("HTTP/1.1 200")
_NO_BODY: Final = (204, 304)
_FINAL: Final = 200


class Garbled(ValueError):  # noqa: N818 - named as its meaning
    """Not an HTTP response; the sentence says why."""


class ResponseReader:
    """Octets in, one response out."""

    def __init__(self) -> None:
        self._octets = b""

    def feed(self, data: bytes) -> Response | None:
        """The response once it is whole. Raises Garbled, also for octets behind its end."""
        octets = self._octets + data if self._octets else data
        response = _read(octets, ended=False)
        self._octets = b"" if response is not None else octets
        return response

    def end(self) -> Response | None:
        """The server closed: a response whose length nothing told is whole now. Raises Garbled."""
        octets, self._octets = self._octets, b""
        return _read(octets, ended=True) if octets else None


class _Head(NamedTuple):
    """What the head of a response says."""

    status: int
    length: int | None
    chunked: bool
    closes: bool
    content_type: bytes


@functools.lru_cache(maxsize=1024)
def _head(octets: bytes) -> _Head:
    """Cached, because the heads of a second differ in little. Raises Garbled."""
    head = octets.lower()
    if not head.startswith(b"http/1.") or not head[9:_STATUS_LINE].isdigit():
        raise Garbled("this is not HTTP/1")
    status, length, connection = int(head[9:_STATUS_LINE]), _field(head, b"content-length"), _field(head, b"connection")
    if length and not length.isdigit():
        raise Garbled("the Content-Length is no number")
    return _Head(
        status=status,
        length=int(length) if length else 0 if status in _NO_BODY else None,
        chunked=b"chunked" in _field(head, b"transfer-encoding"),
        closes=b"close" in connection or (head.startswith(b"http/1.0") and b"keep-alive" not in connection),
        content_type=_field(head, b"content-type").partition(b";")[0].strip(),
    )


def _read(octets: bytes, *, ended: bool) -> Response | None:
    end = octets.find(_HEAD_END)
    if end < 0:
        if len(octets) > _MOST_HEAD:
            raise Garbled("the head has no end")
        return None
    status, length, chunked, closes, content_type = _head(octets[:end])
    start = end + len(_HEAD_END)
    if status < _FINAL:  # 100 and 103 say that more is to come
        return _read(octets[start:], ended=ended)
    body: bytes | None = octets[start:]
    rest = b""
    if chunked:
        body, rest = _unchunked(octets[start:])
    elif length is None:
        body, closes = (body if ended else None), True
    elif len(octets) - start < length:
        body = None
    elif len(octets) - start > length:
        body, rest = octets[start : start + length], octets[start + length :]
    if body is None:
        if len(octets) - start > _MOST_BODY:
            raise Garbled(f"the body has more than {_MOST_BODY} octets")
        return None
    if rest:
        raise Garbled("octets follow the response")
    return Response(status, content_type, body, closes)


def _field(head: bytes, name: bytes) -> bytes:
    """The value of a field in a head of lower case; empty when there is none."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def _unchunked(octets: bytes) -> tuple[bytes | None, bytes]:
    """(body, what follows it); no body while it is not whole. Trailers are not expected."""
    parts = []
    while True:
        line, found, octets = octets.partition(b"\r\n")
        if not found:
            return None, b""
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise Garbled("a chunk has no length") from None
        if size < 0 or len(octets) < size + 2:
            return None, b""
        if octets[size : size + 2] != b"\r\n":
            raise Garbled("a chunk does not end where it should")
        parts.append(octets[:size])
        octets = octets[size + 2 :]
        if size == 0:
            return b"".join(parts), octets


class Owner(Protocol):
    """Who is told what becomes of a connection's questions."""

    def answered(self, connection: Connection, response: Response) -> None:
        """The question was answered; the connection is free, or is about to be lost when the response closes it."""
        ...

    def lost(self, connection: Connection, reason: str, sentence: str) -> None:
        """The connection has ended. ``reason`` is one of few, empty when no question was lost with it."""
        ...


class Connection(asyncio.Protocol):
    """One connection. ``inquiry``, ``due`` and ``sent`` (monotonic seconds) are of the question that is on its way."""

    __slots__ = ("_owner", "_reader", "_transport", "due", "inquiry", "sent")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._reader = ResponseReader()
        self._transport: asyncio.Transport | None = None
        self.inquiry: Inquiry | None = None
        self.due = self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    @property
    def usable(self) -> bool:
        """Whether a question can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, inquiry: Inquiry, due: float, now: float) -> None:
        """Send a question. The connection must be usable and free."""
        self.inquiry, self.due, self.sent = inquiry, due, now
        if self._transport is not None:
            self._transport.write(inquiry.octets)

    def close(self) -> None:
        """End it at once; whatever was on its way is forgotten."""
        self.inquiry = None
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.inquiry is None:
            self.close()
            return
        try:
            response = self._reader.feed(data)
        except Garbled as error:
            self._end("not HTTP", str(error))
            return
        if response is not None:
            self._answer(response)

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        try:
            response = self._reader.end() if self.inquiry is not None else None
        except Garbled as error:
            self._end("not HTTP", str(error))
            return
        if response is not None:
            self._answer(response)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end("connection lost" if self.inquiry is not None else "", "" if exc is None else str(exc))

    def _answer(self, response: Response) -> None:
        if response.closes and self._transport is not None:
            self._transport.close()
        self._owner.answered(self, response)

    def _end(self, reason: str, sentence: str) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()
            self._owner.lost(self, reason, sentence)
