"""Time-stamps over HTTP (RFC 3161 §3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from ca_store.errors import SigningOverload, StoreUnavailable
from responders.body import Refused, read_body
from responders.counters import COUNTERSIGNATURES, DOCUMENTS, OVERLOAD, TIMESTAMPS, counter_index
from responders.prepared import PreparedResponse, head
from responders.tsa_page import encode_json, encode_page
from tsa.authenticode import NotAuthenticode, looks_like_request
from tsa.errors import TSAError, UnknownUnit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import BaseRequest

    from responders.config import Server
    from responders.prepared import Second
    from responders.shared_state import Row
    from tsa.authority import Authority

# Exactly this and nothing behind it: OpenJDK and pyHanko compare the whole value.
_TYPE: Final = b"Content-Type: application/timestamp-reply\r\n"
_JSON: Final = b"Content-Type: application/json\r\nCache-Control: no-cache\r\nVary: Accept\r\n"
_HTML: Final = (
    b"Content-Type: text/html; charset=utf-8\r\nCache-Control: no-cache\r\nVary: Accept\r\n"
    b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nX-Content-Type-Options: nosniff\r\n"
)
_RETRY_SECONDS: Final = 2
_OVERLOAD: Final = counter_index(TIMESTAMPS, OVERLOAD)
_OCTETS: Final = b"Content-Type: application/octet-stream\r\n"
_COUNTERSIGNED, _MALFORMED, _UNAVAILABLE, _TOO_MANY = (
    counter_index(COUNTERSIGNATURES, each) for each in ("granted", "malformed", "unavailable", OVERLOAD)
)
_DESCRIBED: Final = counter_index(DOCUMENTS, "unit")


class TSAEndpoint:
    """One worker's authority behind HTTP."""

    def __init__(self, authority: Authority, settings: Server, second: Second, row: Row) -> None:
        self._authority = authority
        self._most = settings.tsa_body
        self._seconds = settings.body_seconds
        self._second = second
        self._row = row

    async def post(self, request: BaseRequest, unit: str | None) -> PreparedResponse:
        """Answer the TimeStampReq in the body. Raises Refused: 404 for a unit that does not exist."""
        return await self.answer(await read_body(request, self._most, self._seconds), unit)

    async def answer(self, body: bytes, unit: str | None) -> PreparedResponse:
        """Answer a TimeStampReq, or a request of Authenticode's own protocol, whatever the URL. Raises Refused: 404 for
        a unit that does not exist, 503 for too many at once.
        """
        if looks_like_request(body):
            return await self._countersign(body)
        try:
            reply = await self._authority.answer(body, unit)
        except UnknownUnit:
            raise Refused(404) from None
        except SigningOverload:
            self._row.count(_OVERLOAD)
            raise Refused(503, retry_after=_RETRY_SECONDS) from None
        self._row.count(counter_index(TIMESTAMPS, reply.outcome))
        return PreparedResponse(head(self._second, _TYPE, len(reply.der)), reply.der)

    async def _countersign(self, body: bytes) -> PreparedResponse:
        """The protocol has no error of its own: HTTP must say it. Raises Refused: 400, 503."""
        try:
            reply = await self._authority.countersign(body)
        except (NotAuthenticode, UnknownUnit) as error:
            self._row.count(_MALFORMED)
            raise Refused(400, text=str(error)) from None
        except SigningOverload:
            self._row.count(_TOO_MANY)
            raise Refused(503, retry_after=_RETRY_SECONDS) from None
        except (TSAError, StoreUnavailable) as error:
            self._row.count(_UNAVAILABLE)
            text = str(error) if isinstance(error, TSAError) else "the authority's database cannot be reached"
            raise Refused(503, retry_after=_RETRY_SECONDS, text=text) from None
        self._row.count(_COUNTERSIGNED)
        return PreparedResponse(head(self._second, _OCTETS, len(reply)), reply)

    def describe(self, request: BaseRequest, unit: str | None) -> PreparedResponse:
        """What a client may want to know about a unit: a page where it prefers HTML, else JSON. Raises Refused: 404."""
        authority = self._authority
        try:
            described = authority.describe(unit)
        except UnknownUnit:
            raise Refused(404) from None
        self._row.count(_DESCRIBED)
        if _prefers_html(request.headers.getall(hdrs.ACCEPT, ())):
            others = [] if unit is not None else [authority.describe(each) for each in authority.names]
            pages = [described, *(each for each in others if each.name != described.name)]
            host = request.headers.get(hdrs.HOST)
            body = encode_page(pages, authority.default, host, authenticode=authority.countersigns)
            return PreparedResponse(head(self._second, _HTML, len(body)), body)
        body = encode_json(described, authority.names, authenticode=authority.countersigns)
        return PreparedResponse(head(self._second, _JSON, len(body)), body)


def _prefers_html(accept: Sequence[str]) -> bool:
    """Browsers name HTML; programs name JSON, anything or nothing."""
    kinds = [each.partition(";")[0].strip().lower() for line in accept for each in line.split(",")]
    html = kinds.index("text/html") if "text/html" in kinds else len(kinds)
    return html < len(kinds) and "application/json" not in kinds[:html]
