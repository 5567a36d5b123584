"""HTTP as real clients frame it, over a socket, octet by octet."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from listener_world import GOOD, MALFORMED, body, fields, listening

from ocsp.types import Answer
from responders.config import Server as Settings

if TYPE_CHECKING:
    from listener_world import World

REQUEST = b"0\x03\x02\x01\x01" + bytes(75)
POST = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 80\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"


def good(world: World) -> None:
    world.responder.answers[REQUEST] = GOOD


async def read_response(reader: asyncio.StreamReader) -> bytes:
    """One response with a Content-Length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    return head + await asyncio.wait_for(reader.readexactly(int(fields(head)["Content-Length"])), 10)


async def test_http_1_0_gets_one_answer_and_the_end_of_the_connection() -> None:
    async with listening() as world:
        good(world)
        response = await world.ask(b"POST /ocsp HTTP/1.0\r\nContent-Length: 80\r\n\r\n" + REQUEST)
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        assert fields(response)["Connection"] == "close"
        assert body(response) == GOOD.der


async def test_http_1_0_keep_alive_is_said_and_kept() -> None:
    async with listening() as world, world.connect() as (reader, writer):
        good(world)
        for _ in range(2):
            writer.write(b"POST /ocsp HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 80\r\n\r\n" + REQUEST)
            response = await read_response(reader)
            assert fields(response)["Connection"] == "keep-alive"
            assert body(response) == GOOD.der


async def test_http_1_1_keeps_the_connection_without_saying_so() -> None:
    async with listening() as world, world.connect() as (reader, writer):
        good(world)
        for _ in range(3):
            writer.write(POST % b"" + REQUEST)
            assert "Connection" not in fields(await read_response(reader))


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with listening() as world:
        good(world)
        response = await world.ask(
            POST % b"" + REQUEST + POST % b"" + bytes(80) + b"GET / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n"
        )
        first, second, third = (response.index(each) for each in (GOOD.der, MALFORMED.der, b"POST /ocsp, GET"))
        assert first < second < third
        assert response.count(b"HTTP/1.1 200 OK") == 3


async def test_head_has_the_length_and_no_body() -> None:
    async with listening() as world:
        response = await world.ask(b"HEAD /ocsp/AAAA HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n")
        assert fields(response)["Content-Length"] == "5"
        assert body(response) == b""


async def test_expect_100_continue_is_answered_before_the_body_comes() -> None:
    """.NET and curl wait for it."""
    async with listening() as world, world.connect() as (reader, writer):
        good(world)
        writer.write(POST % b"Expect: 100-continue\r\n")
        assert await asyncio.wait_for(reader.readexactly(25), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(REQUEST)
        assert body(await read_response(reader)) == GOOD.der


async def test_an_unknown_expectation_is_417() -> None:
    async with listening() as world:
        response = await world.ask(POST % b"Expect: the-unexpected\r\n")
        assert response.startswith(b"HTTP/1.1 417 ")


async def test_a_chunked_body_is_put_together() -> None:
    async with listening() as world, world.connect() as (reader, writer):
        good(world)
        writer.write(b"POST /ocsp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n" + REQUEST[:30])
        await asyncio.sleep(0.05)
        writer.write(b"\r\n32\r\n" + REQUEST[30:] + b"\r\n0\r\n\r\n")
        response = await read_response(reader)
        assert body(response) == GOOD.der
        assert "Transfer-Encoding" not in fields(response)


async def test_a_compressed_body_is_not_blown_up() -> None:
    async with listening() as world:
        packed = gzip.compress(REQUEST)
        response = await world.ask(
            b"POST /ocsp HTTP/1.0\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        )
        assert body(response) == MALFORMED.der
        assert world.responder.asked == [packed]


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(POST.replace(b"80", b"16385") % b"", id="announced"),
        pytest.param(
            b"POST /ocsp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"4000\r\n%b\r\n" % bytes(0x4000)
            + b"1\r\n0\r\n",
            id="chunked without end",
        ),
        pytest.param(
            b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 16385\r\n\r\n" + bytes(16_385), id="complete at once"
        ),
        pytest.param(b"POST /tsa HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", id="time-stamp"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n0\x82\x4e\x1c0" + bytes(19_995),
            id="on the root",
        ),
    ],
)
async def test_a_body_over_the_cap_is_413_and_ends_the_connection(octets: bytes) -> None:
    async with listening() as world:
        response = await world.ask(octets)
        assert response.startswith(b"HTTP/1.1 413 ")
        assert fields(response)["Connection"] == "close"
        assert world.responder.asked == []


