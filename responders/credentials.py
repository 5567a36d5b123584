"""From the credentials in the CA database to delegates and units that answer."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ca_store.errors import KeyUnavailable
from ca_store.types import CertificateState, CredentialKind
from ocsp.delegate import DelegateRefused, delegate_name, load_delegate
from ocsp.directory import Directory
from tsa.errors import UnitRefused
from tsa.unit import AuthenticodeUnit, Unit, load_authenticode_unit, load_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ca_store.contracts import ReadStore
    from ca_store.keys import KeyStore
    from ca_store.types import Credential, Issuer, IssuerID
    from ocsp.delegate import Delegate
    from responders.config import TSA
    from tsa.unit import SigningUnit

_REFUSALS: Final = (DelegateRefused, UnitRefused, KeyUnavailable)
_logger: Final = logging.getLogger(__name__)


class CredentialsRefused(Exception):  # noqa: N818 - named as its meaning
    """A credential, or the lack of one, that the server must not start with; one sentence."""


@dataclass(frozen=True, slots=True)
class Roster:
    """Who speaks, as of one moment."""

    directory: Directory
    units: Mapping[str, Unit]
    authenticode: AuthenticodeUnit | None
    signers: int
    """A number of 64 bits that changes with the set of delegates, the same in every worker."""
    changes_at: int | None
    """POSIX seconds at which the next credential of a unit becomes active."""
    delegate_rows: frozenset[tuple[IssuerID, int]]
    """(issuer, serial) of every delegate's own certificate."""
    unit_rows: frozenset[tuple[IssuerID, int]]
    """(issuer, serial) of every certificate on the units' paths."""

    def keep_units(self, before: Roster) -> Roster:
        """With the units of ``before`` that this one lacks."""
        units = {**before.units, **self.units}
        authenticode = self.authenticode or before.authenticode
        return dataclasses.replace(
            self, units=units, authenticode=authenticode, unit_rows=_rows(_all(units, authenticode))
        )


@dataclass(frozen=True, slots=True)
class Records:
    """The rows that a roster is made from."""

    issuers: Sequence[Issuer]
    delegates: Sequence[Credential]
    units: Sequence[Credential]
    revoked: frozenset[int]
    """Ids of the delegates whose own certificate is revoked. A revoked unit stays: it says so to its clients."""


async def read_records(store: ReadStore) -> Records:
    """Read the rows. Raises StoreUnavailable."""
    delegates = await store.credentials(CredentialKind.OCSP)
    units = await store.credentials(CredentialKind.TSA)
    states = {each.id: (await store.status(each.issuer, each.serial)).state for each in delegates}
    return Records(
        await store.issuers(),  # last: an issuer is there before its credentials, and stays
        delegates,
        units,
        frozenset(at for at, state in states.items() if state is CertificateState.REVOKED),
    )


