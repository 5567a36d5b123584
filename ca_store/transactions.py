"""What every part of the issuance store stands on: an engine and transactions over it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ca_store.engine import READS, store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine


class Transactions:
    """Runs each method of its subclasses as one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**READS)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Commit when the block ends, roll back when it raises. Driver errors become the store's own."""
        with store_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """The same for a block that only reads: on SQLite it does not wait for a writer."""
        with store_errors(), self._reader.begin() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()
