"""Whether the certificates that stand behind a unit are good, as the CA database says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ca_store.errors import NotFound, StoreUnavailable
from ca_store.types import CertificateState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ca_store.contracts import StatusStore
    from tsa.unit import Row, Unit

log = logging.getLogger(__name__)


class Standing:
    """The last known state of every certificate on the units' paths. What was never read does not count as good."""

    def __init__(self, store: StatusStore) -> None:
        self._store = store
        self._faults: dict[Row, str | None] = {}
        self._readable = True

    async def refresh(self, units: Iterable[Unit]) -> None:
        """Read the rows of these units' paths again. Raises StoreUnavailable, and then keeps what was known."""
        try:
            faults = {row: await self._read(row) for row in {row for unit in units for row in unit.rows}}
        except StoreUnavailable as error:
            if self._readable:
                log.error("the standing of the time-stamp certificates cannot be read: %s", error)  # noqa: TRY400 - told once, without stack
            self._readable = False
            raise
        self._readable = True
        for row, fault in faults.items():
            before = self._faults.get(row)
            if fault is not None and fault != before:
                log.error("no time-stamps under %s: its certificate is %s", row.name, fault)
            elif fault is None and before is not None:
                log.warning("the certificate of %s is good again", row.name)
        self._faults = faults

    def known(self, unit: Unit) -> bool:
        """Whether every certificate of this unit's path was read."""
        return all(row in self._faults for row in unit.rows)

    def fault(self, unit: Unit) -> str | None:
        """A sentence for the client when the unit must not issue."""
        for row in unit.rows:
            fault = self._faults.get(row, "not known to be good")
            if fault is not None:
                return f"The certificate of {row.name} is {fault}."
        return None

    async def _read(self, row: Row) -> str | None:
        try:
            status = await self._store.status(row.issuer, row.serial)
        except NotFound:
            return "not in the CA database"
        match status.state:
            case CertificateState.GOOD:
                return None
            case CertificateState.REVOKED:
                return "revoked"
            case CertificateState.RESERVED:
                return "not issued yet"
