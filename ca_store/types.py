"""Records of the CA database, frozen and free of any database library.

Times are whole POSIX seconds in UTC (``int``). Serial numbers are ``int``: two spellings of one serial are one
serial. On the outside a serial is lower-case hexadecimal without prefix or leading zeros.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, NamedTuple, NewType

IssuerID = NewType("IssuerID", int)
"""Identifies one issuing key: a CA subject with a new key is a new issuer."""

MAX_SERIAL: Final = (1 << 160) - 1
"""Serial numbers have at most 20 octets (RFC 5280 §4.1.2.2)."""


class HashAlgorithm(enum.Enum):
    """Hashes under which an issuer can be named in an OCSP CertID; the value is the OID."""

    SHA1 = "1.3.14.3.2.26"
    SHA256 = "2.16.840.1.101.3.4.2.1"
    SHA384 = "2.16.840.1.101.3.4.2.2"
    SHA512 = "2.16.840.1.101.3.4.2.3"


class Reason(enum.IntEnum):
    """CRLReason (RFC 5280 §5.3.1), under that section's names."""

    unspecified = 0
    keyCompromise = 1  # noqa: N815 - RFC 5280's own spelling, which the command line takes
    cACompromise = 2  # noqa: N815 - the same
    affiliationChanged = 3  # noqa: N815 - the same
    superseded = 4
    cessationOfOperation = 5  # noqa: N815 - the same
    certificateHold = 6  # noqa: N815 - the same
    removeFromCRL = 8  # noqa: N815 - the same
    privilegeWithdrawn = 9  # noqa: N815 - the same
    aACompromise = 10  # noqa: N815 - the same


class CertificateState(enum.IntEnum):
    """Where a serial stands. Legal moves: reserved → good, reserved → revoked, good → revoked, revoked → revoked.

    A *reserved* serial was committed before its certificate was signed, and no certificate has left the process:
    it is not assigned yet, hence never answered good (BR §4.9.10). The last move corrects reason or time of a
    revocation.
    """

    RESERVED = 0
    GOOD = 1
    REVOKED = 2


class Status(NamedTuple):
    """The compact row that an answer is made from."""

    state: CertificateState
    changed_at: int
    """When the certificate was issued or its status last changed, by the issuance clock."""
    not_after: int
    revoked_at: int | None = None
    """The revocation time to publish; may lie before ``changed_at`` (CSBR §4.9.6)."""
    reason: Reason | None = None
    sct_list: bytes | None = None
    """SignedCertificateTimestampList (RFC 6962 §3.3) over the final certificate, for OCSP answers to carry."""


