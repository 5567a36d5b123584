"""Which reason and time a revocation may carry, and the revocation itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca_store.errors import NotFound
from ca_store.types import Reason, format_serial
from issuance.errors import RevocationRefused
from issuance.period import format_time

if TYPE_CHECKING:
    from ca_store.types import Certificate, Issuer, Status
    from issuance.core import Core
    from issuance.profile import Profile


def revoke(core: Core, issuer: Issuer, serial: int, reason: Reason, at: int | None = None) -> Status:
    """Commit a revocation, or a correction of one; the status that is now committed. The next CRL is the caller's
    business. Raises RevocationRefused, NotFound.
    """
    certificate = certificate_of(core, issuer, serial)
    if issuer.parent is None and serial == issuer.serial:
        raise RevocationRefused("a root cannot revoke itself: take it out of the trust stores")
    check_reason(reason, core.settings.profile(certificate.profile))
    now = core.now()
    if at is not None:
        check_time(at, certificate, now)
    standing = certificate.status.revoked_at
    # Without a time, a repeated or corrected revocation keeps the time that stands already.
    revoked_at = at if at is not None else now if standing is None else standing
    return core.store.revoke(issuer.id, serial, reason, revoked_at, now)


def check_reason(reason: Reason, profile: Profile) -> None:
    """Raises RevocationRefused unless certificates of this profile may be revoked for this reason."""
    if reason in profile.reasons:
        return
    match reason:
        case Reason.certificateHold | Reason.removeFromCRL:
            raise RevocationRefused(f"{reason.name} is refused: certificates are not suspended (BR §4.9.13)")
        case Reason.cACompromise | Reason.aACompromise:
            raise RevocationRefused(f"{reason.name} is refused: BR §7.2.2 does not list it; use keyCompromise")
        case _:
            names = ", ".join(allowed.name for allowed in sorted(profile.reasons))
            raise RevocationRefused(f"a {profile.name} certificate is revoked for one of {names}, not {reason.name}")


def check_time(at: int, certificate: Certificate, now: int) -> None:
    """Raises RevocationRefused for a time in the future or before the certificate's notBefore. Going back that far is
    legal when the key was compromised earlier than it became known (BR §7.2.2, CSBR §4.9.6).
    """
    if at > now:
        raise RevocationRefused(f"a certificate cannot be revoked in the future: it is {format_time(now)} now")
    if at < certificate.not_before:
        raise RevocationRefused(
            f"{format_serial(certificate.serial)} is valid only from {format_time(certificate.not_before)}"
        )


def certificate_of(core: Core, issuer: Issuer, serial: int) -> Certificate:
    """Raises NotFound with a sentence."""
    try:
        return core.store.certificate(issuer.id, serial)
    except NotFound:
        raise NotFound(f"{issuer.label} has no certificate with the serial {format_serial(serial)}") from None
