"""Distinguished names: the text that people write, CN first and C last, and the DER of certificates, C first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asn1crypto import core, x509

from issuance.errors import NameRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TYPES: Final[Mapping[str, str]] = {
    "CN": "common_name",
    "OU": "organizational_unit_name",
    "O": "organization_name",
    "L": "locality_name",
    "ST": "state_or_province_name",
    "C": "country_name",
}
"""The attributes of a name in the order of their text, with asn1crypto's names for them."""

_PIECE: Final = re.compile(r"((?:\\.|[^\\,])*)(?:,|$)")
_ATTRIBUTE: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9.-]*|[0-9][0-9.]*)\s*=\s*(.*)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)")
_ESCAPE: Final = re.compile(r'([,+"\\<>;])')


@dataclass(frozen=True, slots=True)
class DistinguishedName:
    """Attributes as (key of ``TYPES``, value), in the order of their text."""

    attributes: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """RFC 4514."""
        return ",".join(f"{key}={_escape(value)}" for key, value in self.attributes)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, in order."""
        return tuple(key for key, _ in self.attributes)

    def values(self, key: str) -> tuple[str, ...]:
        """All values of an attribute."""
        return tuple(value for each, value in self.attributes if each == key)

    def get(self, key: str) -> str | None:
        """The first value of an attribute."""
        return next(iter(self.values(key)), None)

    def encode(self) -> bytes:
        """DER Name, one attribute an RDN, C first (BR §7.1.4.2): countryName a PrintableString, the rest UTF8String."""
        return bytes(x509.Name(name="", value=x509.RDNSequence([*map(_rdn, reversed(self.attributes))])).dump())


def make_name(attributes: Mapping[str, str | None]) -> DistinguishedName:
    """The name of the values that are there, in the order of the text."""
    return DistinguishedName(tuple((key, value) for key in TYPES if (value := attributes.get(key)) is not None))


def parse_name(text: str) -> DistinguishedName:
    r"""Read ``CN=a,O=b,C=JP``; keys in any case, a space after a comma, ``\,`` for a comma of a value. A comma that no
    ``KEY=`` follows belongs to the value. Raises NameRefused for other attributes than those of ``TYPES``.
    """
    found: list[tuple[str, str]] = []
    for piece in _pieces(text):
        attribute = _ATTRIBUTE.fullmatch(piece)
        if attribute is not None:
            key = attribute[1].upper()
            if key not in TYPES:
                raise NameRefused(f"{attribute[1]} is no attribute of a name here: use {', '.join(TYPES)}")
            found.append((key, attribute[2]))
        elif found and piece.strip():
            key, value = found.pop()
            found.append((key, f"{value},{piece}"))
        else:
            raise NameRefused(
                f"{text!r} is no name such as CN=www.example.ac.jp,O=Example University,L=Chiyoda-ku,C=JP"
            )
    return DistinguishedName(tuple((key, _ESCAPED.sub(r"\1", value)) for key, value in found))


def decode_name(der: bytes) -> DistinguishedName:
    """The text of a DER Name. Raises NameRefused for other attributes than those of ``TYPES``."""
    keys = {kind: key for key, kind in TYPES.items()}
    found = []
    for rdn in x509.Name.load(der).chosen:
        kind = rdn[0]["type"].native
        if kind not in keys or len(rdn) != 1:
            raise NameRefused(f"{kind} is no attribute of a name here")
        found.append((keys[kind], str(rdn[0]["value"].native)))
    return DistinguishedName(tuple(reversed(found)))


def _escape(value: str) -> str:
    return _ESCAPE.sub(r"\\\1", value)


def _pieces(text: str) -> Iterator[str]:
    end, more = 0, True
    while more:
        piece = _PIECE.match(text, end)
        if piece is None:
            raise NameRefused(f"{text!r} ends within an escape")
        yield piece[1]
        end, more = piece.end(), len(piece[0]) > len(piece[1])


def _rdn(attribute: tuple[str, str]) -> x509.RelativeDistinguishedName:
    key, text = attribute
    value = (
        x509.DirectoryString(name="printable_string", value=core.PrintableString(text))
        if key == "C"
        else x509.DirectoryString(name="utf8_string", value=core.UTF8String(text))
    )
    return x509.RelativeDistinguishedName([x509.NameTypeAndValue({"type": TYPES[key], "value": value})])
