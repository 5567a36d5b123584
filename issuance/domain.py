"""Host names as certificates may carry them, and the domains they must lie under."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from issuance.errors import NameRefused, SetupRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_NAME: Final = 253
_ACE: Final = "xn--"

_CATEGORIES: Final = frozenset(
    {"ac", "ad", "co", "com", "ed", "edu", "go", "gov", "gr", "lg", "ne", "net", "or", "org"}
)
"""Second levels under a country's top level that are registries, not registrants (``ac.jp``, ``co.uk``)."""

_COUNTRY_CODE_LENGTH: Final = 2


def normalise(name: str, *, wildcard: bool = False) -> str:
    """A dNSName in lower case. Raises NameRefused unless it is an LDH name of at least two labels, A-labels
    included (BR §7.1.4.2); with ``wildcard``, ``*.`` may come first.
    """
    lowered = name.lower()
    base = lowered.removeprefix("*.") if wildcard else lowered
    labels = base.split(".")
    if len(labels) < 2 or len(lowered) > _MAX_NAME or labels[-1].isdigit():  # noqa: PLR2004 - a host and its parent
        raise NameRefused(f"{name!r} is not a full host name")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise NameRefused(f"{name!r} is not a host name: {label!r} is no label of letters, digits and hyphens")
        if label[2:4] == "--":
            _check_a_label(name, label)
    return lowered


def _check_a_label(name: str, label: str) -> None:
    """BR §7.1.2.7.12: reserved LDH labels other than P-labels must not be certified."""
    try:
        if not label.startswith(_ACE) or label.removeprefix(_ACE).encode("ascii").decode("punycode").isascii():
            raise NameRefused(f"{name!r} is not a host name: {label!r} is a reserved label that is no punycode")
    except UnicodeError:
        raise NameRefused(f"{name!r} is not a host name: {label!r} is not punycode") from None


def is_under(name: str, domain: str) -> bool:
    """Label by label: ``evilexample.ac.jp`` is not under ``example.ac.jp``."""
    return name == domain or name.endswith("." + domain)


def check_registrable(domain: str, taken: Iterable[str]) -> str:
    """The domain in lower case. Raises NameRefused, and SetupRefused when no single organisation can own it, or when it
    lies under or above one that is ``taken``. That is a rule of thumb and no public suffix list: whoever registers a
    domain vouches for it.
    """
    name = normalise(domain)
    labels = name.split(".")
    if len(labels) == 2 and len(labels[1]) == _COUNTRY_CODE_LENGTH and labels[0] in _CATEGORIES:  # noqa: PLR2004 - ac.jp
        raise SetupRefused(f"{domain!r} is a public suffix: no organisation can have all of it")
    for other in taken:
        if is_under(name, other) or is_under(other, name):
            raise SetupRefused(f"{domain!r} overlaps {other!r}, which is registered already")
    return name
