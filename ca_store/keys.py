"""Private keys: the only module that ever holds one.

A key reference names where a key is: ``file:keys/NAME.key`` is an encrypted PKCS#8 file below the home. Other schemes
are refused by name, which leaves room for ``pkcs11:`` URIs (RFC 7512).
"""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

from ca_store.errors import Conflict, KeyUnavailable
from ca_store.signing import (
    ALGORITHMS,
    ECDSA_SHA256,
    ECDSA_SHA384,
    ECDSA_SHA512,
    ED25519,
    ML_DSA_65,
    SHA256_RSA,
    SHA384_RSA,
    SHA512_RSA,
    KeyType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ca_store.signing import SignatureAlgorithm, Signer

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_RSA_ALGORITHMS: Final = (SHA256_RSA, SHA384_RSA, SHA512_RSA)
_EC_ALGORITHMS: Final = (ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512)

_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey
_GENERATORS: Final[Mapping[KeyType, Callable[[], _PrivateKey]]] = {
    KeyType.RSA_2048: lambda: rsa.generate_private_key(65537, 2048),
    KeyType.RSA_3072: lambda: rsa.generate_private_key(65537, 3072),
    KeyType.RSA_4096: lambda: rsa.generate_private_key(65537, 4096),
    KeyType.P256: lambda: ec.generate_private_key(ec.SECP256R1()),
    KeyType.P384: lambda: ec.generate_private_key(ec.SECP384R1()),
    KeyType.ED25519: ed25519.Ed25519PrivateKey.generate,
    KeyType.ML_DSA_65: mldsa.MLDSA65PrivateKey.generate,
}


class RSASigner:
    """RSA, PKCS#1 v1.5 (RFC 8017 §8.2): deterministic."""

    slow: Final = True

    def __init__(self, key: rsa.RSAPrivateKey, algorithm: SignatureAlgorithm) -> None:
        self._key = key
        self._hash = _HASHES[algorithm.digest]
        self._padding = padding.PKCS1v15()
        self.algorithm = algorithm
        self.public_key = _public_key_info(key)
        self.signature_size = key.key_size // 8

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, self._padding, self._hash)


