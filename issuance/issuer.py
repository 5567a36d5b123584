"""Issuing in two steps: the serial's row is committed before anything is signed under it.

A process that dies between the two leaves a reserved serial, which no certificate has and which nobody calls good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from asn1crypto import x509
from cryptography import x509 as checked_x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ca_store.errors import Conflict, NotFound
from ca_store.signing import KeyType
from ca_store.types import CertificateState
from issuance.certificate import Contents, assemble
from issuance.csr import check_key
from issuance.ct_completion import check_logs, complete, is_logged
from issuance.errors import IssuanceError, RequestRefused
from issuance.period import format_time
from issuance.precertificate import POISON
from issuance.profile import BACKDATE, OCSP_DELEGATE, PURPOSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca_store.types import Issuer, Status
    from issuance.core import Core
    from issuance.profile import Profile, Purpose

_SERIAL_BITS: Final = 158
_ATTEMPTS: Final = 3
_NONE_YET: Final = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A certificate whose serial is reserved. Good for one ``issue``."""

    issuer: Issuer
    contents: Contents


def new_serial(core: Core) -> int:
    """Twenty octets, positive, 158 bits of them random (BR §7.1: at least 64; a forced top bit keeps the length)."""
    return 1 << _SERIAL_BITS | core.random_bits(_SERIAL_BITS)


def purpose_of(issuer: Issuer) -> Purpose:
    """What a CA is for, by its certificate. Raises IssuanceError when that fits no purpose known here."""
    if issuer.parent is None:
        return PURPOSES["root"]
    usage = x509.Certificate.load(issuer.certificate).extended_key_usage_value
    stated = frozenset(() if usage is None else usage.native)
    for purpose in PURPOSES.values():
        if stated and stated == frozenset(purpose.extended_key_usage):
            return purpose
    raise IssuanceError(f"the CA {issuer.label} is for nothing that is issued here")


def newest_key(core: Core, issuer: Issuer) -> Issuer:
    """The newest issuing key of a CA: of all that bear its subject name, the last."""
    name = x509.Certificate.load(issuer.certificate).subject.dump()
    return [known for known in core.store.issuers() if x509.Certificate.load(known.certificate).subject.dump() == name][
        -1
    ]


def standing_of(core: Core, issuer: Issuer) -> Status:
    """The status of a CA's own certificate, at its parent."""
    return core.store.certificate(issuer.id if issuer.parent is None else issuer.parent, issuer.serial).status


def examine(
    core: Core,
    issuer: Issuer,
    profile: Profile,
    *,
    subject: bytes,
    public_key: bytes,
    names: tuple[str, ...] = (),
) -> Contents:
    """Check what is to be certified: its contents, still without a serial. Raises RequestRefused.

    A revoked CA certifies nothing but delegates, who go on saying so about everything it has issued.
    """
    purpose = purpose_of(issuer)
    if profile.name not in purpose.profiles and profile is not OCSP_DELEGATE:
        raise RequestRefused(f"the CA {issuer.label} ({purpose.name}) does not issue {profile.name} certificates")
    if profile is not OCSP_DELEGATE and standing_of(core, issuer).state is CertificateState.REVOKED:
        raise RequestRefused(f"the CA {issuer.label} is revoked")
    issuer_key = x509.Certificate.load(issuer.certificate).public_key.dump()
    check_key(public_key, profile.keys, issuer_key=issuer_key)
    now = core.now()
    not_before = max(now - BACKDATE, issuer.not_before)
    not_after = min(profile.validity.last_second(not_before), issuer.not_after)
    if not_after <= now:
        raise RequestRefused(f"the CA {issuer.label} expired at {format_time(issuer.not_after)}")
    if purpose.answered_after_expiry is not None and profile is not OCSP_DELEGATE:
        needed = purpose.answered_after_expiry.end(not_after)
        if needed > issuer.not_after:
            raise RequestRefused(
                f"the CA {issuer.label} ends at {format_time(issuer.not_after)}, but has to answer for this certificate"
                f" until {format_time(needed)}: create a new CA"
            )
    contents = Contents(
        profile=profile,
        serial=_NONE_YET,
        subject=subject,
        public_key=public_key,
        not_before=not_before,
        not_after=not_after,
        issuer=issuer.certificate,
        pointers=core.settings.pointers(issuer.label) if profile.pointers else None,
        names=names,
    )
    check_logs(core, contents)
    return contents


