"""Many certificates in a home's database, faster than issuing them: rows without signed bodies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert

from ca_store.engine import writing_engine
from ca_store.home import Home
from ca_store.issuers import IssuerWriter
from ca_store.schema import certificate, certificate_status, pack_serial
from ca_store.types import CertificateState

if TYPE_CHECKING:
    from pathlib import Path

FIRST_SERIAL: Final = 0x4A << 152
"""20 octets, as real serials have."""

_BATCH: Final = 10_000


def populate(home: Path, label: str, count: int) -> int:
    """Add ``count`` good certificates with consecutive serials to a CA of the home; the first serial."""
    engine = writing_engine(Home.open(home).database_url)
    issuer = IssuerWriter(engine).issuer(label).id
    now = int(time.time())
    for start in range(0, count, _BATCH):
        serials = [pack_serial(FIRST_SERIAL + number) for number in range(start, min(count, start + _BATCH))]
        status = {"issuer_id": issuer, "state": CertificateState.GOOD, "changed_at": now - 86_400}
        body = {"issuer_id": issuer, "profile": "server", "subject": "CN=bench", "not_before": now - 86_400}
        with engine.begin() as connection:
            connection.execute(
                insert(certificate_status),
                [status | {"serial": serial, "not_after": now + 86_400 * 100} for serial in serials],
            )
            connection.execute(insert(certificate), [body | {"serial": serial} for serial in serials])
    engine.dispose()
    return FIRST_SERIAL
