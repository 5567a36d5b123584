"""The responder: request octets in, answer out, from the cache or from one row and one signature."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from cryptography.x509 import ObjectIdentifier

from ca_store.errors import NotFound, SigningOverload, StoreUnavailable
from ca_store.types import MAX_SERIAL, CertificateState, ChangeKind, HashAlgorithm
from ocsp import codec
from ocsp.budget import OverBudget, Shares, Turns
from ocsp.cache import Cache
from ocsp.canonical import plain_request
from ocsp.errors import InternalError, MalformedRequest, OCSPError, TryLater, Unauthorized
from ocsp.forms import Decoder
from ocsp.response import response, response_data, single_response
from ocsp.signatures import Signatures
from ocsp.trust import Trust
from ocsp.types import Answer
from ocsp.window import times, times_now, window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.clock import Clock
    from ca_store.contracts import ChangeFeed, StatusStore
    from ca_store.gate import SigningGate
    from ca_store.types import Change, Issuer, IssuerID, Status
    from ocsp.codec import Request
    from ocsp.delegate import Delegate
    from ocsp.directory import Directory
    from ocsp.settings import Settings
    from ocsp.types import Epoch
    from ocsp.window import Times

_logger: Final = logging.getLogger(__name__)
_HASH_NAMES: Final = {
    ObjectIdentifier(HashAlgorithm.SHA1.value): "sha1",
    ObjectIdentifier(HashAlgorithm.SHA256.value): "sha256",
}
"""The weaker one first: what an operator wants to know is whether it can be given up."""


class Responder:
    """Answers OCSP requests for the issuers of its directory. Belongs to one event loop.

    ``changed`` and ``reset`` are what the feed delivers to; ``feed`` itself is only asked how far it is confirmed.
    """

    def __init__(
        self,
        *,
        store: StatusStore,
        feed: ChangeFeed,
        gate: SigningGate,
        clock: Clock,
        settings: Settings,
        directory: Directory,
        epoch: Epoch,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._directory = directory
        nonce = codec.NONCE_LIMIT_8954 if settings.nonce_limit_8954 else codec.NONCE_LIMIT
        self._decoder = Decoder(cert_ids=settings.cert_ids, nonce=nonce)
        self._cache = Cache(settings.cache_octets)
        self._trust = Trust(feed=feed, clock=clock, epoch=epoch, bound=settings.feed_bound)
        self._signatures = Signatures(gate)
        self._turns = Turns(gate.waiters, gate.deadline, clock)
        self._shares = Shares(settings.nonce_rate, settings.nonce_burst, clock) if settings.nonce_rate else None
        self._refusals: dict[type[OCSPError], Answer] = {
            each: Answer(each.body, each.status.name, retry_after=settings.retry_after if each is TryLater else None)
            for each in (MalformedRequest, InternalError, TryLater, Unauthorized)
        }
        self.hits = 0
        """Answers given without asking the database."""
        self.misses = 0
        """Requests that were decoded."""
        self.signatures = 0
        """Answers that needed a signature."""
        self.over_budget = 0
        """Requests with a nonce that were not answered with it."""

    @property
    def evictions(self) -> int:
        """Cached answers that made room for others."""
        return self._cache.evictions

    @property
    def octets(self) -> int:
        """Octets the cache holds."""
        return self._cache.octets

    def cached(self, request: bytes) -> Answer | None:
        """The answer to exactly these octets, if one is at hand and may be trusted now; else ask ``answer``."""
        entry = self._cache.get(request)
        if entry is None or not self._trust.holds() or not entry.holds(self._clock.now()):
            return None
        self.hits += 1
        return entry.answer

    def has(self, request: bytes) -> bool:
        """Whether an answer to exactly these octets is in memory, whatever it is worth now."""
        return self._cache.get(request) is not None

    async def answer(self, request: bytes, client: str = "") -> Answer:
        """The answer to these octets from committed rows, for a client at this address; it matters where
        ``nonce_rate`` is set. Raises nothing but CancelledError: what goes wrong is an answer too, and what was not
        foreseen is logged and answered as internalError.
        """
        self.misses += 1
        try:
            return await self._answer(request, client)
        except OCSPError as error:
            return self._refusals[type(error)]
        except OverBudget as over:
            return Answer(TryLater.body, TryLater.status.name, retry_after=over.seconds)
        except (StoreUnavailable, SigningOverload):
            return self._refusals[TryLater]
        except Exception:
            _logger.exception("an OCSP request of %d octets could not be answered", len(request))
            return self._refusals[InternalError]

    def changed(self, changes: Sequence[Change]) -> None:
        """Forget every answer about the certificates that changed."""
        keys = [
            (change.issuer, change.serial)
            for change in changes
            if change.kind is ChangeKind.STATUS and change.serial is not None
        ]
        self._trust.hear(keys)
        self._cache.drop(keys)

    def reset(self) -> None:
        """Forget every answer: changes may have been missed."""
        self._cache.clear()

    def use(self, directory: Directory) -> None:
        """From now on answer for these issuers, through these delegates."""
        self._directory = directory
        self._cache.clear()

    async def _answer(self, encoded: bytes, client: str) -> Answer:
        request = self._decoder.decode(encoded)
        issuer = self._directory.issuer(request.cert_ids)
        if request.nonce is None:
            return await self._from_rows(encoded, request, issuer)
        try:
            if self._shares is not None:
                self._shares.take(client)
            await self._turns.take()
            return await self._live(request, issuer)
        except SigningOverload:
            self.over_budget += 1
            # A preference is not in the key under which others' answers are kept.
            if not self._settings.nonce_fallback or request.preferences:
                raise
        plain = plain_request(each.encoded for each in request.cert_ids)
        return self.cached(plain) or await self._from_rows(plain, request._replace(nonce=None), issuer)

    async def _from_rows(self, encoded: bytes, request: codec.Request, issuer: Issuer) -> Answer:
        with self._cache.lease([(issuer.id, each.serial) for each in request.cert_ids]) as lease:
            statuses = [await self._status(issuer.id, each.serial) for each in request.cert_ids]
            if not (any(statuses) or self._settings.signed_unknown):
                raise Unauthorized("no such serial")
            now = int(self._clock.now())
            entry = self._cache.get(encoded)
            if entry is not None and entry.statuses == statuses and entry.holds(now):
                return entry.answer
            answer = await self._signed(request, issuer, statuses, now)
            # There is no end of unassigned serials, and they become assigned: those answers are made each time.
            if all(statuses):
                self._cache.store(encoded, answer, statuses, lease)
            return answer

    async def _live(self, request: codec.Request, issuer: Issuer) -> Answer:
        """An answer for one client, which is kept nowhere."""
        statuses = [await self._status(issuer.id, each.serial) for each in request.cert_ids]
        if not (any(statuses) or self._settings.signed_unknown):
            raise Unauthorized("no such serial")
        return await self._signed(request, issuer, statuses, int(self._clock.now()))

    async def _status(self, issuer: IssuerID, serial: int) -> Status | None:
        """The row of a serial; None while it is not assigned, which a reserved one is not yet."""
        if not 0 < serial <= MAX_SERIAL:
            return None
        try:
            # A replica does while the cache does: when another worker may know more, the primary has to say.
            status = await self._store.status(issuer, serial, as_heard=self._trust.holds())
        except NotFound:
            return None
        if status.state is CertificateState.RESERVED:
            return None
        self._trust.announce((issuer, serial), status)
        return status

    async def _signed(self, request: Request, issuer: Issuer, statuses: Sequence[Status | None], now: int) -> Answer:
        delegate, spans = self._times(request, issuer, statuses, now)
        this_update = max([each.this_update for each in spans])
        cutoff = None if delegate.retention is None else this_update - delegate.retention
        responses = [
            single_response(cert_id.encoded, status, span, cutoff)
            for cert_id, status, span in zip(request.cert_ids, statuses, spans, strict=True)
        ]
        data = response_data(delegate, this_update, responses, request.nonce)
        signature = await self._signatures.sign(delegate.signer, data, alone=request.nonce is not None)
        self.signatures += 1
        return Answer(
            response(delegate, data, signature),
            _outcome(statuses),
            this_update=this_update,
            next_update=min([each.next_update for each in spans]),
            fresh_until=min([each.fresh_until for each in spans]) if request.nonce is None else None,
            nonce=request.nonce is not None,
            cert_id_hash=_cert_id_hash(request),
            about=tuple([(issuer.label, each.serial) for each in request.cert_ids]),
        )

    def _times(
        self, request: Request, issuer: Issuer, statuses: Sequence[Status | None], now: int
    ) -> tuple[Delegate, list[Times]]:
        """Who signs, and the times of each SingleResponse."""
        if request.nonce is not None:
            delegate = self._directory.delegate(issuer.id, now, now, request.preferences)
            return delegate, [times_now(status, delegate, now, self._settings) for status in statuses]
        windows = [
            window(cert_id.serial, status, now, self._settings)
            for cert_id, status in zip(request.cert_ids, statuses, strict=True)
        ]
        begins = max([each.begins for each in windows])
        delegate = self._directory.delegate(issuer.id, begins, now, request.preferences)
        return delegate, [
            times(span, status, delegate, now, self._settings) for span, status in zip(windows, statuses, strict=True)
        ]


def _cert_id_hash(request: Request) -> str:
    if len(request.cert_ids) == 1:
        return _HASH_NAMES.get(request.cert_ids[0].algorithm, "other")
    names = {_HASH_NAMES.get(each.algorithm, "other") for each in request.cert_ids}
    return next((name for name in _HASH_NAMES.values() if name in names), "other")


def _outcome(statuses: Sequence[Status | None]) -> str:
    """The certificate's status by RFC 6960's name, as a metric label."""
    if len(statuses) > 1:
        return "several"
    status = statuses[0]
    if status is None:
        return "unknown"
    return "good" if status.state is CertificateState.GOOD else "revoked"
