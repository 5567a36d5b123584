"""In-memory stand-ins that hold the store's contracts and fail the test on misuse, and a small CA made at run time."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca_store.errors import IllegalMove, NotFound
from ca_store.signing import ECDSA_SHA256, SHA256_RSA, SignatureAlgorithm
from ca_store.types import (
    CertificateState,
    Change,
    ChangeKind,
    Credential,
    CredentialKind,
    HashAlgorithm,
    Issuer,
    IssuerHash,
    IssuerID,
    Reason,
    Status,
)
from ocsp.delegate import Delegate, load_delegate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOW = 1_800_000_000
DAY = 86_400
TINY = IssuerID(1)
SHA1 = hashes.SHA1()  # noqa: S303 - what nearly every client puts in its CertID

_LEGAL_MOVES = {
    (None, CertificateState.RESERVED),
    (None, CertificateState.GOOD),
    (CertificateState.RESERVED, CertificateState.GOOD),
    (CertificateState.RESERVED, CertificateState.REVOKED),
    (CertificateState.GOOD, CertificateState.REVOKED),
    (CertificateState.REVOKED, CertificateState.REVOKED),
}


class ManualClock:
    """Moves when it is told to; its monotonic side never steps back."""

    def __init__(self, now: float = NOW) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Time passes."""
        assert seconds >= 0, "time does not run backwards; `step` sets the wall clock"
        self._now += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Someone sets the wall clock."""
        self._now += seconds


class MemoryEpoch:
    """The word of memory that the workers of one machine share."""

    def __init__(self) -> None:
        self.value = 0

    def read(self) -> int:
        return self.value

    def advance(self) -> None:
        self.value += 1


class ManualFeed:
    """One worker's feed. Changes wait until the test delivers them; ``confirmed`` never passes one that waits."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._waiting: list[Change] = []
        self._deliver: Callable[[Sequence[Change]], None] | None = None
        self._reset: Callable[[], None] | None = None
        self._connected = False
        self.confirmed = -inf

    async def run(self, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]) -> None:
        self.connect(deliver, reset)
        await asyncio.Event().wait()

    def connect(self, deliver: Callable[[Sequence[Change]], None], reset: Callable[[], None]) -> None:
        """What ``run`` does first."""
        self._deliver, self._reset, self._connected = deliver, reset, True
        self._waiting.clear()
        reset()
        self.confirmed = self._clock.monotonic()

    def commit(self, change: Change) -> None:
        """Called by the store: a change is committed, and not delivered yet."""
        if self._connected:
            self._waiting.append(change)

    def deliver(self) -> None:
        """Everything that waits arrives."""
        assert self._connected, "a lost feed delivers nothing"
        assert self._deliver is not None, "nobody listens"
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._deliver(waiting)
        self.confirmed = self._clock.monotonic()

    def lose(self) -> None:
        """The database is gone: what is committed from now on is missed."""
        self._connected = False
        self._waiting.clear()

    def reconnect(self) -> None:
        assert self._deliver is not None, "it was never connected"
        assert self._reset is not None, "it was never connected"
        self.connect(self._deliver, self._reset)


class MemoryStore:
    """A StatusStore whose reads can be made to fail, or to linger between reading a row and returning it."""

    def __init__(self, *feeds: ManualFeed) -> None:
        self._feeds = feeds
        self._rows: dict[tuple[IssuerID, int], Status] = {}
        self._failures: list[Exception] = []
        self._lingering: asyncio.Event | None = None
        self.reads = 0

    async def status(self, issuer: IssuerID, serial: int, *, as_heard: bool = False) -> Status:  # noqa: ARG002 - nothing is behind here
        self.reads += 1
        if self._failures:
            raise self._failures.pop(0)
        row = self._rows.get((issuer, serial))
        if self._lingering is not None:
            await self._lingering.wait()
        if row is None:
            raise NotFound(f"{serial:x}")
        return row

    def fail_next(self, *failures: Exception) -> None:
        """The next reads raise these, one each."""
        self._failures.extend(failures)

    def linger(self) -> Callable[[], None]:
        """From now on reads stop after they have read; the result lets them go."""
        event = self._lingering = asyncio.Event()

        def release() -> None:
            self._lingering = None
            event.set()

        return release

    def commit(self, issuer: IssuerID, serial: int, status: Status) -> None:
        """Write a row and put the change in every feed. Raises IllegalMove."""
        before = self._rows.get((issuer, serial))
        if (before.state if before else None, status.state) not in _LEGAL_MOVES:
            raise IllegalMove(f"{before} to {status}")
        self._rows[issuer, serial] = status
        for feed in self._feeds:
            feed.commit(Change(ChangeKind.STATUS, issuer, serial))

    def issue(self, issuer: IssuerID, serial: int, at: int = NOW - DAY) -> None:
        self.commit(issuer, serial, good(at))

    def revoke(
        self, issuer: IssuerID, serial: int, at: int = NOW, reason: Reason | None = Reason.keyCompromise
    ) -> None:
        self.commit(issuer, serial, revoked(at, reason))


def good(changed_at: int = NOW - DAY) -> Status:
    return Status(CertificateState.GOOD, changed_at, NOW + 90 * DAY)


