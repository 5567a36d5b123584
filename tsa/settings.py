"""What an operator can set, checked where it is made: a value that cannot work raises ValueError naming its field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ca_store import der

ACCEPTED_DIGESTS: Final = ("sha256", "sha384", "sha512")
"""The imprints every client sends; SHA-3 is known too. SHA-1 must be refused (CSBR §6.8)."""

KNOWN_DIGESTS: Final = {
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
    "sha3_256": "2.16.840.1.101.3.4.2.8",
    "sha3_384": "2.16.840.1.101.3.4.2.9",
    "sha3_512": "2.16.840.1.101.3.4.2.10",
}
"""Digests an imprint may have: hashlib name to OID."""

_MIN_ACCURACY: Final = 2
_MAX_ACCURACY: Final = 3600
_MAX_BLOCK: Final = 1 << 32
_MAX_TOLERANCE: Final = 1.0


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """One time-stamping unit."""

    policy: str
    """OID under which tokens are issued when the request names none."""
    policies: tuple[str, ...] = ()
    """More OIDs that a request may name. ``policy`` can always be named."""
    accuracy_seconds: int = 2
    """What every token states. genTime is cut to whole seconds, which costs up to one second; the rest is for the error
    of the clock and for the time between reading it and having signed. Hence at least 2.
    """
    digests: tuple[str, ...] = ACCEPTED_DIGESTS
    """hashlib names of the digests an imprint may have."""
    include_root: bool = False
    """Whether the root goes along when a client asks for certificates; a verifier has it already."""

    def __post_init__(self) -> None:
        for name in ("policies", "digests"):  # a configuration file has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for policy in (self.policy, *self.policies):
            _check_oid(policy)
        if not _MIN_ACCURACY <= self.accuracy_seconds <= _MAX_ACCURACY:
            raise ValueError(
                f"accuracy_seconds is {self.accuracy_seconds}; it must be {_MIN_ACCURACY} to {_MAX_ACCURACY}, because"
                " genTime is cut to whole seconds"
            )
        if not self.digests or not set(self.digests) <= set(KNOWN_DIGESTS):
            raise ValueError(f"digests must be some of {', '.join(KNOWN_DIGESTS)}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all units of one process."""

    serial_block: int = 65_536
    """Serials reserved in one transaction: a few seconds of P-256 tokens at full speed. A restart loses the rest."""
    clock_tolerance: float = 0.1
    """Seconds by which the clock is taken to be wrong at most while it is disciplined: a smaller step back is
    absorbed, a larger one stops issuance until genTime has caught up.
    """
    revocation_max_age: float = 60.0
    """Seconds for which the rows of the units' certificates are relied on without reading them again: how long tokens
    are issued while the database is away.
    """
    retry_pause: float = 0.25
    """Seconds without a new attempt after the database has failed."""

    def __post_init__(self) -> None:
        if not 1 <= self.serial_block <= _MAX_BLOCK:
            raise ValueError(f"serial_block is {self.serial_block}; it must be 1 to {_MAX_BLOCK}")
        if not 0 <= self.clock_tolerance <= _MAX_TOLERANCE:
            raise ValueError(f"clock_tolerance is {self.clock_tolerance}; it must be 0 to {_MAX_TOLERANCE} seconds")
        for name in ("revocation_max_age", "retry_pause"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")


def _check_oid(dotted: str) -> None:
    try:
        der.oid(dotted)
    except ValueError as error:
        raise ValueError(f"policy {dotted!r} is not an object identifier") from error
