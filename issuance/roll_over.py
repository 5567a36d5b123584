"""A new key for a CA: a new issuer with the same subject name.

The certificates of the previous key point to its label, so that keeps its label, its CRLs and its OCSP delegate, and
its serials stay assigned. Only what is issued from now on is the new key's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asn1crypto import x509

from issuance.authority import Plan, complete, create
from issuance.errors import SetupRefused
from issuance.issuer import key_type_of, newest_key, purpose_of

if TYPE_CHECKING:
    from ca_store.signing import KeyType
    from ca_store.types import Issuer
    from issuance.core import Core


def rekey(core: Core, issuer: Issuer, *, label: str | None = None, key_type: KeyType | None = None) -> Issuer:
    """Give a CA a new key, under ``label`` (numbered, unless given) and of its kind (unless ``key_type`` says another).
    An interrupted attempt is completed. Raises SetupRefused, NameRefused, Conflict.
    """
    newest = newest_key(core, issuer)
    if newest.id != issuer.id:
        if label in (None, newest.label) and complete(core, newest):
            return newest
        raise SetupRefused(f"{issuer.label} has a newer key already: {newest.label}")
    certificate = x509.Certificate.load(issuer.certificate)
    names = certificate.subject.native
    return create(
        core,
        Plan(
            label=label or _numbered(issuer.label),
            purpose=purpose_of(issuer).name,
            parent=_parent(core, issuer),
            key_type=key_type or key_type_of(certificate.public_key.dump()),
            common_name=names["common_name"],
            organization=names["organization_name"],
            country=names["country_name"],
            subject=certificate.subject.dump(),
        ),
    )


def _parent(core: Core, issuer: Issuer) -> str | None:
    if issuer.parent is None:
        return None
    return newest_key(core, next(known for known in core.store.issuers() if known.id == issuer.parent)).label


def _numbered(label: str) -> str:
    """``label-2`` after ``label``, ``label-3`` after that."""
    stem, _, number = label.rpartition("-")
    return f"{stem}-{int(number) + 1}" if stem and number.isdecimal() else f"{label}-2"
