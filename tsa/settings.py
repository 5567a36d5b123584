"""What an operator can set, checked where it is made: a value that cannot work raises ValueError naming its field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ca_store import der

if TYPE_CHECKING:
    from collections.abc import Mapping

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

_MIN_ACCURACY: Final = {"second": 2.0, "millisecond": 0.2}
_MAX_ACCURACY: Final = 3600
_MAX_BLOCK: Final = 1 << 32
_MILLI: Final = 1000

Granularity = Literal["second", "millisecond"]
Chain = Literal["leaf", "intermediates", "root"]
GRANULARITY_SECONDS: Final[Mapping[str, float]] = {"second": 1.0, "millisecond": 0.001}


@dataclass(frozen=True, slots=True)
class UnitSettings:
    """One time-stamping unit."""

    protocol: Literal["rfc3161", "authenticode"] = "rfc3161"
    """``authenticode`` makes the unit the one that answers the older protocol, at every URL, and no RFC 3161 request;
    of the settings below it has ``accuracy_seconds``, what the clock must keep, and ``certificates``.
    """
    policy: str = ""
    """OID under which tokens are issued when the request names none. Every unit of RFC 3161 has one."""
    policies: tuple[str, ...] = ()
    """More OIDs that a request may name. ``policy`` can always be named."""
    accuracy_seconds: float = 2.0
    """What every token states, in whole milliseconds. genTime plus and minus this contains the moment of the signature:
    cutting genTime costs up to its granularity, and the rest is for the error of the clock and for the time between
    reading it and having signed. Hence at least 2, or 0.2 with milliseconds in genTime.
    """
    gen_time: Granularity = "second"
    """``millisecond`` writes a fraction into genTime, which an accuracy of one second needs (EN 319 422 §5.2.2) and
    some clients cannot read.
    """
    digests: tuple[str, ...] = ACCEPTED_DIGESTS
    """hashlib names of the digests an imprint may have."""
    certificates: Chain = "intermediates"
    """What goes along when a client asks for certificates: the unit's own alone (``leaf``), those of the CAs between it
    and the root too, or the ``root`` as well, which a verifier has already.
    """
    ess_cert_id_v1: bool = False
    """Write the old signingCertificate attribute, over SHA-1, beside the one of RFC 5816, for verifiers from before
    2010; both may be present.
    """

    def __post_init__(self) -> None:
        for name in ("policies", "digests"):  # a configuration file has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_protocol()
        for policy in (*filter(None, (self.policy,)), *self.policies):
            _check_oid(policy)
        least = _MIN_ACCURACY[self.gen_time]
        if not least <= self.accuracy_seconds <= _MAX_ACCURACY:
            raise ValueError(
                f"accuracy_seconds is {self.accuracy_seconds:g}; it must be {least:g} to {_MAX_ACCURACY}, because"
                f" genTime is cut to whole {self.gen_time}s"
            )
        if self.accuracy_seconds * _MILLI != self.accuracy_milliseconds:
            raise ValueError(f"accuracy_seconds is {self.accuracy_seconds!r}; it must be in whole milliseconds")
        if not self.digests or not set(self.digests) <= set(KNOWN_DIGESTS):
            raise ValueError(f"digests must be some of {', '.join(KNOWN_DIGESTS)}")

    def _check_protocol(self) -> None:
        if self.protocol == "rfc3161":
            if not self.policy:
                raise ValueError("policy is missing")
        elif self.policy or self.policies or self.ess_cert_id_v1 or self.gen_time != "second":
            raise ValueError("policy, policies, ess_cert_id_v1 and gen_time have no place in protocol authenticode")

    @property
    def accuracy_milliseconds(self) -> int:
        """``accuracy_seconds`` in the unit in which tokens are computed."""
        return round(self.accuracy_seconds * _MILLI)

    @property
    def granularity_milliseconds(self) -> int:
        """To how many milliseconds genTime is cut."""
        return round(GRANULARITY_SECONDS[self.gen_time] * _MILLI)


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all units of one process."""

    serial_block: int = 65_536
    """Serials reserved in one transaction: a few seconds of P-256 tokens at full speed. A restart loses the rest."""
    revocation_max_age: float = 60.0
    """Seconds for which the rows of the units' certificates are relied on without reading them again: how long tokens
    are issued while the database is away.
    """
    retry_pause: float = 0.25
    """Seconds without a new attempt after the database has failed."""

    def __post_init__(self) -> None:
        if not 1 <= self.serial_block <= _MAX_BLOCK:
            raise ValueError(f"serial_block is {self.serial_block}; it must be 1 to {_MAX_BLOCK}")
        for name in ("revocation_max_age", "retry_pause"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """``[clock]``: when the time-stamp authority takes the host's clock for right. Durations are seconds."""

    source: Literal["host", "kernel", "ntp"] = "host"
    """``host`` believes the clock as it is, and only a step or a leap back stops it. ``kernel`` asks the kernel, and
    chrony where it runs, whether the clock is synchronised and how wrong it may be. ``ntp`` compares it with
    ``servers``.
    """
    servers: tuple[str, ...] = ()
    """NTP servers to compare with, ``HOST`` or ``HOST:PORT``: more than half of them must agree. Three or more survive
    the loss and the lie of one.
    """
    interval: float = 16.0
    """Between two comparisons with ``servers``. The kernel is asked every second."""
    tolerance: float = 0.1
    """A smaller step is absorbed; with the source ``host`` the clock is taken to be wrong by so much at most."""
    settle_seconds: float = 10.0
    """How long after a step nothing is issued."""
    drift_ppm: float = 100.0
    """By how many millionths an undisciplined clock goes wrong: what the error grows by between two measurements."""

    @property
    def patience(self) -> float:
        """Age at which a measurement counts for nothing any more."""
        return 4 * (self.interval if self.source == "ntp" else 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "servers", tuple(self.servers))
        if (self.source == "ntp") != bool(self.servers):
            raise ValueError("servers belong to the source ntp, which needs at least one")
        for name, least, most in (
            ("interval", 1, 3600),
            ("tolerance", 0, 1),
            ("settle_seconds", 0, 86_400),
            ("drift_ppm", 0, 1000),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name):g}; it must be {least} to {most}")


def _check_oid(dotted: str) -> None:
    try:
        der.oid(dotted)
    except ValueError as error:
        raise ValueError(f"policy {dotted!r} is not an object identifier") from error
