"""Types of command-line arguments: what cannot be right is refused before anything is opened, with exit status 2."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ca_store.home import resolve_url
from ca_store.roles import check_role_name
from ca_store.types import parse_serial
from issuance.errors import SetupRefused
from issuance.period import parse_time
from issuance.rule_set import parse_as_of, rule_set
from issuance.settings import Settings

if TYPE_CHECKING:
    from issuance.rule_set import RuleSet

_MOST_OCTETS: Final = 1 << 20


def contents(text: str) -> bytes:
    """What a file holds, a mebibyte at most."""
    try:
        with Path(text).open("rb") as file:
            octets = file.read(_MOST_OCTETS + 1)
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{text}: {_reason(error)}") from None
    if len(octets) > _MOST_OCTETS:
        raise ArgumentTypeError(f"{text} holds more than {_MOST_OCTETS} octets")
    return octets


def output(text: str) -> Path:
    """A file that can be written or replaced."""
    path = Path(text)
    try:
        if not text or path.is_dir():
            raise ArgumentTypeError(f"{text!r} is not the name of a file")
        if not path.parent.is_dir():
            raise ArgumentTypeError(f"{text} cannot be written: its folder does not exist")
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{text}: {_reason(error)}") from None
    return path


def folder(text: str) -> Path:
    """A folder that is there."""
    path = Path(text)
    try:
        if text and path.is_dir():
            return path.resolve()
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{text}: {_reason(error)}") from None
    raise ArgumentTypeError(f"{text!r} is not a folder")


def serial(text: str) -> int:
    """A serial in hexadecimal."""
    try:
        return parse_serial(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def time(text: str) -> int:
    """POSIX seconds of an RFC 3339 time."""
    try:
        return parse_time(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not an RFC 3339 time such as 2026-11-25T04:00:00Z") from None


def as_of(text: str) -> RuleSet:
    """The rules in force on a date, or at a time."""
    try:
        return rule_set(parse_as_of(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither a date such as 2018-07-09 nor an RFC 3339 time") from None
    except SetupRefused as error:
        raise ArgumentTypeError(str(error)) from None


def base_url(text: str) -> str:
    """A URL that certificates can point below."""
    try:
        return Settings(base_url=text).base_url
    except SetupRefused as error:
        raise ArgumentTypeError(str(error)) from None


def database_url(text: str) -> str:
    """The URL of a database that is supported."""
    try:
        resolve_url(text, Path())
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def role(text: str) -> str:
    """The name of a PostgreSQL role."""
    try:
        return check_role_name(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
