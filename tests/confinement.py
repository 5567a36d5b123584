"""Our commands within what a systemd unit allows, for tests; ``unit_sandbox.py`` does the confining."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from daemons import daemon
from ports import free_port
from running_server import Server
from strangers import attempt
from unit_sandbox import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

_SANDBOX: Final = Path(__file__).parent / "unit_sandbox.py"


def confined(unit: Path, home: Path, *command: str) -> list[str]:
    """The command that runs another within a unit; the test is skipped where nobody may do that."""
    if os.geteuid() != 0 or attempt("unshare", "--mount", "true").status:
        pytest.skip("only root can confine a process here")
    return [sys.executable, str(_SANDBOX), str(unit), str(home), *command]


@contextmanager
def confined_server(home: Path, folder: Path, unit: Path) -> Iterator[Server]:
    """``responders serve`` with one worker, ready."""
    port, admin, log = free_port(), free_port(), folder / "serve.log"
    serve = (sys.executable, "-m", "responders", "serve", "--home", STATE, "--workers", "1")
    listeners = ("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}")
    with daemon(confined(unit, home, *serve, *listeners), port, log) as process:
        server = Server(home, "127.0.0.1", port, admin, process, log)
        server.wait_ready()
        yield server
