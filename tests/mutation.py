"""Octets that are nearly right: what real clients send, changed in a few places, the same for the same seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from ca_store import der

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST: Final = 20_000
"""Octets: past the cap of an OCSP request's body, so that this is crossed too."""
_CONSTRUCTED: Final = 0x20
_SHORT: Final = 0x80
_DEEPEST: Final = 40
_CHANGES: Final = (1, 1, 1, 1, 2, 3, 5)
_UNCHANGED: Final = 0.02
_INSIDE: Final = 0.6
_TELLING: Final = bytes.fromhex("00 01 02 03 04 05 06 0a 13 1f 24 30 31 3f 7f 80 81 82 84 88 a0 a1 a2 fe ff")
_LENGTHS: Final = tuple(map(bytes.fromhex, ("80", "8100", "817f", "820001", "84ffffffff", "88ffffffffffffffff", "ff")))


class Element(NamedTuple):
    """Where one TLV lies among octets."""

    begin: int
    contents: int
    end: int


def elements(octets: bytes) -> list[Element]:
    """Every TLV that can be made out, outer ones first. What is no DER is passed over."""
    found: list[Element] = []
    pending = [(0, len(octets), 0)]
    while pending:
        at, end, depth = pending.pop()
        while at < end:
            element = _element(octets, at, end)
            if element is None:
                break
            found.append(element)
            if octets[at] & _CONSTRUCTED and depth < _DEEPEST:
                pending.append((element.contents, element.end, depth + 1))
            at = element.end
    return found


def _element(octets: bytes, at: int, end: int) -> Element | None:
    if at + 2 > end:
        return None
    first = octets[at + 1]
    contents = at + 2 + (first & ~_SHORT if first & _SHORT else 0)
    length = int.from_bytes(octets[at + 2 : contents], "big") if first & _SHORT else first
    if first == _SHORT or contents + length > end:
        return None
    return Element(at, contents, contents + length)


