"""Shares that come out even."""

from __future__ import annotations


class Share:
    """Takes a share (0 to 1) of whatever passes, spread evenly, and the first of all unless the share is 0."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._credit = 1.0 if share > 0 else 0.0

    def take(self) -> bool:
        """Whether to take the one that passes now."""
        if self._credit >= 1:
            self._credit += self._share - 1
            return True
        self._credit += self._share
        return False
