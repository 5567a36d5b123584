"""What every part of issuance works with: the store, the CA keys, the settings, a clock and randomness."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca_store.clock import Clock
    from ca_store.contracts import IssuanceStore
    from ca_store.keys import KeyStore
    from ca_store.signing import Signer
    from ca_store.types import Issuer
    from issuance.caa_records import Resolver
    from issuance.ct_log import Transparency
    from issuance.settings import Settings


@dataclass(frozen=True, slots=True)
class Core:
    """The issuance core of one home."""

    store: IssuanceStore
    keys: KeyStore
    settings: Settings
    clock: Clock
    random_bits: Callable[[int], int] = secrets.randbits
    """A cryptographically secure source of so many bits."""
    resolver: Resolver | None = None
    """Asks DNS for CAA records; None where the settings have them off."""
    transparency: Transparency | None = None
    """The logs that hear of server certificates; None where Certificate Transparency is off."""
    _opened: dict[str, Signer] = field(default_factory=dict, repr=False, compare=False)

    def now(self) -> int:
        """Whole POSIX seconds."""
        return int(self.clock.now())

    def chain(self, issuer: Issuer) -> tuple[bytes, ...]:
        """DER of a CA's certificate and of those above it, the root last."""
        known = {each.id: each for each in self.store.issuers()}
        chain = [issuer.certificate]
        while issuer.parent is not None:
            issuer = known[issuer.parent]
            chain.append(issuer.certificate)
        return tuple(chain)

    def signer(self, issuer: Issuer, digest: str | None = None) -> Signer:
        """The key of a CA, to sign with the digest of this hashlib name where one is given. Raises KeyUnavailable."""
        return self.key(self.store.issuer_key(issuer.id), digest)

    def key(self, reference: str, digest: str | None = None) -> Signer:
        """A key, read once: opening an RSA key takes longer than signing with it. Raises KeyUnavailable."""
        opened = f"{reference} {digest}"
        if opened not in self._opened:
            self._opened[opened] = self.keys.load(reference, digest)
        return self._opened[opened]
