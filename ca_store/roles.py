"""Two PostgreSQL roles beside the owner of the tables, each with what it needs and nothing else.

The owner migrates. The online server can read what it answers from, and reserve blocks of serials; no fault in it, and
nobody who takes it over, can write a status. Issuance can write, but nothing is ever deleted by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ca_store.engine import check_revision, is_sqlite, store_errors, writing_engine
from ca_store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    Grants = Mapping[str, tuple[str, ...]]

RESPONDERS: Final[Grants] = {
    "alembic_version": ("SELECT",),
    "issuer": ("SELECT (id, label, certificate, parent_id, serial, not_before, not_after)",),
    "issuer_hash": ("SELECT",),
    "certificate_status": ("SELECT",),
    "credential": ("SELECT",),
    "crl": ("SELECT",),
    "serial_block": ("INSERT",),
}
ISSUANCE: Final[Grants] = {
    "alembic_version": ("SELECT",),
    "issuer": ("SELECT", "INSERT"),
    "issuer_hash": ("SELECT", "INSERT"),
    "certificate_status": (
        "SELECT",
        "INSERT",
        "UPDATE (state, reason, revoked_at, changed_at, not_after, sct_list)",
    ),
    "certificate": ("SELECT", "INSERT", "UPDATE (subject, not_before, der)"),
    "credential": ("SELECT", "INSERT", "UPDATE (retired_at)"),
    "crl": ("SELECT", "INSERT"),
    "institution": ("SELECT", "INSERT"),
    "institution_domain": ("SELECT", "INSERT"),
    "officer": ("SELECT", "INSERT"),
    "application": ("SELECT", "INSERT", "UPDATE (action, officer_id, fields, issuer_id, serial, received_at)"),
    "audit": ("SELECT", "INSERT"),
    "caa_check": ("SELECT", "INSERT"),
}

_LONGEST: Final = 63
"""Octets of a name; PostgreSQL cuts what is longer."""

_HELD: Final = text("""
SELECT c.relname, p.name,
    CASE WHEN p.columns THEN has_any_column_privilege(:role, c.oid, p.name)
        ELSE has_table_privilege(:role, c.oid, p.name) END,
    has_table_privilege(:role, c.oid, p.name)
FROM pg_class c, (VALUES ('SELECT', true), ('INSERT', true), ('UPDATE', true), ('REFERENCES', true),
    ('DELETE', false), ('TRUNCATE', false), ('TRIGGER', false)) AS p (name, columns)
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname, p.name
""")


class RolesRefused(StoreError):  # noqa: N818 - named as its meaning
    """These roles cannot be had. One sentence."""


def check_role_name(name: str) -> str:
    """The name. Raises ValueError for one that PostgreSQL would change or not take."""
    if not name or not name.isprintable() or len(name.encode()) > _LONGEST:
        raise ValueError(f"{name!r} is not the name of a role: it has 1 to {_LONGEST} octets")
    return name


def grant_roles(url: str, responders: str, issuance: str) -> None:
    """Make these roles as far as they do not exist, without a password, and set what they may do: what they had in this
    schema before is taken away. To be repeated after a migration; by the owner of the tables.

    Raises RolesRefused when a role can do more all the same, SchemaMismatch, StoreUnavailable. Nothing is done then.
    """
    if is_sqlite(url):
        raise RolesRefused("an SQLite database has no roles: whoever can write its file can write everything in it")
    if responders == issuance:
        raise RolesRefused("the responders and issuance need a role each")
    engine = writing_engine(url)
    try:
        with store_errors(), engine.begin() as connection:
            check_revision(connection)
            for role, grants in ((responders, RESPONDERS), (issuance, ISSUANCE)):
                _grant(connection, role, grants)
            for role, grants in ((responders, RESPONDERS), (issuance, ISSUANCE)):
                _check(connection, role, grants)
    finally:
        engine.dispose()


def _grant(connection: Connection, role: str, grants: Grants) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    database, schema = connection.execute(text("SELECT current_database(), current_schema()")).one()
    name, within = quote(role), quote(schema)
    statements = []
    if not connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first():
        statements.append(f"CREATE ROLE {name} LOGIN")
    statements += [
        # What everybody may do by default: make temporary tables and, before PostgreSQL 15, lasting ones.
        f"REVOKE TEMPORARY ON DATABASE {quote(database)} FROM PUBLIC",
        f"REVOKE CREATE ON SCHEMA {within} FROM PUBLIC",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {within} FROM {name}",
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {within} FROM {name}",
        f"REVOKE ALL ON SCHEMA {within} FROM {name}",
        f"GRANT CONNECT ON DATABASE {quote(database)} TO {name}",
        f"GRANT USAGE ON SCHEMA {within} TO {name}",
    ]
    for table, privileges in grants.items():
        whole = f"{within}.{quote(table)}"
        statements.append(f"GRANT {', '.join(privileges)} ON {whole} TO {name}")
        if "INSERT" in privileges:
            statements += [f"GRANT USAGE ON SEQUENCE {each} TO {name}" for each in _sequences(connection, whole)]
    for statement in statements:
        connection.exec_driver_sql(statement.replace("%", "%%"))


def _sequences(connection: Connection, table: str) -> list[str]:
    """Where a table's row ids come from, quoted."""
    return list(
        connection.execute(
            text(
                "SELECT pg_get_serial_sequence(:table, attname) FROM pg_attribute"
                " WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped"
                " AND pg_get_serial_sequence(:table, attname) IS NOT NULL"
            ),
            {"table": table},
        ).scalars()
    )


def _check(connection: Connection, role: str, grants: Grants) -> None:
    """What a role can do by ownership, by membership in another or as a superuser is not taken away by REVOKE."""
    schema = connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one()
    for table, privilege, some, whole in connection.execute(_HELD, {"role": role, "schema": schema}):
        granted = grants.get(table, ())
        in_part = any(each.startswith(f"{privilege} (") for each in granted)
        if privilege not in granted and (whole if in_part else some):
            raise RolesRefused(
                f"{role} can {privilege} {table} all the same: it must not be a superuser, own the tables or be"
                " a member of a role that can"
            )
    may_create = text("SELECT has_schema_privilege(:role, :schema, 'CREATE')")
    if connection.execute(may_create, {"role": role, "schema": schema}).scalar_one():
        raise RolesRefused(f"{role} can create tables in the schema {schema} all the same")
