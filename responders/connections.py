"""Connections with deadlines, and with a short way for requests that came before.

aiohttp bounds idle connections, not headers that never end. Leans on attributes of its ``RequestHandler``:
``_messages`` and ``_request_count`` (what it has parsed), ``_waiter`` (pending while it waits for a request),
``_next_keepalive_close_time`` (when an idle connection ends) and ``finish_response`` (called for every response).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from responders.repeats import ends_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from responders.repeats import Repeats

_SWEEP_SECONDS: Final = 0.5
_LINGER_SECONDS: Final = 1.0
"""How long the rest of a refused body is read and thrown away, so that the client can see the refusal."""
_GRACE_SECONDS: Final = 0.1
"""At a clean stop, what is on its way on an idle connection has this long to arrive."""

_logger: Final = logging.getLogger(__name__)


class Connection(RequestHandler):
    """A connection that the server watches from its first octet until a request's header is complete."""

    __slots__ = ("_answered", "_between", "_refuse", "_repeats", "_watched")

    def __init__(self, manager: ConnectionServer, **settings: Any) -> None:  # noqa: ANN401 - RequestHandler's own
        super().__init__(manager, **settings)
        self._watched = manager.headers
        self._refuse = manager.refuse
        self._repeats = manager.repeats
        # Whether the parser holds no part of a message.
        self._between = True
        # Requests whose response left the connection open; others are not to be followed by anything.
        self._answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to watch: a client that connects has something to ask."""
        super().connection_made(transport)
        self._watched[self] = self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Watch as long as octets have come but no whole header; answer what came before to the octet."""
        # A client may ask again before aiohttp has come round to waiting for it, so that ``idle`` would say too little.
        if self._between and self._repeats is not None and self._answered == self._request_count:
            response = self._repeats.answer(data)
            if response is not None and self._write(response):
                return
        self._parse(data)
        if self._messages or (self._waiter is None and self._request_count):
            self._watched.pop(self, None)
        elif self not in self._watched:
            self._watched[self] = self._loop.time()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response, and take note of it."""
        sent, reset = await super().finish_response(request, resp, start_time)
        if sent.keep_alive and not reset:
            self._answered += 1
        return sent, reset

    def _write(self, response: bytes) -> bool:
        """Send a response past aiohttp, unless it would have to wait."""
        transport = self.transport
        if transport is None or transport.is_closing() or self.writing_paused or self._close:
            return False
        transport.write(response)
        self._watched.pop(self, None)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def _parse(self, data: bytes) -> None:
        """Have aiohttp read the octets, and learn what they are if that is one whole request."""
        whole, count = self._between, self._request_count
        super().data_received(data)
        if not data:
            return  # aiohttp itself asks for what its parser has held back: nothing, between messages
        self._between = False
        if self._repeats is None or self._request_count != count + 1 or not self._messages:
            return
        message, payload = self._messages[-1]
        if ends_message(data, message, payload):
            self._between = True
            if whole:
                self._repeats.learn(data, message)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing to watch any more."""
        self._watched.pop(self, None)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the signature is aiohttp's
    ) -> web.StreamResponse:
        """The answer to octets that are not HTTP, and to a fault of ours; only the latter is worth a log entry."""
        if status >= web.HTTPInternalServerError.status_code:
            _logger.error("%s %s could not be answered", request.method, request.raw_path, exc_info=exc)
        return self._refuse(status)

    @property
    def idle(self) -> bool:
        """Whether it waits for a request."""
        return self._waiter is not None and not self._waiter.done()


class ConnectionServer(web.Server):
    """``web.Server`` whose connections have a header deadline, and which can be drained.

    ``refuse`` makes the response to what never reaches ``handler``, from an HTTP status; ``repeats`` knows the
    requests that need not reach it.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        refuse: Callable[[int], web.StreamResponse],
        header_seconds: float,
        keep_alive_seconds: float,
        repeats: Repeats | None = None,
    ) -> None:
        self.refuse = refuse
        self.repeats = repeats
        # Insertion order is the order of the deadlines.
        self.headers: dict[Connection, float] = {}
        self._header_seconds = header_seconds
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=keep_alive_seconds,
            lingering_time=_LINGER_SECONDS,
            # A compressed request is none of the protocols, and must not be blown up to find that out.
            auto_decompress=False,
        )

    def __call__(self) -> RequestHandler:
        """A protocol for a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def repeated(self) -> int:
        """How many requests were answered because they came before."""
        return 0 if self.repeats is None else self.repeats.answered

    async def sweep(self) -> None:
        """Close connections whose header is overdue, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._header_seconds))
            latest = loop.time() - self._header_seconds
            while self.headers and next(iter(self.headers.values())) <= latest:
                connection = next(iter(self.headers))
                del self.headers[connection]
                connection.force_close()

    async def drain(self, seconds: float) -> None:
        """Let requests in hand finish, and close each connection once it is idle. Nobody may be accepting any more."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + seconds
        await asyncio.sleep(_GRACE_SECONDS)
        while True:
            for connection in self.connections:
                if isinstance(connection, Connection) and connection.idle:
                    connection.force_close()
            if not self._connections or loop.time() >= latest:
                break
            await asyncio.sleep(_GRACE_SECONDS / 5)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.shutdown(0), 1)
