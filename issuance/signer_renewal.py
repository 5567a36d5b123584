"""Online signers: an OCSP delegate for each issuing key and the time-stamping units, renewed before their end.

An issuing key may have delegates of several algorithms, each with a tenure of its own: the default one bears the CA's
label, and one that only a client's preference chooses (RFC 6960 §4.4.7) bears its kind of key besides.

A renewal is a new key, a certificate for it and a credential that names both, in this order: interrupted anywhere it
leaves the old signer speaking and at worst an unused key file, and is repeated from the start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from asn1crypto import x509

from ca_store.errors import NotFound
from ca_store.signing import KeyType
from ca_store.types import CertificateState, Credential, CredentialKind, format_serial
from issuance.certificate import encode_name
from issuance.errors import SetupRefused
from issuance.issuer import issue, key_type_of, new_serial, newest_key, prepare, purpose_of
from issuance.naming import check_label
from issuance.period import DAY
from issuance.profile import OCSP_DELEGATE, TSA_UNIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.signing import Signer
    from ca_store.types import Issuer
    from issuance.core import Core
    from issuance.profile import Profile

LEAD: Final = 3_600
"""Seconds between an ordinary renewal and the moment the new signer speaks: every node has learnt of it by then, and
all change over together.
"""
OVERLAP: Final = DAY
"""Seconds that a signer stays on record after its successor has begun to speak."""
DELEGATE_KEYS: Final = (KeyType.RSA_3072, KeyType.P256)
"""The keys a delegate may have."""

_SILENCE: Final = 8 * 3_600
"""Seconds before its end in which a delegate no longer speaks: no answer may be valid for less (BR §4.9.9)."""

_SHORT: Final = 8
_REMAINING: Final = 3
"""A signer is renewed when less than one part in so many of its life is left."""


@dataclass(frozen=True, slots=True)
class Tenure:
    """A credential with the span in which its key may speak. Times are POSIX seconds."""

    credential: Credential
    not_before: int
    until: int
    """The end of the certificate, or of its private-key usage period where that comes first."""
    state: CertificateState

    def is_due(self, now: int) -> bool:
        """Whether too little of the span is left, or the certificate was revoked."""
        if self.state is not CertificateState.GOOD:
            return True
        return (self.until - now) * _REMAINING < self.until - self.not_before

    def speaks(self, now: int) -> bool:
        """Whether answers are signed with it now."""
        return self.state is CertificateState.GOOD and self.credential.active_from <= now < self.until


def tenures(core: Core, kind: CredentialKind, name: str | None = None) -> Sequence[Tenure]:
    """Credentials of one kind (and name) in order of creation."""
    return [
        _tenure(core, credential)
        for credential in core.store.credentials(kind)
        if name is None or credential.name == name
    ]


def ensure_delegate(core: Core, issuer: Issuer) -> bool:
    """Give an issuer its first OCSP delegate; whether it had none."""
    if any(tenure.credential.issuer == issuer.id for tenure in tenures(core, CredentialKind.OCSP, issuer.label)):
        return False
    renew_delegate(core, issuer)
    return True


def delegate_keys(core: Core, issuer: Issuer) -> Sequence[KeyType]:
    """The keys in which an issuing key has delegates: its purpose's, then every other that is on record."""
    names = {credential.name for credential in core.store.credentials(CredentialKind.OCSP)}
    default = purpose_of(issuer).delegate_key
    return [default, *(key for key in DELEGATE_KEYS if key is not default and _delegate_name(issuer, key) in names)]


def renew_delegate(
    core: Core, issuer: Issuer, *, key_type: KeyType | None = None, force: bool = False
) -> Credential | None:
    """Renew an OCSP delegate of an issuing key (the default one, unless ``key_type`` says another, which is made if
    there is none) when that is due, at once when none speaks now (a successor may wait while the one before it was
    revoked), or always with ``force``. None when it was not.
    """
    now = core.now()
    key_type = key_type or purpose_of(issuer).delegate_key
    name = _delegate_name(issuer, key_type)
    present = _newest(core, CredentialKind.OCSP, name)
    known = tenures(core, CredentialKind.OCSP, name)
    at_once = force or not any(tenure.speaks(now) for tenure in known)
    if issuer.not_after <= now or not (at_once or _wanted(core, issuer, present)):
        return None
    return _renew(core, CredentialKind.OCSP, name, issuer, key_type, present, force=at_once)


def retire_delegates(core: Core, issuer: Issuer, key_type: KeyType) -> None:
    """Take the delegates of an algorithm other than the default out of use. Raises SetupRefused, NotFound."""
    if key_type is purpose_of(issuer).delegate_key:
        raise SetupRefused(f"the {key_type} delegate of {issuer.label} is its default: without it nobody may speak")
    known = tenures(core, CredentialKind.OCSP, _delegate_name(issuer, key_type))
    if not known:
        raise NotFound(f"{issuer.label} has no {key_type} delegate")
    for tenure in known:
        core.store.retire_credential(tenure.credential.id, core.now())


def _delegate_name(issuer: Issuer, key_type: KeyType) -> str:
    # No label has a full stop, so no other CA's delegate can bear this name.
    return issuer.label if key_type is purpose_of(issuer).delegate_key else f"{issuer.label}.{key_type}"


