"""``docs/conformance-*.md``: every row names tests that exist and that send octets to a running server."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENTS = TESTS.parent / "docs"
NOT_FAULTS = {4, 9, 13, 25, 31, 36, 38, 41, 42}
"""Numbers that were given up."""
FAULTS = (
    "1 2 4 5 6 7 7b 8 9 10 11 12 13 14 16 17 17b 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40"
    " 41 43 44 45 47 49 50 51 52 53 54 55 56 56b 57 58 60 61 63 63b 63c 63d 65 66 67 68 69 70 71 72 73 74 76 77"
)
FIXTURES = "1 2 4 5 6 7 8 9 10 12 13 15 16 17 19"
ROWS = {
    "ocsp": [
        *(f"R{number:02}" for number in range(1, 71)),
        *(f"B{number:02}" for number in range(1, 71) if number not in NOT_FAULTS),
    ],
    "tsa": [
        *(f"C{number:02}" for number in range(1, 11)),
        *(f"R{number:02}" for number in range(1, 50)),
        *(f"F{number}" for number in FIXTURES.split()),
        *(f"T{number}" for number in FAULTS.split()),
        *(f"N{number}" for number in range(1, 5)),
    ],
}
"""The ids of each document, in its order."""
SERVER = "running_server"
"""The function that starts one."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def rows(document: str) -> list[tuple[str, str, list[str]]]:
    """(id, rule, names of tests) of every row."""
    found = []
    for line in (DOCUMENTS / f"conformance-{document}.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"[A-Z]\d+[a-d]?", cells[0]):
            assert len(cells) == 4, line
            found.append((cells[0], cells[2], re.findall(r"`([^`]+::[^`]+)`", cells[3])))
    return found


@cache
def module(name: str) -> tuple[dict[str, Definition], dict[str, tuple[str, str]]]:
    """What a file of tests defines, methods as ``Class::method``; and what it imports from other files of tests."""
    defined: dict[str, Definition] = {}
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.walk(ast.parse((TESTS / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and (TESTS / f"{node.module}.py").exists():
            imported |= {each.asname or each.name: (node.module, each.name) for each in node.names}
        if isinstance(node, Definition):
            defined.setdefault(node.name, node)
        if isinstance(node, ast.ClassDef):
            defined |= {f"{node.name}::{each.name}": each for each in node.body if isinstance(each, Definition)}
    return defined, imported


def names_in(node: ast.AST) -> set[str]:
    """Every name that is used, fixtures among the arguments included."""
    return {
        each.id if isinstance(each, ast.Name) else each.arg
        for each in ast.walk(node)
        if isinstance(each, ast.Name | ast.arg)
    }


def reaches_server(name: str, where: str, seen: set[tuple[str, str]]) -> bool:
    """Whether this name leads to a server: by what it calls, or by a fixture of the file or of ``conftest``."""
    if name == SERVER:
        return True
    for place in (where, "conftest"):
        defined, imported = module(place)
        if name in imported:
            return reaches_server(imported[name][1], imported[name][0], seen)
        if name in defined:
            if (place, name) in seen:
                return False
            seen.add((place, name))
            return any(reaches_server(each, place, seen) for each in names_in(defined[name]))
    return False


@pytest.mark.parametrize("document", ROWS)
def test_every_rule_and_every_fault_has_its_row(document: str) -> None:
    assert [row[0] for row in rows(document)] == ROWS[document]


@pytest.mark.parametrize(
    ("rule", "tests"),
    [pytest.param(*row[1:], id=f"{document}-{row[0]}") for document in ROWS for row in rows(document)],
)
def test_a_row_names_a_test_on_a_running_server(rule: str, tests: list[str]) -> None:
    assert rule
    for each in tests:
        file, _, name = each.partition("::")
        assert name in module(file)[0], f"there is no {each}"
        assert name.rpartition("::")[2].startswith("test_")
    assert any(reaches_server(name, file, set()) for file, _, name in (each.partition("::") for each in tests))


def test_a_test_without_a_server_is_known_as_one() -> None:
    """That the test above can fail shows in this one."""
    assert not reaches_server("test_every_answer_of_every_node_keeps_the_time_algebra", "test_ocsp_algebra", set())
    assert not reaches_server("test_every_rule_and_every_fault_has_its_row", "test_conformance", set())
    assert reaches_server("test_get", "test_interop_openssl_ocsp", set())
