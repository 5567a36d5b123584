"""The revocation of a CA, and what follows when its key is compromised: nothing that it ever signed is to be believed.

The answers and the CRL that say so are signed by that key or by its delegates. They are worth something only because
the parent says that the CA itself is revoked, which is therefore committed first (RFC 6960 §2.7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ca_store.errors import StoreError
from ca_store.types import CertificateState, Reason
from issuance.crl import sign_crl
from issuance.errors import IssuanceError
from issuance.issuer import standing_of
from issuance.profile import OCSP_DELEGATE, PROFILES
from issuance.revocation import revoke

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca_store.types import Issuer
    from issuance.core import Core

PAGE: Final = 1000
"""Certificates revoked in one transaction: others have their turn in between."""

# The subscribers' own keys are not compromised, so no reason of BR §7.2.2 fits; a time-stamping unit needs one (RFC
# 3161 §4). The delegates have to go on speaking.
_REASONS: Final = {
    profile.name: Reason.unspecified if Reason.unspecified in profile.reasons else Reason.cessationOfOperation
    for profile in PROFILES.values()
    if profile is not OCSP_DELEGATE
}


def revoke_ca(core: Core, issuer: Issuer, reason: Reason, at: int | None, warn: Callable[[str], None]) -> int:
    """Revoke a CA at its parent, sign the parent's CRL, and for a compromised key do the same with all that the CA
    has issued; how many certificates that were. Interrupted, it is completed by repeating it, or by the timers.

    ``warn`` is told of a CRL that could not be signed: what was asked for is committed, and the timers will sign it.
    Raises RevocationRefused, NotFound.
    """
    parents = [known for known in core.store.issuers() if known.id == issuer.parent]
    for above in parents or [issuer]:
        revoke(core, above, issuer.serial, reason, at)
        _sign_crl(core, above, warn)
    if not is_compromised(core, issuer):
        return 0
    count = revoke_issued(core, issuer)
    _sign_crl(core, issuer, warn)
    return count


def is_compromised(core: Core, issuer: Issuer) -> bool:
    """Whether a CA was revoked because its key is in other hands."""
    standing = standing_of(core, issuer)
    return standing.state is CertificateState.REVOKED and standing.reason is Reason.keyCompromise


def revoke_issued(core: Core, issuer: Issuer, page: int = PAGE) -> int:
    """Revoke all that a revoked CA has issued, from the same time on; how many certificates that were. Each
    transaction revokes a page, and nothing is revoked twice.
    """
    at = standing_of(core, issuer).revoked_at
    assert at is not None  # noqa: S101 - the caller says that it is revoked
    count, after = 0, 0
    while True:
        revoked = core.store.revoke_all(issuer.id, _REASONS, at, core.now(), after=after, limit=page)
        if not revoked:
            return count
        count += len(revoked)
        after = revoked[-1]


def _sign_crl(core: Core, issuer: Issuer, warn: Callable[[str], None]) -> None:
    try:
        sign_crl(core, issuer)
    except (StoreError, IssuanceError) as error:
        warn(f"revoked, but no new CRL of {issuer.label} was signed: {error}")
