"""What a signer is. Key material never shows here: an HSM or a cloud KMS is one more implementation."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ca_store import der

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyType(enum.StrEnum):
    """Keys that can be generated, under the names the command line and the configuration use."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P256 = "p256"
    P384 = "p384"
    ED25519 = "ed25519"
    ML_DSA_65 = "ml-dsa-65"


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """A signature algorithm with everything that is written about it into certificates, answers and tokens."""

    name: str
    """As RFC 8017 and RFC 5758 spell it: ``sha256WithRSAEncryption``, ``ecdsa-with-SHA384``."""
    identifier: bytes
    """DER AlgorithmIdentifier: RSA with NULL parameters, all others without any (RFC 4055 §5, RFC 5758 §3.2, RFC 8410
    §3, RFC 9881 §2).
    """
    digest: str
    """hashlib name of the digest that is signed: ``sha256``, ``sha384`` or ``sha512``. Ed25519 and ML-DSA sign the
    message itself; theirs is the digest that CMS has beside them (RFC 8419 §3, RFC 9882 §3.3).
    """
    digest_oid: str


def _rsa(bits: int, arc: int, digest_arc: int) -> SignatureAlgorithm:
    oid = der.oid(f"1.2.840.113549.1.1.{arc}")
    return SignatureAlgorithm(
        f"sha{bits}WithRSAEncryption",
        der.sequence(oid, der.NULL),
        f"sha{bits}",
        f"2.16.840.1.101.3.4.2.{digest_arc}",
    )


def _ecdsa(bits: int, arc: int, digest_arc: int) -> SignatureAlgorithm:
    oid = der.oid(f"1.2.840.10045.4.3.{arc}")
    return SignatureAlgorithm(
        f"ecdsa-with-SHA{bits}", der.sequence(oid), f"sha{bits}", f"2.16.840.1.101.3.4.2.{digest_arc}"
    )


SHA256_RSA: Final = _rsa(256, 11, 1)
SHA384_RSA: Final = _rsa(384, 12, 2)
SHA512_RSA: Final = _rsa(512, 13, 3)
ECDSA_SHA256: Final = _ecdsa(256, 2, 1)
ECDSA_SHA384: Final = _ecdsa(384, 3, 2)
ECDSA_SHA512: Final = _ecdsa(512, 4, 3)
ED25519: Final = SignatureAlgorithm("Ed25519", der.sequence(der.oid("1.3.101.112")), "sha512", SHA512_RSA.digest_oid)
ML_DSA_65: Final = SignatureAlgorithm(
    "ML-DSA-65", der.sequence(der.oid("2.16.840.1.101.3.4.3.18")), "sha512", SHA512_RSA.digest_oid
)

ALGORITHMS: Final[Mapping[str, SignatureAlgorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        SHA256_RSA,
        SHA384_RSA,
        SHA512_RSA,
        ECDSA_SHA256,
        ECDSA_SHA384,
        ECDSA_SHA512,
        ED25519,
        ML_DSA_65,
    )
}


class Signer(Protocol):
    """A key that signs. Safe to call from several threads at once."""

    @property
    def public_key(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        ...

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """The algorithm of every signature this signer makes."""
        ...

    @property
    def slow(self) -> bool:
        """True when a signature takes long enough to leave the event loop for it."""
        ...

    @property
    def signature_size(self) -> int:
        """The most octets a signature can have."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Sign ``data`` (the message, not its digest). The same message gives the same signature, always:
        RSA is PKCS#1 v1.5 and ECDSA takes its nonce from RFC 6979. ML-DSA alone is hedged with randomness (FIPS 204
        §3.4), so no OCSP delegate uses it. Raises KeyUnavailable when the key is gone.
        """
        ...
