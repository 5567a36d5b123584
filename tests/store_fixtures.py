"""Fixtures of the store's tests: a database of each dialect, both sides of the store over it, and one CA in it.

A test that is about one dialect says so with ``@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from postgres_server import postgres_server
from store_world import NOW, make_issuer, prepared_url

from ca_store.clock import SystemClock
from ca_store.database import open_issuance_store, open_read_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ca_store.contracts import IssuanceStore, ReadStore
    from ca_store.types import IssuerID


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for the whole run."""
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of each dialect that nothing was done to."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ca.db"
    server: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(server) as connection:
        connection.execute("DROP SCHEMA public CASCADE")  # much cheaper than a database for each test
        connection.execute("CREATE SCHEMA public")
    return server.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def url(empty_url: str) -> str:
    """The same, migrated."""
    return prepared_url(empty_url)


@pytest.fixture
def store(url: str) -> Iterator[IssuanceStore]:
    """The side that issuance writes."""
    opened = open_issuance_store(url)
    yield opened
    opened.close()


@pytest.fixture
async def reader(url: str) -> AsyncIterator[ReadStore]:
    """The side that the online server reads."""
    opened = await open_read_store(url, SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
def root(store: IssuanceStore) -> IssuerID:
    """A CA to issue under."""
    return store.add_issuer(make_issuer("root"), "file:keys/root.key", NOW)
