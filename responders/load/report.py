"""One HTML file about one run, which refers to nothing outside itself."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from responders.load.plots import Axis, Line, linear_axis, logarithmic_axis, plot
from responders.load.tally import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hdrh.histogram import HdrHistogram

_MARKS: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_STEPS_A_DECADE: Final = 20

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --faint: #d8d8d8;
  --c0: #1f5fa8; --c1: #c2410c; --c2: #15803d; --c3: #9333ea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #161616; --faint: #3a3a3a;
  --c0: #7ab0f0; --c1: #f59e6b; --c2: #6fcf8f; --c3: #c79bf5; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 820px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; }
table { border-collapse: collapse; } th, td { border-bottom: 1px solid var(--faint); padding: .25em .8em .25em 0;
  text-align: left; vertical-align: top; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5em 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--ink); } .up { text-anchor: end; } .across { text-anchor: middle; }
.grid { stroke: var(--faint); } polyline { fill: none; stroke-width: 2; stroke-linecap: round; }
.line0 { stroke: var(--c0); } .line1 { stroke: var(--c1); } .line2 { stroke: var(--c2); } .line3 { stroke: var(--c3); }
.legend span { margin-right: 1.5em; stroke: none; } span.line0 { color: var(--c0); } span.line1 { color: var(--c1); }
span.line2 { color: var(--c2); } span.line3 { color: var(--c3); }
.bad { color: var(--c1); font-weight: 600; }
"""


def make_report(summary: dict[str, Any], histogram: HdrHistogram) -> str:
    """The page about what ``summarise`` gave."""
    title = f"Load: {summary['protocol']} at {summary['url']}"
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(_how(summary))}</p>",
        *(f'<p class="bad">{html.escape(each)}</p>' for each in _warnings(summary)),
        "<h2>Answers</h2>",
        _table(_answers(summary)),
        *_reasons(summary),
        "<h2>Latency</h2>",
        *_latency(summary, histogram),
        "<h2>Over time</h2>",
        *_over_time(summary),
        "<h2>What was asked</h2>",
        _table((kind, f"{count:,}") for kind, count in summary["kinds"].items()),
        "<h2>The generator</h2>",
        _table(_generator(summary)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _how(summary: dict[str, Any]) -> str:
    when = f"{datetime.fromtimestamp(summary['started'], UTC):%Y-%m-%d %H:%M:%S} UTC"
    length = f"{summary['duration']:g} s from {when}, {summary['processes']} generating processes"
    if summary["loop"] == "open":
        return (
            f"Open loop: {summary['rate']:g} questions a second were due, whatever the server did; a latency counts "
            f"from when its question was due. {length}."
        )
    return f"Closed loop: {summary['connections']} connections, each asking as soon as it was answered. {length}."


def _warnings(summary: dict[str, Any]) -> Iterator[str]:
    if summary["interrupted"]:
        yield "The run was interrupted."
    for sentence in summary["remarks"]:
        yield f"{sentence[:1].upper()}{sentence[1:]}."


def _total(reasons: dict[str, dict[str, Any]]) -> int:
    return sum(each["count"] for each in reasons.values())


def _answers(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "answers a second", f"{summary['answers_per_second']:,.0f}"
    yield "questions sent", f"{summary['sent']:,}"
    yield "right", f"{summary['right']:,}"
    yield f"of them slow (over {summary['slow_after'] * 1000:g} ms)", f"{summary['slow']:,}"
    yield "of them with a verified signature", f"{summary['verified']:,}"
    yield "wrong", f"{_total(summary['wrong']):,}"
    yield "failed", f"{_total(summary['failed']):,}"


def _reasons(summary: dict[str, Any]) -> Iterator[str]:
    for what in ("wrong", "failed"):
        if summary[what]:
            yield f'<h2 class="bad">{what.capitalize()}</h2>'
            yield _table((label, f"{reason['count']:,}", reason["example"]) for label, reason in summary[what].items())


def _latency(summary: dict[str, Any], histogram: HdrHistogram) -> Iterator[str]:
    if summary["latency_ms"] is None:
        yield "<p>Nothing was answered.</p>"
        return
    yield _table((name, f"{value:,.3f} ms") for name, value in summary["latency_ms"].items())
    points = list(_percentile_points(histogram))
    marks = [(1 / (1 - each / 100), f"{each:g} %") for each in _MARKS if 1 / (1 - each / 100) <= points[-1][0]]
    across = Axis("percentile", 1.0, max(points[-1][0], 10.0), logarithmic=True, marks=marks)
    up = logarithmic_axis("milliseconds", [each for _, each in points])
    yield plot("Latency by percentile", [Line("latency", points)], across, up)


def _percentile_points(histogram: HdrHistogram) -> Iterator[tuple[float, float]]:
    """(1 / (1 - percentile), milliseconds), as far as the number of answers goes."""
    decades = len(str(histogram.get_total_count()))
    for step in range(decades * _STEPS_A_DECADE + 1):
        inverse = 10 ** (step / _STEPS_A_DECADE)
        yield inverse, percentile(histogram, 100 * (1 - 1 / inverse))
        if inverse >= histogram.get_total_count():
            return


def _over_time(summary: dict[str, Any]) -> Iterator[str]:
    series = summary["series"]
    if not series:
        return
    across = Axis("seconds", 0.0, max(float(series[-1]["number"]), 1.0))

    def line(name: str, field: str) -> Line:
        return Line(name, [(each["number"], each[field]) for each in series])

    rates = [line("sent", "sent"), line("right", "right"), line("wrong", "wrong"), line("failed", "failed")]
    yield plot("Questions and answers a second", rates, across, linear_axis("each second", _values(rates)))
    times = [line("median", "p50"), line("99 %", "p99"), line("longest", "max")]
    yield plot("Latency", times, across, logarithmic_axis("milliseconds", _values(times)))


def _values(lines: Iterable[Line]) -> list[float | None]:
    return [value for line in lines for _, value in line.points]


def _generator(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    generator = summary["generator"]
    own = generator["answers_per_cpu_second"]
    yield "answers per second of its own processor time", "" if own is None else f"{own:,.0f}"
    yield "share of a core, each process", f"{generator['core_share']:.0%}"
    yield "questions sent late for no reason of the server's", f"{generator['late']:,}"
    yield "questions that waited for a connection", f"{generator['waited']:,}"
    yield "longest pause", f"{generator['longest_pause'] * 1000:,.1f} ms"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["<table>"]
    for name, *values in rows:
        cells = "".join(
            f"<td{' class=n' if number == 0 else ''}>{html.escape(value)}</td>" for number, value in enumerate(values)
        )
        lines.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    lines.append("</table>")
    return "\n".join(lines)
