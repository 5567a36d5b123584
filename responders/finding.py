"""What ``doctor`` says: one sentence and how much it matters."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How much a sentence matters."""

    FAULT = "fault"
    """The service is wrong, or will be soon: exit status 1."""
    WARNING = "warning"
    """It may be wrong, or breaks a recommendation."""
    NOTE = "note"
    """Worth knowing."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    area: str
    """One word: home, database, delegates, ..."""
    sentence: str
