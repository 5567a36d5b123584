"""A delegate's answers before a client sees them: made, read by an independent library, linted, held against the row.

Nothing that encodes answers is used to judge them. The same octets are what a server sends at that time, because an
answer without nonce depends on nothing else (see ``ocsp.window``).
"""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as x509_ocsp

from ca_store.errors import NotFound
from ca_store.types import CertificateState, format_serial
from ocsp.directory import Directory
from ocsp.responder import Responder
from ocsp.verdict import judge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from ca_store.clock import Clock
    from ca_store.contracts import ReadStore
    from ca_store.gate import SigningGate
    from ca_store.types import Issuer, IssuerID, Status
    from ocsp.delegate import Delegate
    from ocsp.linter import Linter
    from ocsp.settings import Settings

_ATTEMPTS: Final = 5
"""Times that a subject is asked about while its row keeps changing under the answer."""
_HASHES: Final = (hashes.SHA1(), hashes.SHA256())  # noqa: S303 - names an issuer in a CertID and protects nothing


class Severity(enum.StrEnum):
    """How bad a finding is."""

    FAILURE = "failure"
    """Clients cannot use the answer, or are told something that is not so."""
    ERROR = "error"
    """Against a MUST."""
    WARNING = "warning"
    """Against a SHOULD."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with an answer."""

    severity: Severity
    rule: str
    """The field or section, or the linter's own code."""
    sentence: str


@dataclass(frozen=True, slots=True)
class SignerReport:
    """What was found about the answers of one delegate. Times are POSIX seconds."""

    issuer: str
    """Its label."""
    serial: str
    """Of the delegate's own certificate, in hex."""
    not_before: int
    active_from: int
    not_after: int
    """The end of the certificate, or of its CA's when that comes first."""
    asked: tuple[str, ...]
    """The kinds of certificates that it was asked about: good, revoked, unassigned."""
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether clients are served wrongly."""
        return any(each.severity is Severity.FAILURE for each in self.findings)

    @property
    def name(self) -> str:
        """For sentences."""
        return f"the certificate of OCSP delegate {self.serial} of {self.issuer}"


class Examiner:
    """Asks delegates about real certificates. ``linter`` is None where there is none."""

    def __init__(
        self, *, store: ReadStore, gate: SigningGate, clock: Clock, settings: Settings, linter: Linter | None
    ) -> None:
        self._store = store
        self._gate = gate
        self._clock = clock
        self._settings = settings
        self._linter = linter

    async def examine(self, delegate: Delegate, issuers: Sequence[Issuer]) -> SignerReport:
        """Ask one delegate about a good and a revoked certificate of its issuer, as far as there are such, and
        otherwise about a serial that was never used. One that does not speak yet is asked as of when it will.
        Raises StoreUnavailable.
        """
        at = max(int(self._clock.now()), delegate.active_from)
        responder = Responder(
            store=self._store,
            feed=self._store.feed,
            gate=self._gate,
            clock=_Standing(at),
            settings=self._settings,
            directory=Directory(issuers, [delegate]),
            epoch=_Alone(),
        )
        asked: list[str] = []
        findings: list[Finding] = []
        async for kind, serial in self._subjects(delegate.issuer.id, at):
            asked.append(kind)
            for algorithm in _HASHES:
                findings += await self._ask(responder, delegate, kind, request_for(delegate.issuer, serial, algorithm))
        return SignerReport(
            issuer=delegate.issuer.label,
            serial=format_serial(delegate.serial),
            not_before=delegate.not_before,
            active_from=delegate.active_from,
            not_after=delegate.not_after,
            asked=tuple(asked),
            findings=tuple(dict.fromkeys(findings)),
        )

    async def _subjects(self, issuer: IssuerID, at: int) -> AsyncIterator[tuple[str, int]]:
        found = False
        for state in (CertificateState.GOOD, CertificateState.REVOKED):
            serial = await self._store.example(issuer, state, at)
            if serial is not None:
                found = True
                yield state.name.lower(), serial
        if not found:
            yield "unassigned", secrets.randbits(127) | 1 << 127

    async def _ask(self, responder: Responder, delegate: Delegate, kind: str, request: bytes) -> list[Finding]:
        asked = x509_ocsp.load_der_ocsp_request(request)
        for _ in range(_ATTEMPTS):
            before = await self._status(delegate.issuer.id, asked.serial_number)
            answer = await responder.answer(request)
            if before == await self._status(delegate.issuer.id, asked.serial_number):
                break
        else:
            return []  # it is busy, and no judgement would be fair
        about = f"the answer about {kind} serial {format_serial(asked.serial_number)}"
        return [
            *(
                Finding(
                    Severity.FAILURE if fault.misleads else Severity.ERROR, fault.rule, f"{about}: {fault.sentence}"
                )
                for fault in judge(answer.der, asked, delegate, before, self._settings)
            ),
            *(Finding(severity, rule, f"{about}: {sentence}") for severity, rule, sentence in self._lint(answer.der)),
        ]

    async def _status(self, issuer: IssuerID, serial: int) -> Status | None:
        try:
            return await self._store.status(issuer, serial)
        except NotFound:
            return None

    def _lint(self, answer: bytes) -> Iterator[tuple[Severity, str, str]]:
        if self._linter is not None:
            for found in self._linter.lint(answer):
                yield Severity.ERROR if found.error else Severity.WARNING, found.rule, found.sentence


def request_for(issuer: Issuer, serial: int, algorithm: hashes.HashAlgorithm) -> bytes:
    """A request that names the issuer by hashes taken from its certificate, not from the database (RFC 6960 §4.1.1)."""
    certificate = x509.load_der_x509_certificate(issuer.certificate)
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        contents = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    else:
        contents = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    name_hash, key_hash = (_digest(each, algorithm) for each in (certificate.subject.public_bytes(), contents))
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate_by_hash(name_hash, key_hash, serial, algorithm)
    return builder.build().public_bytes(Encoding.DER)


def _digest(octets: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(octets)
    return digest.finalize()


class _Standing:
    """A clock that stands at one moment."""

    def __init__(self, at: int) -> None:
        self._at = at

    def now(self) -> float:
        return self._at

    def monotonic(self) -> float:
        return self._at


class _Alone:
    """The epoch of a responder that shares a cache with nobody."""

    def read(self) -> int:
        return 0

    def advance(self) -> None:
        pass
