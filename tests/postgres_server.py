"""A real PostgreSQL on loopback, started and stopped by the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 60


def postgres_folder() -> Path | None:
    """Where the newest PostgreSQL's programs are, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    if found:
        return found[-1].parent
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of an empty database on a new server. PostgreSQL refuses to run as root, so root borrows ``postgres``."""
    programs = postgres_folder()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="pg-") as scratch, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        data = Path(scratch) / "data"
        as_user: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(scratch, account.pw_uid, account.pw_gid)
            as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]
        control = [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-w", "-t", str(START_SECONDS)]
        _run(
            [*as_user, str(programs / "initdb"), "-D", str(data), "-U", "ca", "-A", "trust", "-E", "UTF8", "--no-sync"]
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={scratch} -c fsync=off"
        _run([*control, "-o", options, "-l", str(Path(scratch) / "log"), "start"])
        try:
            yield f"postgresql://ca@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"])


def _run(command: list[str]) -> None:
    # No pipes: the server would inherit them and keep them open.
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=START_SECONDS + 30)
