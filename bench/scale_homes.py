"""The homes that `make bench-scale` measures: one for each database and size, made once, kept while their folder is."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from population import Population, populate
from postgres_server import kept_postgres_server

from ca_store.engine import sqlite_path
from ca_store.home import CONFIGURATION, Home

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from postgres_server import PostgresNode

DATABASES: Final = ("sqlite", "postgresql")
OCTETS: Final = {"sqlite": 700, "postgresql": 620}
"""On the disk for each certificate while it is added: SQLite has all of it in the write-ahead log first."""
CLUSTER_OCTETS: Final = 2 << 30
"""Of a PostgreSQL cluster with its write-ahead log, whatever the data."""
MANY: Final = "server-rsa"
"""The CA of nine tenths of the certificates: one in fifty of all is revoked, and is its own."""
FEW: Final = "server-ecc"
"""The CA of the others, of which FEW_REVOKED are revoked."""
FEW_REVOKED: Final = 20
_SEED: Final = "scale"
_DONE: Final = "populated"
"""An empty file in a home that has all its certificates."""


@dataclass(frozen=True, slots=True)
class ScaleHome:
    """A home and what is in it."""

    path: Path
    database: str
    size: int

    @property
    def many(self) -> Population:
        """The certificates of MANY."""
        return Population(MANY, self.size - self.size // 10, self.size // 50, _SEED)

    @property
    def few(self) -> Population:
        """The certificates of FEW."""
        return Population(FEW, self.size // 10, FEW_REVOKED, _SEED)

    def octets(self) -> int:
        """What its database takes on the disk."""
        url = Home.open(self.path).database_url
        if self.database == "sqlite":
            return sum(file.stat().st_size for file in sqlite_path(url).parent.glob("ca.db*"))
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
        return int(row[0])


def needed_octets(databases: Sequence[str], sizes: Sequence[int]) -> int:
    """What all homes of these sizes take on the disk, about."""
    cluster = CLUSTER_OCTETS if "postgresql" in databases else 0
    return cluster + sum(OCTETS[database] * size for database in databases for size in sizes)


def present_octets(folder: Path, databases: Sequence[str], sizes: Sequence[int]) -> int:
    """What of that is there already, about."""
    done = [(each, size) for each in databases for size in sizes if (folder / f"{each}-{size}" / _DONE).exists()]
    return sum(OCTETS[database] * size for database, size in done)


@contextmanager
def scale_homes(folder: Path, databases: Sequence[str], sizes: Sequence[int]) -> Iterator[list[ScaleHome]]:
    """All homes, smallest first, made where they are missing; PostgreSQL runs until the block ends."""
    homes = [ScaleHome(folder / f"{each}-{size}", each, size) for each in databases for size in sorted(sizes)]
    if "postgresql" not in databases:
        for home in homes:
            _make(home, f"sqlite:///{home.path}/ca.db")
        yield homes
        return
    cluster = folder / "postgresql"
    cluster.mkdir(exist_ok=True)
    with kept_postgres_server(cluster) as node:
        for home in homes:
            _make(home, f"sqlite:///{home.path}/ca.db" if home.database == "sqlite" else _database(node, home.size))
        yield homes


def _database(node: PostgresNode, size: int) -> str:
    """The URL of the database for a size."""
    name = f"scale_{size}"
    with psycopg.connect(node.url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            connection.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql://ca@{node.host}/{name}"


def _make(home: ScaleHome, url: str) -> None:
    configuration = home.path / CONFIGURATION
    if configuration.exists():
        # The server has another port each time.
        text = configuration.read_text()
        configuration.write_text(re.sub(r'(?m)^url = ".*"$', f'url = "{url}"', text, count=1))
        _issuance(home, "migrate")
    else:
        _issuance(home, "init", "--demo", "--database", url)
    if (home.path / _DONE).exists():
        return
    for population in (home.many, home.few):
        seconds = populate(home.path, population)
        rate = population.count / seconds
        print(f"{home.database}: {population.count} certificates, {rate:,.0f} rows a second", file=sys.stderr)
    (home.path / _DONE).touch()


def _issuance(home: ScaleHome, *arguments: str) -> None:
    command = [sys.executable, "-m", "issuance", *arguments, "--home", str(home.path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=1800)
