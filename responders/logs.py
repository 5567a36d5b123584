"""Where log lines go: standard error, one line each, with the process that wrote it."""

from __future__ import annotations

import logging


def configure_logging() -> None:
    """Send everything from INFO up to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s")
