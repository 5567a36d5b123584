"""Time-stamps over HTTP (RFC 3161 §3.4)."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Final

from ca_store.errors import SigningOverload
from responders.body import Refused, read_body
from responders.counters import DOCUMENTS, OVERLOAD, TIMESTAMPS, counter_index
from responders.prepared import PreparedResponse, head, iso_time
from tsa.errors import UnknownUnit

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from responders.config import Server
    from responders.prepared import Second
    from responders.shared_state import Row
    from tsa.authority import Authority

# Exactly this and nothing behind it: OpenJDK and pyHanko compare the whole value.
_TYPE: Final = b"Content-Type: application/timestamp-reply\r\n"
_JSON: Final = b"Content-Type: application/json\r\nCache-Control: no-cache\r\n"
_RETRY_SECONDS: Final = 2
_OVERLOAD: Final = counter_index(TIMESTAMPS, OVERLOAD)
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
        """Answer a TimeStampReq. Raises Refused: 404 for a unit that does not exist, 503 for too many at once."""
        try:
            reply = await self._authority.answer(body, unit)
        except UnknownUnit:
            raise Refused(404) from None
        except SigningOverload:
            self._row.count(_OVERLOAD)
            raise Refused(503, retry_after=_RETRY_SECONDS) from None
        self._row.count(counter_index(TIMESTAMPS, reply.outcome))
        return PreparedResponse(head(self._second, _TYPE, len(reply.der)), reply.der)

    def describe(self, unit: str | None) -> PreparedResponse:
        """What a client may want to know about a unit, as JSON. Raises Refused: 404."""
        try:
            described = self._authority.describe(unit)
        except UnknownUnit:
            raise Refused(404) from None
        document = {
            "unit": described.name,
            "subject": described.subject,
            "policy": described.policy,
            "policies": described.policies,
            "accuracy_seconds": described.accuracy_seconds,
            "digests": described.digests,
            "signature_algorithm": described.signature_algorithm,
            "max_token_size": described.max_token_size,
            "not_after": iso_time(described.not_after),
            "certificates": [ssl.DER_cert_to_PEM_cert(each) for each in described.certificates],
        }
        body = json.dumps(document, indent=2).encode() + b"\n"
        self._row.count(_DESCRIBED)
        return PreparedResponse(head(self._second, _JSON, len(body)), body)
