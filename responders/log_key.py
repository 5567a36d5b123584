"""The key that signs the checkpoints of the log of tokens: a node's own, made at its first start."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from ca_store.errors import Conflict
from ca_store.signing import ED25519, KeyType
from responders.config import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from ca_store.home import Home
    from tsa.log_settings import LogSettings

PUBLIC_KEY: Final = "public-key.pem"
"""Everybody's half, in the folder of the logs."""
_logger: Final = logging.getLogger(__name__)


def ensure_log_key(home: Home, settings: LogSettings) -> None:
    """Make the key if there is none, and write its public half. Raises KeyUnavailable, ConfigError."""
    keys = home.keys()
    with contextlib.suppress(Conflict):
        keys.generate(settings.key, KeyType.ED25519)
    signer = keys.load(settings.key)
    if signer.algorithm is not ED25519:
        raise ConfigError(f"[log] key: {settings.key} is not an Ed25519 key")
    pem = load_der_public_key(signer.public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file = home.path / settings.folder / PUBLIC_KEY
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_bytes() != pem:
            file.write_bytes(pem)
    except OSError as error:
        # The server answers OCSP all the same, and says that it cannot record tokens.
        _logger.error("%s cannot be written: %s", file, error.strerror)  # noqa: TRY400 - no use for our stack


def read_public_key(file: Path) -> bytes:
    """The 32 octets of an Ed25519 public key in PEM. Raises ValueError, OSError."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except ValueError:
        raise ValueError(f"{file} is not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{file} is not an Ed25519 key")  # noqa: TRY004 - the file is refused, not its type
    return key.public_bytes_raw()
