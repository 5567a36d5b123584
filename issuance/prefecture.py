"""The 47 prefectures and the Latin spellings under which each is known.

Hepburn comes first, then spellings that write long vowels out; each may end in its suffix (``Tokyo-to``), in any case.
Neither Japanese characters nor ISO 3166-2 codes are among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEN: Final = (
    *("Aomori", "Iwate", "Miyagi", "Akita", "Yamagata", "Fukushima", "Ibaraki", "Tochigi", "Gunma Gumma", "Saitama"),
    *("Chiba", "Kanagawa", "Niigata", "Toyama", "Ishikawa", "Fukui", "Yamanashi", "Nagano", "Gifu", "Shizuoka"),
    *("Aichi", "Mie", "Shiga", "Hyogo Hyougo Hyohgo", "Nara", "Wakayama", "Tottori", "Shimane", "Okayama"),
    *("Hiroshima", "Yamaguchi", "Tokushima", "Kagawa", "Ehime", "Kochi Kouchi Kohchi", "Fukuoka", "Saga", "Nagasaki"),
    *("Kumamoto", "Oita Ooita Ohita", "Miyazaki", "Kagoshima", "Okinawa"),
)
_OTHERS: Final = (
    ("Hokkaido Hokkaidou Hokkaidoh", ""),
    ("Hokkai", "-do"),
    ("Tokyo Toukyou Tohkyoh", "-to"),
    ("Kyoto Kyouto Kyohto", "-fu"),
    ("Osaka Oosaka Ohsaka", "-fu"),
)
_WITHOUT_ITS_SUFFIX_NO_NAME: Final = "Hokkai"


def _spellings() -> dict[str, str]:
    found: dict[str, str] = {}
    for names, suffix in (*((names, "-ken") for names in _KEN), *_OTHERS):
        spelled = names.split()
        own = "Hokkaido" if spelled[0] == _WITHOUT_ITS_SUFFIX_NO_NAME else spelled[0]
        for name in spelled:
            if name != _WITHOUT_ITS_SUFFIX_NO_NAME:
                found[name.lower()] = own
            found[f"{name}{suffix}".lower()] = own
    return found


SPELLINGS: Final[Mapping[str, str]] = _spellings()
"""Every spelling in lower case, with the prefecture that it means."""

PREFECTURES: Final = tuple(dict.fromkeys(SPELLINGS.values()))


def prefecture(text: str) -> str | None:
    """The prefecture that a spelling means, None when it means none."""
    return SPELLINGS.get(text.lower())
