"""Requests that came before to the octet: answered as if the parser had read them, and only those."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest
from listener_world import GOOD, body, fields, listening
from test_responders_framing import CLOSE, POST, REQUEST, read_response

from ocsp.types import Answer
from responders.config import Server as Settings
from responders.connections import Connection
from responders.repeats import MOST, Repeats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web
    from listener_world import World

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PATH = base64.b64encode(REQUEST).replace(b"/", b"%2F")
GET = b"GET /ocsp/" + PATH + b" HTTP/1.1\r\nHost: a\r\n%b\r\n"
POSTED = POST % b"" + REQUEST
LARGE = POST.replace(b"80", b"1080") % b"" + REQUEST + bytes(1000)
WHOLE = {
    "GET": GET % b"",
    "POST": POSTED,
    # As Windows and Java write it, which say what HTTP/1.1 does anyway.
    "GET, kept open": GET % b"Connection: Keep-Alive\r\nAccept: */*\r\nUser-Agent: Microsoft-CryptoAPI/10.0\r\n",
    "POST, kept open": POST % b"Connection: keep-alive\r\n" + REQUEST,
    "GET, no body": GET % b"Content-Length: 0\r\n",
    "POST, another length": POST.replace(b"80", b"080") % b"" + REQUEST,
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with listening() as made:
        made.responder.kept[REQUEST] = GOOD
        yield made


async def exchange(streams: Streams, *parts: bytes) -> bytes:
    """Send in as many pieces, with time for each to arrive alone."""
    reader, writer = streams
    for part in parts:
        writer.write(part)
        await writer.drain()
        if len(parts) > 1:
            await asyncio.sleep(0.05)
    return await read_response(reader)


async def learned(world: World, octets: bytes) -> None:
    async with world.connect() as streams:
        await exchange(streams, octets)
        await exchange(streams, octets)
    assert world.repeats.answered == 1


@pytest.mark.parametrize("octets", WHOLE.values(), ids=WHOLE)
async def test_the_second_of_two_is_the_same_without_the_parser(world: World, octets: bytes) -> None:
    async with world.connect() as streams:
        first = await exchange(streams, octets)
        assert body(first) == GOOD.der
        assert world.repeats.answered == 0
        assert await exchange(streams, octets) == first
        assert world.repeats.answered == 1
    async with world.connect() as streams:
        assert await exchange(streams, octets) == first
        assert world.repeats.answered == 2
        other = await exchange(streams, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert other.startswith(b"HTTP/1.1 200 OK\r\n")
        assert await exchange(streams, octets) == first
    assert world.responder.asked == []


@pytest.mark.parametrize("octets", WHOLE.values(), ids=WHOLE)
async def test_an_answer_that_is_gone_is_asked_for_anew(world: World, octets: bytes) -> None:
    await learned(world, octets)
    newer = Answer(b"0" + bytes(100), "revoked", this_update=GOOD.this_update, next_update=GOOD.next_update)
    del world.responder.kept[REQUEST]
    world.responder.answers[REQUEST] = newer
    async with world.connect() as streams:
        assert body(await exchange(streams, octets)) == newer.der
        world.responder.kept[REQUEST] = newer
        assert body(await exchange(streams, octets)) == newer.der
    assert world.repeats.answered == 2


@pytest.mark.parametrize("octets", WHOLE.values(), ids=WHOLE)
async def test_in_pieces_it_is_the_parsers(world: World, octets: bytes) -> None:
    async with world.connect() as streams:
        for at in (1, 30, len(octets) - 1):
            assert body(await exchange(streams, octets[:at], octets[at:])) == GOOD.der
    assert world.repeats.octets == 0
    await learned(world, octets)
    async with world.connect() as streams:
        for at in (1, 30, len(octets) - 1):
            assert body(await exchange(streams, octets[:at], octets[at:])) == GOOD.der
    assert world.repeats.answered == 1


async def test_what_is_within_another_message_is_no_request(world: World) -> None:
    """The octets of a request that is known, as the value of a header field and as the body of another request."""
    octets = GET % b""
    await learned(world, octets)
    async with world.connect() as streams:
        page = await exchange(streams, b"GET / HTTP/1.1\r\nX-Value: ", octets)
        assert b"POST /tsa" in body(page)
        refused = await exchange(
            streams, b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(octets), octets
        )
        assert world.responder.asked == [octets]
        assert len(body(refused)) == 5
        assert body(await exchange(streams, octets)) == GOOD.der
    assert world.repeats.answered == 1


async def test_several_at_once_are_answered_in_their_order(world: World) -> None:
    octets = GET % b""
    await learned(world, octets)
    page = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    async with world.connect() as (reader, writer):
        for at_once in (octets + octets, octets + page + octets, page + octets, octets):
            writer.write(at_once)
            expected = [b"GET /ocsp" in each for each in at_once.split(b"\r\n\r\n")[:-1]]
            said = [body(await read_response(reader)) == GOOD.der for _ in expected]
            assert said == expected
    assert world.repeats.answered == 1


async def test_none_overtakes_one_that_is_in_hand(world: World) -> None:
    await learned(world, POSTED)
    world.responder.go = asyncio.Event()
    async with world.connect() as (reader, writer):
        writer.write(POST % b"" + bytes(80))
        await asyncio.sleep(0.05)
        writer.write(POSTED)
        await asyncio.sleep(0.05)
        world.responder.go.set()
        assert len(body(await read_response(reader))) == 5
        assert body(await read_response(reader)) == GOOD.der
    assert world.repeats.answered == 1


@pytest.mark.parametrize(("first", "count"), [(GET % b"X: y\r\n", 1), (LARGE, 0)], ids=["open", "closing"])
async def test_a_client_may_ask_again_before_anyone_waits_for_it_but_not_on_a_connection_that_ends(
    monkeypatch: pytest.MonkeyPatch, first: bytes, count: int
) -> None:
    """The next request arrives right behind the octets of a response, as a quick client's does now and then."""
    octets, real = GET % b"", Connection.finish_response
    async with listening(Settings(ocsp_body=1024)) as world:
        world.responder.kept[REQUEST] = GOOD
        await learned(world, octets)

        async def finish(
            self: Connection, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
        ) -> tuple[web.StreamResponse, bool]:
            sent = await real(self, request, resp, start_time)
            assert not self.idle
            self.data_received(octets)
            return sent

        async with world.connect() as (reader, writer):
            monkeypatch.setattr(Connection, "finish_response", finish)
            writer.write(first)
            await read_response(reader)
            await asyncio.sleep(0.05)
            monkeypatch.setattr(Connection, "finish_response", real)
            assert world.repeats.answered == 1 + count
            if count:
                assert body(await read_response(reader)) == GOOD.der
            else:
                assert await reader.read() == b""


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (GET % b'If-None-Match: "x"\r\n', 200),
        (GET % b"If-None-Match: *\r\n", 304),
        (GET % b"If-Modified-Since: Sat, 01 Jan 2050 00:00:00 GMT\r\n", 304),
        (POST % b"Expect: 100-continue\r\n" + REQUEST, 200),
        (
            POST.replace(b"Content-Length: 80", b"Transfer-Encoding: chunked") % b""
            + b"50\r\n"
            + REQUEST
            + b"\r\n0\r\n\r\n",
            200,
        ),
        (GET.replace(b"/ocsp/", b"//ocsp/") % b"", 200),
        (GET % (b"X: %b\r\n" % bytes(MOST).replace(b"\0", b"x")), 200),
    ],
    ids=["tag", "any", "since", "expect", "chunked", "path", "long"],
)
async def test_what_says_more_is_never_kept(world: World, octets: bytes, status: int) -> None:
    async with world.connect() as (reader, writer):
        for _ in range(3):
            writer.write(octets)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert head.startswith(b"HTTP/1.1 %d " % status)
            await reader.readexactly(len(GOOD.der) if status == 200 else 0)
    assert world.repeats.octets == 0


