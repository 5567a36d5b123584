"""PKCS #12 files for subscribers whose key is made for them, and the PINs that open them."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

if TYPE_CHECKING:
    from collections.abc import Sequence

RSA_BITS: Final = 2048
MIN_PIN: Final = 6
MAX_PIN: Final = 32
_MADE_PIN: Final = 16
_ALPHABET: Final = string.ascii_letters + string.digits
_ROUNDS: Final = 50_000
_OLD_ROUNDS: Final = 2_048


def generate_key() -> rsa.RSAPrivateKey:
    """A subscriber's key. Never for servers (BR §6.1.1.3)."""
    return rsa.generate_private_key(65537, RSA_BITS)


def make_pin() -> str:
    """Sixteen letters and digits, about 95 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_MADE_PIN))


def is_pin(text: str) -> bool:
    """ASCII without spaces, because systems encode other characters in different ways."""
    return MIN_PIN <= len(text) <= MAX_PIN and all("!" <= character <= "~" for character in text)


def encode_pkcs12(
    name: str, key: rsa.RSAPrivateKey, certificate: bytes, chain: Sequence[bytes], pin: str, *, old: bool
) -> bytes:
    """Key, certificate and the CAs above it (DER). ``old`` is for systems that know no AES in PKCS #12, such as
    Windows Server 2016 and macOS 12; all others take AES-256.
    """
    builder = PrivateFormat.PKCS12.encryption_builder()
    if old:
        algorithm = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC
        builder = builder.kdf_rounds(_OLD_ROUNDS).key_cert_algorithm(algorithm).hmac_hash(hashes.SHA1())  # noqa: S303 - what they know
    else:
        algorithm = pkcs12.PBES.PBESv2SHA256AndAES256CBC
        builder = builder.kdf_rounds(_ROUNDS).key_cert_algorithm(algorithm).hmac_hash(hashes.SHA256())
    return pkcs12.serialize_key_and_certificates(
        name.encode(),
        key,
        x509.load_der_x509_certificate(certificate),
        [x509.load_der_x509_certificate(each) for each in chain],
        builder.build(pin.encode()),
    )
