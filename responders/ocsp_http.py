"""OCSP over HTTP (RFC 6960 appendix A, RFC 9919 §6 and §7)."""

from __future__ import annotations

import binascii
import functools
import hashlib
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from responders.body import Refused, read_body
from responders.cache_keys import TagHeader, certificate_tag
from responders.client_addresses import ClientAddresses, parse_networks
from responders.conditional import not_modified
from responders.counters import CERT_ID_HASHES, NOT_MODIFIED, OCSP_ANSWERS, OUTCOMES, counter_index
from responders.prepared import PreparedResponse, head, http_date

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from ocsp.responder import Responder
    from ocsp.types import Answer
    from responders.config import Server
    from responders.prepared import Second
    from responders.shared_state import Row

_TYPE: Final = b"Content-Type: application/ocsp-response\r\n"
_COUNTERS: Final = {
    (outcome, name): tuple(
        counter_index(OCSP_ANSWERS, *labels, name)
        for labels in ((outcome, "GET"), (outcome, "POST"), (NOT_MODIFIED, "GET"))
    )
    for outcome in OUTCOMES
    for name in CERT_ID_HASHES
}
_MOST_PADDING: Final = 2
# A client's own spelling, on top of RFC 4648 §4: the URL-safe alphabet, and a plus sign that a proxy took for a space.
_ALPHABET: Final = bytes.maketrans(b"-_ ", b"+/+")


class PreparedAnswer:
    """An Answer's head, made again when the second has changed: its Date moves on and its max-age shrinks."""

    __slots__ = (
        *("_fields", "_fresh_until", "_head", "_made", "_octets"),
        *("etag", "fetched", "last_modified", "posted", "unmodified"),
    )

    def __init__(self, answer: Answer, tags: TagHeader) -> None:
        # Not the answer itself, which holds this: in a circle both would live on until the collector comes.
        self._fresh_until = answer.fresh_until
        self._octets = len(answer.der)
        self._made = -1
        self._head = b""
        # Where this answer is counted when it is sent for a GET, for a POST, or only named in a 304.
        self.fetched, self.posted, self.unmodified = _COUNTERS[answer.outcome, answer.cert_id_hash or "none"]
        self.etag = f'"{hashlib.sha256(answer.der).hexdigest()}"' if answer.fresh_until is not None else ""
        self.last_modified = answer.this_update or 0
        self._fields = _fields(answer, self.etag, tags)

    def head(self, second: Second, *, status: int = 200) -> bytes:
        """The response head for this second."""
        if status == 200 and self._made == second.now:  # noqa: PLR2004 - HTTP's own number
            return self._head
        if self.last_modified > second.now:
            # RFC 9110 §8.8.2.1: never later than Date, which may lag by the time it takes to wake up.
            second.tick()
        fields = self._fields
        fresh_until = self._fresh_until
        if fresh_until is not None:
            fields = b"%bCache-Control: max-age=%d, public, no-transform, must-revalidate\r\n" % (
                fields,
                max(0, fresh_until - second.now),
            )
        made = head(second, fields, self._octets, status)
        if status == 200:  # noqa: PLR2004 - the same
            self._head, self._made = made, second.now
        return made


def _fields(answer: Answer, etag: str, tags: TagHeader) -> bytes:
    """Everything but Date, Content-Length and a max-age, which change or come later."""
    if answer.this_update is None or answer.next_update is None:
        # RFC 9919 §7.2: an unsigned error says nothing that lasts.
        retry = b"" if answer.retry_after is None else b"Retry-After: %d\r\n" % answer.retry_after
        return b"%bCache-Control: no-store\r\n%b" % (_TYPE, retry)
    fields = b"%bLast-Modified: %b\r\n" % (_TYPE, http_date(answer.this_update))
    if answer.fresh_until is None:
        return fields + b"Cache-Control: private\r\n"
    tagged = tags.line(dict.fromkeys(certificate_tag(label, serial) for label, serial in answer.about))
    return b"%bETag: %b\r\nExpires: %b\r\n%b" % (fields, etag.encode(), http_date(answer.next_update), tagged)