async def test_a_body_at_the_cap_is_read() -> None:
    async with listening() as world:
        response = await world.ask(
            b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 16384\r\n" + CLOSE + b"\r\n" + bytes(16_384)
        )
        assert body(response) == MALFORMED.der


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(b"POST /ocsp HT", id="half a request line"),
        pytest.param(b"POST /ocsp HTTP/1.1\r\nHost: a\r\nX-Slow: ", id="half a header"),
        pytest.param(b"\r\n", id="an empty line"),
    ],
)
async def test_a_header_that_does_not_end_is_not_waited_for(octets: bytes) -> None:
    async with listening(Settings(header_seconds=0.3)) as world:
        assert await world.ask(octets) == b""


async def trickle(writer: asyncio.StreamWriter, octets: bytes) -> None:
    for octet in octets:
        writer.write(bytes((octet,)))
        await asyncio.sleep(0.02)


async def test_a_header_that_trickles_is_not_waited_for() -> None:
    """Each octet in time, the header never complete."""
    async with listening(Settings(header_seconds=0.3)) as world, world.connect() as (reader, writer):
        trickling = asyncio.create_task(trickle(writer, b"GET / HTTP/1.1\r\nX: " + b"a" * 10_000))
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        trickling.cancel()


async def test_the_second_request_of_a_connection_has_the_header_deadline_too() -> None:
    async with listening(Settings(header_seconds=0.3)) as world, world.connect() as (reader, writer):
        good(world)
        writer.write(POST % b"" + REQUEST)
        await read_response(reader)
        writer.write(b"POST /oc")
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_body_that_does_not_end_is_408() -> None:
    async with listening(Settings(body_seconds=0.3)) as world:
        response = await world.ask(POST % b"" + REQUEST[:40])
        assert response.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with listening(Settings(keep_alive_seconds=1)) as world:
        good(world)
        response = await world.ask(POST % b"" + REQUEST)
        assert body(response) == GOOD.der


async def test_octets_that_are_not_http_are_400() -> None:
    async with listening() as world:
        response = await world.ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert response.startswith(b"HTTP/1.1 400 ")
        assert "Server" not in fields(response)


async def test_broken_chunks_are_400() -> None:
    async with listening() as world:
        response = await world.ask(b"POST /ocsp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n")
        assert response.startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_leaves_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as world, world.connect() as (_, writer):
        good(world)
        world.responder.go = asyncio.Event()
        writer.write(POST % b"" + REQUEST)
        while not world.responder.asked:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        world.responder.go.set()
        await asyncio.sleep(0.05)
        assert world.connections.open_connections == 0
        response = await world.ask(POST % CLOSE + REQUEST)
        assert body(response) == GOOD.der
    assert caplog.text == ""


async def test_a_client_that_leaves_in_its_body_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as world, world.connect() as (_, writer):
        writer.write(POST % b"" + REQUEST[:40])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        assert world.connections.open_connections == 0
    assert caplog.text == ""


async def test_a_client_that_does_not_read_is_not_written_to_for_ever() -> None:
    async with listening() as world, world.connect() as (_, writer):
        world.responder.kept[REQUEST] = Answer(bytes(100_000), "good", this_update=1, next_update=2, fresh_until=2)
        writer.write((POST % b"" + REQUEST) * 1000)
        while True:
            await asyncio.sleep(0.01)
            [connection] = world.connections.connections
            if connection.writing_paused:
                break
        assert connection.transport is not None
        await asyncio.sleep(0.1)
        assert connection.transport.get_write_buffer_size() < 1_000_000
        writer.transport.abort()


async def test_what_was_not_foreseen_is_500_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as world:
        world.authority.failure = RuntimeError("boom")
        response = await world.ask(b"POST /tsa HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n0")
        assert response.startswith(b"HTTP/1.1 500 ")
        assert b"boom" not in response
    assert "boom" in caplog.text


async def test_a_draining_listener_finishes_what_it_has_and_closes_what_is_idle() -> None:
    async with listening() as world, world.connect() as (idle_reader, _):
        good(world)
        world.responder.go = asyncio.Event()
        async with world.connect() as (reader, writer):
            writer.write(POST % b"" + REQUEST[:40])
            await asyncio.sleep(0.05)
            world.public.draining = True
            drained = asyncio.create_task(world.connections.drain(10))
            assert await asyncio.wait_for(idle_reader.read(), 5) == b""
            writer.write(REQUEST[40:])
            while not world.responder.asked:
                await asyncio.sleep(0.01)
            assert not drained.done()
            world.responder.go.set()
            response = await asyncio.wait_for(reader.read(), 5)
            assert fields(response)["Connection"] == "close"
            assert body(response) == GOOD.der
            await asyncio.wait_for(drained, 5)
