"""Full, direct CRLs (RFC 5280 §5), made from the store's rows and signed by the CA itself.

There is no IssuingDistributionPoint: a CRL without one covers everything the CA issued.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from asn1crypto import core as asn1
from asn1crypto import crl as asn1_crl
from asn1crypto import x509
from cryptography import x509 as checked_x509

from ca_store import der
from ca_store.errors import Conflict, NotFound
from ca_store.types import CRL, Reason
from issuance.certificate import FIRST_GENERALIZED_TIME, authority_key_identifier, signature_algorithm
from issuance.errors import IssuanceError
from issuance.issuer import purpose_of
from issuance.period import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ca_store.signing import Signer
    from ca_store.types import Issuer, Status
    from issuance.core import Core

LIFE: Final = 7 * DAY
"""Seconds from thisUpdate to nextUpdate; at most 10 days (BR §4.9.7, CSBR §4.9.7)."""
PERIOD: Final = DAY
"""Seconds after which a new one is signed even when nothing was revoked."""
_COMMIT: Final = 300
"""Seconds that a revocation may take from its time of change to its commit."""

_ATTEMPTS: Final = 20
_PAGE: Final = 10_000
"""Revocations read at once."""
_EXPIRED_CERTS_ON_CRL: Final = "2.5.29.60"
_DATED: Final = frozenset({"code-signing", "timestamp"})
_INVALIDITY_DATE: Final = der.oid("2.5.29.24")
_REASONS: Final[Mapping[Reason, bytes]] = {
    reason: der.sequence(der.oid("2.5.29.21"), der.octet_string(der.enumerated(reason)))
    for reason in Reason
    if reason is not Reason.unspecified  # RFC 5280 §5.3.1: absent says as much
}
_V2: Final = der.integer(1)


def sign_crl(core: Core, issuer: Issuer) -> CRL:
    """Sign and store the next CRL of a CA. Raises KeyUnavailable, Conflict when others were always first."""
    signer = core.signer(issuer)
    for _ in range(_ATTEMPTS):
        # The number is taken before the rows are read, so that a higher number never knows less than a lower one.
        number = core.store.next_crl_number(issuer.id)
        now = core.now()
        next_update = min(now + LIFE, issuer.not_after)
        if next_update <= now:
            raise IssuanceError(f"the CA {issuer.label} has expired and signs no more CRLs")
        encoded = encode_crl(issuer, _revoked(core, issuer, now), number, (now, next_update), signer)
        crl = CRL(issuer.id, number, now, next_update, encoded)
        try:
            core.store.add_crl(crl)
        except Conflict:
            continue
        return crl
    raise Conflict(f"the CRL of {issuer.label} is being signed by others all the time")


def is_due(core: Core, issuer: Issuer) -> bool:
    """Whether a CA lacks a CRL, has had its newest for a period, or has a revocation that is not on it: one whose own
    CRL could not be signed.
    """
    now = core.now()
    if issuer.not_after <= now:
        return False
    try:
        newest = core.store.latest_crl(issuer.id)
    except NotFound:
        return True
    if now >= newest.this_update + PERIOD:
        return True
    # Both are in the order of serials, so that one pass over the CRL finds all that are on it.
    position = 0
    for entry in _entries(issuer, _revoked(core, issuer, now, since=newest.this_update - _COMMIT)):
        position = newest.der.find(entry, position)
        if position < 0:
            return True
    return False


def _revoked(core: Core, issuer: Issuer, now: int, since: int | None = None) -> Iterator[tuple[int, Status]]:
    """What belongs on a CRL, or of that what changed since, a page at a time: of many revocations there is only ever
    one in memory.
    """
    after, retention = 0, _retention(issuer, now)
    while True:
        page = core.store.revoked(issuer.id, retention=retention, since=since, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def _retention(issuer: Issuer, now: int) -> int:
    """Seconds that a revoked certificate stays on the CRL after its end (CSBR §4.10.1, §7.2)."""
    period = purpose_of(issuer).answered_after_expiry
    # As many months can be longer by two leap days when they are counted from another year.
    return 0 if period is None else period.end(now) - now + 2 * DAY


def encode_crl(
    issuer: Issuer,
    revoked: Iterable[tuple[int, Status]],
    number: int,
    times: tuple[int, int],
    signer: Signer,
) -> bytes:
    """The DER of a CRL; ``revoked`` is in the order of serials, ``times`` are thisUpdate and nextUpdate. Raises
    IssuanceError when it fails its check.
    """
    algorithm = signature_algorithm(signer).dump()
    extensions = asn1_crl.TBSCertListExtensions(
        [
            {"extn_id": "authority_key_identifier", "extn_value": authority_key_identifier(issuer.certificate)},
            {"extn_id": "crl_number", "extn_value": asn1.Integer(number)},
            *_expired_certs_on_crl(issuer, times[0]),
        ]
    )
    # Objects of asn1crypto for each entry would take a hundred times its octets.
    entries = b"".join(_entries(issuer, revoked))
    to_be_signed = der.sequence(
        _V2,
        algorithm,
        x509.Certificate.load(issuer.certificate).subject.dump(),
        *(_time(seconds) for seconds in times),
        der.sequence(entries) if entries else b"",  # RFC 5280 §5.1.2.6: absent, not empty
        der.context(0, extensions.dump()),
    )
    encoded = der.sequence(to_be_signed, algorithm, der.bit_string(signer.sign(to_be_signed)))
    key = checked_x509.load_der_x509_certificate(issuer.certificate).public_key()
    if not checked_x509.load_der_x509_crl(encoded).is_signature_valid(key):  # type: ignore[arg-type]  # a CA key signs
        raise IssuanceError(f"the CRL of {issuer.label} does not verify: the CA's key is not its own")
    return encoded


def _expired_certs_on_crl(issuer: Issuer, now: int) -> Iterator[dict[str, object]]:
    """ExpiredCertsOnCRL (X.509 §9.5.2.8), where revoked certificates stay on the CRL after their end: the earliest end
    of which that is true. Without it, that a certificate is not listed says nothing once it has expired.
    """
    retention = _retention(issuer, now)
    if retention:
        since = asn1.GeneralizedTime(datetime.fromtimestamp(max(now - retention, issuer.not_before), UTC))
        yield {"extn_id": _EXPIRED_CERTS_ON_CRL, "extn_value": asn1.ParsableOctetString(since.dump())}


def _entries(issuer: Issuer, revoked: Iterable[tuple[int, Status]]) -> Iterator[bytes]:
    """The DER of each entry."""
    dated = purpose_of(issuer).name in _DATED
    for serial, status in revoked:
        revoked_at = status.changed_at if status.revoked_at is None else status.revoked_at
        extensions = b"" if status.reason is None else _REASONS.get(status.reason, b"")
        if dated and revoked_at < status.changed_at:
            # CSBR §7.2.2: a backdated revocation states the date a second time, so that a signature's age decides.
            date = der.octet_string(der.generalized_time(revoked_at))
            extensions += der.sequence(_INVALIDITY_DATE, date)
        yield der.sequence(der.integer(serial), _time(revoked_at), der.sequence(extensions) if extensions else b"")


def _time(seconds: int) -> bytes:
    """RFC 5280 §4.1.2.5."""
    return der.utc_time(seconds) if seconds < FIRST_GENERALIZED_TIME else der.generalized_time(seconds)