def renew_unit(
    core: Core, name: str, *, force: bool = False, key_type: KeyType | None = None, retry_revoked: bool = True
) -> Credential | None:
    """Renew a time-stamping unit when that is due, or always with ``force``. None when it was not.

    A unit that does not exist is made, under the one CA there is for time-stamping; ``key_type`` (RSA-3072 at first)
    is otherwise the one it has. Without ``retry_revoked`` a unit whose certificate was revoked is left silent: that it
    speaks again is a person's decision. Raises SetupRefused, NameRefused.
    """
    present = _newest(core, CredentialKind.TSA, name)
    if present is None:
        check_label("name of a unit", name)
        issuer = _timestamp_ca(core)
        return _renew(core, CredentialKind.TSA, name, issuer, key_type or KeyType.RSA_3072, None, force=force)
    if present.state is CertificateState.REVOKED and not retry_revoked:
        return None
    issuer = newest_key(core, next(each for each in core.store.issuers() if each.id == present.credential.issuer))
    if issuer.not_after <= core.now() or not (force or _wanted(core, issuer, present)):
        return None
    wanted = key_type or key_type_of(x509.Certificate.load(present.credential.certificate).public_key.dump())
    return _renew(core, CredentialKind.TSA, name, issuer, wanted, present, force=force)


def renew_all(core: Core, *, force: bool = False) -> Sequence[Credential]:
    """Renew every signer that is due, and take out of use those that have been succeeded or have ended."""
    renewed = [
        renew_delegate(core, issuer, key_type=key_type, force=force)
        for issuer in core.store.issuers()
        for key_type in delegate_keys(core, issuer)
    ]
    renewed += [renew_unit(core, name, force=force, retry_revoked=False) for name in unit_names(core)]
    retire_succeeded(core)
    return [credential for credential in renewed if credential is not None]


def unit_names(core: Core) -> Sequence[str]:
    """The time-stamping units on record, in order of their creation."""
    return list(dict.fromkeys(credential.name for credential in core.store.credentials(CredentialKind.TSA)))


def retire_succeeded(core: Core) -> None:
    """Retire credentials whose certificate has ended, or whose successor has spoken for long enough."""
    now = core.now()
    credentials = core.store.credentials()
    for credential in credentials:
        succeeded = any(
            (other.kind, other.name) == (credential.kind, credential.name)
            and credential.active_from < other.active_from <= now - OVERLAP
            for other in credentials
        )
        if succeeded or credential.not_after < now:
            core.store.retire_credential(credential.id, now)


def _wanted(core: Core, issuer: Issuer, present: Tenure | None) -> bool:
    now = core.now()
    if present is None:
        return True
    # A successor would end with the CA, no later.
    if present.until >= issuer.not_after and present.state is CertificateState.GOOD:
        return False
    return present.is_due(now)


def _renew(
    core: Core,
    kind: CredentialKind,
    name: str,
    issuer: Issuer,
    key_type: KeyType,
    present: Tenure | None,
    *,
    force: bool,
) -> Credential:
    profile, title = {
        CredentialKind.OCSP: (OCSP_DELEGATE, f"OCSP Responder {name}"),
        CredentialKind.TSA: (TSA_UNIT, f"Time-Stamping Unit {name}"),
    }[kind]
    serial = new_serial(core)
    reference = f"file:keys/{kind.value}-{name}-{format_serial(serial)[:_SHORT]}.key"
    core.keys.generate(reference, key_type)
    certificate = _certify(core, issuer, profile, title, serial, core.key(reference))
    now = core.now()
    able = present is not None and present.state is CertificateState.GOOD and present.until > now + LEAD + _SILENCE
    credential = Credential(
        id=0,
        kind=kind,
        name=name,
        issuer=issuer.id,
        serial=serial,
        certificate=certificate,
        key_reference=reference,
        active_from=now + LEAD if able and not force else now,
        not_after=core.store.certificate(issuer.id, serial).not_after,
    )
    if force:
        for waiting in core.store.credentials(kind):
            if waiting.name == name and waiting.active_from > now:
                core.store.retire_credential(waiting.id, now)
    return replace(credential, id=core.store.add_credential(credential, now))


def _certify(core: Core, issuer: Issuer, profile: Profile, title: str, serial: int, signer: Signer) -> bytes:
    above = x509.Certificate.load(issuer.certificate).subject.native
    subject = encode_name(
        {
            "country_name": above["country_name"],
            "organization_name": above["organization_name"],
            "common_name": title,
        }
    )
    draft = prepare(core, issuer, profile, subject=subject, public_key=signer.public_key, serial=serial)
    # CSBR §6.8: the digest that signs a token is the one that signed its unit's certificate.
    return issue(core, draft, signer.algorithm.digest if profile is TSA_UNIT else None)


def _newest(core: Core, kind: CredentialKind, name: str) -> Tenure | None:
    found = tenures(core, kind, name)
    return max(found, key=lambda tenure: (tenure.credential.active_from, tenure.credential.id), default=None)


def _tenure(core: Core, credential: Credential) -> Tenure:
    certificate = x509.Certificate.load(credential.certificate)
    until = credential.not_after
    usage = certificate.private_key_usage_period_value
    if usage is not None and usage["not_after"].native is not None:
        until = min(until, int(usage["not_after"].native.timestamp()))
    return Tenure(
        credential,
        int(certificate.not_valid_before.timestamp()),
        until,
        core.store.certificate(credential.issuer, credential.serial).status.state,
    )


def _timestamp_ca(core: Core) -> Issuer:
    every = [issuer for issuer in core.store.issuers() if purpose_of(issuer).name == "timestamp"]
    found = [issuer for issuer in every if newest_key(core, issuer).id == issuer.id]
    if len(found) != 1:
        raise SetupRefused(f"a new time-stamping unit needs exactly one CA for timestamp: there are {len(found)}")
    return found[0]
