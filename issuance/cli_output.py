"""Listings: columns for people, one JSON array for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from issuance.rule_set import describe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

    from issuance.core import Core
    from issuance.rule_set import RuleSet

    Record: TypeAlias = Mapping[str, Any]
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it so


def announce(rules: RuleSet, core: Core) -> None:
    """Say on standard error which rules a run goes by; standard output is for what was asked for."""
    caa = "looked up" if core.settings.caa else "off"
    ct = "off" if core.transparency is None else "on"
    sys.stderr.write(f"issuance: {describe(rules)}; CAA is {caa}; CT is {ct}\n")


def print_records(records: Iterable[Record], columns: Mapping[str, int], *, as_json: bool) -> None:
    """One record a line: as a JSON array of all fields, or the ``columns`` padded to their widths."""
    if as_json:
        separator = "["
        for record in records:
            print(separator, json.dumps(record), sep="\n" if separator == "[" else "", end="")
            separator = ",\n"
        print("[]" if separator == "[" else "\n]")
        return
    print(_line({column: column for column in columns}, columns))
    for record in records:
        print(_line(record, columns))


def print_record(record: Record, *, as_json: bool) -> None:
    """One record: as a JSON object, or a field a line."""
    if as_json:
        print(json.dumps(record, indent=2))
        return
    width = max(len(name) for name in record) + 2
    for name, value in record.items():
        print(f"{name + ':':<{width}}{_text(value)}")


def _line(record: Record, columns: Mapping[str, int]) -> str:
    return "  ".join(f"{_text(record[column]):<{width}}" for column, width in columns.items()).rstrip()


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
