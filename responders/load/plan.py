"""What a run is to do. Plans travel to the generating processes whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ca_store.types import HashAlgorithm


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is."""

    host: str
    port: int
    path: str
    """Without a slash at its end."""

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How questions follow each other. Times are seconds."""

    rate: float | None
    """Open loop: questions a second, due whatever the server does. None: closed loop."""
    connections: int
    """Closed loop: so many, each of which asks as soon as it was answered. Open loop: the most there may be."""
    duration: float
    timeout: float
    """After so long a question is given up."""
    slow: float
    """A right answer that takes longer is counted as slow."""

    def share(self, number: int, of: int) -> Pace:
        """The pace of one of several processes, ``number`` counting from 0; together they keep this one."""
        connections = self.connections // of + (number < self.connections % of)
        rate = None if self.rate is None else self.rate / of
        return Pace(rate, max(connections, 1), self.duration, self.timeout, self.slow)


@dataclass(frozen=True, slots=True)
class Checking:
    """How closely answers are looked at."""

    verified: float
    """The share whose signature is verified, 0 to 1; of the rest everything else is checked."""
    skew: int
    """Seconds by which the server's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class Population:
    """The certificates to ask about. A subject is (index of its issuer, serial)."""

    issuers: Sequence[bytes]
    """DER certificates."""
    subjects: Mapping[str, Sequence[tuple[int, int]]]
    """By what the answer must say: ``good``, ``revoked``, ``unassigned``, or ``any`` for good or revoked."""


@dataclass(frozen=True, slots=True)
class OCSPMix:
    """Proportions of OCSP questions; shares lie between 0 and 1."""

    population: Population
    get: float
    nonce: float
    revoked: float
    unassigned: float
    """Serials that no one has; made up when the population has none."""
    hot: float
    """The share of questions about the hot serials. The cold ones are asked about in turn, so that each is a miss for
    as long as there are new ones.
    """
    hot_serials: int
    algorithm: HashAlgorithm


@dataclass(frozen=True, slots=True)
class TSAMix:
    """Proportions of time-stamp requests; shares lie between 0 and 1."""

    anchors: Sequence[bytes]
    """DER certificates that tokens must lead to."""
    others: Sequence[bytes]
    """DER certificates that paths may need."""
    digests: Sequence[str]
    """hashlib names, in equal shares."""
    units: Sequence[str]
    """Appended to the URL in equal shares; none asks at the URL itself."""
    certificates: float
    """certReq."""
    nonce: float
    legacy: float
    """Requests of Authenticode's older protocol."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    target: Target
    pace: Pace
    checking: Checking
    mix: OCSPMix | TSAMix
    processes: int
    seed: int
    """Of every choice; two runs with one seed ask the same, except for nonces."""