class Mutator:
    """Makes up mutants without end, of ``seeds`` and of what ``wrap`` makes of changed ``inner`` ones, so that a text
    is changed as a text and as the DER it stands for. ``number`` decides all of them.
    """

    def __init__(
        self, seeds: Sequence[bytes], number: int, inner: Sequence[bytes] = (), wrap: Callable[[bytes], bytes] = bytes
    ) -> None:
        self._seeds = seeds
        self._inner = inner
        self._dress = wrap
        self._chance = random.Random(number)
        self._changes: list[Callable[[bytes], bytes]] = [
            self._flip, self._set, self._delete, self._insert, self._double, self._cut, self._splice, self._text,
            *(self._in_element(each) for each in (self._retag, self._resize, self._repeat, self._wrap)),
            *(self._in_element(each) for each in (self._nest, self._fill, self._indefinite)),
            self._in_element(lambda _, __: b""), self._in_element(lambda _, __: self._number()),
        ]  # fmt: skip

    def next(self) -> bytes:
        """The next mutant."""
        chance = self._chance
        if self._inner and chance.random() < _INSIDE:
            return self._dress(self.change(chance.choice(self._inner)))
        octets = chance.choice(self._seeds)
        return octets if chance.random() < _UNCHANGED else self.change(octets)

    def change(self, octets: bytes) -> bytes:
        """These octets, changed in a few places; lengths around them are put right, or not."""
        for _ in range(self._chance.choice(_CHANGES)):
            octets = self._chance.choice(self._changes)(octets)[:LONGEST]
        return octets

    def _place(self, octets: bytes) -> int:
        return self._chance.randrange(len(octets) + 1)

    def _flip(self, octets: bytes) -> bytes:
        if not octets:
            return octets
        changed, place = bytearray(octets), self._chance.randrange(len(octets))
        changed[place] ^= 1 << self._chance.randrange(8)
        return bytes(changed)

    def _set(self, octets: bytes) -> bytes:
        place = self._place(octets)
        return octets[:place] + bytes((self._chance.choice(_TELLING),)) + octets[place + 1 :]

    def _delete(self, octets: bytes) -> bytes:
        place = self._place(octets)
        return octets[:place] + octets[place + self._chance.randint(1, 8) :]

    def _insert(self, octets: bytes) -> bytes:
        place = self._place(octets)
        return octets[:place] + self._chance.randbytes(self._chance.randint(1, 8)) + octets[place:]

    def _double(self, octets: bytes) -> bytes:
        begin, end = sorted((self._place(octets), self._place(octets)))
        return octets[:end] + octets[begin:end] * self._chance.choice((1, 1, 1, 2, 40)) + octets[end:]

    def _cut(self, octets: bytes) -> bytes:
        return octets[: self._place(octets)]

    def _splice(self, octets: bytes) -> bytes:
        other = self._chance.choice(self._seeds)
        return octets[: self._place(octets)] + other[self._place(other) :]

    def _text(self, octets: bytes) -> bytes:
        """What means something in base64, in a URL and in HTTP."""
        some = (b"=", b"/", b"//", b"+", b" ", b"\0", b"\r\n", b"%2", b"%2F", b"%00", b"%ff", b"?", b"#", b":", b"\xff")
        place = self._place(octets)
        return octets[:place] + self._chance.choice(some) + octets[place + self._chance.randint(0, 1) :]

    def _in_element(self, change: Callable[[bytes, Element], bytes]) -> Callable[[bytes], bytes]:
        """Put ``change(octets, element)`` in the element's place, and sometimes the lengths around it right."""

        def changed(octets: bytes) -> bytes:
            found = elements(octets)
            if not found:
                return octets
            element = self._chance.choice(found)
            fresh = change(octets, element)
            result = octets[: element.begin] + fresh + octets[element.end :]
            if self._chance.random() < 0.2:  # a fifth is left with lengths that lie
                return result
            around = [each for each in found if each.begin < element.begin and each.end >= element.end]
            growth = len(fresh) - (element.end - element.begin)
            for each in sorted(around, reverse=True):  # inner ones first: their headers may grow
                contents = result[each.contents : each.end + growth]
                whole = result[each.begin : each.begin + 1] + der.length(len(contents)) + contents
                result = result[: each.begin] + whole + result[each.end + growth :]
                growth = len(whole) - (each.end - each.begin)
            return result

        return changed

    def _retag(self, octets: bytes, element: Element) -> bytes:
        return bytes((self._chance.choice(_TELLING),)) + octets[element.begin + 1 : element.end]

    def _resize(self, octets: bytes, element: Element) -> bytes:
        length = self._chance.choice(_LENGTHS)
        return octets[element.begin : element.begin + 1] + length + octets[element.contents : element.end]

    def _repeat(self, octets: bytes, element: Element) -> bytes:
        return octets[element.begin : element.end] * self._chance.choice((2, 2, 3, 31, 33))

    def _wrap(self, octets: bytes, element: Element) -> bytes:
        return der.tlv(self._chance.choice((0x24, 0x30, 0x31, 0xA0, 0xA2)), octets[element.begin : element.end])

    def _nest(self, octets: bytes, element: Element) -> bytes:
        """Deeper than any decoder should follow."""
        tag, whole = self._chance.choice((0x24, 0x30, 0xA0)), octets[element.begin : element.end]
        if self._chance.random() < 0.5:
            return bytes((tag, _SHORT)) * self._chance.choice((12, 400, 2000)) + whole
        for _ in range(self._chance.choice((12, 400, 1100))):
            whole = der.tlv(tag, whole)
        return whole

    def _fill(self, octets: bytes, element: Element) -> bytes:
        size = self._chance.choice((0, 1, 20, 32, 33, 127, 128, 129, 256, 5000))
        return der.tlv(octets[element.begin], self._chance.randbytes(size))

    def _indefinite(self, octets: bytes, element: Element) -> bytes:
        return octets[element.begin : element.begin + 1] + b"\x80" + octets[element.contents : element.end] + b"\0\0"

    def _number(self) -> bytes:
        return self._chance.choice((der.integer(self._chance.getrandbits(160)), der.integer(-1), b"\x02\x02\0\x01"))
