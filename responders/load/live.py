"""The table that is shown while a run goes on; nothing where there is no terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from responders.load.summary import latencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from responders.load.plan import Plan
    from responders.load.tally import Second, Totals

_LAST = 10
"""Seconds shown."""


@contextmanager
def live_table(plan: Plan, console: Console | None = None) -> Iterator[Callable[[Totals, float], None]]:
    """What to call with the totals so far and the elapsed seconds."""
    shown = console or Console(stderr=True)
    if not shown.is_terminal:
        yield lambda _totals, _elapsed: None
        return
    with Live(console=shown, refresh_per_second=4, transient=True) as live:
        yield lambda totals, elapsed: live.update(make_table(plan, totals, elapsed))


def make_table(plan: Plan, totals: Totals, elapsed: float) -> Table:
    """The last seconds and the whole so far."""
    pace = plan.pace
    how = f"{pace.connections} connections" if pace.rate is None else f"{pace.rate:g}/s due"
    where, done = f"{plan.target.authority}{plan.target.path}", min(elapsed, pace.duration)
    table = Table(title=f"{where}: {how}, {done:.0f} of {pace.duration:g} s")
    for name in ("second", "sent", "right", "slow", "wrong", "failed", "p50 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="right")
    for second in sorted(totals.seconds, key=lambda each: each.number)[-_LAST:]:
        table.add_row(str(second.number), *_figures(second))
    counts, whole = totals.counts, latencies(totals)
    table.add_section()
    table.add_row(
        "all",
        *(f"{each:,}" for each in (counts.sent, counts.right, counts.slow)),
        *(_bad(each.total()) for each in (counts.wrong, counts.failed)),
        *(_milliseconds(None if whole is None else whole[name]) for name in ("p50", "p99", "max")),
    )
    return table


def _figures(second: Second) -> Iterator[str]:
    yield from (f"{each:,}" for each in (second.sent, second.right, second.slow))
    yield from (_bad(each) for each in (second.wrong, second.failed))
    yield from (_milliseconds(each) for each in (second.p50, second.p99, second.max))


def _bad(count: int) -> str:
    return f"[bold red]{count:,}[/]" if count else "0"


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
