"""The home of an issuance core: made so that an interrupted ``init`` can be repeated, and opened.

``responders.toml`` is written last: a folder is a home when it has one. Until then a lock file holds what the
interrupted ``init`` was asked for, and the keys and rows that exist already are used again.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from ca_store.database import migrate, open_issuance_store
from ca_store.engine import is_sqlite
from ca_store.home import CONFIGURATION, DEFAULT_DATABASE_URL, DEFAULT_PASSPHRASE_FILE, Home, resolve_url
from ca_store.keys import KeyStore
from ca_store.types import CredentialKind
from issuance.core import Core
from issuance.ct_log import Transparency
from issuance.ct_settings import read_logs
from issuance.demo import furnish
from issuance.errors import SetupRefused
from issuance.files import publish, replace_file
from issuance.settings import DEFAULT_BASE_URL, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ca_store.clock import Clock
    from ca_store.types import Credential
    from issuance.caa_records import Resolver
    from issuance.ct_log import Log

_LOCK: Final = ".init"
_DEFAULT_UNIT: Final = "rsa"

_TEMPLATE: Final = """\
[database]
url = {database}{read_url}

[keys]
passphrase_file = {passphrase_file}

[issuance]
base_url = {base_url}
client_policy = {client_policy}   # RFC 5612's number for examples: replace it with an OID of your own
caa = {caa}
caa_identities = {caa_identities}   # what subscribers' CAA records name: replace it with a domain of your own

[ct]
enabled = {ct}   # server certificates get SCTs from these logs
# [[ct.logs]]
# url = "https://log.example/2026h1/"
# key = "MFkwEwYH..."             # SubjectPublicKeyInfo, base64
# operator = "Example"
# usable_from = 2026-01-01        # optional: when the log takes part
# usable_until = 2027-07-01
# expiry_from = 2026-01-01        # optional: which ends of validity a temporal shard takes
# expiry_until = 2026-07-01

[server]
listen = "127.0.0.1:8080"
admin = "127.0.0.1:8081"
"""
_DEMO_TEMPLATE: Final = """
[tsa]
default_unit = "rsa"

[tsa.units.rsa]
policy = "2.999.3161.1"           # ITU-T's example arc: replace it with an OID of your own
accuracy_seconds = 2

[tsa.units.p256]
policy = "2.999.3161.2"
accuracy_seconds = 2

[tsa.units.authenticode]          # for signtool /t and osslsigncode -t: the protocol from before RFC 3161
protocol = "authenticode"

[clock]
source = "host"                   # believes the host's clock; "kernel" asks whether it is synchronised
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What ``init`` was asked for."""

    demo: bool = False
    database: str = DEFAULT_DATABASE_URL
    base_url: str = DEFAULT_BASE_URL
    read_url: str | None = None
    """Where the responders read status rows, if not in the database itself."""


def make_home(path: Path, wish: Wish, clock: Clock) -> None:
    """Make a home, or complete one that was begun. Raises SetupRefused when it is complete or holds other things, or
    its database can have no replica and is to have one; ValueError for one that is not supported; StoreError, OSError.
    """
    settings = Settings(base_url=wish.base_url, caa=not wish.demo)
    url = resolve_url(wish.database, path)
    if wish.read_url is not None and (is_sqlite(url) or is_sqlite(resolve_url(wish.read_url, path))):
        raise SetupRefused("only PostgreSQL has replicas to read from")
    path.mkdir(parents=True, exist_ok=True)
    with _claim(path, wish):
        for folder, mode in (("keys", 0o700), ("certs", 0o755)):
            (path / folder).mkdir(mode=mode, exist_ok=True)
        passphrase = _passphrase(path)
        migrate(url)
        if wish.demo:
            with closing(open_issuance_store(url)) as store:
                furnish(Core(store, KeyStore(path, passphrase), settings, clock), path)
        replace_file(path / CONFIGURATION, _configuration(wish, settings).encode(), 0o600)


@contextmanager
def open_core(path: Path, clock: Clock) -> Iterator[Core]:
    """The issuance core of a home. Raises HomeError, SetupRefused, StoreError."""
    home = Home.open(path)
    settings = read_settings(home.document)
    with closing(open_issuance_store(home.database_url)) as store:
        yield Core(
            store,
            home.keys(),
            settings,
            clock,
            resolver=_resolver(settings, clock),
            transparency=_transparency(read_logs(home.document)),
        )


def _resolver(settings: Settings, clock: Clock) -> Resolver | None:
    if not settings.caa:
        return None
    from issuance.caa_dns import DNSResolver  # noqa: PLC0415 - takes long to import, for one use

    return DNSResolver(clock, settings.name_server)


def _transparency(logs: tuple[Log, ...] | None) -> Transparency | None:
    if logs is None:
        return None
    from issuance.ct_http import HTTPSubmitter  # noqa: PLC0415 - the same

    return Transparency(logs, HTTPSubmitter())


def publish_unit(path: Path, credential: Credential) -> None:
    """Put a time-stamping unit's new certificate among the home's certificates. Raises HomeError, OSError."""
    if credential.kind is not CredentialKind.TSA:
        return
    default = Home.open(path).document.get("tsa", {}).get("default_unit", _DEFAULT_UNIT)
    publish(path, unit_file(credential.name, default), credential.certificate)


def unit_file(name: str, default: str) -> str:
    """The name under which a unit's certificate stands in ``certs/``: the default unit's is plain ``tsa``."""
    return "tsa" if name == default else f"tsa-{name}"


@contextmanager
def _claim(path: Path, wish: Wish) -> Iterator[None]:
    """Be the only ``init`` at work in a folder. Raises SetupRefused."""
    lock = path / _LOCK
    if not lock.exists():
        _check_vacant(path)
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupRefused(f"another init is at work in {path}") from None
        # The other one may have finished since the folder was looked at.
        if (path / CONFIGURATION).exists():
            raise SetupRefused(f"{path} is a home already")
        wanted = json.dumps(asdict(wish), sort_keys=True) + "\n"
        begun = file.readline()
        if begun.endswith("\n") and begun != wanted:
            raise SetupRefused(
                f"an interrupted init in {path} had other options: repeat it with those, or remove the folder"
            )
        file.seek(0)
        file.truncate()
        file.write(wanted)
        file.flush()
        yield
        lock.unlink()


def _check_vacant(path: Path) -> None:
    if (path / CONFIGURATION).exists():
        raise SetupRefused(f"{path} is a home already")
    if any(path.iterdir()):
        raise SetupRefused(f"{path} is not empty, and no interrupted init left it so")


def _passphrase(path: Path) -> bytes:
    file = path / DEFAULT_PASSPHRASE_FILE
    if not file.exists():
        replace_file(file, secrets.token_urlsafe(32).encode() + b"\n", 0o600)
    return file.read_bytes().strip()


def _configuration(wish: Wish, settings: Settings) -> str:
    # A JSON string is a TOML basic string.
    text = _TEMPLATE.format(
        database=json.dumps(wish.database),
        read_url="" if wish.read_url is None else f"\nread_url = {json.dumps(wish.read_url)}",
        passphrase_file=json.dumps(DEFAULT_PASSPHRASE_FILE),
        base_url=json.dumps(settings.base_url),
        client_policy=json.dumps(settings.client_policy),
        caa=json.dumps(settings.caa),
        ct=json.dumps(not wish.demo),
        caa_identities=json.dumps(settings.caa_identities),
    )
    return text + (_DEMO_TEMPLATE if wish.demo else "")