class CredentialLoader:
    """Makes rosters. A credential is loaded once: decrypting a key is made to be slow.

    The work belongs into a thread, and into one at a time.
    """

    def __init__(self, keys: KeyStore, tsa: TSA) -> None:
        self._keys = keys
        self._tsa = tsa
        self._delegates: dict[int, Delegate] = {}
        self._left_out: set[int] = set()
        self._units: dict[int, Unit | AuthenticodeUnit] = {}

    def load(self, records: Records, now: int, *, strict: bool) -> Roster:
        """The roster at ``now``. What is refused raises CredentialsRefused when ``strict``, at the start; later it is
        left out with an error in the log, so that one bad renewal does not silence everybody else.
        """
        refuse = _raise if strict else _log
        issuers = {issuer.id: issuer for issuer in records.issuers}
        delegates = list(self._load_delegates(records, issuers, now, refuse))
        for label in sorted({issuer.label for issuer in records.issuers} - {each.issuer.label for each in delegates}):
            _logger.warning("nobody speaks OCSP for %s: its certificates are answered unauthorized", label)
        loaded = [unit for _, unit in self.load_units(records, now, refuse)]
        units = {unit.name: unit for unit in loaded if isinstance(unit, Unit)}
        authenticode = next((unit for unit in loaded if isinstance(unit, AuthenticodeUnit)), None)
        upcoming = [
            each.active_from for each in records.units if each.name in self._tsa.units and each.active_from > now
        ]
        return Roster(
            directory=Directory(records.issuers, delegates),
            units=units,
            authenticode=authenticode,
            signers=_fingerprint(delegates),
            changes_at=min(upcoming, default=None),
            delegate_rows=frozenset((each.issuer, each.serial) for each in records.delegates),
            unit_rows=_rows(loaded),
        )

    def _load_delegates(
        self,
        records: Records,
        issuers: Mapping[IssuerID, Issuer],
        now: int,
        refuse: Callable[[Exception], None],
    ) -> Iterator[Delegate]:
        for credential in records.delegates:
            issuer = issuers[credential.issuer]
            # An ended one stays a row until the timers retire it, and must not keep the server from starting.
            if (fault := _ended(records, credential, issuer, now)) is not None:
                self._say_once(credential, f"{delegate_name(credential, issuer)} is left out: {fault}")
                continue
            try:
                if credential.id not in self._delegates:
                    signer = self._keys.load(credential.key_reference)
                    self._delegates[credential.id] = load_delegate(credential, issuer, signer, now)
            except _REFUSALS as error:
                refuse(error)
                continue
            yield self._delegates[credential.id]

    def _say_once(self, credential: Credential, sentence: str) -> None:
        if credential.id not in self._left_out:
            self._left_out.add(credential.id)
            _logger.warning("%s", sentence)

    def load_units(
        self, records: Records, now: int, refuse: Callable[[Exception], None]
    ) -> Iterator[tuple[str, Unit | AuthenticodeUnit]]:
        """Each configured unit with its name, as far as it may speak; why one may not goes to ``refuse``."""
        issuers = {issuer.id: issuer for issuer in records.issuers}
        for name, settings in self._tsa.units.items():
            active = [each for each in records.units if each.name == name and each.active_from <= now]
            if not active:
                refuse(CredentialsRefused(f"time-stamping unit {name} has no certificate: see `issuance signer list`"))
            # The newest speaks; one that is refused leaves the word to the one before.
            for credential in sorted(active, key=lambda each: (each.active_from, each.id), reverse=True):
                try:
                    if credential.id not in self._units:
                        chain = list(_chain(issuers, credential.issuer))
                        signer = self._keys.load(credential.key_reference)
                        load = load_unit if settings.protocol == "rfc3161" else load_authenticode_unit
                        self._units[credential.id] = load(name, settings, credential, chain, signer, now)
                except _REFUSALS as error:
                    refuse(error)
                else:
                    yield name, self._units[credential.id]
                    break


def _fingerprint(delegates: Sequence[Delegate]) -> int:
    names = sorted(f"{each.issuer.id}:{each.serial}:{each.active_from}" for each in delegates)
    return int.from_bytes(hashlib.sha256("\n".join(names).encode()).digest()[:8], "big")


def _ended(records: Records, credential: Credential, issuer: Issuer, now: int) -> str | None:
    if credential.id in records.revoked:
        return "it is revoked"
    if credential.not_after <= now:
        return "its notAfter is past"
    return "notAfter of its CA is past" if issuer.not_after <= now else None


def _all(units: Mapping[str, Unit], authenticode: AuthenticodeUnit | None) -> Sequence[SigningUnit]:
    return [*units.values(), *(() if authenticode is None else (authenticode,))]


def _rows(units: Iterable[SigningUnit]) -> frozenset[tuple[IssuerID, int]]:
    return frozenset((row.issuer, row.serial) for unit in units for row in unit.rows)


def _chain(issuers: Mapping[IssuerID, Issuer], first: IssuerID) -> Iterator[Issuer]:
    """An issuer, its issuer, and so on up to the root."""
    at: IssuerID | None = first
    while at is not None:
        issuer = issuers[at]
        yield issuer
        at = issuer.parent


def _raise(error: Exception) -> None:
    raise CredentialsRefused(str(error)) from error


def _log(error: Exception) -> None:
    _logger.error("%s", error)
