"""Real PostgreSQL servers on loopback, started and stopped by the tests: one alone, or a primary with its replica; and
by benches, for which one server is kept.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 60
LAG_SECONDS = 20


def postgres_folder() -> Path:
    """Where the newest PostgreSQL's programs are. The test is skipped, and listed, where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    if found:
        return found[-1].parent
    if on_path is None:
        pytest.skip("postgres is not installed")
    return Path(on_path).resolve().parent


@dataclass(frozen=True)
class PostgresNode:
    """One server: a folder and a port."""

    folder: Path
    port: int
    settings: str = "-c fsync=off"
    """Of the server, where they are not PostgreSQL's own. No test outlives a crash of the machine."""

    @property
    def data(self) -> Path:
        """Its database cluster."""
        return self.folder / "data"

    @property
    def host(self) -> str:
        """``HOST:PORT``."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Of its database, as the owner of everything."""
        return f"postgresql://ca@{self.host}/postgres"

    def start(self) -> None:
        """Start it, and wait until it lets clients in."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} {self.settings}"
        )
        self._control("-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        """``fast`` is an operator's, ``immediate`` a crash."""
        self._control("-m", mode, "stop")

    def promote(self) -> None:
        """Make a primary of a replica."""
        self._control("promote")

    def ask(self, statement: str) -> Any:
        """The one value that a statement returns."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all of its processes without ending them: connections stay open and nothing answers."""
        main = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(main, signal.SIGSTOP)
        stopped = [main]
        try:
            for child in Path(f"/proc/{main}/task/{main}/children").read_text().split():
                with suppress(ProcessLookupError):  # it has ended meanwhile, or ends when it goes on
                    os.kill(int(child), signal.SIGSTOP)
                    stopped.append(int(child))
            yield
        finally:
            for process in stopped:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def _control(self, *arguments: str) -> None:
        _run("pg_ctl", "-D", str(self.data), "-w", "-t", str(START_SECONDS), *arguments)


@dataclass(frozen=True)
class PostgresPair:
    """A primary and the streaming replica that follows it."""

    primary: PostgresNode
    replica: PostgresNode

    @property
    def url(self) -> str:
        """Whichever of the two can be written."""
        return f"postgresql://ca@{self.primary.host},{self.replica.host}/postgres?target_session_attrs=read-write"

    def catch_up(self) -> None:
        """Wait until the replica has what the primary has now."""
        end = self.primary.ask("SELECT pg_current_wal_flush_lsn()")
        deadline = time.monotonic() + LAG_SECONDS
        while not self.replica.ask(f"SELECT pg_last_wal_replay_lsn() >= '{end}'"):
            assert time.monotonic() < deadline, "the replica does not follow"
            time.sleep(0.02)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The replica replays nothing."""
        self.replica.ask("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            self.replica.ask("SELECT pg_wal_replay_resume()")


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of an empty database on a new server."""
    with running_node() as node:
        yield node.url


@contextmanager
def postgres_pair() -> Iterator[PostgresPair]:
    """An empty database on a new primary, and a replica of it. Either may be stopped when the block ends."""
    with running_node() as primary, _node() as replica:
        _run(
            "pg_basebackup", "-D", str(replica.data), "-d", primary.url, "-R", "-X", "stream", "-c", "fast", "--no-sync"
        )
        replica.start()
        yield PostgresPair(primary, replica)


@contextmanager
def kept_postgres_server(folder: Path) -> Iterator[PostgresNode]:
    """A server with PostgreSQL's own settings, whose cluster is made in ``folder`` when there is none and stays there.
    The folder must exist; it becomes the server's.
    """
    node = PostgresNode(folder, _claimed_port(folder), settings="")
    if not node.data.exists():
        _make_cluster(node)
    node.start()
    try:
        yield node
    finally:
        node.stop("fast")


@contextmanager
def running_node() -> Iterator[PostgresNode]:
    """A new server with an empty database, which may be stopped when the block ends."""
    with _node() as node:
        _make_cluster(node)
        node.start()
        yield node


@contextmanager
def _node() -> Iterator[PostgresNode]:
    """A place for a server, which is stopped at the end if it runs."""
    postgres_folder()
    with tempfile.TemporaryDirectory(prefix="pg-") as scratch:
        node = PostgresNode(Path(scratch), _claimed_port(Path(scratch)))
        try:
            yield node
        finally:
            if (node.data / "postmaster.pid").exists():
                node.stop()


def _claimed_port(folder: Path) -> int:
    """A free port, for a server that has ``folder`` to itself."""
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
    return free_port()


def _make_cluster(node: PostgresNode) -> None:
    _run("initdb", "-D", str(node.data), "-U", "ca", "-A", "trust", "-E", "UTF8", "--no-sync")


def _run(program: str, *arguments: str) -> None:
    """One of PostgreSQL's programs. They refuse to run as root, so root borrows ``postgres``."""
    programs = postgres_folder()
    as_user: list[str] = []
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]
    # No pipes: a server would inherit them and keep them open.
    subprocess.run(
        [*as_user, str(programs / program), *arguments],
        check=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
        timeout=START_SECONDS + 30,
    )
