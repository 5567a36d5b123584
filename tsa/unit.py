"""One time-stamping unit: a key, its certificate and what it issues; checked before it is put to use."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asn1crypto import x509 as raw_x509
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca_store import der
from ca_store.path import PathError, check_path
from ca_store.signing import ED25519, ML_DSA_65
from tsa.authenticode import CountersignatureTemplate
from tsa.errors import UnitRefused
from tsa.policy import DIGEST_SIZES, RequestPolicy
from tsa.token import SignerIdentity, TokenTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.signing import Signer
    from ca_store.types import Credential, Issuer, IssuerID
    from tsa.settings import UnitSettings

MIN_RSA_BITS: Final = 3072
"""CSBR §6.1.5.2."""
_MILLI: Final = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """The row of one certificate of a unit's path, for the revocation check."""

    issuer: IssuerID
    serial: int
    name: str
    """Which certificate it is, for people."""


@dataclass(frozen=True, slots=True, eq=False)
class SigningUnit:
    """A key with its certificate, which may sign from ``not_before`` to ``not_after`` (POSIX seconds, both within)."""

    name: str
    settings: UnitSettings
    signer: Signer
    subject: str
    """RFC 4514 string."""
    certificates: tuple[bytes, ...]
    """DER of the unit's certificate and its issuers, the root last."""
    rows: tuple[Row, ...]
    not_before: int
    not_after: int
    """The earliest end of the validity of the path's certificates and of the private key's usage period."""
    begins: int
    """``not_before`` in milliseconds."""
    ends: int
    """The millisecond after ``not_after``."""
    granularity: int
    """Milliseconds to which genTime is cut."""
    slack: float
    """Seconds that the stated accuracy leaves for the clock's error."""

    def cut(self, reading: float) -> int:
        """POSIX milliseconds for genTime: cut, never rounded up."""
        milliseconds = int(reading * _MILLI)
        return milliseconds - milliseconds % self.granularity


@dataclass(frozen=True, slots=True, eq=False)
class Unit(SigningUnit):
    """A unit that issues tokens."""

    policy: RequestPolicy
    template: TokenTemplate
    tsa_name: bytes
    """DER subject name: units of one name share one space of serials (RFC 3161 §2.4.2)."""
    max_token_size: int


@dataclass(frozen=True, slots=True, eq=False)
class AuthenticodeUnit(SigningUnit):
    """A unit that makes countersignatures, and nothing else: a key for RFC 3161 is reserved for that (§2.3)."""

    template: CountersignatureTemplate


@dataclass(frozen=True, slots=True)
class UnitDescription:
    """What clients are told about a unit."""

    name: str
    subject: str
    policy: str
    policies: tuple[str, ...]
    """Every policy a request may name, the default first."""
    accuracy_seconds: float
    gen_time: str
    """``second`` or ``millisecond``: what genTime is cut to."""
    digests: tuple[str, ...]
    signature_algorithm: str
    certificates: tuple[bytes, ...]
    """DER, the unit's own first, the root last."""
    not_after: int
    max_token_size: int
    """The most octets of a TimeStampToken with certificates, for a nonce of at most 32 octets; a longer one adds its
    own length.
    """
    baseline: bool
    """Whether the CA/B Forum's Code Signing Baseline Requirements list the key's kind (CSBR §6.1.5.2)."""
    windows: bool
    """Whether Windows accepts the key's kind for time-stamping: RSA alone (Microsoft Trusted Root Program §3.1.20)."""


def load_unit(
    name: str, settings: UnitSettings, credential: Credential, chain: Sequence[Issuer], signer: Signer, now: int
) -> Unit:
    """Check a credential and make a unit of it. ``chain`` is the issuing CA, its issuer, and so on to the root.
    Raises UnitRefused with a sentence that names the certificate and the field.
    """
    common = _load(name, settings, credential, chain, signer, now)
    identity, tsa_name = _identity(credential.certificate)
    template = TokenTemplate(
        identity,
        _companions(chain, settings),
        signer.algorithm,
        settings.accuracy_milliseconds,
        ess_cert_id_v1=settings.ess_cert_id_v1,
        fraction=settings.gen_time == "millisecond",
    )
    policies = [der.oid(oid) for oid in (settings.policy, *settings.policies)]
    return Unit(
        **common,
        policy=RequestPolicy(settings),
        template=template,
        tsa_name=tsa_name,
        max_token_size=template.largest(
            policies, max(DIGEST_SIZES[digest] for digest in settings.digests), signer.signature_size
        ),
    )


