"""``docs/conformance-ocsp.md``: every row names tests that exist and that send octets to a running server."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "conformance-ocsp.md"
RULES = 70
NOT_FAULTS = {4, 9, 13, 25, 31, 36, 38, 41, 42}
"""Numbers that were given up."""
FAULTS = [f"B{number:02}" for number in range(1, 71) if number not in NOT_FAULTS]
SERVER = "running_server"
"""The function that starts one."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def rows() -> list[tuple[str, str, list[str]]]:
    """(id, rule, names of tests) of every row."""
    found = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"[BR]\d\d", cells[0]):
            assert len(cells) == 4, line
            found.append((cells[0], cells[2], re.findall(r"`([^`]+)`", cells[3])))
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


def test_every_rule_and_every_fault_has_its_row() -> None:
    ids = [row[0] for row in rows()]
    assert ids == [f"R{number:02}" for number in range(1, RULES + 1)] + FAULTS


@pytest.mark.parametrize(("rule", "tests"), [row[1:] for row in rows()], ids=[row[0] for row in rows()])
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
