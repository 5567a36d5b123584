"""The octets of an OCSPResponse (RFC 6960 §4.2.1), put together from parts that were encoded once.

Times are POSIX seconds. Equal arguments give equal octets.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ca_store import der
from ca_store.types import CertificateState, Reason
from ocsp.errors import ResponseStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ca_store.types import Status
    from ocsp.delegate import Delegate
    from ocsp.window import Times

_GOOD: Final = der.context(0, constructed=False)
_UNKNOWN: Final = der.context(2, constructed=False)
_SUCCESSFUL: Final = der.enumerated(ResponseStatus.successful)
_BASIC: Final = der.oid("1.3.6.1.5.5.7.48.1.1")
_NONCE: Final = der.oid("1.3.6.1.5.5.7.48.1.2")
_ARCHIVE_CUTOFF: Final = der.oid("1.3.6.1.5.5.7.48.1.6")
_SCT_LIST: Final = der.oid("1.3.6.1.4.1.11129.2.4.5")

# Windows begin in every second of an hour, and every answer of one window has its times in common.
_time: Final = lru_cache(maxsize=16_384)(der.generalized_time)

# Omitted: `unspecified` says nothing (RFC 5280 §5.3.1), and `removeFromCRL` belongs to delta CRLs.
_REASONS: Final[Mapping[Reason, bytes]] = {
    reason: der.context(0, der.enumerated(reason))
    for reason in Reason
    if reason not in {Reason.unspecified, Reason.removeFromCRL}
}


def single_response(cert_id: bytes, status: Status | None, times: Times, archive_cutoff: int | None = None) -> bytes:
    """SingleResponse about a CertID as it was sent; None is *unknown*. ``archive_cutoff`` is producedAt less the
    retention, where one is promised. Raises ValueError for a revocation without time, and for a reserved serial, which
    no answer may speak of.
    """
    return der.sequence(
        cert_id,
        _cert_status(status, times.this_update),
        _time(times.this_update),
        der.context(0, _time(times.next_update)),
        b"" if status is None else _single_extensions(status, archive_cutoff),
    )


def _single_extensions(status: Status, archive_cutoff: int | None) -> bytes:
    """Never critical, and never a reason code, whose place is certStatus (BR §7.3.2)."""
    if status.sct_list is None and archive_cutoff is None:
        return b""
    extensions = []
    if status.sct_list is not None:  # RFC 6962 §3.3: an OCTET STRING inside of extnValue
        extensions.append(_extension(_SCT_LIST, der.octet_string(status.sct_list)))
    if archive_cutoff is not None:
        extensions.append(_extension(_ARCHIVE_CUTOFF, _time(archive_cutoff)))
    return der.context(1, der.sequence(*extensions))


def _extension(oid: bytes, value: bytes) -> bytes:
    return der.sequence(oid, der.octet_string(value))


def _cert_status(status: Status | None, this_update: int) -> bytes:
    if status is None:
        return _UNKNOWN
    if status.state is CertificateState.GOOD:
        return _GOOD
    if status.state is not CertificateState.REVOKED or status.revoked_at is None:
        raise ValueError(f"no answer can be made of {status}")
    # A revocation dated ahead is in force already: the store says so.
    revoked_at = _time(min(status.revoked_at, this_update))
    return der.context(1, revoked_at, b"" if status.reason is None else _REASONS.get(status.reason, b""))


def response_data(delegate: Delegate, produced_at: int, responses: Sequence[bytes], nonce: bytes | None) -> bytes:
    """ResponseData, which is what gets signed. The nonce goes back as it came, never critical (RFC 9654 §2.1);
    without one there are no responseExtensions (RFC 9919 §3.2.1).
    """
    return der.sequence(
        delegate.responder_id,
        _time(produced_at),
        der.sequence(*responses),
        b"" if nonce is None else der.context(1, der.sequence(_extension(_NONCE, nonce))),
    )


def response(delegate: Delegate, data: bytes, signature: bytes) -> bytes:
    """The OCSPResponse around signed ResponseData, with the delegate's certificate and no other (RFC 9919 §3.2.2)."""
    basic = der.sequence(data, delegate.signer.algorithm.identifier, der.bit_string(signature), delegate.certificates)
    return der.sequence(_SUCCESSFUL, der.context(0, der.sequence(_BASIC, der.octet_string(basic))))
