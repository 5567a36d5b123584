"""Everything that would make the service wrong, found out from the home, its database and a server that may run."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from ca_store.database import open_read_store
from ca_store.errors import KeyUnavailable, NotFound, StoreError
from ca_store.home import Home
from ca_store.replica import replica_lag
from ca_store.types import CertificateState
from ocsp.settings import MIN_VALIDITY
from responders.config import ConfigError, open_config, parse_address
from responders.credentials import CredentialLoader, read_records
from responders.diagnosis_home import (
    examine_clock,
    examine_home,
    examine_pointers,
    examine_server,
    examine_settings,
)
from responders.finding import Finding, Level
from responders.inspection import inspect
from responders.prepared import iso_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from pathlib import Path

    from ca_store.clock import Clock
    from ca_store.contracts import ReadStore
    from ca_store.types import Issuer
    from ocsp.selfcheck import SignerReport
    from responders.config import Address, Config
    from responders.inspection import Inspection

_DAY: Final = 86_400
_REMAINING: Final = 3
"""Issuance renews a delegate when less than one part in so many of its life is left."""
_SOON: Final = 7 * _DAY
_MOST_BEHIND: Final = 16 << 20
"""Octets of the log that a replica may be behind: one file of it."""


async def diagnose(path: Path, config_file: Path | None, admin: Address | None, clock: Clock) -> AsyncIterator[Finding]:
    """Look at everything that can be looked at. Whatever goes wrong on the way is a finding, too."""
    try:
        home = Home.open(path)
        for each in (*examine_home(home), *examine_pointers(home)):
            yield each
        config = open_config(home, config_file)
    except (StoreError, ConfigError, OSError) as error:
        yield Finding(Level.FAULT, "home", str(error))
        return
    for each in (*examine_settings(config), *examine_clock(config)):
        yield each
    try:
        async with aclosing(_examine_database(home, config, clock)) as findings:
            async for each in findings:
                yield each
    except (StoreError, OSError, ValueError) as error:
        yield Finding(Level.FAULT, "database", str(error))
    for each in await asyncio.to_thread(lambda: list(examine_server(admin or parse_address(config.server.admin)))):
        yield each


async def _examine_database(home: Home, config: Config, clock: Clock) -> AsyncGenerator[Finding, None]:
    store = await open_read_store(home.database_url, clock, home.read_url)
    try:
        issuers = [each for each in await store.issuers() if each.not_after > clock.now()]
        count = f"{len(issuers)} CAs in force"
        yield Finding(Level.OK, "database", f"it answers and has the schema of this program; {count}")
        if home.read_url is not None:
            yield await _examine_replica(home.database_url, home.read_url)
        now = int(clock.now())
        for issuer in issuers:
            yield await _examine_crl(store, issuer, now)
        try:
            keys = home.keys()
        except KeyUnavailable as error:
            yield Finding(Level.FAULT, "delegates", f"no key can be opened: {error}")
            return
        for each in examine_inspection(await inspect(store, keys, config.ocsp, clock), issuers, now):
            yield each
        async for each in _examine_units(store, CredentialLoader(keys, config.tsa), config, now):
            yield each
    finally:
        await store.close()


async def _examine_replica(url: str, read_url: str) -> Finding:
    try:
        octets = await replica_lag(url, read_url)
    except StoreError as error:
        return Finding(Level.WARNING, "replica", f"{error}: status rows are read from the primary")
    if octets > _MOST_BEHIND:
        return Finding(Level.WARNING, "replica", f"it is {octets} octets of the log behind the primary")
    return Finding(Level.OK, "replica", "it follows the primary")


def examine_inspection(found: Inspection, issuers: list[Issuer], now: int) -> Iterator[Finding]:
    """The delegates: whether they may speak, for how long, and what their answers are like."""
    for refusal in found.refused:
        yield Finding(Level.NOTE if refusal.revoked else Level.FAULT, "delegates", refusal.sentence)
    for label in found.silent:
        yield Finding(
            Level.FAULT, "delegates", f"nobody speaks OCSP for {label}: its certificates are answered unauthorized"
        )
    for issuer in issuers:
        signers = [each for each in found.signers if each.issuer == issuer.label]
        if signers:
            yield _examine_term(max(signers, key=lambda each: each.active_from), issuer, now)
    for sentence in found.failures:
        yield Finding(Level.FAULT, "answers", sentence)
    for sentence in found.notes:
        yield Finding(Level.WARNING, "answers", sentence)
    linted = f"linted by {found.linter}" if found.linter else f"not linted: {found.not_linted}"
    for signer in found.signers:
        if not signer.failed:
            about = " and ".join(signer.asked)
            count = f"{len(signer.findings)} findings, " if signer.findings else ""
            yield Finding(Level.OK, "answers", f"{signer.name}: right about {about} certificates, {count}{linted}")


def _examine_term(newest: SignerReport, issuer: Issuer, now: int) -> Finding:
    """Whether the newest delegate of a CA, a successor included, has enough time left."""
    left, end = newest.not_after - now, iso_time(newest.not_after)
    if left < MIN_VALIDITY:
        return Finding(
            Level.FAULT, "delegates", f"{newest.name} ends {end}: answers cannot hold for eight hours (BR §4.9.9)"
        )
    if newest.not_after >= issuer.not_after:
        level = Level.WARNING if left < _SOON else Level.OK
        return Finding(level, "delegates", f"{newest.name} ends {end}, with its CA")
    if left * _REMAINING < newest.not_after - newest.not_before:
        return Finding(
            Level.FAULT,
            "delegates",
            f"{newest.name} ends {end} and has no successor: `issuance run` makes one in time, `signer renew` now",
        )
    when = f", speaks from {iso_time(newest.active_from)}" if newest.active_from > now else ""
    return Finding(Level.OK, "delegates", f"{newest.name} is good until {end}{when}")


async def _examine_units(
    store: ReadStore, loader: CredentialLoader, config: Config, now: int
) -> AsyncIterator[Finding]:
    refused: list[Exception] = []
    units = dict(loader.load_units(await read_records(store), now, refused.append))
    for error in refused:
        yield Finding(Level.FAULT, "time-stamping", str(error))
    for name, unit in units.items():
        states = [(row, (await store.status(row.issuer, row.serial)).state) for row in unit.rows]
        for row, state in states:
            if state is not CertificateState.GOOD:
                yield Finding(
                    Level.FAULT, "time-stamping", f"unit {name} issues nothing: {row.name} is {state.name.lower()}"
                )
        level = Level.WARNING if unit.not_after - now < _SOON else Level.OK
        yield Finding(level, "time-stamping", f"unit {name} may issue until {iso_time(unit.not_after)}")
    if not config.tsa.units:
        yield Finding(Level.NOTE, "time-stamping", "no unit is configured: time-stamping is off")


async def _examine_crl(store: ReadStore, issuer: Issuer, now: int) -> Finding:
    again = "`issuance run` signs a new one every day"
    try:
        crl = await store.crl(issuer.label)
    except NotFound:
        return Finding(Level.FAULT, "crl", f"{issuer.label} has no CRL: {again}")
    end = iso_time(crl.next_update)
    if crl.next_update <= now:
        return Finding(Level.FAULT, "crl", f"the CRL of {issuer.label} has expired, {end}: {again}")
    if crl.next_update - now < _DAY and crl.next_update < issuer.not_after:
        return Finding(Level.FAULT, "crl", f"the CRL of {issuer.label} expires within a day, {end}: {again}")
    if now - crl.this_update > 2 * _DAY:
        age = (now - crl.this_update) // _DAY
        return Finding(Level.WARNING, "crl", f"the CRL of {issuer.label} is {age} days old: {again}")
    return Finding(Level.OK, "crl", f"CRL {crl.number} of {issuer.label} is good until {end}")
