"""What must happen while nobody types a command: CRLs and signers are renewed before they end, logs asked again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ca_store.errors import StoreError
from issuance.compromise import is_compromised, revoke_issued
from issuance.crl import is_due, sign_crl
from issuance.ct_backlog import Backlog
from issuance.errors import IssuanceError
from issuance.signer_renewal import delegate_keys, renew_delegate, renew_unit, retire_succeeded, unit_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from ca_store.types import Credential, Issuer, IssuerID
    from issuance.core import Core

INTERVAL: Final = 60.0
"""Seconds between two looks. Everything is due hours before it is late."""
SETTLED: Final = 3600.0
"""Seconds between two looks at everything that a compromised CA has issued, once one has found nothing to revoke."""


class Timers:
    """One look, or a look at each interval.

    Args:
        core: the issuance core.
        publish: told of each renewed signer.
        report: told, in one sentence, what was done and what could not be.
    """

    def __init__(self, core: Core, publish: Callable[[Credential], None], report: Callable[[str], None]) -> None:
        self._core = core
        self._publish = publish
        self._report = report
        self._backlog = Backlog(core, report)
        self._settled: dict[IssuerID, float] = {}

    def run(self, stop: Event, interval: float = INTERVAL) -> None:
        """Look until ``stop`` is set. A failure is reported and tried again at the next look."""
        while not stop.is_set():
            self.look()
            stop.wait(interval)

    def look(self) -> None:
        """Do what is due now. What fails for one CA or unit is reported and holds up no other."""
        with self._reported():
            for issuer in self._core.store.issuers():
                with self._reported():
                    self._revoke_compromised(issuer)
                with self._reported():
                    self._sign_crl(issuer)
                for key_type in delegate_keys(self._core, issuer):
                    with self._reported():
                        self._renewed(renew_delegate(self._core, issuer, key_type=key_type))
            for name in unit_names(self._core):
                with self._reported():
                    self._renewed(renew_unit(self._core, name, retry_revoked=False))
            retire_succeeded(self._core)
            with self._reported():
                self._backlog.look()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (StoreError, IssuanceError, OSError) as error:
            self._report(str(error))

    def _revoke_compromised(self, issuer: Issuer) -> None:
        """What an interrupted command has left, and what came in while it was at work."""
        now = self._core.clock.monotonic()
        if now < self._settled.get(issuer.id, now) or not is_compromised(self._core, issuer):
            return
        if count := revoke_issued(self._core, issuer):
            self._report(f"revoked {count} certificates of {issuer.label}, whose key is compromised")
        else:
            self._settled[issuer.id] = now + SETTLED

    def _sign_crl(self, issuer: Issuer) -> None:
        if is_due(self._core, issuer):
            crl = sign_crl(self._core, issuer)
            self._report(f"signed CRL {crl.number} of {issuer.label}")

    def _renewed(self, credential: Credential | None) -> None:
        if credential is not None:
            self._publish(credential)
            self._report(f"renewed the {credential.kind.value} signer {credential.name}")