def load_authenticode_unit(
    name: str, settings: UnitSettings, credential: Credential, chain: Sequence[Issuer], signer: Signer, now: int
) -> AuthenticodeUnit:
    """The same for a unit of the protocol from before RFC 3161, whose key is RSA: its clients know nothing else."""
    common = _load(name, settings, credential, chain, signer, now)
    if "RSA" not in signer.algorithm.name:
        raise UnitRefused(
            f"the certificate of time-stamping unit {name}: subjectPublicKeyInfo is not RSA, which Authenticode needs"
        )
    identity, _ = _identity(credential.certificate)
    return AuthenticodeUnit(
        **common, template=CountersignatureTemplate(identity, _companions(chain, settings), signer.algorithm)
    )


def _load(
    name: str, settings: UnitSettings, credential: Credential, chain: Sequence[Issuer], signer: Signer, now: int
) -> dict[str, Any]:
    """The fields that units of both kinds have. Raises UnitRefused."""
    certificate = x509.load_der_x509_certificate(credential.certificate)
    label = f"the certificate of time-stamping unit {name}"
    check_certificate(certificate, label)
    _check_signer(certificate, signer, label)
    issuers = [x509.load_der_x509_certificate(issuer.certificate) for issuer in chain]
    if not issuers:
        raise UnitRefused(f"{label}: its issuer is not known here")
    try:
        check_path(certificate, issuers[:-1], issuers[-1:], now)
    except PathError as error:
        raise UnitRefused(f"{label}: {error}") from error
    not_before, not_after = _period([certificate, *issuers], label, now)
    return {
        "name": name,
        "settings": settings,
        "signer": signer,
        "subject": certificate.subject.rfc4514_string(),
        "certificates": (credential.certificate, *(issuer.certificate for issuer in chain)),
        "rows": _rows(name, credential, chain),
        "not_before": not_before,
        "not_after": not_after,
        "begins": not_before * _MILLI,
        "ends": (not_after + 1) * _MILLI,
        "granularity": settings.granularity_milliseconds,
        "slack": (settings.accuracy_milliseconds - settings.granularity_milliseconds) / _MILLI,
    }


def describe(unit: Unit) -> UnitDescription:
    """What clients are told about a unit."""
    settings = unit.settings
    return UnitDescription(
        name=unit.name,
        subject=unit.subject,
        policy=settings.policy,
        policies=tuple(dict.fromkeys((settings.policy, *settings.policies))),
        accuracy_seconds=settings.accuracy_seconds,
        gen_time=settings.gen_time,
        digests=settings.digests,
        signature_algorithm=unit.signer.algorithm.name,
        certificates=unit.certificates,
        not_after=unit.not_after,
        max_token_size=unit.max_token_size,
        baseline=unit.signer.algorithm not in (ED25519, ML_DSA_65),
        windows="RSA" in unit.signer.algorithm.name,
    )


def check_certificate(certificate: x509.Certificate, label: str) -> None:
    """The rules for a time-stamping certificate itself (RFC 3161 §2.3, CSBR §6.1.5.2 and §7.1.2.3). Raises UnitRefused;
    ``label`` says whose certificate it is.
    """
    check_purpose(certificate, label)
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise UnitRefused(
                f"{label}: subjectPublicKeyInfo is RSA of {key.key_size} bits, not {MIN_RSA_BITS} or more"
            )
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            raise UnitRefused(f"{label}: subjectPublicKeyInfo is on {key.curve.name}, neither P-256 nor P-384")
    elif not isinstance(key, ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey):
        raise UnitRefused(f"{label}: subjectPublicKeyInfo is none of RSA, P-256, P-384, Ed25519 and ML-DSA-65")


