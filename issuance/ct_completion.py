"""From a precertificate to a certificate with SCTs (RFC 6962 §3.1), and the certificate's own SCTs for OCSP.

The order of steps is what makes a crash harmless. A serial is reserved; the precertificate is signed and recorded, so
that its serial is answered good and can be revoked before any log has heard of it; logs answer; the certificate is cut
from the precertificate, recorded in its place, and only then returned. Whoever dies in between leaves a precertificate
on record, which is completed later or revoked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asn1crypto import x509

from ca_store.errors import IllegalMove, StoreError
from ca_store.types import CertificateState, format_serial
from issuance.ct_policy import count_rule, shortfall
from issuance.ct_sct import certificate_entry, check_sct, encode_list, precertificate_entry
from issuance.errors import IssuanceError, RequestRefused
from issuance.precertificate import embed, is_precertificate
from issuance.profile import SERVER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ca_store.types import Certificate, Issuer
    from issuance.certificate import Contents
    from issuance.core import Core
    from issuance.ct_log import Log, Submission, Transparency
    from issuance.ct_sct import Entry
    from issuance.profile import Profile

COMPLETED_WITHIN: Final = 8 * 3_600
"""Seconds from notBefore on: what was checked for the precertificate does not hold for ever (BR §3.2.2.8)."""


class TransparencyRefused(IssuanceError):  # noqa: N818 - named as its meaning
    """Too few logs have given an SCT."""


def is_logged(core: Core, profile: Profile) -> bool:
    """Whether certificates of a profile need SCTs: those that browsers look at."""
    return core.transparency is not None and profile.name == SERVER.name


def check_logs(core: Core, contents: Contents) -> None:
    """Raises RequestRefused when the configured logs cannot give a certificate the SCTs that it needs."""
    if core.transparency is None or not is_logged(core, contents.profile):
        return
    now = core.now()
    logs = [log for log in core.transparency.logs if log.takes(now, contents.not_after)]
    missing = shortfall(count_rule(now), logs, contents.not_before, contents.not_after)
    if missing is not None:
        raise RequestRefused(f"the logs of [ct] that are in force are too few: {missing}")


def complete(
    core: Core, issuer: Issuer, precertificate: bytes, *, deliver: Callable[[bytes], None] | None = None
) -> bytes:
    """The certificate's DER: submit the recorded precertificate, embed what the logs answer, sign, record. ``deliver``
    is given the DER before it is recorded. The certificate's own SCTs follow where the logs give them at once. Raises
    TransparencyRefused when too few logs answer, IssuanceError when the precertificate is too old, IllegalMove when it
    was revoked meanwhile.
    """
    serial = x509.Certificate.load(precertificate).serial_number
    entry = precertificate_entry(precertificate, core.chain(issuer))
    if core.now() - entry.not_before > COMPLETED_WITHIN:
        raise IssuanceError(
            f"serial {format_serial(serial)} has a precertificate that is too old to be completed: revoke it"
        )
    try:
        submission = _submit(core, entry)
    except TransparencyRefused as error:
        raise TransparencyRefused(
            f"serial {format_serial(serial)} has a precertificate and no certificate yet, which `issuance run` will try"
            f" to complete: {error}"
        ) from None
    scts = [sct for _, sct in submission.scts]
    certificate = embed(precertificate, encode_list(scts), issuer.certificate, core.signer(issuer))
    # SCTs of another precertificate were once embedded (bugzilla 1815874): they are held against what was signed.
    made = precertificate_entry(certificate, core.chain(issuer))
    for log, sct in submission.scts:
        check_sct(sct, log.key, made, core.now())
    if deliver is not None:
        deliver(certificate)
    try:
        core.store.complete(issuer.id, serial, precertificate, certificate)
    except IllegalMove:
        known = core.store.certificate(issuer.id, serial)
        if not _is_complete(known):
            raise
        assert known.der is not None  # noqa: S101 - it is complete
        return known.der
    with suppress(IssuanceError, StoreError):  # the certificate is issued; the timers come back to this
        log_certificate(core, issuer, certificate)
    return certificate


def log_certificate(core: Core, issuer: Issuer, certificate: bytes) -> None:
    """Submit a certificate itself, and keep its SCTs for OCSP answers (RFC 6962 §3.3). Raises TransparencyRefused when
    too few logs answer, IllegalMove when the certificate is not good any more.
    """
    submission = _submit(core, certificate_entry(certificate, core.chain(issuer)))
    serial = x509.Certificate.load(certificate).serial_number
    core.store.put_sct_list(issuer.id, serial, encode_list([sct for _, sct in submission.scts]), core.now())


def _submit(core: Core, entry: Entry) -> Submission:
    transparency = _transparency(core)
    now = core.now()
    validity = x509.Certificate.load(entry.chain[0])
    not_after = int(validity.not_valid_after.timestamp())
    rule = count_rule(now)

    def missing(logs: Collection[Log]) -> str | None:
        return shortfall(rule, logs, entry.not_before, not_after)

    logs = [log for log in transparency.logs if log.takes(now, not_after)]
    submission = transparency.submitter.submit(entry, logs, now, lambda answered: missing(answered) is None)
    lack = missing([log for log, _ in submission.scts])
    if lack is not None:
        raise TransparencyRefused("; ".join((lack, *submission.refusals)))
    return submission


def _transparency(core: Core) -> Transparency:
    if core.transparency is None:
        raise IssuanceError("Certificate Transparency is off: no log is told of anything")
    return core.transparency


def _is_complete(certificate: Certificate) -> bool:
    return (
        certificate.status.state is CertificateState.GOOD
        and certificate.der is not None
        and not is_precertificate(certificate.der)
    )
