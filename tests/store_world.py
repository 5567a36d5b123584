"""What tests of the store act with: issuers, certificates issued under them, and a listener to the change feed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ca_store.database import migrate
from ca_store.issuers import issuer_hashes
from ca_store.types import Issuer, IssuerID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ca_store.contracts import IssuanceStore, ReadStore
    from ca_store.types import Change

NOW = 1_800_000_000
LATER = NOW + 86_400


@cache
def make_certificate(label: str) -> x509.Certificate:
    """A self-signed certificate with the label as its common name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )


def make_issuer(label: str, parent: IssuerID | None = None) -> Issuer:
    """A record as ``add_issuer`` takes it."""
    certificate = make_certificate(label)
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Issuer(
        id=IssuerID(0),
        label=label,
        certificate=der,
        parent=parent,
        serial=certificate.serial_number,
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        hashes=issuer_hashes(der),
    )


def prepared_url(url: str) -> str:
    """The same URL, its database migrated."""
    migrate(url)
    return url


@dataclass
class Heard:
    """What a feed delivered."""

    changes: list[Change] = field(default_factory=list)
    resets: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def deliver(self, changes: Sequence[Change]) -> None:
        self.changes += changes
        self.arrived.set()

    def reset(self) -> None:
        self.resets += 1
        self.arrived.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.changes) < count:
                self.arrived.clear()
                await self.arrived.wait()

    async def until_reset(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.resets < count:
                self.arrived.clear()
                await self.arrived.wait()


@asynccontextmanager
async def following(reader: ReadStore) -> AsyncIterator[Heard]:
    """Follow the feed of a store until the block ends."""
    heard = Heard()
    task = asyncio.create_task(reader.feed.run(heard.deliver, heard.reset))
    try:
        await heard.until_reset(1)
        yield heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def issue(store: IssuanceStore, issuer: IssuerID, serial: int, profile: str = "server") -> None:
    """A good certificate with this serial."""
    store.reserve(issuer, serial, profile, LATER, NOW)
    store.record(issuer, serial, b"certificate", f"CN={serial}", NOW, LATER, NOW + 1)