def check_purpose(certificate: x509.Certificate, label: str) -> None:
    """extKeyUsage, keyUsage and basicConstraints of a time-stamping certificate. Raises UnitRefused."""
    extensions = certificate.extensions
    try:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        raise UnitRefused(f"{label}: extKeyUsage is missing") from error
    if list(purposes.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise UnitRefused(f"{label}: extKeyUsage must be timeStamping and nothing else")
    if not purposes.critical:
        raise UnitRefused(f"{label}: extKeyUsage is not critical")
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise UnitRefused(f"{label}: keyUsage is missing") from error
    if not usage.digital_signature:
        raise UnitRefused(f"{label}: keyUsage lacks digitalSignature")
    if usage.key_cert_sign or usage.crl_sign:
        raise UnitRefused(f"{label}: keyUsage has keyCertSign or cRLSign")
    for extension in extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            raise UnitRefused(f"{label}: basicConstraints says it is a CA")


def _check_signer(certificate: x509.Certificate, signer: Signer, label: str) -> None:
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if spki != signer.public_key:
        raise UnitRefused(f"{label}: subjectPublicKeyInfo is not that of the unit's key")
    # CSBR §6.8: the digest that signs the token is the digest that signed the certificate.
    digest = certificate.signature_hash_algorithm
    if digest is None or digest.name != signer.algorithm.digest:
        raise UnitRefused(
            f"{label}: signatureAlgorithm has {digest.name if digest else 'no digest'}, but the unit signs with"
            f" {signer.algorithm.name}"
        )


def _period(path: Sequence[x509.Certificate], label: str, now: int) -> tuple[int, int]:
    """(first, last) second in which the unit may sign. Raises UnitRefused when ``now`` is outside."""
    starts = [int(certificate.not_valid_before_utc.timestamp()) for certificate in path]
    ends = [int(certificate.not_valid_after_utc.timestamp()) for certificate in path]
    field = "validity"
    for extension in path[0].extensions:
        if isinstance(extension.value, x509.PrivateKeyUsagePeriod):
            period = extension.value
            if period.not_before is not None:
                starts.append(_seconds(period.not_before))
            if period.not_after is not None:
                ends.append(_seconds(period.not_after))
            field = "validity or privateKeyUsagePeriod"
    first, last = max(starts), min(ends)
    if now < first:
        raise UnitRefused(f"{label}: {field} has not begun")
    if now > last:
        raise UnitRefused(f"{label}: {field} is over")
    return first, last


def _seconds(moment: dt.datetime) -> int:
    """A naive UTC datetime, as privateKeyUsagePeriod has it, in POSIX seconds."""
    return int(moment.replace(tzinfo=dt.UTC).timestamp())


def _companions(chain: Sequence[Issuer], settings: UnitSettings) -> list[bytes]:
    """The certificates that go along with the unit's own."""
    match settings.certificates:
        case "leaf":
            return []
        case "intermediates":
            return [issuer.certificate for issuer in chain if issuer.parent is not None]
        case "root":
            return [issuer.certificate for issuer in chain]


def _identity(certificate: bytes) -> tuple[SignerIdentity, bytes]:
    """What a token repeats of its signer's certificate, and the subject name."""
    # Names must be repeated octet for octet, so they are cut out of the certificate rather than encoded again.
    fields = raw_x509.Certificate.load(certificate)["tbs_certificate"]
    identity = SignerIdentity(certificate, fields["issuer"].dump(), fields["serial_number"].dump())
    return identity, fields["subject"].dump()


def _rows(name: str, credential: Credential, chain: Sequence[Issuer]) -> tuple[Row, ...]:
    return (
        Row(credential.issuer, credential.serial, f"unit {name}"),
        *(
            Row(issuer.id if issuer.parent is None else issuer.parent, issuer.serial, f"CA {issuer.label}")
            for issuer in chain
        ),
    )
