"""CA certificates and CRLs, as relying parties fetch them (RFC 5280 §4.2.1.13 and §4.2.2.1)."""

from __future__ import annotations

import hashlib
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ca_store.errors import NotFound, StoreUnavailable
from ca_store.types import ChangeKind
from responders.body import Refused
from responders.cache_keys import TagHeader, crl_tag
from responders.conditional import not_modified
from responders.counters import DOCUMENTS, counter_index
from responders.prepared import PreparedResponse, head, http_date

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import BaseRequest

    from ca_store.clock import Clock
    from ca_store.contracts import ReadStore
    from ca_store.types import Change
    from responders.prepared import Second
    from responders.shared_state import Row

_RETRY_SECONDS: Final = 5
_CA_SECONDS: Final = 86_400
_CRL_SECONDS: Final = 300
"""A proxy may keep a CRL this long: a revocation puts out a new one at once."""
_OLD_CRL_SECONDS: Final = 31_536_000
"""A CRL by its number never changes."""
_NUMBER: Final = re.compile(r"[1-9]\d{0,17}")
_MOST: Final = 256
"""Documents kept; a deployment has three for each CA."""
_MOST_OCTETS: Final = 32 << 20
"""Octets of these, but the newest one is always kept: 200,000 revocations make a CRL of 10 MB, and every old one can be
asked for by its number.
"""


@dataclass(frozen=True, slots=True)
class _Document:
    body: bytes
    media_type: bytes
    last_modified: int
    """POSIX seconds."""
    seconds: int
    """How long a proxy may keep it."""
    etag: str
    counter: int
    tagged: bytes
    """The header line with the document's tag, or nothing."""


class Documents:
    """Serves from a small memory that every change of issuers and CRLs empties, and that counts for nothing while the
    change feed has not been heard of for ``feed_bound`` seconds.
    """

    def __init__(
        self, store: ReadStore, clock: Clock, feed_bound: float, second: Second, row: Row, tags: TagHeader | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._feed_bound = feed_bound
        self._second = second
        self._row = row
        self._tags = tags or TagHeader()
        self._kept: dict[str, _Document] = {}

    def changed(self, changes: Sequence[Change]) -> None:
        """Forget what may have changed."""
        if any(change.kind in (ChangeKind.ISSUER, ChangeKind.CRL) for change in changes):
            self.reset()

    def reset(self) -> None:
        """Forget everything. What is being read at this moment is not kept either: it goes to the old table."""
        self._kept = {}

    async def get(self, request: BaseRequest, folder: str, name: str) -> PreparedResponse:
        """``/ca/LABEL.cer``, ``/ca/LABEL.pem``, ``/crl/LABEL.crl`` or, for an old one, ``/crl/LABEL/NUMBER.crl``, which
        signatures that outlive it need. Raises Refused: 404, 503.
        """
        key = f"{folder}/{name}"
        document = self._kept.get(key)
        if document is None or self._clock.monotonic() - self._store.feed.confirmed > self._feed_bound:
            document = await self._read(key, folder, name)
        fields = b"%bLast-Modified: %b\r\nETag: %b\r\nCache-Control: max-age=%d, public\r\n%b" % (
            document.media_type,
            http_date(document.last_modified),
            document.etag.encode(),
            document.seconds,
            document.tagged,
        )
        self._row.count(document.counter)
        if not_modified(request.headers, document.etag, document.last_modified):
            return PreparedResponse(head(self._second, fields, len(document.body), 304), b"")
        return PreparedResponse(head(self._second, fields, len(document.body)), document.body)

    async def _read(self, key: str, folder: str, name: str) -> _Document:
        kept = self._kept
        label, _, ending = name.rpartition(".")
        try:
            match folder, ending:
                case "ca", "cer" | "pem":
                    document = await self._certificate(label, ending)
                case "crl", "crl":
                    document = await self._crl(label)
                case _:
                    raise Refused(404)
        except NotFound:
            raise Refused(404) from None
        except StoreUnavailable:
            raise Refused(503, retry_after=_RETRY_SECONDS) from None
        octets = len(document.body) + sum(len(each.body) for each in kept.values())
        if len(kept) >= _MOST or octets > _MOST_OCTETS:
            kept.clear()
        kept[key] = document
        return document

    async def _certificate(self, label: str, ending: str) -> _Document:
        issuer = next((each for each in await self._store.issuers() if each.label == label), None)
        if issuer is None:
            raise NotFound(label)
        if ending == "cer":
            body, media_type = issuer.certificate, b"Content-Type: application/pkix-cert\r\n"
        else:
            body = ssl.DER_cert_to_PEM_cert(issuer.certificate).encode()
            media_type = b"Content-Type: application/x-pem-file\r\n"
        return _document(body, media_type, issuer.not_before, _CA_SECONDS, "ca")

    async def _crl(self, label: str) -> _Document:
        label, slash, digits = label.partition("/")
        if not slash:
            crl, seconds = await self._store.crl(label), _CRL_SECONDS
        elif _NUMBER.fullmatch(digits):
            crl, seconds = await self._store.crl(label, int(digits)), _OLD_CRL_SECONDS
        else:
            raise NotFound(label)
        tagged = self._tags.line([crl_tag(label)])
        return _document(crl.der, b"Content-Type: application/pkix-crl\r\n", crl.this_update, seconds, "crl", tagged)


def _document(
    body: bytes, media_type: bytes, last_modified: int, seconds: int, kind: str, tagged: bytes = b""
) -> _Document:
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    return _Document(body, media_type, last_modified, seconds, etag, counter_index(DOCUMENTS, kind), tagged)
