"""The pre-encoded ceiling: what aiohttp's low-level server reaches when it reads a request and writes ready bytes.

``python bench/ceiling.py PORT OCTETS``: one process, uvloop, ``web.Server``, a StreamResponse that writes one head and
body of OCTETS octets straight to the transport. No responder on this stack can be faster.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter


class ReadyResponse(web.StreamResponse):
    """Writes what it was given and nothing else."""

    def __init__(self, wire: bytes) -> None:
        super().__init__()
        self._wire = wire

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        assert request.transport is not None
        request.transport.write(self._wire)
        self._keep_alive = request.keep_alive
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - the signature is aiohttp's
        self._eof_sent = True


async def serve(port: int, octets: int) -> None:
    """Answer every request with one ready response, for ever."""
    wire = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: %d\r\n"
        b"Date: Wed, 25 Nov 2026 00:00:00 GMT\r\n"
        b"Cache-Control: max-age=3600, public, no-transform, must-revalidate\r\n\r\n" % octets
    ) + bytes(octets)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.body_exists:
            await request.read()
        return ReadyResponse(wire)

    server = web.Server(handle, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
