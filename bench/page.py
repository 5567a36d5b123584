"""The results as one HTML page, which refers to nothing outside itself."""

from __future__ import annotations

import html
import math
import statistics
from typing import TYPE_CHECKING, Any, Final

from results import bound, shown

from responders.load.plots import Axis
from responders.load.report import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_WIDTH: Final = 760
_LEFT: Final = 290
_RIGHT: Final = 60
_ROW: Final = 22
_BAR: Final = 12

_HOW: Final = (
    "One worker has one core, the load another, on loopback. A shared machine changes its speed within seconds, so a "
    "ratio is taken against what was measured right before and after each run; a dot is a run, a bar the median."
)
_BOUNDS: Final = (
    "The ceiling is the same HTTP server with ready octets; signatures are those of the library alone; combined is one "
    "such request and one signature in turn. A stroke is the target."
)
_MORE_STYLE: Final = """
rect { fill: var(--c0); } rect.other { fill: var(--faint); } rect.missed { fill: var(--c1); }
circle { fill: var(--ink); fill-opacity: .45; } .mark { stroke: var(--ink); stroke-width: 2; }
text.name { text-anchor: end; }
td { white-space: nowrap; } .words td { white-space: normal; text-align: left; }
.good { color: var(--c2); } th { font-weight: normal; }
"""


def make_page(document: dict[str, Any]) -> str:
    """The page about what ``summarise`` gave."""
    rows = document["rows"]
    bounded = [each for each in rows if each["ratio"] is not None and not each["key"].startswith("ceiling")]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Benchmark of the responders</title>',
            f"<style>{STYLE}{_MORE_STYLE}</style></head><body>",
            "<h1>Benchmark of the responders</h1>",
            f"<p>Made on {html.escape(document['made'])} by <code>make bench</code>. {_HOW}</p>",
            '<div class="words">',
            _table(document["machine"].items()),
            "</div>",
            "<h2>Compared</h2>",
            *_comparisons(document["comparisons"]),
            "<h2>Share of what is possible</h2>",
            f"<p>{_BOUNDS}</p>",
            _bars("Ratio", bounded, "ratios", mark="target"),
            "<h2>Requests a second</h2>",
            _bars("Requests a second, logarithmic", rows, "rates", logarithmic=True),
            "<h2>Processor time of a request</h2>",
            _bars("Microseconds of a core, logarithmic", rows, "cpu_us", logarithmic=True),
            "<h2>Every figure</h2>",
            _figures(document),
            *(f"<p>{html.escape(each)}</p>" for each in document["remarks"]),
            "</body></html>",
        ]
    ) + "\n"  # fmt: skip


def _comparisons(comparisons: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "<table>"
    for each in comparisons:
        word = "reached" if each["reached"] else "missed"
        kind = "good" if each["reached"] else "bad"
        yield (
            f"<tr><th>{html.escape(each['name'])}</th><td class=n>{shown(each['value'])}</td>"
            f"<td>{html.escape(bound(each))}</td><td class={kind}>{word}</td></tr>"
        )
    yield "</table>"


def _bars(
    title: str, rows: Sequence[dict[str, Any]], field: str, *, mark: str | None = None, logarithmic: bool = False
) -> str:
    """A bar for each row, up to the median of the field, with a dot for each run."""
    runs = [each[field] if isinstance(each[field], list) else [each[field]] for each in rows]
    everything = [value for each in runs for value in each] + [each[mark] for each in rows if mark and each[mark]]
    high = max(everything) * 1.05
    low = 10.0 ** math.floor(math.log10(min(everything))) if logarithmic else 0.0
    axis = Axis(title, low, high, logarithmic)

    def place(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * axis.place(value)

    height = _ROW * len(rows) + 8
    parts = [
        "<figure>",
        f"<figcaption>{html.escape(title)}</figcaption>",
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(title)}">',
    ]
    for number, (row, values) in enumerate(zip(rows, runs, strict=True)):
        middle, top = statistics.median(values), 4 + number * _ROW
        target = row[mark] if mark else None
        end = place(max(*values, target or 0.0))
        kind = "missed" if mark and row["reached"] is False else "other" if _is_other(row) else "ours"
        parts += [
            f'<text class="name" x="{_LEFT - 8}" y="{top + 13}">{html.escape(row["name"])}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{top + 3}" height="{_BAR}" width="{place(middle) - _LEFT:.1f}"/>',
            *(f'<circle cx="{place(each):.1f}" cy="{top + 9}" r="2.2"/>' for each in values if len(values) > 1),
            f'<text x="{end + 8:.1f}" y="{top + 13}">{shown(middle)}</text>',
        ]
        if target is not None:
            at = place(target)
            parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + 18}"/>')
    return "\n".join([*parts, "</svg></figure>"])


def _is_other(row: dict[str, Any]) -> bool:
    """Whether it is a ceiling or a stranger's server."""
    return not row["key"].startswith(("ocsp", "tsa", "workers"))


def _figures(document: dict[str, Any]) -> str:
    def cells(row: dict[str, Any]) -> tuple[str, ...]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        against = "" if row["ratio"] is None else f"{row['bound']} {row['bound_rate']:,.0f}"
        target = "" if row["reached"] is None else f"≥ {row['target']:g}"
        return (
            row["name"],
            ratio,
            against,
            target,
            f"{row['rate']:,.0f}",
            f"{row['cpu_us']:.0f}",
            f"{row['p99_ms']:.1f}",
        )

    head = ("", "ratio", "held against", "target", "requests/s", "CPU µs", "p99 ms")
    signing = [
        (f"bare signatures, {each['key']}", "", "", "", f"{each['rate']:,.0f}", f"{1e6 / each['rate']:.0f}", "")
        for each in document["signing"]
    ]
    return _table([head, *(cells(each) for each in document["rows"]), *signing])


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["<table>"]
    for name, *values in rows:
        cells = "".join(f"<td class=n>{html.escape(value)}</td>" for value in values)
        lines.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    return "\n".join([*lines, "</table>"])
