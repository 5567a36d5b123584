"""A delegated OCSP signer: checked once when it is loaded, then trusted (RFC 6960 §4.2.2.2, BR §7.1.2.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from ca_store import der
from ca_store.types import CredentialKind, format_serial
from ocsp.settings import MIN_VALIDITY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca_store.signing import Signer
    from ca_store.types import Credential, Issuer

TEN_YEARS: Final = 3653 * 86_400
"""Seconds for which a code-signing certificate is answered for after its end, at least (CSBR §4.10.1). A code-signing
CA is valid for so much longer than what it issues, and no status row is ever purged.
"""

_DIGESTS: Final = frozenset({"sha256", "sha384", "sha512"})
_RSA_BITS: Final = 2048  # BR §6.1.5
_NAMES: Final = (NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)  # BR §7.1.2.10.2
_FORBIDDEN: Final = {
    ExtensionOID.CRL_DISTRIBUTION_POINTS: "cRLDistributionPoints",
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME: "subjectAltName",
    ExtensionOID.NAME_CONSTRAINTS: "nameConstraints",
}
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)


class DelegateRefused(Exception):  # noqa: N818 - named as its meaning
    """A credential that may not speak for its issuer; the sentence names the certificate and every field at fault."""


@dataclass(frozen=True, slots=True, eq=False)
class Delegate:
    """A key that speaks for one issuing key, and the parts of its answers that never change.

    Times are POSIX seconds.
    """

    issuer: Issuer
    serial: int
    """Of the delegate's own certificate."""
    signer: Signer
    not_before: int
    not_after: int
    """The last second in which both the delegate and its CA are valid: no answer may outlive either."""
    active_from: int
    responder_id: bytes
    """ResponderID, byKey (RFC 9919 §3.2.2)."""
    certificates: bytes
    """The ``certs`` field: this certificate, once, and no other."""
    default: bool = True
    """Speaks where no client's preference chooses another."""
    retention: int | None = None
    """Seconds after its end for which a certificate's status is still answered, where that is promised."""

    def speaks(self, begins: int, now: int) -> bool:
        """Whether an answer of the window that began at ``begins`` can be made with it at ``now``. It falls silent
        before its end, so that no answer is valid for less than BR §4.9.9 asks for.
        """
        return self.active_from <= now < self.not_after >= max(begins, self.not_before) + MIN_VALIDITY


def delegate_name(credential: Credential, issuer: Issuer) -> str:
    """How a sentence names the certificate of a credential."""
    return f"the certificate of OCSP delegate {format_serial(credential.serial)} of {issuer.label}"


def load_delegate(credential: Credential, issuer: Issuer, signer: Signer, now: int) -> Delegate:
    """Check a credential against the profile of BR §7.1.2.8 and against its key. Raises DelegateRefused."""
    name = delegate_name(credential, issuer)
    try:
        certificate = x509.load_der_x509_certificate(credential.certificate)
        ca = x509.load_der_x509_certificate(issuer.certificate)
        faults = [
            *_record_faults(credential, issuer, certificate),
            *_key_faults(certificate, ca, signer),
            *_time_faults(certificate, issuer, now),
            *_profile_faults(certificate),
            *_authority_faults(certificate, ca),
        ]
    except (ValueError, x509.DuplicateExtension) as error:
        raise DelegateRefused(f"{name} cannot be read: {error}") from error
    if faults:
        raise DelegateRefused(f"{name} is refused: {'; '.join(faults)}")
    not_before = int(certificate.not_valid_before_utc.timestamp())
    key = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return Delegate(
        issuer=issuer,
        serial=certificate.serial_number,
        signer=signer,
        not_before=not_before,
        not_after=min(int(certificate.not_valid_after_utc.timestamp()), issuer.not_after),
        active_from=max(credential.active_from, not_before),
        responder_id=der.context(2, der.octet_string(key.digest)),
        certificates=der.context(0, der.sequence(credential.certificate)),
        default=credential.name == issuer.label,
        retention=_retention(ca),
    )


def _retention(ca: x509.Certificate) -> int | None:
    try:
        usages = ca.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    return TEN_YEARS if ExtendedKeyUsageOID.CODE_SIGNING in usages else None


def _record_faults(credential: Credential, issuer: Issuer, certificate: x509.Certificate) -> Iterator[str]:
    if credential.kind is not CredentialKind.OCSP:
        yield f"its credential is for {credential.kind}"
    if credential.issuer != issuer.id:
        yield "its credential belongs to another issuer"
    if credential.serial != certificate.serial_number:
        yield f"serialNumber is {format_serial(certificate.serial_number)}"


def _key_faults(certificate: x509.Certificate, ca: x509.Certificate, signer: Signer) -> Iterator[str]:
    # RFC 6960 §4.2.2.2: issued "directly by the CA that is identified in the request".
    try:
        certificate.verify_directly_issued_by(ca)
    except InvalidSignature:
        yield "signature was not made by the issuer's key"
    except (TypeError, ValueError) as error:
        yield f"issuer is not this CA ({error})"
    digest = certificate.signature_hash_algorithm
    if digest is None or digest.name not in _DIGESTS:
        yield "signatureAlgorithm must use SHA-256, SHA-384 or SHA-512"
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _RSA_BITS:
            yield f"subjectPublicKeyInfo is RSA of {key.key_size} bits: at least {_RSA_BITS} are needed"
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        yield "subjectPublicKeyInfo must be RSA or EC"
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if spki != signer.public_key:
        yield "subjectPublicKeyInfo is not that of the private key"


def _time_faults(certificate: x509.Certificate, issuer: Issuer, now: int) -> Iterator[str]:
    if certificate.not_valid_after_utc.timestamp() <= now:
        yield f"notAfter is {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC, which is past"
    if issuer.not_after <= now:
        yield "notAfter of its CA is past"


def _profile_faults(certificate: x509.Certificate) -> Iterator[str]:
    extensions = {extension.oid: extension for extension in certificate.extensions}
    if certificate.version is not x509.Version.v3:
        yield "version must be v3"
    if any(len(certificate.subject.get_attributes_for_oid(oid)) != 1 for oid in _NAMES):
        yield "subject must have one countryName, one organizationName and one commonName"
    usages = extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)
    if usages is None or list(usages.value) != [ExtendedKeyUsageOID.OCSP_SIGNING]:
        yield "extendedKeyUsage must be OCSPSigning and nothing else"
    if ExtensionOID.OCSP_NO_CHECK not in extensions:
        yield "id-pkix-ocsp-nocheck is missing"
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    if usage is None or not usage.critical or usage.value != _DIGITAL_SIGNATURE:
        yield "keyUsage must be critical and digitalSignature only"
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if constraints is not None and constraints.value != x509.BasicConstraints(ca=False, path_length=None):
        yield "basicConstraints must be absent or empty"
    for oid, extension in extensions.items():
        if oid in _FORBIDDEN:
            yield f"{_FORBIDDEN[oid]} must not be there"
        elif extension.critical and oid not in _UNDERSTOOD:
            yield f"critical extension {oid.dotted_string} is not understood"


def _authority_faults(certificate: x509.Certificate, ca: x509.Certificate) -> Iterator[str]:
    """BR §7.1.2.11.1: the issuer's key identifier, and neither its name nor its serial."""
    try:
        stated = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        yield "authorityKeyIdentifier is missing"
        return
    own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    if stated != x509.AuthorityKeyIdentifier(own, None, None):
        yield "authorityKeyIdentifier must be the CA's subjectKeyIdentifier and nothing else"


_DIGITAL_SIGNATURE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
