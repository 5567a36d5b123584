"""Files of applications: what is refused as a whole, and each column by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from application_world import client_row, encode, revocation_row, server_row
from hypothesis import given
from hypothesis import strategies as st

from issuance.application_codes import CODES, ApplicationRefused
from issuance.application_columns import Action, Presence, layout, template
from issuance.application_file import Line, read_fields, read_lines, split_lines
from issuance.profile import SUBSCRIBER_PROFILES
from issuance.rule_set import RULE_SETS
from issuance.settings import PROFILE_IDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOW = RULE_SETS[-1]
SERVER, CLIENT = server_row(csr="AAAA"), client_row()


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "octets", "code"),
        [
            ("a.csv", encode(SERVER), "209"),
            ("a", encode(SERVER), "209"),
            ("a.tsv", b"", "213"),
            ("a.txt", b"\r\n", "213"),
            ("a.TSV", b"# only a comment\r\n", "213"),
            ("a.tsv", encode(*[SERVER] * 100), "214"),
            ("a.tsv", b"a" * ((1 << 20) + 1), "214"),
            ("a.tsv", b"\xef\xbb\xbf" + encode(SERVER), "900"),
            ("a.tsv", "\t".join(SERVER).encode("utf-16"), "900"),
            ("a.tsv", "\t".join(SERVER).encode(), "900"),
        ],
    )
    def test_a_file_that_is_refused_says_why(self, tmp_path: Path, name: str, octets: bytes, code: str) -> None:
        (tmp_path / name).write_bytes(octets)
        with pytest.raises(ApplicationRefused) as refused:
            read_lines(tmp_path / name)
        assert refused.value.code == code
        assert refused.value.japanese

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ApplicationRefused, match="208: there is no file"):
            read_lines(tmp_path / "a.tsv")

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    @pytest.mark.parametrize("last", [True, False])
    def test_line_ends(self, end: bytes, last: bool) -> None:
        octets = b"# columns" + end + b"a" + end + b"b" + (end if last else b"")
        assert split_lines(octets) == [Line(2, b"a"), Line(3, b"b")]

    def test_99_are_not_too_many(self) -> None:
        assert len(split_lines(encode(*[SERVER] * 99))) == 99

    @given(st.binary(max_size=300))
    def test_noise_is_refused_in_words(self, octets: bytes) -> None:
        refused = refusal_of(octets)
        assert refused is None or (refused.japanese and refused.sentence.isprintable())


def refusal_of(octets: bytes, action: Action = Action.ISSUE) -> ApplicationRefused | None:
    """What a file is refused with, or the first of its lines."""
    try:
        for line in split_lines(octets):
            read_fields(line, action, PROFILE_IDS, NOW)
    except ApplicationRefused as refused:
        return refused
    return None


def code_of(row: Sequence[str], action: Action = Action.ISSUE, octets: bytes | None = None) -> str:
    """The code that the columns of a row get; 0 when nothing is wrong with them."""
    refused = refusal_of(encode(row) if octets is None else octets, action)
    if refused is None:
        return "0"
    assert "{" not in refused.japanese
    assert refused.column is None or refused.column.japanese in refused.japanese
    return refused.code


LAYOUTS = [
    (Action.ISSUE, "server", SERVER),
    (Action.ISSUE, "client", CLIENT),
    (Action.RENEW, "server", server_row(csr="AAAA", serial="12")),
    (Action.RENEW, "client", client_row(serial="12")),
    (Action.REVOKE, "server", revocation_row("CN=a", 12)),
]


@pytest.mark.parametrize(("action", "profile", "row"), LAYOUTS, ids=lambda each: str(each)[:12])
class TestColumns:
    """``profile`` says whose columns these are, also where that makes no difference."""

    def test_a_good_row(self, action: Action, profile: str, row: list[str]) -> None:  # noqa: ARG002 - see above
        assert code_of(row, action) == "0"

    def test_each_required_column(self, action: Action, profile: str, row: list[str]) -> None:
        for number, column in enumerate(layout(action, profile, NOW)):
            changed = [*row[:number], "", *row[number + 1 :]]
            assert code_of(changed, action) == ("201" if column.presence is Presence.REQUIRED else "0"), column

    def test_each_reserved_column(self, action: Action, profile: str, row: list[str]) -> None:
        for number, column in enumerate(layout(action, profile, NOW)):
            if column.presence is Presence.EMPTY:
                assert code_of([*row[:number], "0", *row[number + 1 :]], action) == "904"

    def test_each_limit(self, action: Action, profile: str, row: list[str]) -> None:
        for number, column in enumerate(layout(action, profile, NOW)):
            for length, over in ((column.limit, False), (column.limit + 1, True)):
                text = f"{'1' * (length - 5)}@a.jp" if "mail" in column.key else "1" * length
                if column.presence is not Presence.EMPTY and column.key not in ("profile", "reason", "download"):
                    assert code_of([*row[:number], text, *row[number + 1 :]], action) == ("202" if over else "0"), (
                        column
                    )

    def test_the_number_of_columns(self, action: Action, profile: str, row: list[str]) -> None:  # noqa: ARG002 - see above
        for changed in (row[:-1], [*row, ""], row[:2], row[:1]):
            assert code_of(changed, action) == "902"

    def test_quotes_are_nothing_but_characters_that_are_refused(
        self,
        action: Action,
        profile: str,  # noqa: ARG002 - see above
        row: list[str],
    ) -> None:
        """A lone quote once swallowed the lines that followed (tatoeba2 2973)."""
        assert code_of(['"' + row[0], *row[1:]], action) == "903"
        assert [line.number for line in split_lines(encode(['"' + row[0], *row[1:]], row, row))] == [1, 2, 3]


def changed(row: list[str], number: int, text: str) -> list[str]:
    return [*row[: number - 1], text, *row[number:]]


@pytest.mark.parametrize(
    ("row", "action", "code"),
    [
        (changed(SERVER, 2, "x"), Action.ISSUE, "204"),
        (changed(SERVER, 2, "\uff11"), Action.ISSUE, "204"),
        (changed(SERVER, 2, "99"), Action.ISSUE, "905"),
        (changed(SERVER, 8, "Åsa-Müller"), Action.ISSUE, "902"),
        (changed(SERVER, 8, "①髙"), Action.ISSUE, "901"),
        (changed(SERVER, 8, "表計算\uff5e\uff0d Jean-Luc"), Action.ISSUE, "0"),
        (changed(SERVER, 8, "a\x07"), Action.ISSUE, "206"),
        (changed(SERVER, 1, "CN=\uff41"), Action.ISSUE, "206"),
        (changed(SERVER, 10, "a+b@example.ac.jp"), Action.ISSUE, "206"),
        (changed(SERVER, 10, "a@b"), Action.ISSUE, "206"),
        (changed(CLIENT, 3, "a"), Action.ISSUE, "204"),
        (revocation_row("CN=a", 12, "x"), Action.REVOKE, "204"),
        (revocation_row("CN=a", 12, "0", "鍵を紛失したため。"), Action.REVOKE, "0"),
        (revocation_row("CN=a", 12, "0", "a<b>"), Action.REVOKE, "205"),
        (revocation_row("CN=a", 12, "0", "a\\b"), Action.REVOKE, "205"),
    ],
)
def test_characters(row: list[str], action: Action, code: str) -> None:
    if code == "902":
        with pytest.raises(UnicodeEncodeError):  # Shift_JIS has no such letters, so no file holds them
            encode(row)
        return
    assert code_of(row, action) == code


def test_octets_that_are_not_shift_jis() -> None:
    line = encode(SERVER).replace("山".encode("cp932"), b"\x81\x20")
    assert code_of(SERVER, octets=line) == "901"


def test_the_pin_is_the_fifteenth_column_since_july_2018() -> None:
    old = next(rules for rules in RULE_SETS if rules.name == "2018-03")
    assert len(layout(Action.ISSUE, "client", old)) == 14
    assert [column.key for column in layout(Action.ISSUE, "client", NOW)][14] == "pin"
    for rows, rules in ((CLIENT[:14], old), (CLIENT, NOW)):
        assert read_fields(Line(1, encode(rows).rstrip()), Action.ISSUE, PROFILE_IDS, rules)
    with pytest.raises(ApplicationRefused, match="902: 14 columns instead of 15"):
        read_fields(Line(1, encode(CLIENT[:14]).rstrip()), Action.ISSUE, PROFILE_IDS, NOW)


@pytest.mark.parametrize("action", [*Action])
@pytest.mark.parametrize("profile", SUBSCRIBER_PROFILES)
def test_a_template_explains_every_column_and_applies_for_nothing(action: Action, profile: str) -> None:
    text = template(action, profile, NOW).encode("cp932")
    with pytest.raises(ApplicationRefused, match="213"):
        split_lines(text)
    assert len(text.splitlines()) == 1 + len(layout(action, profile, NOW))
    assert [line.number for line in split_lines(text + b"a\r\n")] == [len(text.splitlines()) + 1]


def test_every_code_has_a_sentence() -> None:
    assert all(sentence.endswith(("。", "{names}")) for sentence in CODES.values())
