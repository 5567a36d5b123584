"""Certification authorities: making one so that an interrupted attempt can be repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from asn1crypto import x509

from ca_store.errors import Conflict, NotFound
from ca_store.issuers import issuer_hashes
from ca_store.signing import KeyType
from ca_store.types import Issuer, IssuerID
from issuance.certificate import Contents, assemble, encode_name
from issuance.crl import is_due, sign_crl
from issuance.csr import check_key
from issuance.errors import SetupRefused
from issuance.issuer import key_type_of, new_serial, prepare, purpose_of
from issuance.naming import check_country, check_label, check_text
from issuance.period import format_time
from issuance.profile import BACKDATE, CODE_SIGNING, PURPOSES, ROOT, SUB_CA
from issuance.signer_renewal import ensure_delegate

if TYPE_CHECKING:
    from ca_store.signing import Signer
    from issuance.core import Core
    from issuance.profile import Purpose


@dataclass(frozen=True, slots=True)
class Plan:
    """A CA to be created."""

    label: str
    purpose: str
    parent: str | None
    """The label of the CA above; None for a root."""
    key_type: KeyType
    common_name: str
    organization: str | None = None
    """None: the parent's."""
    country: str | None = None
    """None: the parent's."""
    subject: bytes | None = None
    """DER Name of a CA that gets a new key, which has to be the same to the octet; None: made of the names."""

    @property
    def key_reference(self) -> str:
        """Where its key is kept."""
        return f"file:keys/{self.label}.key"


def create(core: Core, plan: Plan) -> Issuer:
    """Create a CA with its first CRL and OCSP delegate. Raises SetupRefused, and Conflict when it is there already.

    What an interrupted attempt has left is used: its key, a CA without CRL, a CA without delegate.
    """
    issuer, news = ensure(core, plan)
    if not news:
        raise Conflict(f"there is a CA labelled {plan.label} already")
    return issuer


def ensure(core: Core, plan: Plan) -> tuple[Issuer, bool]:
    """The CA of a plan, and whether anything of it had to be made. Raises SetupRefused."""
    purpose = check_plan(plan)
    try:
        issuer = core.store.issuer(plan.label)
    except NotFound:
        issuer = _establish(core, plan, purpose)
        complete(core, issuer)
        return issuer, True
    return issuer, complete(core, issuer)


def complete(core: Core, issuer: Issuer) -> bool:
    """Give a CA the CRL and the OCSP delegate it lacks; whether it lacked any."""
    crl_missing = is_due(core, issuer)
    if crl_missing:
        sign_crl(core, issuer)
    return ensure_delegate(core, issuer) or crl_missing


def check_plan(plan: Plan) -> Purpose:
    """The purpose that is meant. Raises SetupRefused, NameRefused."""
    check_label("label", plan.label)
    try:
        purpose = PURPOSES[plan.purpose]
    except KeyError:
        raise SetupRefused(f"{plan.purpose!r} is no purpose of a CA: choose one of {', '.join(PURPOSES)}") from None
    if (plan.parent is None) != (purpose.name == "root"):
        raise SetupRefused("a root has no parent, and every other CA has one")
    if plan.parent is None and (plan.organization is None or plan.country is None):
        raise SetupRefused("a root needs an organization and a country")
    check_text("common name", plan.common_name)
    if plan.organization is not None:
        check_text("organization", plan.organization)
    if plan.country is not None:
        check_country(plan.country)
    if purpose.delegate_key is not KeyType.P256 and not plan.key_type.startswith("rsa"):
        raise SetupRefused(f"a {purpose.name} CA needs an RSA key: Windows accepts no EC there")
    return purpose


def own_key(core: Core, reference: str, key_type: KeyType) -> Signer:
    """A key of this reference: new, or left there by an interrupted attempt. Raises SetupRefused, KeyUnavailable."""
    try:
        core.keys.generate(reference, key_type)
    except Conflict:
        signer = core.key(reference)
        if key_type_of(signer.public_key) is not key_type:
            raise SetupRefused(f"{reference} is there already, and is no {key_type.value} key") from None
        return signer
    return core.key(reference)


def _establish(core: Core, plan: Plan, purpose: Purpose) -> Issuer:
    parent = None if plan.parent is None else core.store.issuer(plan.parent)
    if parent is not None:
        _check_parent(core, purpose, parent)
    subject = _subject(core, plan, parent)
    signer = own_key(core, plan.key_reference, plan.key_type)
    if parent is None:
        contents = _root_contents(core, subject, signer)
        certificate = assemble(contents, signer)
    else:
        contents = _sub_ca_contents(core, subject, purpose, parent, signer)
        certificate = assemble(contents, core.signer(parent))
    issuer = Issuer(
        id=IssuerID(0),
        label=plan.label,
        certificate=certificate,
        parent=None if parent is None else parent.id,
        serial=contents.serial,
        not_before=contents.not_before,
        not_after=contents.not_after,
        hashes=issuer_hashes(certificate),
    )
    core.store.add_issuer(issuer, plan.key_reference, core.now())
    return core.store.issuer(plan.label)


def _check_parent(core: Core, purpose: Purpose, parent: Issuer) -> None:
    """Refuse before a key is made what could not be of use."""
    if SUB_CA.name not in purpose_of(parent).profiles:
        raise SetupRefused(f"the CA {parent.label} does not issue CA certificates: name a root as the parent")
    if purpose.answered_after_expiry is not None:
        needed = purpose.answered_after_expiry.end(CODE_SIGNING.validity.last_second(core.now()))
        if parent.not_after < needed:
            raise SetupRefused(
                f"a {purpose.name} CA has to answer ten years after its certificates, until {format_time(needed)},"
                f" but {parent.label} ends at {format_time(parent.not_after)}"
            )


def _subject(core: Core, plan: Plan, parent: Issuer | None) -> bytes:
    """DER Name. Raises SetupRefused when another CA bears it."""
    if plan.subject is not None:
        return plan.subject
    above = {} if parent is None else x509.Certificate.load(parent.certificate).subject.native
    subject = encode_name(
        {
            "country_name": plan.country or above["country_name"],
            "organization_name": plan.organization or above["organization_name"],
            "common_name": plan.common_name,
        }
    )
    for known in core.store.issuers():
        if x509.Certificate.load(known.certificate).subject.dump() == subject:
            raise SetupRefused(
                f"the CA {known.label} has this name already: `issuance ca rekey {known.label}` gives it a new key"
            )
    return subject


def _root_contents(core: Core, subject: bytes, signer: Signer) -> Contents:
    check_key(signer.public_key, ROOT.keys)
    not_before = core.now() - BACKDATE
    return Contents(
        profile=ROOT,
        serial=new_serial(core),
        subject=subject,
        public_key=signer.public_key,
        not_before=not_before,
        not_after=ROOT.validity.last_second(not_before),
        issuer=None,
    )


def _sub_ca_contents(core: Core, subject: bytes, purpose: Purpose, parent: Issuer, signer: Signer) -> Contents:
    profile = replace(SUB_CA, extended_key_usage=purpose.extended_key_usage, policies=purpose.policies)
    return prepare(core, parent, profile, subject=subject, public_key=signer.public_key).contents
