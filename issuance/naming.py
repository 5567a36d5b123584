"""Texts and codes that a subject may be made of."""

from __future__ import annotations

import re
from typing import Final

from issuance.errors import NameRefused

MAX_NAME: Final = 64
"""Characters of a common or organisation name (RFC 5280 appendix A.1, ub-common-name)."""

_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_LABEL: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_MAX_LABEL: Final = 40


def check_text(what: str, value: str, limit: int = MAX_NAME) -> str:
    """The value. Raises NameRefused unless it is printable text of at most ``limit`` characters that says something
    (BR §7.1.4.2.2: no values made of ``.``, ``-`` and space alone).
    """
    if len(value) > limit:
        raise NameRefused(f"the {what} has {len(value)} characters: at most {limit} are allowed")
    if not value.isprintable() or value != value.strip() or not any(character.isalnum() for character in value):
        raise NameRefused(f"{value!r} is no {what}")
    return value


def check_country(code: str) -> str:
    """The ISO 3166 code. Raises NameRefused."""
    if not _COUNTRY.fullmatch(code):
        raise NameRefused(f"{code!r} is no country: two capital letters are needed")
    return code


def check_label(what: str, label: str) -> str:
    """A name that stands in URLs and file names. Raises NameRefused."""
    if not _LABEL.fullmatch(label) or len(label) > _MAX_LABEL:
        raise NameRefused(
            f"{label!r} is no {what}: use lower-case letters, digits and single hyphens, {_MAX_LABEL} at most"
        )
    return label
