"""Line plots as inline SVG: no script, nothing from outside."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WIDTH: Final = 760
_HEIGHT: Final = 280
_LEFT: Final = 72
_RIGHT: Final = 16
_TOP: Final = 16
_BOTTOM: Final = 44
_TICKS: Final = 5
_MOST_POINTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot; ``name`` also chooses its colour in the style sheet, as class ``line0`` and so on."""

    name: str
    points: Sequence[tuple[float, float | None]]
    """(x, y); a y of None breaks the line."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a plot."""

    label: str
    low: float
    high: float
    logarithmic: bool = False
    marks: Sequence[tuple[float, str]] | None = None
    """(value, text), instead of what would be chosen."""

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        if self.logarithmic:
            low, high, value = math.log10(self.low), math.log10(self.high), math.log10(max(value, self.low))
        else:
            low, high = self.low, self.high
        return (value - low) / (high - low)

    def ticks(self) -> Sequence[tuple[float, str]]:
        """(value, text)."""
        if self.marks is not None:
            return self.marks
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            return [(10.0**each, f"{10.0**each:,g}") for each in powers if self.low <= 10.0**each <= self.high]
        step = _round_step((self.high - self.low) / _TICKS)
        first, last = math.ceil(self.low / step), math.floor(self.high / step + 1e-9)
        return [(each * step, f"{each * step:,g}") for each in range(first, last + 1)]


def linear_axis(label: str, values: Sequence[float | None]) -> Axis:
    """From 0 to a round number above all values."""
    high = max((each for each in values if each is not None), default=0.0)
    step = _round_step(max(high, 1e-3) / _TICKS)
    return Axis(label, 0.0, step * math.ceil(max(high, 1e-3) / step))


def logarithmic_axis(label: str, values: Sequence[float | None]) -> Axis:
    """Whole decades around all values."""
    known = [each for each in values if each is not None and each > 0] or [1.0]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    return Axis(label, 10.0**low, 10.0 ** max(high, low + 1), logarithmic=True)


def plot(title: str, lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """A figure with its legend."""
    return "\n".join(
        [
            "<figure>",
            f"<figcaption>{html.escape(title)}</figcaption>",
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">',
            *_grid(x, y),
            *(part for number, line in enumerate(lines) for part in _strokes(number, line, x, y)),
            "</svg>",
            '<p class="legend">',
            *(f'<span class="line{number}">{html.escape(line.name)}</span>' for number, line in enumerate(lines)),
            "</p></figure>",
        ]
    )


def _across(x: Axis, value: float) -> float:
    return _LEFT + x.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _up(y: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - y.place(value) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value, text in y.ticks():
        at = _up(y, value)
        yield f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>'
        yield f'<text class="up" x="{_LEFT - 6}" y="{at + 4:.1f}">{html.escape(text)}</text>'
    for value, text in x.ticks():
        at = _across(x, value)
        yield f'<line class="grid" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{bottom}"/>'
        yield f'<text class="across" x="{at:.1f}" y="{bottom + 16}">{html.escape(text)}</text>'
    yield f'<text class="across" x="{(_LEFT + right) / 2:.0f}" y="{_HEIGHT - 6}">{html.escape(x.label)}</text>'
    middle = (_TOP + bottom) / 2
    turn = f'transform="rotate(-90 14 {middle:.0f})"'
    yield f'<text class="across" x="14" y="{middle:.0f}" {turn}>{html.escape(y.label)}</text>'


def _strokes(number: int, line: Line, x: Axis, y: Axis) -> Iterator[str]:
    stretch: list[str] = []
    for at, value in (*_thinned(line.points), (0.0, None)):
        if value is not None:
            stretch.append(f"{_across(x, at):.1f},{_up(y, value):.1f}")
        elif stretch:
            # A lone point is a line that goes nowhere, which a round cap makes visible.
            points = " ".join(stretch if len(stretch) > 1 else stretch * 2)
            yield f'<polyline class="line{number}" points="{points}"/>'
            stretch = []


def _thinned(points: Sequence[tuple[float, float | None]]) -> Sequence[tuple[float, float | None]]:
    """At most ``_MOST_POINTS``: of each stretch of points the highest, so that no peak is lost."""
    size = math.ceil(len(points) / _MOST_POINTS)
    if size <= 1:
        return points
    stretches = (points[at : at + size] for at in range(0, len(points), size))
    return [max(each, key=lambda point: -1.0 if point[1] is None else point[1]) for each in stretches]


def _round_step(step: float) -> float:
    """The next 1, 2 or 5 of its decade."""
    decade = 10.0 ** math.floor(math.log10(step))
    return next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= step * (1 - 1e-9))
