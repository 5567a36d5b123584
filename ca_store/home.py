"""The home: one folder with the configuration, the database, keys and certificates."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ca_store.errors import KeyUnavailable, StoreError
from ca_store.keys import KeyStore, check_private

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION: Final = "responders.toml"
DEFAULT_DATABASE_URL: Final = "sqlite:///ca.db"
DEFAULT_PASSPHRASE_FILE: Final = "keys/passphrase"  # noqa: S105 - a file's name

_MAX_PORT: Final = 65_535

_OWN_SECTIONS: Final = {"database": {"url", "read_url"}, "keys": {"passphrase_file"}}


class HomeError(StoreError):
    """The home is missing, or its configuration cannot be used. The message is one sentence naming file and field."""


@dataclass(frozen=True, slots=True)
class Home:
    """An opened home. Sections of ``document`` other than ``[database]`` and ``[keys]`` belong to other packages."""

    path: Path
    document: dict[str, Any]
    database_url: str
    """For SQLAlchemy, relative SQLite paths resolved against the home."""
    passphrase_file: Path
    read_url: str | None = None
    """Where status rows are read, if not there: a streaming replica, or several."""

    @classmethod
    def open(cls, path: Path) -> Home:
        """Read ``responders.toml``. Raises HomeError."""
        file = path / CONFIGURATION
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise HomeError(f"{path} is not a home: there is no {CONFIGURATION} in it (run `issuance init`)") from None
        except OSError as error:
            raise HomeError(f"{file} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise HomeError(f"{file} is not TOML: {error}") from None
        for section, fields in _OWN_SECTIONS.items():
            _check_section(file, section, document.get(section, {}), fields)
        url = document.get("database", {}).get("url", DEFAULT_DATABASE_URL)
        passphrase = document.get("keys", {}).get("passphrase_file", DEFAULT_PASSPHRASE_FILE)
        try:
            resolved = resolve_url(url, path)
        except ValueError as error:
            raise HomeError(f"{file}: database.url: {error}") from None
        return cls(path, document, resolved, path / passphrase, _read_url(file, document, resolved))

    def passphrase(self) -> bytes:
        """The passphrase that the keys of this home are encrypted with. Raises KeyUnavailable."""
        check_private(self.passphrase_file)
        passphrase = self.passphrase_file.read_bytes().strip()
        if not passphrase:
            raise KeyUnavailable(f"{self.passphrase_file} is empty: it must hold the passphrase of the keys")
        return passphrase

    def keys(self) -> KeyStore:
        """The keys of this home. Raises KeyUnavailable when the passphrase cannot be read."""
        return KeyStore(self.path, self.passphrase())


def _check_section(file: Path, section: str, values: object, fields: set[str]) -> None:
    if not isinstance(values, dict):
        raise HomeError(f"{file}: {section} must be a table")
    for name, value in values.items():
        if name not in fields:
            raise HomeError(f"{file}: {section}.{name} is not a known setting")
        if not isinstance(value, str) or not value:
            raise HomeError(f"{file}: {section}.{name} must be a text that is not empty")


def _read_url(file: Path, document: dict[str, Any], url: str) -> str | None:
    configured = document.get("database", {}).get("read_url")
    if configured is None:
        return None
    try:
        resolved = resolve_url(configured, file.parent)
    except ValueError as error:
        raise HomeError(f"{file}: database.read_url: {error}") from None
    if not all(make_url(each).get_backend_name() == "postgresql" for each in (url, resolved)):
        raise HomeError(f"{file}: database.read_url: only PostgreSQL has replicas")
    return resolved


def _one_authority(url: str) -> str:
    """Several hosts as libpq has them, ``//me@a:1,b:2/name``, in SQLAlchemy's way: ``//me@/name?host=a:1&host=b:2``."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return url
    if "[" in hosts:
        raise ValueError("several hosts need names or IPv4 addresses")
    query = "&".join((*(f"host={host}" for host in hosts.split(",")), *filter(None, (parts.query,))))
    return urlunsplit(parts._replace(netloc="", path=f"//{user}{at}{parts.path or '/'}", query=query))


def resolve_url(url: str, home: Path) -> str:
    """The SQLAlchemy URL of a configured one: SQLite paths against the home, PostgreSQL through psycopg 3.

    Raises ValueError with a sentence.
    """
    spread = _one_authority(url)
    try:
        parsed = make_url(spread)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        raise ValueError("this is not a database URL, such as sqlite:///ca.db or postgresql://user@host/name") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ValueError("an SQLite database needs a file, such as sqlite:///ca.db")
        if parsed.query:
            raise ValueError("an SQLite database takes no parameters in its URL")
        parsed = parsed.set(drivername="sqlite", database=str((home / parsed.database).absolute()))
    elif backend == "postgresql":
        if parsed.port is not None and not 0 < parsed.port <= _MAX_PORT:
            raise ValueError(f"{parsed.port} is no port: it must lie between 1 and {_MAX_PORT}")
        parsed = parsed.set(drivername="postgresql+psycopg")
    else:
        raise ValueError(f"{backend} is not supported: use sqlite or postgresql")
    return parsed.render_as_string(hide_password=False)