def prepare(
    core: Core,
    issuer: Issuer,
    profile: Profile,
    *,
    subject: bytes,
    public_key: bytes,
    names: tuple[str, ...] = (),
    serial: int | None = None,
) -> Draft:
    """Examine, and commit the serial (a fresh one, unless given). Raises RequestRefused."""
    contents = examine(core, issuer, profile, subject=subject, public_key=public_key, names=names)

    def commit(chosen: int) -> None:
        core.store.reserve(issuer.id, chosen, profile.name, contents.not_after, core.now())

    if serial is None:
        return reserve(core, issuer, contents, commit)
    commit(serial)
    return Draft(issuer, replace(contents, serial=serial))


def reserve(core: Core, issuer: Issuer, contents: Contents, commit: Callable[[int], None]) -> Draft:
    """Have a fresh serial committed for examined contents; ``commit`` raises what the store does."""
    for _ in range(_ATTEMPTS):
        chosen = new_serial(core)
        try:
            commit(chosen)
        except Conflict:
            if _is_free(core, issuer, chosen):
                raise  # for another reason than the serial
        else:
            return Draft(issuer, replace(contents, serial=chosen))
    raise IssuanceError("the source of random numbers repeats itself")


def _is_free(core: Core, issuer: Issuer, serial: int) -> bool:
    try:
        core.store.certificate(issuer.id, serial)
    except NotFound:
        return True
    return False


def issue(
    core: Core, draft: Draft, digest: str | None = None, *, deliver: Callable[[bytes], None] | None = None
) -> bytes:
    """Sign, record, and only then return the certificate's DER. ``digest`` is the hashlib name of the one to sign with,
    where the issuer's usual one will not do. ``deliver`` is given the DER before it is recorded, for what must be on
    the disk before the certificate counts. Raises IllegalMove when the serial is not reserved any more: the draft was
    used, or its serial revoked.

    With Certificate Transparency it is a precertificate that is recorded, and completed then: see ``complete`` for
    what is raised besides.
    """
    contents = draft.contents
    logged = is_logged(core, contents.profile)
    der = assemble(contents, core.signer(draft.issuer, digest), (POISON,) if logged else ())
    if deliver is not None and not logged:
        deliver(der)
    core.store.record(
        draft.issuer.id,
        contents.serial,
        der,
        subject_text(der),
        contents.not_before,
        contents.not_after,
        core.now(),
    )
    return complete(core, draft.issuer, der, deliver=deliver) if logged else der


def subject_text(certificate: bytes) -> str:
    """The subject as an RFC 4514 string, which starts with CN."""
    return checked_x509.load_der_x509_certificate(certificate).subject.rfc4514_string()


def key_type_of(public_key: bytes) -> KeyType:
    """The type of a key, from its SubjectPublicKeyInfo. Raises IssuanceError when none such can be generated here."""
    match load_der_public_key(public_key):
        case rsa.RSAPublicKey() as key if f"rsa-{key.key_size}" in set(KeyType):
            return KeyType(f"rsa-{key.key_size}")
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return KeyType.P256
        case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
            return KeyType.P384
        case ed25519.Ed25519PublicKey():
            return KeyType.ED25519
        case mldsa.MLDSA65PublicKey():
            return KeyType.ML_DSA_65
        case _:
            raise IssuanceError("the key is of a type that cannot be generated here")
