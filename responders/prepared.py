"""Responses that are one write: a head made beforehand and a body, straight to the transport.

This file leans on how aiohttp's low-level server treats a response: it awaits ``prepare(request)`` and ``write_eof()``
and then looks at ``keep_alive``. ``PreparedResponse.plain`` makes the same response of documented parts only, for the
day on which that changes; the tests hold the two side by side.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http import HttpVersion11

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from ca_store.clock import Clock

_DAYS: Final = b"Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

REASONS: Final = {
    200: b"OK",
    304: b"Not Modified",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    417: b"Expectation Failed",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


class Second:
    """The present second and its ``Date`` line. ``tick`` is called when a new one may have begun."""

    __slots__ = ("_clock", "date", "now")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.now = 0
        """POSIX seconds."""
        self.date = b""
        """A whole header line."""
        self.tick()

    def tick(self) -> None:
        """Read the clock."""
        now = int(self._clock.now())
        if now != self.now:
            self.now = now
            self.date = b"Date: %b\r\n" % http_date(now)

    def rest(self) -> float:
        """Seconds until the next one begins."""
        return 1.0 - self._clock.now() % 1.0


# Of the times in answers there are as many as a window has seconds.
@lru_cache(maxsize=16_384)
def http_date(seconds: int) -> bytes:
    """IMF-fixdate (RFC 9110 §5.6.7)."""
    # email.utils.formatdate takes four times as long.
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(seconds)
    date = b"%b, %02d %b %04d %02d:%02d:%02d GMT"
    return date % (_DAYS[weekday], day, _MONTHS[month - 1], year, hour, minute, second)


def head(second: Second, fields: bytes, octets: int, status: int = 200) -> bytes:
    """A response head without its last empty line. ``fields`` are whole lines, ``octets`` the length of the body."""
    return b"HTTP/1.1 %d %b\r\nContent-Length: %d\r\n%b%b" % (status, REASONS[status], octets, second.date, fields)


class PreparedResponse(web.StreamResponse):
    """Writes a head (as ``head`` makes it) and a body at once."""

    # StreamResponse's own constructor makes a header table that nobody would read; what aiohttp asks of a response
    # afterwards has defaults in the class.
    def __init__(self, ready_head: bytes, octets: bytes) -> None:
        self._ready_head = ready_head
        self._octets = octets
        self._closes = False

    def close(self) -> None:
        """End the connection after this response, whatever the client wishes."""
        self._closes = True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything, then wait while the client does not read. Raises ConnectionResetError."""
        protocol = request.protocol
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        keep_alive = self._keep_alive = request.keep_alive and not self._closes
        octets = self._octets if request.method != "HEAD" else b""
        if keep_alive and request.version >= HttpVersion11:
            transport.write(b"%b\r\n%b" % (self._ready_head, octets))
        else:
            connection = b"keep-alive" if keep_alive else b"close"
            transport.write(b"%bConnection: %b\r\n\r\n%b" % (self._ready_head, connection, octets))
        if protocol.writing_paused:
            await protocol._drain_helper()  # noqa: SLF001 - aiohttp's own StreamWriter.drain does this
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - the signature is aiohttp's
        """Everything was written in ``prepare``."""
        self._eof_sent = True

    def plain(self) -> web.Response:
        """The same response, made of documented parts only."""
        status_line, *lines = self._ready_head.decode("latin-1").splitlines()
        status = int(status_line.split()[1])
        fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        response = web.Response(
            status=status,
            reason=REASONS[status].decode(),
            headers=[(name, value) for name, value in fields if name != "Content-Length"],
            body=self._octets,
        )
        if self._closes:
            response.force_close()
        return response


def iso_time(seconds: int) -> str:
    """RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
