"""Every OCSP delegate of a home, tried out: by the server in the background, and by ``doctor`` on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca_store.errors import KeyUnavailable
from ca_store.gate import SigningGate
from ca_store.types import format_serial
from ocsp.delegate import DelegateRefused, load_delegate
from ocsp.linter import Linter, LinterMissing
from ocsp.selfcheck import Examiner, SignerReport
from responders.credentials import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca_store.clock import Clock
    from ca_store.contracts import ReadStore
    from ca_store.keys import KeyStore
    from ocsp.delegate import Delegate
    from ocsp.settings import Settings
    from responders.credentials import Records


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a delegate on record may not speak."""

    sentence: str
    revoked: bool
    """Its own certificate was revoked: meant so, if another speaks."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found, as of one moment."""

    signers: tuple[SignerReport, ...]
    """One for each delegate that speaks or will."""
    refused: tuple[Refusal, ...]
    silent: tuple[str, ...]
    """Labels of the CAs in force for which nobody speaks now."""
    linter: str
    """The linter and its version, or empty."""
    not_linted: str
    """Why nothing was linted, or empty."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What clients are served wrongly: a sentence each."""
        return tuple(
            f"{signer.name}: {finding.rule}: {finding.sentence}"
            for signer in self.signers
            if signer.failed
            for finding in signer.findings
            if finding.severity == "failure"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is not as it should be: a sentence each."""
        return tuple(
            f"{signer.name}: {finding.severity}: {finding.rule}: {finding.sentence}"
            for signer in self.signers
            for finding in signer.findings
            if finding.severity != "failure"
        )


async def inspect(store: ReadStore, keys: KeyStore, settings: Settings, clock: Clock) -> Inspection:
    """Try every delegate. Raises StoreUnavailable."""
    linter, not_linted = _linter()
    records = await read_records(store)
    now = int(clock.now())
    delegates: list[Delegate] = []
    refused: list[Refusal] = []
    for each in load_delegates(records, keys, now):
        if isinstance(each, Refusal):
            refused.append(each)
        else:
            delegates.append(each)
    gate = SigningGate(1, len(delegates) + 1, 60.0)
    try:
        examiner = Examiner(store=store, gate=gate, clock=clock, settings=settings, linter=linter)
        signers = tuple([await examiner.examine(each, records.issuers) for each in delegates])
    finally:
        gate.close()
    speaking = {each.issuer.id for each in delegates if each.active_from <= now < each.not_after}
    return Inspection(
        signers=signers,
        refused=tuple(refused),
        silent=tuple(each.label for each in records.issuers if each.id not in speaking and each.not_after > now),
        linter="" if linter is None else f"pkilint {linter.version}",
        not_linted=not_linted,
    )


def load_delegates(records: Records, keys: KeyStore, now: int) -> Iterator[Delegate | Refusal]:
    """Each delegate on record that has not expired, or why it may not speak."""
    issuers = {issuer.id: issuer for issuer in records.issuers}
    for credential in records.delegates:
        issuer = issuers[credential.issuer]
        if min(credential.not_after, issuer.not_after) <= now:
            continue
        name = f"the certificate of OCSP delegate {format_serial(credential.serial)} of {issuer.label}"
        if credential.id in records.revoked:
            yield Refusal(f"{name} is revoked", revoked=True)
            continue
        try:
            yield load_delegate(credential, issuer, keys.load(credential.key_reference), now)
        except DelegateRefused as error:
            yield Refusal(str(error), revoked=False)
        except KeyUnavailable as error:
            yield Refusal(f"{name} is of no use: {error}", revoked=False)


def _linter() -> tuple[Linter | None, str]:
    try:
        return Linter(), ""
    except LinterMissing as error:
        return None, str(error)
