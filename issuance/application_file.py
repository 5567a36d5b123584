"""Files of applications: TAB-separated, Shift_JIS as Windows writes it, one application a line, no quoting."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from issuance.application_codes import ApplicationRefused
from issuance.application_columns import PROFILE_COLUMN, Form, Presence, layout
from issuance.errors import IssuanceError
from issuance.officer import check_mail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from issuance.application_columns import Action, Column
    from issuance.rule_set import RuleSet

MAX_ROWS: Final = 99
ENCODING: Final = "cp932"
_RANGE: Final = "shift_jis"
"""JIS X 0201 and 0208 only: without the extensions of NEC and IBM, which not every system can show."""

_EXTENSIONS: Final = frozenset({".tsv", ".txt"})
_MOST_OCTETS: Final = 1 << 20
_COMMENT: Final = b"#"
_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_COMMENT_SYMBOLS: Final = frozenset(" '(),-./:=@_")


@dataclass(frozen=True, slots=True)
class Line:
    """One application as it was written."""

    number: int
    """Its line in the file, from 1."""
    octets: bytes


def read_lines(path: Path) -> Sequence[Line]:
    """The applications of a file. Raises ApplicationRefused for a file that is refused as a whole."""
    if path.suffix.lower() not in _EXTENSIONS:
        raise ApplicationRefused("209", f"{path.name} must end in .tsv or .txt")
    try:
        with path.open("rb") as file:
            octets = file.read(_MOST_OCTETS + 1)
    except FileNotFoundError:
        raise ApplicationRefused("208", f"there is no file {path}") from None
    if len(octets) > _MOST_OCTETS:
        raise ApplicationRefused("214", f"{path.name} holds more than {_MOST_OCTETS} octets", limit=MAX_ROWS)
    return split_lines(octets)


def split_lines(octets: bytes) -> Sequence[Line]:
    """The same for what a file holds. Lines that begin with ``#`` explain the others."""
    if octets.startswith(_MARKS):
        raise ApplicationRefused("900", "the file begins with a byte order mark: save it as Shift_JIS")
    if not octets.isascii() and _is_utf8(octets):
        raise ApplicationRefused("900", "the file is encoded in UTF-8: save it as Shift_JIS")
    written = octets.split(b"\n")
    if not written[-1]:
        written.pop()
    lines = [
        Line(number, line.removesuffix(b"\r"))
        for number, line in enumerate(written, 1)
        if not line.startswith(_COMMENT)
    ]
    if not any(line.octets.strip() for line in lines):
        raise ApplicationRefused("213", "the file holds no application")
    if len(lines) > MAX_ROWS:
        raise ApplicationRefused("214", f"the file holds {len(lines)} applications, not {MAX_ROWS}", limit=MAX_ROWS)
    return lines


def read_fields(line: Line, action: Action, profiles: Mapping[str, str], rules: RuleSet) -> dict[str, str]:
    """The columns of one application by key, each checked by itself. Raises ApplicationRefused."""
    # TAB is never the second octet of a character, so columns are split before they are decoded.
    cells = line.octets.split(b"\t")
    identifier = cells[PROFILE_COLUMN].decode("ascii", "replace").strip() if len(cells) > PROFILE_COLUMN else ""
    first = next(iter(profiles.values()))
    columns = layout(action, profiles.get(identifier, first).partition(":")[0], rules)
    if len(cells) > PROFILE_COLUMN and identifier not in profiles:
        column = columns[PROFILE_COLUMN]
        _check(column, identifier)
        raise ApplicationRefused("905", f"{identifier} is no profile: use one of {', '.join(profiles)}", column)
    if len(cells) != len(columns):
        raise ApplicationRefused("902", f"{len(cells)} columns instead of {len(columns)}", limit=len(columns))
    fields = {}
    for column, octets in zip(columns, cells, strict=True):
        text = _decode(column, octets)
        _check(column, text)
        fields[column.key] = text
    return fields


def _decode(column: Column, octets: bytes) -> str:
    try:
        octets.decode(_RANGE)
        text = octets.decode(ENCODING)
    except UnicodeDecodeError:
        raise ApplicationRefused("901", f"the {column.english} holds what is not Shift_JIS", column) from None
    return unicodedata.normalize("NFC", text)


def _check(column: Column, text: str) -> None:
    what = f"the {column.english}"
    if '"' in text:
        raise ApplicationRefused("903", f'{what} holds a ": columns are not quoted', column)
    if not text.strip():
        if column.presence is Presence.REQUIRED:
            raise ApplicationRefused("201", f"{what} is required", column)
        return
    if column.presence is Presence.EMPTY:
        raise ApplicationRefused("904", f"{what} must be empty", column)
    if len(text) > column.limit:
        raise ApplicationRefused(
            "202", f"{what} has {len(text)} characters, more than {column.limit}", column, column.limit
        )
    _check_form(column, text)


def _check_form(column: Column, text: str) -> None:
    what = f"the {column.english}"
    match column.form:
        case Form.DIGITS if not (text.isascii() and text.isdigit()):
            raise ApplicationRefused("204", f"{what} must be digits", column)
        case Form.MAIL:
            try:
                check_mail(text)
            except IssuanceError as error:
                raise ApplicationRefused("206", str(error), column) from None
        case Form.COMMENT if not all(_may_comment(character) for character in text):
            raise ApplicationRefused("205", f"{what} holds characters that are not allowed", column)
        case Form.ASCII if not (text.isascii() and text.isprintable()):
            raise ApplicationRefused("206", f"{what} must be half-width characters", column)
        case Form.TEXT if not text.replace("\u3000", " ").isprintable():
            raise ApplicationRefused("206", f"{what} holds control characters", column)


def _may_comment(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in _COMMENT_SYMBOLS
    return character == "\u3000" or character.isprintable()


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
