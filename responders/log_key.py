"""The key that signs the checkpoints of the log of tokens: a node's own, made at its first start."""

from __future__ import annotations

import contextlib
import logging
import ssl
from typing import TYPE_CHECKING, Final

from ca_store.errors import Conflict
from ca_store.signing import ED25519, KeyType
from responders.config import ConfigError
from tsa.note import raw_public_key

if TYPE_CHECKING:
    from pathlib import Path

    from ca_store.home import Home
    from tsa.log_settings import LogSettings

PUBLIC_KEY: Final = "public-key.pem"
"""Everybody's half, in the folder of the logs."""
_logger: Final = logging.getLogger(__name__)
_HEAD, _FOOT = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"


def ensure_log_key(home: Home, settings: LogSettings) -> None:
    """Make the key if there is none, and write its public half. Raises KeyUnavailable, ConfigError."""
    keys = home.keys()
    with contextlib.suppress(Conflict):
        keys.generate(settings.key, KeyType.ED25519)
    signer = keys.load(settings.key)
    if signer.algorithm is not ED25519:
        raise ConfigError(f"[log] key: {settings.key} is not an Ed25519 key")
    pem = ssl.DER_cert_to_PEM_cert(signer.public_key).replace("CERTIFICATE", "PUBLIC KEY")
    file = home.path / settings.folder / PUBLIC_KEY
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != pem:
            file.write_text(pem)
    except OSError as error:
        # The server answers OCSP all the same, and says that it cannot record tokens.
        _logger.error("%s cannot be written: %s", file, error.strerror)  # noqa: TRY400 - no use for our stack


def read_public_key(file: Path) -> bytes:
    """The 32 octets of an Ed25519 public key in PEM. Raises ValueError, OSError."""
    pem = file.read_text().strip()
    if not (pem.startswith(_HEAD) and pem.endswith(_FOOT)):
        raise ValueError(f"{file} is not a public key in PEM")
    encoded = ssl.PEM_cert_to_DER_cert(pem.replace("PUBLIC KEY", "CERTIFICATE"))
    if not encoded.startswith(b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70"):
        raise ValueError(f"{file} is not an Ed25519 key")
    return raw_public_key(encoded)
