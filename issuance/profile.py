"""Certificate profiles, as data: what each kind of certificate carries and what its key must be.

BR is the CA/Browser Forum's TLS Baseline Requirements 2.2.6, SBR their S/MIME and CSBR their Code Signing counterpart.
OIDs are asn1crypto's names where it has one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ca_store.signing import KeyType
from ca_store.types import Reason
from issuance.period import Period

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKDATE: Final = 3_600
"""Seconds that notBefore lies before the signing, for relying parties with a slow clock (BR §7.1.2.8 allows a day)."""

SERVER_POLICY: Final = "2.23.140.1.2.2"  # organization-validated (BR §7.1.6.1)
CODE_SIGNING_POLICY: Final = "2.23.140.1.4.1"  # CSBR §7.1.6.1
TIMESTAMP_POLICY: Final = "2.23.140.1.4.2"  # CSBR §7.1.6.1
SMIME_POLICY: Final = "2.23.140.1.5.1.2"  # mailbox-validated, multipurpose (SBR §7.1.6.1)
CLIENT_POLICY: Final = "1.3.6.1.4.1.32473.1.1"  # RFC 5612's number for examples; the configuration names the real one

_SUBSCRIBER_REASONS: Final = frozenset(
    {
        Reason.unspecified,
        Reason.keyCompromise,
        Reason.affiliationChanged,
        Reason.superseded,
        Reason.cessationOfOperation,
        Reason.privilegeWithdrawn,
    }
)  # BR §7.2.2
_CA_REASONS: Final = _SUBSCRIBER_REASONS - {Reason.unspecified}  # BR §7.3: a revoked CA carries its reason
_TSA_REASONS: Final = _CA_REASONS - {Reason.privilegeWithdrawn}  # RFC 3161 §4: any other voids every token of the key

_NAME: Final = ("country_name", "organization_name", "common_name")
_ORGANIZATION: Final = (
    "country_name",
    "state_or_province_name",
    "locality_name",
    "organization_name",
    "common_name",
)


class AlternativeNames(enum.StrEnum):
    """What a certificate's subjectAltName holds."""

    NONE = "none"
    DNS = "dns_name"
    MAIL = "rfc822_name"


@dataclass(frozen=True, slots=True)
class KeyRule:
    """The keys a profile certifies; RSA keys always have the exponent 65537 and a length divisible by 8."""

    rsa_bits: int
    """The fewest bits of an RSA modulus."""
    curves: frozenset[str] = frozenset()
    kind_of_issuer: bool = False
    """The key is of the kind of the issuer's own: RSA under RSA, EC under EC."""
    beyond_the_forum: bool = False
    """Ed25519 and ML-DSA-65 keys, too, which no CA/B Forum requirement lists yet."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of certificate."""

    name: str
    validity: Period
    """A certificate never outlives its issuer, whatever stands here."""
    keys: KeyRule
    key_usage: frozenset[str]
    reasons: frozenset[Reason]
    """What it may be revoked for."""
    subject: tuple[str, ...] = _NAME
    """The attributes it has, all of which are required except one of state and locality."""
    rsa_key_usage: frozenset[str] = frozenset()
    """Set besides ``key_usage`` when the key is RSA."""
    extended_key_usage: tuple[str, ...] = ()
    extended_key_usage_critical: bool = False
    policies: tuple[str, ...] = ()
    alternative_names: AlternativeNames = AlternativeNames.NONE
    ca: bool = False
    path_length: int | None = None
    pointers: bool = True
    """AIA (OCSP and issuer certificate) and CRL distribution point are present."""
    ocsp_no_check: bool = False
    private_key_usage: Period | None = None
    """How long after notBefore the key may sign, where that is less than the validity."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a CA is for. Its certificate's extended key usage says it, so that it needs no record of its own."""

    name: str
    extended_key_usage: tuple[str, ...]
    profiles: frozenset[str]
    """What it issues, besides OCSP delegates."""
    policies: tuple[str, ...] = ()
    delegate_key: KeyType = KeyType.P256
    """Windows knows no ECC for code signing and time-stamping (Microsoft Trusted Root Program §3.1.20)."""
    answered_after_expiry: Period | None = None
    """How long after a certificate's end its status is still answered: the CA must last that much longer."""


_DIGITAL_SIGNATURE: Final = frozenset({"digital_signature"})
_CA_USAGE: Final = frozenset({"key_cert_sign", "crl_sign"})
_TEN_YEARS: Final = Period(months=120)  # CSBR §4.10.1
_CA_KEYS: Final = KeyRule(rsa_bits=3072, curves=frozenset({"secp384r1"}))

