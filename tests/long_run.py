"""What the long runs share: a demo home of their own, and a page with a marker, below which the last result stands."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_INIT_SECONDS: Final = 600
MARKER: Final = "<!-- written by the run -->\n"


def machine() -> str:
    """Date, kind of machine, and how busy it was of late, with this run and with whatever ran beside it."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    processor = names[0] if names else platform.machine()
    cores, python = len(os.sched_getaffinity(0)), platform.python_version()
    day, busy = time.strftime("%Y-%m-%d", time.gmtime()), os.getloadavg()[1]
    return f"{day}: {cores} cores of {processor}, Python {python}, Linux, load average {busy:.1f}"


def write_notes(page: Path, text: str) -> None:
    """Put ``text`` in place of what the last run wrote."""
    head, marker, _ = page.read_text("utf-8").partition(MARKER)
    if not marker:
        raise ValueError(f"{page} has no line {MARKER.strip()}")
    page.write_text(f"{head}{MARKER}{text}\n", "utf-8")


def demo_home(home: Path, *arguments: str) -> None:
    """Make it by the real command, however busy the machine is."""
    command = [sys.executable, "-m", "issuance", "init", "--demo", "--home", str(home), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=_INIT_SECONDS)
