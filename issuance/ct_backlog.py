"""What Certificate Transparency still owes: precertificates to complete, and certificates whose SCTs OCSP lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ca_store.errors import StoreError
from ca_store.types import CertificateState, format_serial
from issuance.ct_completion import COMPLETED_WITHIN, complete, log_certificate
from issuance.errors import IssuanceError
from issuance.issuer import standing_of
from issuance.precertificate import has_scts, is_precertificate
from issuance.profile import SERVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca_store.types import Certificate, IssuerID
    from issuance.core import Core

PATIENCE: Final = 600
"""Seconds between two looks, and the age from which on nobody else is at work on a certificate."""
GIVEN_UP: Final = 7 * 86_400
"""Seconds after which a certificate's SCTs are asked for no more."""
_LONGEST: Final = 30.0
"""Seconds of one look; the next one goes on from there."""
_PAGE: Final = 100


class Backlog:
    """Works it off, a look at a time.

    Args:
        core: the issuance core.
        report: told, in one sentence, what was done and what could not be.
    """

    def __init__(self, core: Core, report: Callable[[str], None]) -> None:
        self._core = core
        self._report = report
        self._behind: tuple[int, IssuerID, int] | None = None
        self._next = core.clock.monotonic()

    def look(self) -> None:
        """Do what is due, where Certificate Transparency is on. Raises StoreUnavailable."""
        began = self._core.clock.monotonic()
        if self._core.transparency is None or began < self._next:
            return
        self._next = began + PATIENCE
        now = self._core.now()
        while True:
            page = self._core.store.without_scts(
                SERVER.name, now - GIVEN_UP, now - PATIENCE, after=self._behind, limit=_PAGE
            )
            for certificate in page:
                self._behind = (certificate.status.changed_at, certificate.issuer, certificate.serial)
                self._settle(certificate)
                if self._core.clock.monotonic() - began > _LONGEST:
                    return
            if len(page) < _PAGE:
                self._behind = None
                return

    def _settle(self, certificate: Certificate) -> None:
        serial = format_serial(certificate.serial)
        try:
            self._submit(certificate, serial)
        except (IssuanceError, StoreError) as error:
            self._report(f"Certificate Transparency of {serial}: {error}")

    def _submit(self, certificate: Certificate, serial: str) -> None:
        issuer = self._core.store.issuer(certificate.issuer_label)
        der = certificate.der
        if der is None or standing_of(self._core, issuer).state is CertificateState.REVOKED:
            return
        if not is_precertificate(der):
            if has_scts(der):
                log_certificate(self._core, issuer, der)
                self._report(f"OCSP answers about {serial} have SCTs now")
        elif self._core.now() - certificate.not_before <= COMPLETED_WITHIN:
            complete(self._core, issuer, der)
            self._report(f"completed the certificate {serial} of {issuer.label}")
