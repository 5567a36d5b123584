"""Many certificates in the database of a home, faster than issuing them: rows as issuance leaves them, without bodies.

    python bench/population.py --home DIR --label server-rsa --count 1000000

Serials are 20 octets as random as real ones. They depend on label, seed and number alone: whoever knows these three can
ask for any of them. The rows are added in the order of serials and most indexes made at the end, many times as fast
as in the order of issuing; pages end up fuller than by issuing, where about two thirds of each are in use.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from sqlalchemy.engine import make_url

from ca_store.database import open_issuance_store
from ca_store.engine import BUSY_SECONDS, connect_sqlite, is_sqlite, postgresql_arguments, sqlite_path
from ca_store.errors import NotFound, StoreError
from ca_store.home import Home
from ca_store.types import CertificateState, Reason
from issuance.errors import IssuanceError
from issuance.issuer import purpose_of
from issuance.profile import BACKDATE, PROFILES, SUBSCRIBER_PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ca_store.types import Issuer
    from issuance.profile import Profile

MOST: Final = 100_000_000
SEED: Final = "bench"
REVOKED: Final = 0.02

SQLITE_OCTETS: Final = 400
"""Of the file for each certificate: two tables, four indexes and a subject of 80 octets."""

_BATCH: Final = 50_000
_CACHE_KIBIBYTES: Final = 256 * 1024
"""Of the connection that adds, for the sorting of indexes, too."""
_BUCKETS: Final = 64
_DIGEST: Final = 32
_RECORD: Final = _DIGEST + 4
"""Octets in a bucket: a digest and the number it belongs to."""
_DAY: Final = 86_400
_PERCENT: Final = 100

# What subscribers revoke for, in percent (BR §7.2.2): mostly a certificate that was replaced, or a host that went.
_REASONS: Final = (
    (Reason.superseded, 45),
    (Reason.cessationOfOperation, 35),
    (Reason.unspecified, 10),
    (Reason.affiliationChanged, 5),
    (Reason.keyCompromise, 5),
)
_STATUS_COLUMNS: Final = "issuer_id, serial, state, reason, revoked_at, changed_at, not_after"
_CERTIFICATE_COLUMNS: Final = "issuer_id, serial, profile, subject, not_before"

# (name, statement) of each index that no constraint needs.
_SQLITE_PRESENT: Final = "SELECT coalesce(max(rowid), 0) FROM certificate"
_POSTGRESQL_PRESENT: Final = "SELECT reltuples FROM pg_class WHERE oid = 'certificate'::regclass"
_SQLITE_INDEXES: Final = """SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL
    AND tbl_name IN ('certificate', 'certificate_status')"""
_POSTGRESQL_INDEXES: Final = """SELECT quote_ident(c.relname), pg_get_indexdef(c.oid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid IN ('certificate'::regclass, 'certificate_status'::regclass) AND NOT i.indisunique"""


class PopulationError(Exception):
    """What was asked for cannot be done. One sentence."""


class _Row(NamedTuple):
    """One certificate. Times are POSIX seconds."""

    serial: bytes
    state: int
    reason: int | None
    revoked_at: int | None
    changed_at: int
    not_after: int
    not_before: int
    subject: str


@dataclass(frozen=True, slots=True)
class Population:
    """The certificates of one CA. ``serial`` and ``is_revoked`` take numbers from 0 to ``count`` - 1."""

    label: str
    count: int
    revoked: int = 0
    """How many of them are revoked, spread evenly."""
    seed: str = SEED

    def serial(self, number: int) -> int:
        """The serial of a certificate, as ``issuance.issuer.new_serial`` makes it: 158 random bits below a set one."""
        return int.from_bytes(_packed(_digest(self.label, self.seed, number)), "big")

    def is_revoked(self, number: int) -> bool:
        """Whether a certificate is among the revoked."""
        return number * self.revoked // self.count != (number + 1) * self.revoked // self.count


def populate(home: Path, population: Population) -> float:
    """Add the certificates to the database of a home; the seconds that took. Raises PopulationError, StoreError.

    It is one transaction: an interrupted run leaves nothing, and whoever writes waits until it ends.
    """
    if not 1 <= population.count <= MOST:
        raise PopulationError(f"{population.count} certificates are out of range: from 1 to {MOST}")
    if not 0 <= population.revoked <= population.count:
        raise PopulationError(f"{population.revoked} of {population.count} certificates cannot be revoked")
    url = Home.open(home).database_url
    with closing(open_issuance_store(url)) as store:
        issuer = store.issuer(population.label)
        profile = _profile(issuer)
        for number in (0, population.count - 1):
            try:
                store.certificate(issuer.id, population.serial(number))
            except NotFound:
                continue
            raise _there_already(population)
    started = time.perf_counter()
    rows = _rows(population, profile, int(time.time()))
    if is_sqlite(url):
        _check_disk(sqlite_path(url), population.count)
        _fill_sqlite(url, population, issuer, profile, rows)
    else:
        _fill_postgresql(url, population, issuer, profile, rows)
    return time.perf_counter() - started


def _profile(issuer: Issuer) -> Profile:
    """What this CA issues to subscribers."""
    for name in SUBSCRIBER_PROFILES:
        if name in purpose_of(issuer).profiles:
            return PROFILES[name]
    raise PopulationError(f"the CA {issuer.label} issues to no subscribers: take another one")


def _there_already(population: Population) -> PopulationError:
    return PopulationError(
        f"serials of the seed {population.seed!r} are there already under {population.label}: take another one"
    )


def _check_disk(file: Path, count: int) -> None:
    status = os.statvfs(file.parent)
    # Everything is in the write-ahead log before it is in the file.
    free, needed = status.f_bavail * status.f_frsize, 2 * count * SQLITE_OCTETS
    if free < needed:
        raise PopulationError(f"{file.parent} has {free >> 20} MiB free, and about {needed >> 20} MiB are needed")


def _digest(label: str, seed: str, number: int) -> bytes:
    return hashlib.sha256(f"{label}\0{seed}\0{number}".encode()).digest()


def _packed(digest: bytes) -> bytes:
    return bytes((digest[0] & 0x3F | 0x40,)) + digest[1:20]


def _in_order(population: Population) -> Iterator[tuple[bytes, int]]:
    """(digest, number) of all certificates in the order of their serials, sorted a part of the key space at a time."""
    with ExitStack() as stack:
        buckets = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(_BUCKETS)]
        for number in range(population.count):
            digest = _digest(population.label, population.seed, number)
            buckets[digest[0] % _BUCKETS].write(digest + number.to_bytes(4, "big"))
        for bucket in buckets:
            bucket.seek(0)
            octets = bucket.read()
            bucket.truncate(0)
            # The first octet's upper two bits are not the serial's.
            records = [octets[at : at + _RECORD] for at in range(0, len(octets), _RECORD)]
            for record in sorted(records, key=lambda each: each[1:20]):
                yield record[:_DIGEST], int.from_bytes(record[_DIGEST:], "big")


def _rows(population: Population, profile: Profile, now: int) -> Iterator[_Row]:
    """Issued over the last life of a certificate, so that all are in force, as if their CA was old enough; revoked some
    time after that.
    """
    reasons = [int(reason) for reason, percent in _REASONS for _ in range(percent) if reason in profile.reasons]
    life = profile.validity.last_second(now) - now
    span = life - 2 * _DAY
    good, revoked = int(CertificateState.GOOD), int(CertificateState.REVOKED)
    for digest, number in _in_order(population):
        not_before = now - int.from_bytes(digest[20:24], "big") % span - BACKDATE
        issued, not_after, serial = not_before + BACKDATE, not_before + life, _packed(digest)
        subject = f"CN=host-{digest[:6].hex()}.example.ac.jp,O=Example University,L=Chiyoda-ku,ST=Tokyo,C=JP"
        if population.is_revoked(number):
            reason = reasons[digest[24] % len(reasons)]
            at = issued + int.from_bytes(digest[25:29], "big") % (now - issued + 1)
            yield _Row(serial, revoked, reason, at, at, not_after, not_before, subject)
        else:
            yield _Row(serial, good, None, None, issued, not_after, not_before, subject)


def _fill_sqlite(url: str, population: Population, issuer: Issuer, profile: Profile, rows: Iterator[_Row]) -> None:
    """What makes it fast is set for this connection alone; the file is synced at the end."""
    statuses = f"INSERT INTO certificate_status ({_STATUS_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
    bodies = f"INSERT INTO certificate ({_CERTIFICATE_COLUMNS}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608 - constants
    with closing(connect_sqlite(url, BUSY_SECONDS)) as connection:
        for pragma in ("synchronous = OFF", "foreign_keys = OFF", f"cache_size = -{_CACHE_KIBIBYTES}"):
            connection.execute(f"PRAGMA {pragma}")
        try:
            connection.execute("BEGIN IMMEDIATE")
            (present,) = connection.execute(_SQLITE_PRESENT).fetchone()
            indexes = connection.execute(_SQLITE_INDEXES).fetchall() if _are_many(population, present) else []
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")
            while batch := list(itertools.islice(rows, _BATCH)):
                connection.executemany(statuses, [(issuer.id, *row[:6]) for row in batch])
                connection.executemany(
                    bodies, [(issuer.id, row.serial, profile.name, row.subject, row.not_before) for row in batch]
                )
            for _, statement in indexes:
                connection.execute(statement)
            connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            raise _there_already(population) from None
        except sqlite3.Error as error:
            raise PopulationError(f"the database says: {error}") from None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.sync()


def _fill_postgresql(url: str, population: Population, issuer: Issuer, profile: Profile, rows: Iterator[_Row]) -> None:
    """By COPY. Planner statistics are left as autovacuum leaves them, but at once."""
    try:
        with psycopg.connect(**postgresql_arguments(url), autocommit=True) as connection:
            connection.execute("SET statement_timeout = 0")
            connection.execute(f"SET maintenance_work_mem = {_CACHE_KIBIBYTES}".encode())
            _skip_foreign_keys(connection)
            with connection.transaction(), connection.cursor() as cursor:
                present = [row[0] for row in cursor.execute(_POSTGRESQL_PRESENT)]
                indexes = cursor.execute(_POSTGRESQL_INDEXES).fetchall() if _are_many(population, *present) else []
                for name, _ in indexes:
                    cursor.execute(f"DROP INDEX {name}".encode())
                while batch := list(itertools.islice(rows, _BATCH)):
                    _copy(cursor, f"certificate_status ({_STATUS_COLUMNS})", _status_lines(issuer, batch))
                    _copy(cursor, f"certificate ({_CERTIFICATE_COLUMNS})", _certificate_lines(issuer, profile, batch))
                for _, statement in indexes:
                    cursor.execute(statement)
            connection.execute("VACUUM (ANALYZE) certificate_status")
            connection.execute("VACUUM (ANALYZE) certificate")
    except psycopg.IntegrityError:
        raise _there_already(population) from None
    except psycopg.Error as error:
        raise PopulationError(f"the database says: {str(error).splitlines()[0]}") from None


def _are_many(population: Population, present: float) -> bool:
    """Whether so many are added to those present, about, that it pays to make the indexes anew."""
    return population.count > present / 4


def _skip_foreign_keys(connection: psycopg.Connection[Any]) -> None:
    """Each row of the second table has its status row: it is copied in the same transaction. Only superusers may."""
    try:
        connection.execute("SET session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        return


def _copy(cursor: psycopg.Cursor[Any], into: str, lines: str) -> None:
    with cursor.copy(f"COPY {into} FROM STDIN".encode()) as copying:
        copying.write(lines)


def _status_lines(issuer: Issuer, batch: Sequence[_Row]) -> str:
    return "".join(
        f"{issuer.id}\t\\\\x{row.serial.hex()}\t{row.state}\t{_text(row.reason)}\t{_text(row.revoked_at)}"
        f"\t{row.changed_at}\t{row.not_after}\n"
        for row in batch
    )


def _certificate_lines(issuer: Issuer, profile: Profile, batch: Sequence[_Row]) -> str:
    return "".join(
        f"{issuer.id}\t\\\\x{row.serial.hex()}\t{profile.name}\t{row.subject}\t{row.not_before}\n" for row in batch
    )


def _text(value: int | None) -> str:
    return "\\N" if value is None else str(value)


def main() -> int:
    """Add them and say how fast that went. 1 when it cannot be done, with the reason on standard error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True, metavar="DIR")
    parser.add_argument("--label", required=True, metavar="LABEL", help="the CA that issued them")
    parser.add_argument("--count", type=_count, required=True, metavar="N", help=f"from 1 to {MOST}")
    parser.add_argument(
        "--revoked", type=_share, default=REVOKED, metavar="SHARE", help=f"of them, from 0 to 1 (default {REVOKED})"
    )
    parser.add_argument("--seed", default=SEED, metavar="TEXT", help=f"other serials for each (default {SEED})")
    options = parser.parse_args()
    population = Population(options.label, options.count, round(options.count * options.revoked), options.seed)
    try:
        seconds = populate(options.home, population)
        where = make_url(Home.open(options.home).database_url).get_backend_name()
    except (PopulationError, StoreError, IssuanceError, OSError) as error:
        sys.stderr.write(f"population: {error}\n")
        return 1
    print(
        f"{population.count} certificates of {population.label}, {population.revoked} of them revoked,"
        f" in {seconds:.1f} s: {population.count / seconds:,.0f} rows a second on {where}"
    )
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is out of range: from 1 to {MOST}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share: from 0 to 1")
    return share


if __name__ == "__main__":
    sys.exit(main())