@pytest.mark.parametrize("more", [CLOSE, b"Upgrade: h2c\r\nConnection: Upgrade\r\n"])
async def test_what_ends_the_connection_is_never_kept(world: World, more: bytes) -> None:
    for _ in range(3):
        async with world.connect() as streams:
            assert (await exchange(streams, GET % more)).startswith(b"HTTP/1.1 200 ")
    assert world.repeats.octets == 0


async def test_a_head_and_http_1_0_are_never_kept(world: World) -> None:
    for octets in ((GET % b"").replace(b"GET", b"HEAD"), (GET % b"").replace(b"1.1\r\n", b"1.0\r\n")):
        for _ in range(3):
            async with world.connect() as (reader, writer):
                writer.write(octets)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert world.repeats.octets == 0


async def test_a_listener_that_drains_ends_the_connection(world: World) -> None:
    octets = GET % b""
    await learned(world, octets)
    async with world.connect() as streams:
        assert "Connection" not in fields(await exchange(streams, octets))
        world.public.draining = True
        assert fields(await exchange(streams, octets))["Connection"] == "close"
    assert world.repeats.answered == 2


async def test_where_responses_are_not_prepared_all_are_parsed() -> None:
    async with listening(Settings(prepared_responses=False)) as world, world.connect() as streams:
        world.responder.kept[REQUEST] = GOOD
        for _ in range(3):
            assert body(await exchange(streams, GET % b"")) == GOOD.der
        assert world.repeats.answered == 0


async def test_what_is_too_large_stays_so() -> None:
    """Its answer may be in memory all the same: a GET of it has the bound of a request line."""
    async with listening(Settings(ocsp_body=1024)) as world:
        world.responder.kept[REQUEST + bytes(1000)] = GOOD
        for _ in range(3):
            async with world.connect() as streams:
                assert (await exchange(streams, LARGE)).startswith(b"HTTP/1.1 413 ")
        assert world.repeats.octets == 0


async def test_a_client_that_only_repeats_itself_keeps_its_connection() -> None:
    settings = Settings(keep_alive_seconds=1, header_seconds=1)
    async with listening(settings) as world, world.connect() as streams:
        world.responder.kept[REQUEST] = GOOD
        for _ in range(8):
            assert body(await exchange(streams, GET % b"")) == GOOD.der
            await asyncio.sleep(0.3)
        assert world.repeats.answered == 7
        assert await asyncio.wait_for(streams[0].read(), 10) == b""


async def test_a_client_that_does_not_read_is_waited_for(world: World) -> None:
    octets = GET % b""
    world.responder.kept[REQUEST] = Answer(
        bytes(200_000), "good", this_update=GOOD.this_update, next_update=GOOD.next_update
    )
    await learned(world, octets)
    async with world.connect() as (reader, writer):
        for _ in range(200):
            writer.write(octets)
            await asyncio.sleep(0.001)
        assert world.repeats.answered < 190
        for _ in range(200):
            assert len(body(await read_response(reader))) == 200_000


async def test_there_is_only_so_much_room(world: World) -> None:
    small = world.repeats = world.connections.repeats = Repeats(world.public, room=20_000)
    async with world.connect() as streams:
        for number in range(200):
            await exchange(streams, GET % b"X-Number: %d\r\n" % number)
            assert small.octets <= 20_000
        await exchange(streams, GET % b"X-Number: 199\r\n")
        assert small.answered == 1
        await exchange(streams, GET % b"X-Number: 0\r\n")
        assert small.answered == 1