class ECDSASigner:
    """ECDSA with the nonce of RFC 6979: deterministic. Only P-256 is quicker than a hop to another thread."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, algorithm: SignatureAlgorithm) -> None:
        self._key = key
        self._scheme = ec.ECDSA(_HASHES[algorithm.digest], deterministic_signing=True)
        self.algorithm = algorithm
        self.public_key = _public_key_info(key)
        # SEQUENCE of two INTEGERs, each as wide as the order and perhaps one octet more for the sign.
        integers = 2 * (2 + (key.key_size + 7) // 8 + 1)
        self.signature_size = integers + 2 + (integers > 127)  # noqa: PLR2004 - the short form of a DER length
        self.slow = not isinstance(key.curve, ec.SECP256R1)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, self._scheme)


class MessageSigner:
    """Ed25519 (RFC 8032) and ML-DSA-65 in its pure form with an empty context (FIPS 204 §5.2): the message itself is
    signed, no digest of it.
    """

    def __init__(self, key: ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey) -> None:
        self._key = key
        self.slow = isinstance(key, mldsa.MLDSA65PrivateKey)
        self.algorithm, self.signature_size = (ML_DSA_65, 3309) if self.slow else (ED25519, 64)
        self.public_key = _public_key_info(key)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


class KeyStore:
    """The keys of one home.

    Args:
        root: the home; file references are relative to it and may not leave it.
        passphrase: what the files are encrypted with.
    """

    def __init__(self, root: Path, passphrase: bytes) -> None:
        self._root = root
        self._passphrase = passphrase

    def generate(self, reference: str, key_type: KeyType) -> None:
        """Make a key and keep it under ``reference``, complete or not at all, readable by its owner alone.

        Raises Conflict when the reference is taken, KeyUnavailable when it cannot be written.
        """
        path = self._path(reference)
        if path.exists():
            raise Conflict(f"{path} exists already: a key is never overwritten")
        encoded = _GENERATORS[key_type]().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                write_private(temporary, encoded)
                os.link(temporary, path)
            except FileExistsError:
                raise Conflict(f"{path} exists already: a key is never overwritten") from None
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(path.parent)
        except OSError as error:
            raise KeyUnavailable(f"{path} cannot be written: {error.strerror}") from None

    def load(self, reference: str, algorithm: SignatureAlgorithm | str | None = None) -> Signer:
        """A signer for the key under ``reference``.

        Without ``algorithm``, RSA and P-256 sign SHA-256 digests and P-384 signs SHA-384; ``algorithm`` may as well be
        the name of a digest, for the key's own algorithm with that one. Raises KeyUnavailable with a
        sentence: no such key, readable by others, wrong passphrase, not a key of a kind known here.
        """
        path = self._path(reference)
        check_private(path)
        try:
            # Proving an RSA key's primes takes 0.15 s, and every worker opens several at its start; `_check_pair` asks
            # what matters of a key that only this service could have encrypted.
            key = serialization.load_pem_private_key(
                path.read_bytes(), self._passphrase, unsafe_skip_rsa_key_validation=True
            )
        except TypeError:
            raise KeyUnavailable(f"{path} is not encrypted: keys at rest must be") from None
        except (ValueError, UnsupportedAlgorithm):
            raise KeyUnavailable(f"{path} is not a private key that the passphrase opens") from None
        return _signer(path, key, algorithm)

    def _path(self, reference: str) -> Path:
        scheme, _, rest = reference.partition(":")
        if scheme != "file" or not rest:
            raise KeyUnavailable(f"{reference!r} is not a key reference known here: use file:keys/NAME.key")
        path = (self._root / rest).resolve()
        if not path.is_relative_to(self._root.resolve()):
            raise KeyUnavailable(f"{reference!r} points outside the home {self._root}")
        return path


def _signer(path: Path, key: object, algorithm: SignatureAlgorithm | str | None) -> Signer:
    match key:
        case rsa.RSAPrivateKey():
            chosen = _chosen(path, _RSA_ALGORITHMS, algorithm or SHA256_RSA)
            _check_pair(path, key)
            return RSASigner(key, chosen)
        case ec.EllipticCurvePrivateKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            default = ECDSA_SHA256 if isinstance(key.curve, ec.SECP256R1) else ECDSA_SHA384
            return ECDSASigner(key, _chosen(path, _EC_ALGORITHMS, algorithm or default))
        case ed25519.Ed25519PrivateKey() | mldsa.MLDSA65PrivateKey():
            signer = MessageSigner(key)
            _chosen(path, (signer.algorithm,), algorithm or signer.algorithm)
            return signer
        case _:
            raise KeyUnavailable(f"{path} holds a key of a kind that is not supported: use {', '.join(KeyType)}")


def _chosen(path: Path, able: tuple[SignatureAlgorithm, ...], wanted: SignatureAlgorithm | str) -> SignatureAlgorithm:
    for each in able:
        if wanted in (each, each.digest):
            return each
    name = wanted if isinstance(wanted, str) else wanted.name
    raise KeyUnavailable(f"{path} cannot sign with {name}; known: {', '.join(ALGORITHMS)}")


def _check_pair(path: Path, key: rsa.RSAPrivateKey) -> None:
    """Raise KeyUnavailable unless the public half verifies what the private half signs."""
    probe, scheme, digest = b"probe", padding.PKCS1v15(), hashes.SHA256()
    try:
        key.public_key().verify(key.sign(probe, scheme, digest), probe, scheme, digest)
    except (InvalidSignature, ValueError):
        raise KeyUnavailable(f"{path} is damaged: its private and public halves do not belong together") from None


def _public_key_info(key: _PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def write_private(path: Path, content: bytes) -> None:
    """Create a file that only its owner can read, on the disk when this returns. Raises OSError, also if it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # A certificate must not outlive its key: the file's name, too, is on the disk before anything is signed.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_private(path: Path) -> None:
    """Raise KeyUnavailable unless the file exists and only its owner can read it."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise KeyUnavailable(f"{path} does not exist") from None
    except OSError as error:
        raise KeyUnavailable(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise KeyUnavailable(f"{path} is not a file")
    if mode & 0o077:
        raise KeyUnavailable(f"{path} can be read by others: its mode must be 0600, not {mode & 0o777:04o}")
    if not os.access(path, os.R_OK):
        raise KeyUnavailable(f"{path} cannot be read by this user")
