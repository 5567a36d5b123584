"""A small DER writer for the bytes this project makes itself (X.690 §8 and §10).

Reading is left to ``cryptography.hazmat.asn1`` and asn1crypto; what is written on the hot path is concatenated
from parts that were encoded once. Every function returns one complete TLV as ``bytes``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTF8_STRING: Final = 0x0C
UTC_TIME: Final = 0x17
SEQUENCE: Final = 0x30
SET: Final = 0x31

NULL: Final = b"\x05\x00"
TRUE: Final = b"\x01\x01\xff"

_SHORT_FORM_LIMIT: Final = 0x80


def length(octets: int) -> bytes:
    """Encode a definite length in its shortest form (X.690 §10.1)."""
    if octets < _SHORT_FORM_LIMIT:
        return bytes((octets,))
    encoded = octets.to_bytes((octets.bit_length() + 7) // 8, "big")
    return bytes((_SHORT_FORM_LIMIT | len(encoded),)) + encoded


# An answer has a dozen of headers, and making one takes longer than looking it up.
_TABLE: Final = 4096
_TAGS: Final = tuple([bytes((tag,)) for tag in range(256)])
_LENGTHS: Final = tuple([length(octets) for octets in range(_TABLE)])
_SEQUENCES: Final = tuple([_TAGS[SEQUENCE] + each for each in _LENGTHS])


def tlv(tag: int, *contents: bytes) -> bytes:
    """One TLV of the identifier octet ``tag`` around the concatenated ``contents``."""
    body = b"".join(contents)
    octets = len(body)
    return _TAGS[tag] + (_LENGTHS[octets] if octets < _TABLE else length(octets)) + body


def sequence(*members: bytes) -> bytes:
    """SEQUENCE of already encoded members, in the order given."""
    body = b"".join(members)
    octets = len(body)
    return (_SEQUENCES[octets] if octets < _TABLE else _TAGS[SEQUENCE] + length(octets)) + body


def set_of(members: Iterable[bytes]) -> bytes:
    """SET OF, its members sorted by their encodings (X.690 §11.6)."""
    return tlv(SET, *sorted(members))


def context(number: int, *contents: bytes, constructed: bool = True) -> bytes:
    """Context-specific tag ``number`` (0 to 30): EXPLICIT around a TLV, or IMPLICIT over contents octets."""
    return tlv((0xA0 if constructed else 0x80) | number, *contents)


def integer(value: int) -> bytes:
    """INTEGER in its shortest two's complement form, any size and sign."""
    return tlv(INTEGER, value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True))


def enumerated(value: int) -> bytes:
    """ENUMERATED of a small non-negative value."""
    return tlv(ENUMERATED, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octet_string(value: bytes) -> bytes:
    """Primitive OCTET STRING."""
    return tlv(OCTET_STRING, value)


def bit_string(value: bytes, unused: int = 0) -> bytes:
    """BIT STRING of whole octets, the last ``unused`` bits of which do not count."""
    return tlv(BIT_STRING, bytes((unused,)), value)


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER from its dotted form. Raises ValueError when that is not an OID."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    if first not in (0, 1, 2) or second < 0 or (first < 2 and second > 39) or any(a < 0 for a in rest):  # noqa: PLR2004 - X.660's own numbers
        raise ValueError(f"{dotted!r} is not an object identifier")
    return tlv(OBJECT_IDENTIFIER, *(_base128(arc) for arc in (40 * first + second, *rest)))


def _base128(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))


def generalized_time(seconds: int) -> bytes:
    """GeneralizedTime ``YYYYMMDDHHMMSSZ`` from whole POSIX seconds (RFC 5280 §4.1.2.5.2)."""
    # time.strftime would need the locale, and twice the time.
    return b"\x18\x0f%04d%02d%02d%02d%02d%02dZ" % time.gmtime(seconds)[:6]


def utc_time(seconds: int) -> bytes:
    """UTCTime ``YYMMDDHHMMSSZ`` from whole POSIX seconds of the years 1950 to 2049 (RFC 5280 §4.1.2.5.1)."""
    year, *rest = time.gmtime(seconds)[:6]
    return b"\x17\x0d%02d%02d%02d%02d%02d%02dZ" % (year % 100, *rest)


def contents(encoded: bytes) -> bytes:
    """The contents octets of one TLV that is known to be well-formed DER, for instance one made here."""
    first = encoded[1]
    return encoded[2:] if first < _SHORT_FORM_LIMIT else encoded[2 + (first & 0x7F) :]
