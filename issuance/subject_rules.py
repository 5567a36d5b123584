"""The one validator of subject names: whatever way a name takes into a certificate, it is held against these rules.

They are those of the university service that this is modelled on, as far as they are public, and of the BR.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from issuance.domain import normalise
from issuance.errors import NameRefused
from issuance.naming import MAX_NAME, check_text
from issuance.prefecture import prefecture
from issuance.profile import CODE_SIGNING, SERVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.types import Institution
    from issuance.distinguished_name import DistinguishedName
    from issuance.profile import Profile
    from issuance.rule_set import RuleSet

JAPAN: Final = "JP"
ACADEME: Final = "Academe"

_O_SYMBOLS: Final = frozenset("'(),-./:= ")
_CN_SYMBOLS: Final = _O_SYMBOLS | frozenset("@_")
_SHAPE: Final = re.compile(r"CN(?: OU)* O(?: L)?(?: ST)? C")
_INJECTED: Final = re.compile(r"[,+/;]\s*[A-Za-z][A-Za-z0-9.]*\s*=")
_STARTS_WITH_SYMBOL: Final = re.compile(r"[^\w ]|_")
_SYMBOLS_IN_A_ROW: Final = re.compile(r"(?:[^\w ]|_){2}")
_A_LABEL: Final = re.compile(r"(?:(?<=\.)|^)xn--[a-z0-9-]+")
_PLACEHOLDERS: Final = frozenset({"city", "default", "default city", "some-state", "unknown", "none"})


def check_subject(name: DistinguishedName, profile: Profile, institution: Institution, rules: RuleSet) -> None:
    """Raises NameRefused unless the institution may have certificates of this profile with this subject name."""
    if not _SHAPE.fullmatch(" ".join(name.keys)):
        raise NameRefused(f"the name must be CN, OU, O, L, ST, C in this order, not {', '.join(name.keys)}")
    common_name = name.values("CN")[0]
    if profile.name == CODE_SIGNING.name:
        check_organization(common_name)
    elif profile.name == SERVER.name:
        check_host(common_name)
        if len(common_name) > MAX_NAME:
            raise NameRefused(f"the common name {common_name!r} has more than {MAX_NAME} characters")
    else:
        check_common_name(common_name)
    check_units(name.values("OU"), rules)
    for key, value in (("O", institution.name), ("C", institution.country)):
        if name.get(key) != value:
            raise NameRefused(f"{key}={name.get(key)} is not the institution's own: {value}")
    _check_places(name, profile, institution, rules)


def check_host(name: str) -> str:
    """A dNSName in lower case, ``*.`` first or not: a common name or an alternative one. Raises NameRefused."""
    host = normalise(name, wildcard=True)
    _check_symbols("host name", _A_LABEL.sub("x", host.removeprefix("*.")), name)
    return host


def check_common_name(name: str) -> None:
    """The common name of a person. Raises NameRefused."""
    _check_characters("common name", name, _CN_SYMBOLS)
    _check_symbols("common name", name, name)


def check_organization(name: str) -> None:
    """An institution's registered name. Raises NameRefused."""
    _check_characters("organization", name, _O_SYMBOLS)


def check_units(units: Sequence[str], rules: RuleSet) -> None:
    """The OUs of one name. Raises NameRefused."""
    if units and not rules.units:
        raise NameRefused("OU is no longer certified (BR §7.1.2.7.4)")
    for unit in units:
        if not any(character.isalnum() for character in unit):
            raise NameRefused(f"{unit!r} is no OU: it is nothing but symbols and spaces")
        _check_characters("OU", unit, _O_SYMBOLS)
        letters = sum(character.isalpha() for character in unit)
        if rules.telling_units and (not letters or len(unit) == 1):
            raise NameRefused(f"{unit!r} is no OU: it must be more than one letter and more than digits and symbols")
    if sum(map(len, units)) > MAX_NAME:
        raise NameRefused(f"the OUs have {sum(map(len, units))} characters together: at most {MAX_NAME} are allowed")


def check_state(state: str, country: str) -> None:
    """ST of an institution. Raises NameRefused unless it is a prefecture, where the country is Japan."""
    _check_characters("state", state, _O_SYMBOLS)
    if country == JAPAN and prefecture(state) is None:
        raise NameRefused(f"{state!r} is no prefecture, such as Tokyo")
    _check_said("state", state)


def check_locality(locality: str) -> None:
    """L of an institution. Raises NameRefused unless it may be a municipality."""
    _check_characters("locality", locality, _O_SYMBOLS)
    if locality.lower().startswith(ACADEME.lower()):
        raise NameRefused(f"{locality!r} is no municipality: {ACADEME} is no longer accepted")
    _check_said("locality", locality)


def places(institution: Institution, rules: RuleSet) -> dict[str, str | None]:
    """L and ST as an institution's certificates state them under these rules."""
    if rules.academe:
        return {"L": institution.locality or ACADEME}
    return {"L": institution.locality, "ST": institution.state}


def _check_places(name: DistinguishedName, profile: Profile, institution: Institution, rules: RuleSet) -> None:
    state, locality = name.get("ST"), name.get("L")
    if rules.academe:
        if state is not None or locality not in (ACADEME, institution.locality):
            raise NameRefused(f"L={ACADEME} is stated and ST is not, before 2018-07-09")
        return
    if state is None and locality is None:
        raise NameRefused("the name must state L or ST, or both (BR §7.1.2.7.4)")
    if locality is not None:
        check_locality(locality)
        if locality != institution.locality:
            raise NameRefused(f"L={locality} is not where {institution.name} is registered: {institution.locality}")
    if state is not None:
        check_state(state, institution.country)
        if state != institution.state and (rules.places_as_recorded or not _same_prefecture(state, institution.state)):
            raise NameRefused(f"ST={state} is not where {institution.name} is registered: {institution.state}")
    if rules.both_places and profile.name == SERVER.name and (state is None or locality is None):
        raise NameRefused("the name of a server must state both L and ST since 2020-12-22")


def _same_prefecture(one: str, other: str | None) -> bool:
    return other is not None and prefecture(one) is not None and prefecture(one) == prefecture(other)


def _check_said(what: str, value: str) -> None:
    if value.lower() in _PLACEHOLDERS:
        raise NameRefused(f"{value!r} is no {what}: it is what tools fill in when nobody says anything")


def _check_characters(what: str, value: str, symbols: frozenset[str]) -> None:
    """Also what would read as another attribute: ``ST=Tokyo, C=JP`` in one value has ended up in a certificate."""
    check_text(what, value)
    if _INJECTED.search(value):
        raise NameRefused(f"{value!r} is no {what}: it reads as if another attribute were in it")
    for character in value:
        if not (character.isascii() and character.isalnum()) and character not in symbols:
            raise NameRefused(f"{value!r} is no {what}: {character!r} is not allowed in it")


def _check_symbols(what: str, value: str, shown: str) -> None:
    if _STARTS_WITH_SYMBOL.match(value):
        raise NameRefused(f"{shown!r} is no {what}: it begins with a symbol")
    if _SYMBOLS_IN_A_ROW.search(value):
        raise NameRefused(f"{shown!r} is no {what}: two symbols follow each other in it")
