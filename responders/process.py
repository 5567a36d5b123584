"""What the supervisor and its workers have in common."""

from __future__ import annotations

import logging
from typing import Final

REFUSED: Final = 3
"""Exit status of a worker that must not start; its sentence went to the supervisor."""
BACKLOG: Final = 4096
"""Connections that the kernel keeps while no worker has taken them; it has a bound of its own (somaxconn)."""


def configure_logging() -> None:
    """Send everything from INFO up to standard error, one line each with the process that wrote it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s")
