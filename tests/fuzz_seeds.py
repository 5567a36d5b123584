"""Requests as real clients make them, to be changed by a mutator."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from countersignatures import DATA_OID, REQUEST_OID
from countersignatures import request as countersign
from ocsp_wire import NULL, extension, nonce, request, sequence, tlv
from test_ocsp_codec import CRT_SH_PROBE, DOUBLE_SLASH
from test_tsa_requests import CASES

from ca_store import der

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONG: Final = 4096
_PREFERRED: Final = extension(
    "06092b0601050507300108", sequence(sequence(sequence(bytes.fromhex("06082a8648ce3d040302"))))
)
_ACCEPTABLE: Final = extension("06092b0601050507300104", sequence(bytes.fromhex("06092b0601050507300101")))
_LOCATOR: Final = extension("06092b0601050507300107", sequence(sequence()))
_REQUESTOR: Final = tlv(0xA4, sequence(tlv(0x31, sequence(bytes.fromhex("0603550403"), tlv(0x0C, b"client")))))
_VERSION: Final = der.context(0, der.integer(0))


def ocsp_seeds(cert_ids: Sequence[bytes]) -> list[bytes]:
    """Requests about these, in each form that clients are known to send, BER among them."""
    first, second = cert_ids[:2]
    numbered = nonce(bytes(range(16)))
    return [
        *(request(each) for each in cert_ids),
        *(request(each, extensions=(numbered,)) for each in cert_ids),
        request(first, extensions=(nonce(b"n" * 32),)),
        request(second, extensions=(_ACCEPTABLE, nonce(b"n" * 32), _PREFERRED)),
        request(first, extensions=(nonce(b"n" * 128, critical=True),)),
        request(first, single_extensions=(_LOCATOR,)),
        request(first, requestor=_REQUESTOR),
        request(second, signature=der.context(0, sequence(sequence(NULL), tlv(0x03, b"\0" + bytes(64))))),
        request(*cert_ids),
        request(first, second, extensions=(nonce(b"12345678"),)),
        request(*[*cert_ids] * (30 // len(cert_ids))),
        sequence(sequence(_VERSION, sequence(sequence(first)))),
        CRT_SH_PROBE,
        DOUBLE_SLASH,
    ]


def timestamp_seeds() -> list[bytes]:
    """What the named cases of the reader are made of: granted ones, BER, and one of each refusal."""
    return [encoded for encoded in (bytes.fromhex(case.request) for case in CASES) if len(encoded) < _LONG]


def countersign_seeds(token: bytes) -> list[bytes]:
    """Below the base64 of Authenticode's older protocol; also with another content, whose reader goes deep."""
    constructed = der.tlv(0x24, der.octet_string(b"left"), der.octet_string(b"right"))
    signed = der.contents(token)[5:]  # behind the status
    attributes = der.tlv(der.SET, sequence(bytes.fromhex("06032a0304"), tlv(0x31, NULL)))
    return [
        countersign(),
        countersign(b"s" * 64),
        sequence(der.oid(REQUEST_OID), sequence(der.oid(DATA_OID), der.context(0, constructed))),
        sequence(der.oid(REQUEST_OID), sequence(der.oid(DATA_OID), der.context(0, der.octet_string(b"s"))), attributes),
        sequence(der.oid(REQUEST_OID), signed),
    ]


def path_seeds(requests: Sequence[bytes]) -> list[bytes]:
    """The same requests in the path of a GET, escaped in each way that clients do it."""
    encoded = [base64.b64encode(each).decode() for each in requests if len(each) < _LONG]
    return [
        text.encode()
        for each in encoded
        for text in (each, quote(each, safe=""), quote(each, safe="/"), each.rstrip("="), "/" + each)
    ] + [base64.urlsafe_b64encode(each) for each in requests]
