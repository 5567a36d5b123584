"""``docs/conformance-issuance.md``: every row names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_conformance import module

DOCUMENT = Path(__file__).parent.parent / "docs" / "conformance-issuance.md"
HELD = 57
"""Rows so far; a row that is lost would not be missed otherwise."""


def rows() -> list[tuple[str, list[str]]]:
    """(id, names of tests) of every row."""
    found = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"[CF]\d\d", cells[0]):
            found.append((cells[0], re.findall(r"`([^`]+)`", cells[-1])))
    return found


def test_rows_are_in_order_and_none_is_lost() -> None:
    ids = [row[0] for row in rows()]
    assert ids == sorted(set(ids))
    assert len(ids) == HELD


@pytest.mark.parametrize(("identifier", "tests"), rows(), ids=[row[0] for row in rows()])
def test_a_row_names_a_test(identifier: str, tests: list[str]) -> None:
    assert tests
    for each in tests:
        file, _, name = each.partition("::")
        assert name in module(f"test_issuance_{file}")[0], f"there is no {each}"
        assert name.rpartition("::")[2].startswith("test_")