ROOT: Final = Profile(
    name="root",
    validity=Period(months=12 * 25),  # BR §6.3.2: 9132 days at most
    keys=_CA_KEYS,
    key_usage=_CA_USAGE,
    reasons=frozenset(),
    ca=True,
    pointers=False,
)
SUB_CA: Final = Profile(
    name="sub-ca",
    validity=Period(months=12 * 20),
    keys=_CA_KEYS,
    key_usage=_CA_USAGE,
    reasons=_CA_REASONS,
    ca=True,
    path_length=0,
)
SERVER: Final = Profile(
    name="server",
    validity=Period(
        days=199
    ),  # BR §6.3.2: never more than 200 from 2026-03-15, 100 from 2027-03-15, 47 from 2029-03-15
    keys=KeyRule(rsa_bits=2048, curves=frozenset({"secp384r1"}), kind_of_issuer=True),
    key_usage=_DIGITAL_SIGNATURE,
    reasons=_SUBSCRIBER_REASONS,
    subject=_ORGANIZATION,
    extended_key_usage=("server_auth",),
    policies=(SERVER_POLICY,),
    alternative_names=AlternativeNames.DNS,
)
CLIENT: Final = Profile(
    name="client",
    validity=Period(months=52),
    keys=KeyRule(rsa_bits=2048),
    key_usage=_DIGITAL_SIGNATURE,
    reasons=_SUBSCRIBER_REASONS,
    subject=_ORGANIZATION,
    extended_key_usage=("client_auth",),
    policies=(CLIENT_POLICY,),
)
SMIME: Final = Profile(
    name="smime",
    validity=Period(days=824),  # SBR §6.3.2: never more than 825
    keys=KeyRule(rsa_bits=2048),
    key_usage=_DIGITAL_SIGNATURE,
    rsa_key_usage=frozenset({"key_encipherment"}),
    reasons=_SUBSCRIBER_REASONS,
    # SBR §7.1.4.2.3: only the mailbox was validated, so it is all that is named; naming the organisation as well
    # takes its organizationIdentifier, which no institution's record has.
    subject=("common_name",),
    extended_key_usage=("email_protection", "client_auth"),
    policies=(SMIME_POLICY,),
    alternative_names=AlternativeNames.MAIL,
)
CODE_SIGNING: Final = Profile(
    name="code-signing",
    validity=Period(days=460),  # CSBR §6.3.2, from 2026-03-01
    keys=KeyRule(rsa_bits=3072),  # CSBR §6.1.5.2
    key_usage=_DIGITAL_SIGNATURE,
    reasons=_SUBSCRIBER_REASONS,
    subject=_ORGANIZATION,
    extended_key_usage=("code_signing",),
    policies=(CODE_SIGNING_POLICY,),
)
OCSP_DELEGATE: Final = Profile(  # BR §7.1.2.8
    name="ocsp-delegate",
    validity=Period(days=90),
    keys=KeyRule(rsa_bits=3072, curves=frozenset({"secp256r1"})),
    key_usage=_DIGITAL_SIGNATURE,
    reasons=_SUBSCRIBER_REASONS,
    extended_key_usage=("ocsp_signing",),
    pointers=False,
    ocsp_no_check=True,
)
TSA_UNIT: Final = Profile(  # RFC 3161 §2.3, CSBR §7.1.2.3
    name="tsa-unit",
    validity=Period(months=135),  # CSBR §6.3.2
    keys=KeyRule(rsa_bits=3072, curves=frozenset({"secp256r1", "secp384r1"}), beyond_the_forum=True),
    key_usage=_DIGITAL_SIGNATURE,
    reasons=_TSA_REASONS,
    extended_key_usage=("time_stamping",),
    extended_key_usage_critical=True,
    policies=(TIMESTAMP_POLICY,),
    private_key_usage=Period(months=15),  # CSBR §6.3.2
)

PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile for profile in (ROOT, SUB_CA, SERVER, CLIENT, SMIME, CODE_SIGNING, OCSP_DELEGATE, TSA_UNIT)
}
SUBSCRIBER_PROFILES: Final = (SERVER.name, CLIENT.name, SMIME.name, CODE_SIGNING.name)
"""The profiles that are issued from a certificate signing request."""

PURPOSES: Final[Mapping[str, Purpose]] = {
    purpose.name: purpose
    for purpose in (
        Purpose(name="root", extended_key_usage=(), profiles=frozenset({"sub-ca"})),
        Purpose(
            name="server",
            extended_key_usage=("server_auth",),
            profiles=frozenset({"server"}),
            policies=(SERVER_POLICY,),
        ),
        Purpose(
            name="client",
            extended_key_usage=("client_auth", "email_protection"),
            profiles=frozenset({"client", "smime"}),
            policies=("any_policy",),
        ),
        Purpose(
            name="code-signing",
            extended_key_usage=("code_signing",),
            profiles=frozenset({"code-signing"}),
            policies=(CODE_SIGNING_POLICY,),
            delegate_key=KeyType.RSA_3072,
            answered_after_expiry=_TEN_YEARS,
        ),
        Purpose(
            name="timestamp",
            extended_key_usage=("time_stamping",),
            profiles=frozenset({"tsa-unit"}),
            policies=(TIMESTAMP_POLICY,),
            delegate_key=KeyType.RSA_3072,
        ),
    )
}
