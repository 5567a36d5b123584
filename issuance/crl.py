"""Full, direct CRLs (RFC 5280 §5), made from the store's rows and signed by the CA itself.

There is no IssuingDistributionPoint: a CRL without one covers everything the CA issued.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from asn1crypto import core as asn1
from asn1crypto import crl as asn1_crl
from asn1crypto import x509
from cryptography import x509 as checked_x509

from ca_store.errors import Conflict, NotFound
from ca_store.types import CRL, Reason
from issuance.certificate import authority_key_identifier, signature_algorithm, time_choice
from issuance.errors import IssuanceError
from issuance.issuer import purpose_of
from issuance.period import DAY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
_EXPIRED_CERTS_ON_CRL: Final = "2.5.29.60"
_DATED: Final = frozenset({"code-signing", "timestamp"})


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
        der = encode_crl(
            issuer, core.store.revoked(issuer.id, retention=_retention(issuer, now)), number, (now, next_update), signer
        )
        crl = CRL(issuer.id, number, now, next_update, der)
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
    recent = core.store.revoked(issuer.id, retention=_retention(issuer, now), since=newest.this_update - _COMMIT)
    return any(_entry(issuer, *row).dump() not in newest.der for row in recent)


def _retention(issuer: Issuer, now: int) -> int:
    """Seconds that a revoked certificate stays on the CRL after its end (CSBR §4.10.1, §7.2)."""
    period = purpose_of(issuer).answered_after_expiry
    # As many months can be longer by two leap days when they are counted from another year.
    return 0 if period is None else period.end(now) - now + 2 * DAY


def encode_crl(
    issuer: Issuer,
    revoked: Sequence[tuple[int, Status]],
    number: int,
    times: tuple[int, int],
    signer: Signer,
) -> bytes:
    """The DER of a CRL; ``times`` are thisUpdate and nextUpdate. Raises IssuanceError when it fails its check."""
    algorithm = signature_algorithm(signer)
    fields: dict[str, Any] = {
        "version": "v2",
        "signature": algorithm,
        "issuer": x509.Certificate.load(issuer.certificate).subject,
        "this_update": time_choice(times[0]),
        "next_update": time_choice(times[1]),
        "crl_extensions": [
            {"extn_id": "authority_key_identifier", "extn_value": authority_key_identifier(issuer.certificate)},
            {"extn_id": "crl_number", "extn_value": asn1.Integer(number)},
            *_expired_certs_on_crl(issuer, times[0]),
        ],
    }
    if revoked:  # RFC 5280 §5.1.2.6: absent, not empty
        fields["revoked_certificates"] = [_entry(issuer, *row) for row in revoked]
    to_be_signed = asn1_crl.TbsCertList(fields)
    der = bytes(
        asn1_crl.CertificateList(
            {
                "tbs_cert_list": to_be_signed,
                "signature_algorithm": algorithm,
                "signature": signer.sign(to_be_signed.dump()),
            }
        ).dump()
    )
    key = checked_x509.load_der_x509_certificate(issuer.certificate).public_key()
    if not checked_x509.load_der_x509_crl(der).is_signature_valid(key):  # type: ignore[arg-type]  # a CA key signs
        raise IssuanceError(f"the CRL of {issuer.label} does not verify: the CA's key is not its own")
    return der


def _expired_certs_on_crl(issuer: Issuer, now: int) -> Iterator[dict[str, Any]]:
    """ExpiredCertsOnCRL (X.509 §9.5.2.8), where revoked certificates stay on the CRL after their end: the earliest end
    of which that is true. Without it, that a certificate is not listed says nothing once it has expired.
    """
    retention = _retention(issuer, now)
    if retention:
        since = asn1.GeneralizedTime(datetime.fromtimestamp(max(now - retention, issuer.not_before), UTC))
        yield {"extn_id": _EXPIRED_CERTS_ON_CRL, "extn_value": asn1.ParsableOctetString(since.dump())}


def _entry(issuer: Issuer, serial: int, status: Status) -> asn1_crl.RevokedCertificate:
    revoked_at = status.changed_at if status.revoked_at is None else status.revoked_at
    extensions: list[dict[str, Any]] = []
    if status.reason is not None and status.reason is not Reason.unspecified:  # RFC 5280 §5.3.1: absent says as much
        extensions.append({"extn_id": "crl_reason", "extn_value": asn1_crl.CRLReason(int(status.reason))})
    if purpose_of(issuer).name in _DATED and revoked_at < status.changed_at:
        # CSBR §7.2.2: a backdated revocation states the date a second time, so that a signature's age decides.
        date = asn1.GeneralizedTime(datetime.fromtimestamp(revoked_at, UTC))
        extensions.append({"extn_id": "invalidity_date", "extn_value": date})
    entry: dict[str, Any] = {"user_certificate": serial, "revocation_date": time_choice(revoked_at)}
    if extensions:
        entry["crl_entry_extensions"] = extensions
    return asn1_crl.RevokedCertificate(entry)
