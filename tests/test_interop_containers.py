"""The scripts of the PostgreSQL containers, run on Debian's: the replica copies the primary and follows it."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from daemons import daemon
from ports import free_port
from postgres_server import postgres_folder
from running_server import until

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS: Final = Path(__file__).parent.parent / "docker" / "postgres"
PASSWORD, REPLICATION_PASSWORD = "one", "it's two"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Within reach of whoever may run PostgreSQL; the scripts lie there, too."""
    postgres_folder()
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        for script in SCRIPTS.iterdir():
            (Path(name) / script.name).write_text(script.read_text())
        (Path(name) / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(name, account.pw_uid, account.pw_gid)
        yield Path(name)


def as_postgres(folder: Path, data: str, port: int, *command: str | Path) -> list[str]:
    """A command with the environment of a container; ``port`` is the primary's. PostgreSQL refuses to run as root."""
    programs = postgres_folder()
    account = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups") if os.geteuid() == 0 else ()
    values = {
        "PGDATA": str(folder / data),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGPASSWORD": PASSWORD,
        "PGPASSWORD_REPLICATION": REPLICATION_PASSWORD,
        "POSTGRES_USER": "ca",
        "POSTGRES_DB": "postgres",
        "PRIMARY_CONNINFO": f"host=127.0.0.1 port={port} user=replication",
    }
    environment = [f"{name}={value}" for name, value in values.items()]
    return [*account, "env", "-C", "/", *environment, *map(str, command)]


def options(folder: Path, port: int) -> list[str]:
    return ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]


@contextmanager
def connection(port: int) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    url = f"host=127.0.0.1 port={port} user=ca password={PASSWORD} dbname=postgres"
    with psycopg.connect(url, autocommit=True) as opened:
        yield opened


def value(port: int, query: str) -> object:
    """The one value of a query; None as long as the server does not answer it."""
    with suppress(psycopg.Error), connection(port) as opened:
        row = opened.execute(query.encode()).fetchone()
        return None if row is None else row[0]
    return None


def test_the_replica_copies_the_primary_and_follows_it(folder: Path) -> None:
    primary, replica = free_port(), free_port()
    initdb = ("initdb", "-U", "ca", "-A", "scram-sha-256", "--pwfile", folder / "password", "-E", "UTF8", "--no-sync")
    subprocess.run(as_postgres(folder, "primary", primary, *initdb), check=True, capture_output=True)
    start = as_postgres(folder, "primary", primary, "postgres", *options(folder, primary))
    with daemon(start, primary, folder / "primary.log"):
        until(lambda: value(primary, "SELECT 1") == 1, "the primary does not start")
        first_run = as_postgres(folder, "primary", primary, "sh", folder / "primary.sh")
        subprocess.run(first_run, check=True, capture_output=True)
        assert value(primary, "SELECT pg_reload_conf()") is True
        follow = as_postgres(folder, "replica", primary, "sh", folder / "replica.sh", *options(folder, replica))
        for turn in (1, 2):  # the second time it has its data already
            with daemon(follow, replica, folder / "replica.log"):
                with connection(primary) as opened:
                    opened.execute("CREATE TABLE IF NOT EXISTS told (turn int)")
                    opened.execute("INSERT INTO told VALUES (%s)", [turn])
                until(lambda: value(replica, "SELECT max(turn) FROM told") == turn, "no row arrives")  # noqa: B023 - at once
                assert value(replica, "SELECT pg_is_in_recovery()") is True
                assert value(primary, "SELECT active FROM pg_replication_slots WHERE slot_name = 'replica'") is True
        assert not (folder / "replica.copy").exists()
