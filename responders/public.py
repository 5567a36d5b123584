"""The public listener: from a request line to the endpoint that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from responders.body import Refused, read_body
from responders.counters import DOCUMENTS, REFUSALS, counter_index
from responders.ocsp_http import decode_path
from responders.prepared import REASONS, PreparedResponse, head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import BaseRequest, StreamResponse

    from responders.config import Server
    from responders.log_http import PublishedLog
    from responders.ocsp_http import OCSPEndpoint
    from responders.prepared import Second
    from responders.shared_state import Row
    from responders.static_http import Documents
    from responders.tsa_http import TSAEndpoint

_SEQUENCE: Final = 0x30
_READ: Final = ("GET", "HEAD")
_READ_ONLY: Final = "GET, HEAD"
_ALL: Final = "GET, HEAD, POST"
_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\n"
_NO_STORE: Final = b"Cache-Control: no-store\r\n"
_PAGE: Final = b"""OCSP responder and RFC 3161 time-stamp server

POST /ocsp, GET /ocsp/{base64}             certificate status (RFC 6960, RFC 9919)
POST /tsa, POST /tsa/{unit}                time-stamps (RFC 3161, and Authenticode's older protocol)
GET /tsa, GET /tsa/{unit}                  policy, accuracy, certificates, and how to call it; JSON for programs
GET /log                                   the signed log of tokens (C2SP tlog-tiles)
GET /ca/{label}.cer, GET /ca/{label}.pem   CA certificates
GET /crl/{label}.crl                       certificate revocation lists
GET /crl/{label}/{number}.crl              an old one
"""
_PAGE_SENT: Final = counter_index(DOCUMENTS, "page")
_REFUSED: Final[Mapping[int, int]] = {
    status: counter_index(REFUSALS, str(status))
    for status in REASONS
    if status >= 400  # noqa: PLR2004 - where errors begin
}
_SHORTEST_REQUEST: Final = 40
"""Characters of a path that may be the base64 of an OCSPRequest."""


def _first_member(body: bytes) -> int | None:
    """The identifier octet of the first member of a SEQUENCE. OCSPRequest begins with a SEQUENCE, TimeStampReq with
    an INTEGER.
    """
    if len(body) < 4 or body[0] != _SEQUENCE:  # noqa: PLR2004 - no request is shorter
        return None
    length_octets = body[1] & 0x7F if body[1] & 0x80 else 0
    at = 2 + length_octets
    return body[at] if at < len(body) else None


class PublicListener:
    """The handler of the low-level server. ``tsa`` is None where no unit is configured.

    Once ``draining`` is set, every response ends its connection.
    """

    def __init__(
        self,
        *,
        ocsp: OCSPEndpoint,
        tsa: TSAEndpoint | None,
        documents: Documents,
        log: PublishedLog | None = None,
        settings: Server,
        second: Second,
        row: Row,
    ) -> None:
        self._ocsp = ocsp
        self._tsa = tsa
        self._documents = documents
        self._log = log
        self._most = max(settings.ocsp_body, settings.tsa_body)
        self._seconds = settings.body_seconds
        self._prepared = settings.prepared_responses
        self._second = second
        self._row = row
        self.draining = False

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Answer one request."""
        path = request.raw_path
        try:
            if path == "/ocsp" and request.method == "POST":
                response = await self._ocsp.post(request)
            elif path.startswith("/ocsp/") and request.method in _READ:
                remainder = path[6:]
                response = self._ocsp.cached(request, remainder) or await self._ocsp.get(request, remainder)
            else:
                response = await self._route(request, _origin_form(path))
        except Refused as refused:
            response = self.refuse(
                refused.status, allow=refused.allow, retry_after=refused.retry_after, text=refused.text
            )
        if self.draining:
            response.close()
        return response if self._prepared else response.plain()

    def repeat(self, ocsp_request: bytes, *, posted: bool) -> bytes | None:
        """What ``handle`` would write for an OCSPRequest of an HTTP/1.1 request without conditions, if its answer is at
        hand and its connection may stay open.
        """
        return None if self.draining else self._ocsp.repeat(ocsp_request, posted=posted)

    def is_answered(self, ocsp_request: bytes) -> bool:
        """Whether an OCSPRequest is not too large to be posted, and its answer in memory."""
        return self._ocsp.is_answered(ocsp_request)

    def refuse(
        self, status: int, *, allow: str | None = None, retry_after: int | None = None, text: str | None = None
    ) -> PreparedResponse:
        """A short response to what is not answered. The connection ends where the rest of a body may follow."""
        self._row.count(_REFUSED.get(status, _REFUSED[500]))
        fields = _TEXT + _NO_STORE
        if allow is not None:
            fields += b"Allow: %b\r\n" % allow.encode()
        if retry_after is not None:
            fields += b"Retry-After: %d\r\n" % retry_after
        body = b"%d %b\n%b" % (status, REASONS[status], b"" if text is None else f"{text}\n".encode())
        response = PreparedResponse(head(self._second, fields, len(body), status), body)
        if status not in (404, 405, 503):
            response.close()
        return response

    async def _route(self, request: BaseRequest, path: str) -> PreparedResponse:
        folder, _, rest = path.lstrip("/").partition("/")
        method = request.method
        match folder:
            case "":
                return await self._root(request)
            case "ocsp":
                return await self._ocsp_route(request, rest)
            case "tsa":
                return await self._tsa_route(request, rest.rstrip("/") or None)
            case "log" if self._log is not None:
                _check_method(method, _READ_ONLY)
                return self._log.get(rest)
            case "ca" | "crl":
                _check_method(method, _READ_ONLY)
                return await self._documents.get(request, folder, rest)
        if method in _READ and _is_request(path):
            return await self._ocsp.get(request, path)
        raise Refused(404)

    async def _root(self, request: BaseRequest) -> PreparedResponse:
        _check_method(request.method, _ALL)
        if request.method != "POST":
            self._row.count(_PAGE_SENT)
            return PreparedResponse(head(self._second, _TEXT, len(_PAGE)), _PAGE)
        body = await read_body(request, self._most, self._seconds)
        if self._tsa is None or _first_member(body) == _SEQUENCE:
            return await self._ocsp.answer(request, body)
        return await self._tsa.answer(body, None)

    async def _ocsp_route(self, request: BaseRequest, rest: str) -> PreparedResponse:
        base = not rest.strip("/")
        _check_method(request.method, _ALL if base else _READ_ONLY)
        if request.method == "POST":
            return await self._ocsp.post(request)
        return await self._ocsp.get(request, rest)

    async def _tsa_route(self, request: BaseRequest, unit: str | None) -> PreparedResponse:
        if self._tsa is None:
            raise Refused(404)
        _check_method(request.method, _ALL)
        if request.method == "POST":
            return await self._tsa.post(request, unit)
        return self._tsa.describe(request, unit)


def _check_method(method: str, allow: str) -> None:
    if method not in allow.split(", "):
        raise Refused(405, allow=allow)


def _origin_form(target: str) -> str:
    """The path of a request target without its query; a proxy's absolute form loses scheme and authority."""
    if not target.startswith("/"):
        _, scheme, rest = target.partition("://")
        target = "/" + rest.partition("/")[2] if scheme else target
    return target.partition("?")[0]


def _is_request(path: str) -> bool:
    """Whether a path without any prefix is an OCSPRequest: some URLs in certificates are a bare host."""
    if len(path) < _SHORTEST_REQUEST:
        return False
    try:
        return _first_member(decode_path(path)) == _SEQUENCE
    except ValueError:
        return False
