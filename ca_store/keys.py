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
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ca_store.errors import Conflict, KeyUnavailable
from ca_store.signing import (
    ALGORITHMS,
    ECDSA_SHA256,
    ECDSA_SHA384,
    ECDSA_SHA512,
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

_GENERATORS: Final[Mapping[KeyType, Callable[[], rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey]]] = {
    KeyType.RSA_2048: lambda: rsa.generate_private_key(65537, 2048),
    KeyType.RSA_3072: lambda: rsa.generate_private_key(65537, 3072),
    KeyType.RSA_4096: lambda: rsa.generate_private_key(65537, 4096),
    KeyType.P256: lambda: ec.generate_private_key(ec.SECP256R1()),
    KeyType.P384: lambda: ec.generate_private_key(ec.SECP384R1()),
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

    def load(self, reference: str, algorithm: SignatureAlgorithm | None = None) -> Signer:
        """A signer for the key under ``reference``.

        Without ``algorithm``, RSA and P-256 sign SHA-256 digests and P-384 signs SHA-384. Raises KeyUnavailable with a
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


def _signer(path: Path, key: object, algorithm: SignatureAlgorithm | None) -> Signer:
    if isinstance(key, rsa.RSAPrivateKey):
        chosen = algorithm or SHA256_RSA
        if chosen in _RSA_ALGORITHMS:
            _check_pair(path, key)
            return RSASigner(key, chosen)
    elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        chosen = algorithm or (ECDSA_SHA256 if isinstance(key.curve, ec.SECP256R1) else ECDSA_SHA384)
        if chosen in _EC_ALGORITHMS:
            return ECDSASigner(key, chosen)
    else:
        raise KeyUnavailable(f"{path} holds a key of a kind that is not supported: use RSA, P-256 or P-384")
    raise KeyUnavailable(f"{path} cannot sign with {chosen.name}; known: {', '.join(ALGORITHMS)}")


def _check_pair(path: Path, key: rsa.RSAPrivateKey) -> None:
    """Raise KeyUnavailable unless the public half verifies what the private half signs."""
    probe, scheme, digest = b"probe", padding.PKCS1v15(), hashes.SHA256()
    try:
        key.public_key().verify(key.sign(probe, scheme, digest), probe, scheme, digest)
    except (InvalidSignature, ValueError):
        raise KeyUnavailable(f"{path} is damaged: its private and public halves do not belong together") from None


def _public_key_info(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
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
