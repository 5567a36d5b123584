"""The ``[ct]`` section of a home's configuration: the logs, by URL, key, operator and dates."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from issuance.ct_log import Log
from issuance.errors import SetupRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATES: Final = ("usable_from", "usable_until", "expiry_from", "expiry_until")
_TEXTS: Final = ("url", "operator", "key")
_FEWEST_RSA_BITS: Final = 2048


def read_logs(document: Mapping[str, Any]) -> tuple[Log, ...] | None:
    """The logs in a parsed configuration; None where Certificate Transparency is off, as it is without a ``[ct]``.
    Raises SetupRefused with a sentence that names the field.
    """
    section = document.get("ct", {"enabled": False})
    if not isinstance(section, dict):
        raise SetupRefused("[ct] must be a table")
    for key in section:
        if key not in ("enabled", "logs"):
            raise SetupRefused(f"[ct] {key} is not a setting")
    enabled, stated = section.get("enabled", True), section.get("logs", [])
    if not isinstance(enabled, bool):
        raise SetupRefused("[ct] enabled must be true or false")
    if not isinstance(stated, list):
        raise SetupRefused("[ct] logs must be a list of tables")
    logs = tuple(_read_log(each, f"[ct] logs, number {number}:") for number, each in enumerate(stated, 1))
    for what, values in (("URL", {log.url for log in logs}), ("key", {log.key for log in logs})):
        if len(values) < len(logs):
            raise SetupRefused(f"[ct] logs: two of them have the same {what}")
    return logs if enabled else None


def _read_log(stated: object, where: str) -> Log:
    if not isinstance(stated, dict):
        raise SetupRefused(f"{where} it is not a table")
    for name in stated:
        if name not in (*_TEXTS, *_DATES):
            raise SetupRefused(f"{where} {name} is not a setting")
    for name in _TEXTS:
        if not isinstance(stated.get(name), str) or not stated[name].strip():
            raise SetupRefused(f"{where} {name} must be text")
    dates = {name: _moment(stated[name], f"{where} {name}") for name in _DATES if name in stated}
    return Log(
        _url(stated["url"], where),
        stated["operator"].strip(),
        _key(stated["key"], where),
        **dates,
    )


def _url(text: str, where: str) -> str:
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or not text.isascii() or not text.isprintable() or " " in text:
        raise SetupRefused(f"{where} url must be an http(s):// URL, not {text!r}")
    return text.rstrip("/") + "/"


def _key(text: str, where: str) -> bytes:
    """RFC 6962 §2.1.4: P-256, or RSA of 2048 bits at least."""
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        raise SetupRefused(f"{where} key must be a SubjectPublicKeyInfo in base64") from None
    match key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            pass
        case rsa.RSAPublicKey() if key.key_size >= _FEWEST_RSA_BITS:
            pass
        case _:
            raise SetupRefused(f"{where} key must be P-256, or RSA of {_FEWEST_RSA_BITS} bits at least")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _moment(value: object, where: str) -> int:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return int(value.timestamp())
    if isinstance(value, date) and not isinstance(value, datetime):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    raise SetupRefused(f"{where} must be a date, or a time with its offset, without quotation marks")
