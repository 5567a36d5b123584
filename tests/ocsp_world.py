"""Workers of one machine around one store, all in memory: what the OCSP tests act upon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from fakes import SHA1, KeySigner, ManualClock, ManualFeed, MemoryEpoch, MemoryStore, TinyCA, p256_signer

from ca_store.gate import SigningGate
from ocsp.directory import Directory
from ocsp.responder import Responder
from ocsp.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes

SERIAL = 0x5EA1
BASE = Settings()


class World:
    """Responders with a feed each and one epoch. Changes reach a worker when its feed is told to deliver."""

    def __init__(
        self,
        *,
        workers: int = 1,
        settings: Settings = BASE,
        signer: KeySigner | None = None,
        gate: SigningGate | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.epoch = MemoryEpoch()
        self.ca = TinyCA()
        self.signer = signer or p256_signer()
        self.feeds = [ManualFeed(self.clock) for _ in range(workers)]
        self.store = MemoryStore(*self.feeds)
        self.gate = gate or SigningGate(1, 10, 10)
        self.directory = Directory([self.ca.issuer], [self.ca.delegate(self.signer)])
        self.workers = [
            Responder(
                store=self.store,
                feed=feed,
                gate=self.gate,
                clock=self.clock,
                settings=settings,
                directory=self.directory,
                epoch=self.epoch,
            )
            for feed in self.feeds
        ]
        for feed, worker in zip(self.feeds, self.workers, strict=True):
            feed.connect(worker.changed, worker.reset)

    @property
    def responder(self) -> Responder:
        return self.workers[0]

    def deliver(self) -> None:
        """Every feed catches up."""
        for feed in self.feeds:
            feed.deliver()

    def pass_time(self, seconds: float) -> None:
        """The clock moves while the feeds are well."""
        self.clock.advance(seconds)
        self.deliver()


def request_for(
    ca: TinyCA, serial: int = SERIAL, *, algorithm: hashes.HashAlgorithm = SHA1, nonce: bytes | None = None
) -> bytes:
    """As another library writes it."""
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate(ca.issue(serial), ca.certificate, algorithm)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def read(encoded: bytes) -> x509_ocsp.OCSPResponse:
    """As another library reads it."""
    return x509_ocsp.load_der_ocsp_response(encoded)
