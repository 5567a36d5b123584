"""Alembic's entry: migrates over the connection that ``ca_store.database.migrate`` hands in."""

from __future__ import annotations

from alembic import context

from ca_store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
