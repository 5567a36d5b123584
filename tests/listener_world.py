"""The public listener in the test's own loop, before cores that say what the test wants and a clock set by hand."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ocsp.types import Answer
from responders.config import Server as Settings
from responders.connections import ConnectionServer
from responders.ocsp_http import OCSPEndpoint
from responders.prepared import Second
from responders.public import PublicListener
from responders.repeats import Repeats
from responders.shared_state import Row, SharedState
from responders.tsa_http import TSAEndpoint
from tsa.authority import Reply
from tsa.errors import UnknownUnit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocsp.responder import Responder
    from responders.static_http import Documents
    from tsa.authority import Authority

NOW = 1_785_000_000
"""2026-07-25 17:20:00 UTC."""
GOOD = Answer(
    b"0" + bytes(range(200)),
    "good",
    this_update=NOW - 300,
    next_update=NOW + 600_000,
    fresh_until=NOW + 3000,
)
MALFORMED = Answer(b"0\x03\n\x01\x01", "malformedRequest")
TRY_LATER = Answer(b"0\x03\n\x01\x03", "tryLater", retry_after=7)


@dataclass
class HandClock:
    """A clock that stands still."""

    seconds: float = NOW

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class ScriptedResponder:
    """Answers what was put into ``answers``, malformedRequest otherwise; waits for ``go`` first when that is set."""

    answers: dict[bytes, Answer] = field(default_factory=dict)
    kept: dict[bytes, Answer] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    go: asyncio.Event | None = None

    def cached(self, request: bytes) -> Answer | None:
        return self.kept.get(request)

    def has(self, request: bytes) -> bool:
        return request in self.kept

    async def answer(self, request: bytes, client: str = "") -> Answer:  # noqa: ARG002 - as the responder has it
        self.asked.append(request)
        if self.go is not None:
            await self.go.wait()
        return self.answers.get(request, MALFORMED)


@dataclass
class ScriptedAuthority:
    """Stamps everything for the units ``rsa`` and ``p256``, or raises ``failure``."""

    failure: Exception | None = None
    asked: list[tuple[bytes, str | None]] = field(default_factory=list)

    async def answer(self, request: bytes, unit: str | None = None) -> Reply:
        self.asked.append((request, unit))
        if unit not in (None, "rsa", "p256"):
            raise UnknownUnit(unit)
        if self.failure is not None:
            raise self.failure
        return Reply(b"0\x05reply", "granted")


@dataclass
class World:
    """A listener and everything around it."""

    port: int
    clock: HandClock
    second: Second
    responder: ScriptedResponder
    authority: ScriptedAuthority
    row: Row
    public: PublicListener
    connections: ConnectionServer
    repeats: Repeats

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A raw connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, octets: bytes) -> bytes:
        """Send, and read until the listener closes the connection."""
        async with self.connect() as (reader, writer):
            writer.write(octets)
            return await asyncio.wait_for(reader.read(), 20)


@asynccontextmanager
async def listening(settings: Settings | None = None, *, tsa: bool = True) -> AsyncIterator[World]:
    """A listener on a free port of 127.0.0.1, with or without time-stamping units."""
    settings = settings or Settings()
    clock = HandClock()
    second = Second(clock)
    state = SharedState.create(1)
    row = state.row(0)
    responder, authority = ScriptedResponder(), ScriptedAuthority()
    public = PublicListener(
        ocsp=OCSPEndpoint(cast("Responder", responder), settings, second, row),
        tsa=TSAEndpoint(cast("Authority", authority), settings, second, row) if tsa else None,
        documents=cast("Documents", None),
        settings=settings,
        second=second,
        row=row,
    )
    repeats = Repeats(public)
    connections = ConnectionServer(
        public.handle,
        refuse=public.refuse,
        header_seconds=settings.header_seconds,
        keep_alive_seconds=settings.keep_alive_seconds,
        repeats=repeats if settings.prepared_responses else None,
    )
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    sweeper = asyncio.create_task(connections.sweep())
    try:
        yield World(
            server.sockets[0].getsockname()[1], clock, second, responder, authority, row, public, connections, repeats
        )
    finally:
        sweeper.cancel()
        server.close()
        await connections.shutdown(0)
        await server.wait_closed()
        os.close(state.descriptor)


def fields(response: bytes) -> dict[str, str]:
    """The header of the first response."""
    lines = response.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


def body(response: bytes) -> bytes:
    """What follows the header of the first response."""
    return response.partition(b"\r\n\r\n")[2]
