"""A bar for people who wait; programs that read see nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

_WIDTH: Final = 30


class Progress:
    """Of ``total`` steps, drawn on ``stream`` while that is a terminal."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream = stream if stream.isatty() else None
        self._total = total
        self._done = 0

    def advance(self) -> None:
        """One more is done. The last one wipes the bar out."""
        self._done += 1
        if self._stream is None:
            return
        filled = _WIDTH * self._done // self._total
        bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done}/{self._total}"
        self._stream.write(f"\r{bar}" if self._done < self._total else f"\r{' ' * len(bar)}\r")
        self._stream.flush()