@dataclass(frozen=True, slots=True)
class IssuerHash:
    """How a CertID names an issuer: hashes of its DER name and of its subjectPublicKey contents (RFC 6960 §4.1.1)."""

    algorithm: HashAlgorithm
    name_hash: bytes
    key_hash: bytes


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuing key and its CA certificate."""

    id: IssuerID
    label: str
    certificate: bytes
    """DER."""
    parent: IssuerID | None
    """None for a self-signed root."""
    serial: int
    """The CA certificate's own serial, a row under ``parent`` (for a root: under itself)."""
    not_before: int
    not_after: int
    hashes: tuple[IssuerHash, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """One issued certificate with its status."""

    issuer: IssuerID
    issuer_label: str
    serial: int
    profile: str
    subject: str
    """RFC 4514 string."""
    not_before: int
    not_after: int
    status: Status
    der: bytes | None
    """None while the serial is only reserved."""


class CredentialKind(enum.StrEnum):
    """What an online key speaks for."""

    OCSP = "ocsp"
    TSA = "tsa"


@dataclass(frozen=True, slots=True)
class Credential:
    """An online signing key: an OCSP delegate of one issuing key, or a TSA unit."""

    id: int
    kind: CredentialKind
    name: str
    """OCSP: the issuer's label for its default delegate, ``label.algorithm`` for one that only a client's preference
    chooses. TSA: the unit's name."""
    issuer: IssuerID
    serial: int
    certificate: bytes
    """DER."""
    key_reference: str
    """``file:keys/NAME.key`` relative to the home (encrypted PKCS#8); other schemes (``pkcs11:``) have room here."""
    active_from: int
    """From this time on the credential speaks; the newest active one of a name wins."""
    not_after: int


@dataclass(frozen=True, slots=True)
class CRL:
    """One signed CRL."""

    issuer: IssuerID
    number: int
    this_update: int
    next_update: int
    der: bytes


@dataclass(frozen=True, slots=True)
class SerialBlock:
    """Time-stamp serials reserved for one process: ``prefix`` ‖ counter, counter from 0 to ``size`` - 1.

    ``prefix`` is a positive fixed-length integer (first octet 0x40 to 0x7f) with at least 64 fresh random bits, so that
    a block lost from a restored database is still never handed out again.
    """

    prefix: bytes
    size: int


class ChangeKind(enum.StrEnum):
    """What a committed change touched."""

    STATUS = "status"
    ISSUER = "issuer"
    CREDENTIAL = "credential"
    CRL = "crl"


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change, as the feed delivers it."""

    kind: ChangeKind
    issuer: IssuerID
    serial: int | None = None
    """The certificate's serial for STATUS, else None."""
    recorded_at: float | None = field(default=None, compare=False)
    """Since when, by this machine's monotonic clock, it may have been on record: at this moment or later it was written
    by the transaction that then committed. None where the feed cannot tell."""


@dataclass(frozen=True, slots=True)
class Institution:
    """A subscriber organisation: the names its certificates carry and the domains it may have certificates for."""

    name: str
    country: str
    state: str | None
    locality: str | None
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Officer:
    """A registration officer: who applies for an institution, known by a client certificate that was issued here."""

    name: str
    mail: str
    institution: str
    """The name of the one institution that is spoken for."""
    issuer: IssuerID
    serial: int
    """Of the officer's certificate."""


@dataclass(frozen=True, slots=True)
class Application:
    """What one certificate was issued for. It is on record from the moment that a serial was reserved for it."""

    digest: bytes
    """SHA-256 of what was asked: who asks the same again is the same applicant."""
    action: str
    officer: Officer
    fields: str
    """What the applicant wrote, as a JSON object."""
    issuer: IssuerID
    serial: int
    received_at: int


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Something that was decided, by whom and why (BR §5.4.1). Never changed."""

    at: int
    actor: str
    event: str
    detail: str
    """A JSON object."""


@dataclass(frozen=True, slots=True)
class CAACheck:
    """A look at the CAA records for one name, and what it permitted (RFC 8659)."""

    name: str
    """As it was to be certified, ``*.`` included; the domain of a mail address."""
    tag: str
    """The property that was asked about: ``issue``, ``issuewild`` or ``issuemail``."""
    checked_at: int
    ttl: int
    """Seconds that DNS allows the records to be kept."""
    source: str | None
    """The domain whose records were found; None when there were none up to the root."""
    records: tuple[str, ...]
    """In presentation format."""
    permitted: bool
    sentence: str
    """Why."""


def format_serial(serial: int) -> str:
    """Lower-case hexadecimal without prefix or leading zeros: the one spelling shown outside."""
    return f"{serial:x}"


def parse_serial(text: str) -> int:
    """Read a serial from hex in any case, with or without ``0x``, leading zeros or colons. Raises ValueError."""
    digits = text.strip().lower().removeprefix("0x").replace(":", "")
    if not digits or any(digit not in "0123456789abcdef" for digit in digits):
        raise ValueError(f"{text!r} is not a hexadecimal serial number")
    serial = int(digits, 16)
    if not 0 < serial <= MAX_SERIAL:
        raise ValueError(f"{text!r} is not a positive serial number of at most 20 octets")
    return serial
