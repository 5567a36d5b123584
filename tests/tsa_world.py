"""A tiny time-stamp authority in memory: a CA path, units made at run time, a store and a clock set by hand."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca_store.errors import NotFound, StoreUnavailable
from ca_store.gate import SigningGate
from ca_store.signing import ALGORITHMS, SignatureAlgorithm
from ca_store.types import (
    CertificateState,
    Credential,
    CredentialKind,
    Issuer,
    IssuerID,
    Reason,
    SerialBlock,
    Status,
)
from tsa.authority import Authority
from tsa.settings import ClockSettings, Settings, UnitSettings
from tsa.unit import Unit, load_unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.x509.extensions import ExtensionType

    from ca_store.signing import Signer

NOW: Final = 1_785_000_000
"""2026-07-25: certificates are valid around it and around the years in which these tests run."""
POLICY: Final = "2.999.3161.1"
_NOT_BEFORE: Final = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
_NOT_AFTER: Final = dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_HASHES: Final[dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@functools.cache
def key(name: str) -> PrivateKey:
    """A key for the whole run: ``rsa-3072``, ``p256``, ``p384`` and so on; text behind a slash makes another one."""
    kind = name.partition("/")[0]
    if kind.startswith("rsa-"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


@dataclass(frozen=True)
class MemorySigner:
    """A Signer over a key in memory."""

    private_key: PrivateKey
    digest: str = "sha256"

    @property
    def public_key(self) -> bytes:
        return self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def algorithm(self) -> SignatureAlgorithm:
        digest = self.digest.upper()
        is_rsa = isinstance(self.private_key, rsa.RSAPrivateKey)
        return ALGORITHMS[f"{self.digest}WithRSAEncryption" if is_rsa else f"ecdsa-with-{digest}"]

    @property
    def slow(self) -> bool:
        return isinstance(self.private_key, rsa.RSAPrivateKey)

    @property
    def signature_size(self) -> int:
        size = (self.private_key.key_size + 7) // 8
        return size if isinstance(self.private_key, rsa.RSAPrivateKey) else 2 * size + 8

    def sign(self, data: bytes) -> bytes:
        algorithm = _HASHES[self.digest]
        if isinstance(self.private_key, rsa.RSAPrivateKey):
            return self.private_key.sign(data, padding.PKCS1v15(), algorithm)
        return self.private_key.sign(data, ec.ECDSA(algorithm, deterministic_signing=True))


@dataclass
class HandClock:
    """A clock that moves only when told."""

    time: float = NOW + 0.25
    ticks: float = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.ticks

    def step(self, seconds: float) -> None:
        """Move both, as time passing does."""
        self.time += seconds
        self.ticks += seconds

    def come(self, time: float) -> None:
        """Another present, to which nothing jumped."""
        self.step(time - self.time)


@dataclass
class MemoryStore:
    """Rows and serial blocks. Fails when told to; a block is given out once, whatever happened to the answer."""

    rows: dict[tuple[IssuerID, int], Status] = field(default_factory=dict)
    unavailable: bool = False
    blocks: dict[bytes, list[bytes]] = field(default_factory=dict)
    reservations: int = 0
    readings: int = 0
    lose_next: bool = False
    """The next block is committed, but its caller sees an error."""

    async def status(self, issuer: IssuerID, serial: int, *, as_heard: bool = False) -> Status:  # noqa: ARG002 - nothing is behind here
        self.readings += 1
        if self.unavailable:
            raise StoreUnavailable("the database was switched off")
        try:
            return self.rows[issuer, serial]
        except KeyError:
            raise NotFound(f"no serial {serial:x}") from None

    async def reserve_serials(self, tsa_name: bytes, size: int, now: int) -> SerialBlock:
        assert now > 0
        self.reservations += 1
        if self.unavailable:
            raise StoreUnavailable("the database was switched off")
        prefix = bytes((0x40 | secrets.randbits(6),)) + secrets.token_bytes(8)
        self.blocks.setdefault(tsa_name, []).append(prefix)
        if self.lose_next:
            self.lose_next = False
            raise StoreUnavailable("the connection was lost after the commit")
        return SerialBlock(prefix, size)

    def put(self, issuer: IssuerID, serial: int, state: CertificateState) -> None:
        revoked = state is CertificateState.REVOKED
        self.rows[issuer, serial] = Status(
            state, NOW, NOW + 10**8, NOW if revoked else None, Reason.superseded if revoked else None
        )


@dataclass(frozen=True)
class CA:
    """One CA of the path."""

    issuer: Issuer
    certificate: x509.Certificate
    private_key: PrivateKey


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "JP"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example University"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, digital_signature: bool = False, ca: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(digital_signature, False, False, False, False, ca, ca, False, False)


@functools.cache
def make_ca(label: str, parent: str | None = None, not_after: dt.datetime = _NOT_AFTER) -> CA:
    """A CA by label, made once in a run."""
    above = None if parent is None else make_ca(parent)
    private_key = key(f"p256/{label}")
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(f"{label} CA"))
        .issuer_name(_name(f"{label} CA") if above is None else above.certificate.subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(_key_usage(ca=True), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()), False)
    )
    certificate = builder.sign(private_key if above is None else above.private_key, hashes.SHA256())
    number = IssuerID({"root": 1, "timestamp": 2}.get(label, 9))
    issuer = Issuer(
        id=number,
        label=label,
        certificate=certificate.public_bytes(Encoding.DER),
        parent=None if above is None else above.issuer.id,
        serial=certificate.serial_number,
        not_before=int(_NOT_BEFORE.timestamp()),
        not_after=int(not_after.timestamp()),
        hashes=(),
    )
    return CA(issuer, certificate, private_key)


@dataclass(frozen=True)
class Profile:
    """A time-stamping certificate, right unless told otherwise."""

    purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.TIME_STAMPING,)
    critical: bool = True
    digital_signature: bool = True
    cert_sign: bool = False
    ca: bool = False
    digest: str | None = None
    """Of the signature on the certificate; None is that of the unit."""
    not_before: dt.datetime = _NOT_BEFORE
    not_after: dt.datetime = _NOT_AFTER
    key_until: dt.datetime | None = None
    without: tuple[type[ExtensionType], ...] = ()
    subject: str | None = None


def issue(
    name: str, public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, digest: str, profile: Profile
) -> x509.Certificate:
    """Sign a time-stamping certificate."""
    ca = make_ca("timestamp", "root")
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(profile.subject or f"Time-stamping unit {name}"))
        .issuer_name(ca.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(profile.not_before)
        .not_valid_after(profile.not_after)
    )
    extensions: list[tuple[ExtensionType, bool]] = [
        (x509.BasicConstraints(profile.ca, None), True),
        (_key_usage(digital_signature=profile.digital_signature, ca=profile.cert_sign), True),
        (x509.ExtendedKeyUsage(profile.purposes), profile.critical),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.private_key.public_key()), False),
    ]
    if profile.key_until is not None:
        extensions.append((x509.PrivateKeyUsagePeriod(None, profile.key_until.replace(tzinfo=None)), False))
    for extension, critical in extensions:
        if not isinstance(extension, profile.without):
            builder = builder.add_extension(extension, critical)
    return builder.sign(ca.private_key, _HASHES[profile.digest or digest])


@dataclass
class World:
    """Everything an Authority needs."""

    clock: HandClock = field(default_factory=HandClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    gate: SigningGate = field(default_factory=lambda: SigningGate(in_flight=2, waiters=50, deadline=10.0))
    counter: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        for ca in self.chain:
            self.store.put(ca.issuer.parent or ca.issuer.id, ca.issuer.serial, CertificateState.GOOD)

    @property
    def root(self) -> x509.Certificate:
        return make_ca("root").certificate

    @property
    def chain(self) -> tuple[CA, CA]:
        return make_ca("timestamp", "root"), make_ca("root")

    def credential(self, name: str, certificate: x509.Certificate) -> Credential:
        ca = self.chain[0]
        self.store.put(ca.issuer.id, certificate.serial_number, CertificateState.GOOD)
        return Credential(
            id=next(self.counter),
            kind=CredentialKind.TSA,
            name=name,
            issuer=ca.issuer.id,
            serial=certificate.serial_number,
            certificate=certificate.public_bytes(Encoding.DER),
            key_reference=f"memory:{name}",
            active_from=NOW,
            not_after=int(certificate.not_valid_after_utc.timestamp()),
        )

    def unit(
        self,
        name: str = "p256",
        digest: str = "sha256",
        settings: UnitSettings | None = None,
        profile: Profile = Profile(),
        signer: Signer | None = None,
    ) -> Unit:
        """A unit by the name of its kind of key: ``rsa-3072``, ``p256``, ``p384``."""
        private_key = key(name)
        certificate = issue(name, private_key.public_key(), digest, profile)
        return load_unit(
            name,
            settings or UnitSettings(policy=POLICY),
            self.credential(name, certificate),
            [ca.issuer for ca in self.chain],
            signer or MemorySigner(private_key, digest),
            int(self.clock.now()),
        )

    def authority(
        self, *units: Unit, settings: Settings | None = None, clock_settings: ClockSettings | None = None
    ) -> Authority:
        """An authority whose default is the first unit; without any, one P-256 unit."""
        chosen: Mapping[str, Unit] = {unit.name: unit for unit in units or (self.unit(),)}
        return Authority(
            units=chosen,
            default=next(iter(chosen)),
            store=self.store,
            gate=self.gate,
            clock=self.clock,
            settings=settings or Settings(),
            clock_settings=clock_settings,
        )