def revoked(changed_at: int = NOW - DAY, reason: Reason | None = Reason.keyCompromise) -> Status:
    return Status(CertificateState.REVOKED, changed_at, NOW + 90 * DAY, changed_at, reason)


class KeySigner:
    """A Signer over a key in memory, which counts its signatures."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self.key = key
        self.signatures = 0

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def algorithm(self) -> SignatureAlgorithm:
        return SHA256_RSA if self.slow else ECDSA_SHA256

    @property
    def slow(self) -> bool:
        return isinstance(self.key, rsa.RSAPrivateKey)

    @property
    def signature_size(self) -> int:
        return (self.key.key_size + 7) // 8 if self.slow else 72

    def sign(self, data: bytes) -> bytes:
        self.signatures += 1
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def p256_signer() -> KeySigner:
    return KeySigner(ec.generate_private_key(ec.SECP256R1()))


DELEGATE_EXTENSIONS: dict[str, tuple[x509.ExtensionType, bool]] = {
    "keyUsage": (
        x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        ),
        True,
    ),
    "extendedKeyUsage": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),
    "nocheck": (x509.OCSPNoCheck(), False),
}
"""What a delegate's certificate has beside its key identifiers; tests leave out, replace and add."""


@dataclass
class TinyCA:
    """A self-signed CA with delegates."""

    label: str = "tiny"
    id: IssuerID = TINY
    common_name: str = "Tiny CA"
    not_before: int = NOW - 365 * DAY
    not_after: int = NOW + 3650 * DAY
    signer: KeySigner = field(default_factory=p256_signer)

    def __post_init__(self) -> None:
        self.name = _name(self.common_name)
        builder = _builder(self.name, self.name, self.signer, 1, self.not_before, self.not_after)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.add_extension(self._key_identifier, critical=False).sign(
            self.signer.key, hashes.SHA256()
        )
        self.issuer = Issuer(
            id=self.id,
            label=self.label,
            certificate=self.certificate.public_bytes(Encoding.DER),
            parent=None,
            serial=1,
            not_before=self.not_before,
            not_after=self.not_after,
            hashes=tuple(self._hash(each) for each in HashAlgorithm),
        )

    @property
    def _key_identifier(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self.signer.key.public_key())

    def _hash(self, algorithm: HashAlgorithm) -> IssuerHash:
        key = self.signer.key.public_key()
        contents = (
            key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            if isinstance(key, ec.EllipticCurvePublicKey)
            else key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        )
        digest = algorithm.name.lower()
        return IssuerHash(
            algorithm,
            hashlib.new(digest, self.name.public_bytes()).digest(),
            hashlib.new(digest, contents).digest(),
        )

    def issue(self, serial: int, not_before: int = NOW - DAY) -> x509.Certificate:
        """An end-entity certificate."""
        key = p256_signer()
        return _builder(self.name, _name("Leaf"), key, serial, not_before, NOW + 90 * DAY).sign(
            self.signer.key, hashes.SHA256()
        )

    def credential(
        self,
        signer: KeySigner,
        *,
        serial: int = 0xD1,
        not_before: int = NOW - 10 * DAY,
        not_after: int = NOW + 90 * DAY,
        active_from: int | None = None,
        extensions: dict[str, tuple[x509.ExtensionType, bool]] | None = None,
        issuer_key: KeySigner | None = None,
        authority: bool = True,
    ) -> Credential:
        """A delegate's credential; every argument is there to be got wrong."""
        builder = _builder(self.name, _name("Delegate"), signer, serial, not_before, not_after)
        for value, critical in (DELEGATE_EXTENSIONS if extensions is None else extensions).values():
            builder = builder.add_extension(value, critical)
        if authority:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._key_identifier)
            builder = builder.add_extension(identifier, critical=False)
        certificate = builder.sign((issuer_key or self.signer).key, hashes.SHA256())
        return Credential(
            id=1,
            kind=CredentialKind.OCSP,
            name=self.label,
            issuer=self.id,
            serial=serial,
            certificate=certificate.public_bytes(Encoding.DER),
            key_reference="file:keys/delegate.key",
            active_from=not_before if active_from is None else active_from,
            not_after=not_after,
        )

    def delegate(
        self,
        signer: KeySigner | None = None,
        *,
        serial: int = 0xD1,
        not_before: int = NOW - 10 * DAY,
        not_after: int = NOW + 90 * DAY,
        active_from: int | None = None,
    ) -> Delegate:
        """A delegate that passed every check."""
        signer = signer or p256_signer()
        credential = self.credential(
            signer, serial=serial, not_before=not_before, not_after=not_after, active_from=active_from
        )
        return load_delegate(credential, self.issuer, signer, not_before)


def _name(common_name: str) -> x509.Name:
    attributes = {NameOID.COUNTRY_NAME: "JP", NameOID.ORGANIZATION_NAME: "Tiny", NameOID.COMMON_NAME: common_name}
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes.items()])


def _builder(
    issuer: x509.Name, subject: x509.Name, signer: KeySigner, serial: int, not_before: int, not_after: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(signer.key.public_key())
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after, UTC))
    )
