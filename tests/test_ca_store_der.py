"""The DER writer against an independent reader."""

from __future__ import annotations

import pytest
from asn1crypto import core
from hypothesis import given
from hypothesis import strategies as st

from ca_store import der
from ca_store.types import format_serial, parse_serial

ARCS = st.lists(st.integers(0, 1 << 70), min_size=0, max_size=6)


@given(st.one_of(st.integers(), st.integers(-(1 << 600), 1 << 600)))
def test_integers_of_any_size_and_sign(value: int) -> None:
    encoded = der.integer(value)
    assert core.Integer.load(encoded, strict=True).native == value
    assert core.Integer(value).dump() == encoded


@given(st.integers(0, 2), st.integers(0, 39), ARCS)
def test_object_identifiers(first: int, second: int, rest: list[int]) -> None:
    dotted = ".".join(map(str, (first, second, *rest)))
    assert core.ObjectIdentifier.load(der.oid(dotted), strict=True).dotted == dotted


def test_the_example_arc_has_a_wide_first_pair() -> None:
    assert der.oid("2.999.3161.1") == bytes.fromhex("0605883798 5901".replace(" ", ""))


@pytest.mark.parametrize("text", ["", "1", "a.b", "3.1", "0.40", "1.2.-3"])
def test_what_is_not_an_object_identifier(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        der.oid(text)


@given(st.binary(max_size=70_000))
def test_lengths_are_shortest(value: bytes) -> None:
    encoded = der.octet_string(value)
    assert core.OctetString.load(encoded, strict=True).native == value
    assert core.OctetString(value).dump() == encoded
    assert der.contents(encoded) == value


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_a_set_is_sorted_by_its_encodings(values: list[bytes]) -> None:
    class Octets(core.SetOf):  # type: ignore[misc]  # asn1crypto ships no types
        _child_spec = core.OctetString

    encoded = der.set_of(der.octet_string(value) for value in values)
    members = [bytes(member.dump()) for member in Octets.load(encoded, strict=True)]
    assert members == sorted(members)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (der.enumerated(6), "0a0106"),
        (der.enumerated(128), "0a020080"),
        (der.bit_string(b"\x80", 7), "03020780"),
        (der.context(0, der.NULL), "a0020500"),
        (der.context(2, b"\x01", constructed=False), "820101"),
        (der.generalized_time(0), "180f31393730303130313030303030305a"),
        (der.TRUE, "0101ff"),
        (der.sequence(), "3000"),
    ],
)
def test_single_values(encoded: bytes, expected: str) -> None:
    assert encoded.hex() == expected


@pytest.mark.parametrize("text", ["4A", "0x4a", "0X004A", "00:4a", " 4a\n"])
def test_every_spelling_of_a_serial(text: str) -> None:
    assert parse_serial(text) == 0x4A
    assert format_serial(parse_serial(text)) == "4a"


@pytest.mark.parametrize("text", ["", "0x", "g", "-1", "0", "1" * 41, "0o7", "٣"])
def test_what_is_not_a_serial(text: str) -> None:
    with pytest.raises(ValueError, match="serial number"):
        parse_serial(text)


def test_the_largest_serial() -> None:
    assert parse_serial("f" * 40) == (1 << 160) - 1