def decode_path(remainder: str) -> bytes:
    """The request inside a GET's path: the whole raw remainder behind the responder's prefix, never unescaped before.

    Leading slashes are the joint between a URL and what a client appended to it; those further in are base64.
    Raises ValueError; nothing is skipped or repaired that could turn into another request.
    """
    path = remainder.lstrip("/")
    if "%" in path:
        # What clients escape; the general way takes four times as long.
        path = path.replace("%2F", "/").replace("%2B", "+").replace("%3D", "=")
    padded = (unquote_to_bytes(path) if "%" in path else path.encode("ascii")).translate(_ALPHABET)
    encoded = padded.rstrip(b"=")
    if len(padded) - len(encoded) > _MOST_PADDING:
        raise ValueError("more padding than base64 has")
    return binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4), strict_mode=True)


_SHORT_PATH: Final = 400
"""Characters of a path that is worth remembering: a request for one certificate has less than 200."""
_decode_often: Final = functools.lru_cache(maxsize=4096)(decode_path)


def read_path(remainder: str) -> bytes:
    """The octets that a path stands for; none when it is not base64. No OCSPRequest is empty: the responder says
    malformedRequest.
    """
    try:
        return _decode_often(remainder) if len(remainder) <= _SHORT_PATH else decode_path(remainder)
    except ValueError:
        return b""


class OCSPEndpoint:
    """One worker's responder behind HTTP. The media type of a request is not looked at: its body decides.

    Args:
        responder: makes the answers.
        settings: bounds of a request.
        second: the present one.
        row: where answers are counted.
        tags: written into answers that HTTP caches may keep.
        by_address: whether the responder wants to know who asks.
    """

    def __init__(
        self,
        responder: Responder,
        settings: Server,
        second: Second,
        row: Row,
        *,
        tags: TagHeader | None = None,
        by_address: bool = False,
    ) -> None:
        self._responder = responder
        self._tags = tags or TagHeader()
        self._most = settings.ocsp_body
        self._seconds = settings.body_seconds
        self._second = second
        self._row = row
        self._clients = ClientAddresses(parse_networks(settings.proxies)) if by_address else None

    async def post(self, request: BaseRequest) -> PreparedResponse:
        """Answer the OCSPRequest in the body."""
        return await self.answer(request, await read_body(request, self._most, self._seconds))

    async def answer(self, request: BaseRequest, body: bytes) -> PreparedResponse:
        """Answer an OCSPRequest that was posted. Raises Refused when it is too large."""
        if len(body) > self._most:
            raise Refused(413)
        answer = self._responder.cached(body) or await self._answer(request, body)
        prepared = self._prepared(answer)
        self._row.count(prepared.posted)
        return PreparedResponse(prepared.head(self._second), answer.der)

    def cached(self, request: BaseRequest, remainder: str) -> PreparedResponse | None:
        """What ``get`` would return, if it is at hand: most of all requests are spared a coroutine."""
        answer = self._responder.cached(read_path(remainder))
        return None if answer is None else self._respond(request, answer)

    def repeat(self, body: bytes, *, posted: bool) -> bytes | None:
        """The whole response to an OCSPRequest that came before, for a connection that stays open, if its answer is at
        hand.
        """
        answer = self._responder.cached(body)
        if answer is None:
            return None
        prepared = self._prepared(answer)
        self._row.count(prepared.posted if posted else prepared.fetched)
        return b"%b\r\n%b" % (prepared.head(self._second), answer.der)

    def is_answered(self, body: bytes) -> bool:
        """Whether an OCSPRequest is not too large to be posted, and its answer in memory."""
        return len(body) <= self._most and self._responder.has(body)

    async def get(self, request: BaseRequest, remainder: str) -> PreparedResponse:
        """Answer the OCSPRequest in the path, or tell the client that its copy is still good."""
        body = read_path(remainder)
        return self._respond(request, self._responder.cached(body) or await self._answer(request, body))

    def _respond(self, request: BaseRequest, answer: Answer) -> PreparedResponse:
        prepared = self._prepared(answer)
        if prepared.etag and not_modified(request.headers, prepared.etag, prepared.last_modified):
            self._row.count(prepared.unmodified)
            return PreparedResponse(prepared.head(self._second, status=304), b"")
        self._row.count(prepared.fetched)
        return PreparedResponse(prepared.head(self._second), answer.der)

    async def _answer(self, request: BaseRequest, body: bytes) -> Answer:
        client = "" if self._clients is None else self._clients.of(request)
        return await self._responder.answer(body, client)

    def _prepared(self, answer: Answer) -> PreparedAnswer:
        prepared = answer.prepared
        if not isinstance(prepared, PreparedAnswer):
            prepared = answer.prepared = PreparedAnswer(answer, self._tags)
        return prepared
