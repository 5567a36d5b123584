"""Which certificates there are, for whoever wants to ask about many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca_store.engine import READS, store_errors, writing_engine
from ca_store.schema import unpack_serial
from ca_store.statuses import IN_FORCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.types import CertificateState, IssuerID


def list_serials(url: str, issuer: IssuerID, state: CertificateState, *, after: int, limit: int) -> Sequence[int]:
    """The lowest serials, at most ``limit``, of an issuer's certificates in this state that expire later than ``after``
    (POSIX seconds). Raises StoreUnavailable.
    """
    engine = writing_engine(url)
    try:
        with store_errors(), engine.execution_options(**READS).connect() as connection:
            rows = connection.execute(IN_FORCE[state], {"issuer": issuer, "after": after, "limit": limit})
            return [unpack_serial(bytes(row.serial)) for row in rows]
    finally:
        engine.dispose()
