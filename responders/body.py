"""Request bodies, bounded in octets and in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Refused(Exception):  # noqa: N818 - named as its meaning
    """A request that gets no protocol's answer but an HTTP status. ``allow`` lists the methods of the resource;
    ``text`` is a sentence for people, where the status alone does not say it.
    """

    def __init__(
        self, status: int, *, allow: str | None = None, retry_after: int | None = None, text: str | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.allow = allow
        self.retry_after = retry_after
        self.text = text


async def read_body(request: BaseRequest, most: int, seconds: float) -> bytes:
    """The whole body. Raises Refused: 413 past ``most`` octets, 408 past ``seconds``, 400 when it breaks off, 417."""
    content = request.content
    if not content.is_eof():
        return await _read_arriving(request, most, seconds)
    try:
        body = content.read_nowait()
    except (web.RequestPayloadError, OSError):
        raise Refused(400) from None
    if len(body) > most:
        raise Refused(413)
    return body


async def _read_arriving(request: BaseRequest, most: int, seconds: float) -> bytes:
    if (request.content_length or 0) > most:
        raise Refused(413)
    _continue(request)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most:
                    raise Refused(413)
    except TimeoutError:
        raise Refused(408) from None
    except (web.RequestPayloadError, OSError):
        raise Refused(400) from None
    return bytes(body)


def _continue(request: BaseRequest) -> None:
    """Answer ``Expect: 100-continue`` (RFC 9110 §10.1.1), which ``web.Server`` leaves to its handler."""
    expectation = request.headers.get(hdrs.EXPECT)
    if expectation is None or request.version < HttpVersion11:
        return
    if expectation.lower() != "100-continue":
        raise Refused(417)
    if request.transport is not None:
        request.transport.write(_CONTINUE)
