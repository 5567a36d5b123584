"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file in place of the one that may be there, on the disk when this returns. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # A write says what failed and not where.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def encode_pem(certificate: bytes) -> bytes:
    """A DER certificate as PEM."""
    return load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


def publish(home: Path, name: str, certificate: bytes) -> None:
    """Write ``certs/NAME.pem`` in a home. Raises OSError."""
    replace_file(home / "certs" / f"{name}.pem", encode_pem(certificate))
