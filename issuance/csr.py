"""Certificate signing requests (RFC 2986): what is taken from them, and the keys that may be certified.

A request gives a public key and proposes names. Its other extensions are never copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import NameOID

from issuance.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from issuance.profile import KeyRule

MAX_RSA_BITS: Final = 8192
_PUBLIC_EXPONENT: Final = 65537
_PEM: Final = b"-----BEGIN"


@dataclass(frozen=True, slots=True)
class Request:
    """What a verified request asks for."""

    public_key: bytes
    """DER SubjectPublicKeyInfo, encoded anew."""
    common_name: str | None
    organization: str | None
    dns_names: tuple[str, ...]
    mail_addresses: tuple[str, ...]
    subject: tuple[tuple[str, str], ...] = ()
    """(RFC 4514 key or OID, value) of each attribute, in the order of the encoding."""


def decode_request(data: bytes) -> Request:
    """Read a PEM or DER request. Raises RequestRefused when it is none, or its signature is not its own key's."""
    try:
        csr = x509.load_pem_x509_csr(data) if _PEM in data else x509.load_der_x509_csr(data)
        valid = csr.is_signature_valid
        digest = csr.signature_hash_algorithm
        public_key = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        common_name = _single(csr.subject, NameOID.COMMON_NAME)
        organization = _single(csr.subject, NameOID.ORGANIZATION_NAME)
        dns_names, mail_addresses = _alternative_names(csr)
        subject = tuple((attribute.rfc4514_attribute_name, str(attribute.value)) for attribute in csr.subject)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise RequestRefused(
            f"this is not a certificate signing request that can be read: {_one_line(error)}"
        ) from None
    if not valid:
        raise RequestRefused("the request is not signed by the key that it asks to certify")
    if isinstance(digest, (hashes.SHA1, hashes.MD5)):
        raise RequestRefused(f"the request is signed with {digest.name}, which is no longer accepted")
    return Request(public_key, common_name, organization, dns_names, mail_addresses, subject)


def check_key(public_key: bytes, rule: KeyRule, *, issuer_key: bytes | None = None) -> None:
    """Raises RequestRefused unless the key is one that ``rule`` certifies (BR §6.1.5, §6.1.6). ``issuer_key`` is the
    issuing CA's, for rules that ask for a key of the same kind. Both are DER SubjectPublicKeyInfo.
    """
    try:
        key = load_der_public_key(public_key)
        issuer = None if issuer_key is None else load_der_public_key(issuer_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestRefused(f"the public key cannot be read: {_one_line(error)}") from None
    if rule.kind_of_issuer and issuer is not None and isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        _check_kind(key, issuer)
    match key:
        case rsa.RSAPublicKey():
            _check_rsa(key, rule)
        case ec.EllipticCurvePublicKey() if rule.curves:
            if key.curve.name not in rule.curves:
                raise RequestRefused(f"the key is on the curve {key.curve.name}, not on {_either(rule.curves)}")
        case ec.EllipticCurvePublicKey():
            raise RequestRefused("the key is an EC key, which this profile does not certify: use RSA")
        case ed25519.Ed25519PublicKey() | mldsa.MLDSA65PublicKey() if rule.beyond_the_forum:
            pass
        case _:
            raise RequestRefused(f"the key is neither RSA{' nor EC' if rule.curves else ''}")


def _check_kind(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, issuer: object) -> None:
    if isinstance(issuer, rsa.RSAPublicKey) != isinstance(key, rsa.RSAPublicKey):
        mine, its = ("RSA", "EC") if isinstance(key, rsa.RSAPublicKey) else ("EC", "RSA")
        raise RequestRefused(f"the key is an {mine} key, but this CA certifies {its} keys only")


def _check_rsa(key: rsa.RSAPublicKey, rule: KeyRule) -> None:
    numbers = key.public_numbers()
    if key.key_size < rule.rsa_bits:
        raise RequestRefused(f"the RSA key has {key.key_size} bits: at least {rule.rsa_bits} are required")
    if key.key_size > MAX_RSA_BITS or key.key_size % 8:
        raise RequestRefused(f"the RSA key has {key.key_size} bits: a multiple of 8 up to {MAX_RSA_BITS} is required")
    if numbers.e != _PUBLIC_EXPONENT:
        raise RequestRefused(f"the RSA key has the exponent {numbers.e}, not {_PUBLIC_EXPONENT}")


def _single(subject: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    values = subject.get_attributes_for_oid(oid)
    if len(values) > 1:
        raise ValueError(f"its subject has {len(values)} {oid._name} attributes")  # noqa: SLF001 - the only name it has
    return str(values[0].value) if values else None


def _alternative_names(csr: x509.CertificateSigningRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    for name in names:
        if not isinstance(name, x509.DNSName | x509.RFC822Name):
            raise ValueError(f"a {type(name).__name__} cannot be certified as an alternative name")  # noqa: TRY004 - the name is refused, not its type
    return (
        _once(names.get_values_for_type(x509.DNSName)),
        _once(names.get_values_for_type(x509.RFC822Name)),
    )


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _either(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
