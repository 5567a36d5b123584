"""HTTP caches are told to forget what has changed: at least once, by one worker of each machine.

Nothing is kept on disk. What a cache holds is fresh for a window at most, so whoever starts, or may have missed a
change, reads from the database which certificates were revoked within the last window, and begins with those. The same
holds when more certificates wait than memory is meant for.

Each purge is sent twice, some seconds apart: an answer that was on its way to the cache when the first one came, or
that another node gave before it had heard of the change, would otherwise stay.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp
from yarl import URL

from ca_store.errors import NotFound, StoreUnavailable
from ca_store.types import CertificateState, ChangeKind, format_serial
from ocsp.canonical import plain_requests
from responders.cache_keys import certificate_paths, certificate_tag, crl_path, crl_tag
from responders.counters import PURGES, counter_index

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ca_store.clock import Clock
    from ca_store.contracts import ReadStore
    from ca_store.types import Change, Issuer, IssuerID
    from responders.purge_settings import Purge
    from responders.shared_state import Row

AGAIN_SECONDS: Final = 3.0
"""Until the second round. A worker that has not heard of a change for ``feed_bound`` trusts no cached answer."""
SKEW_SECONDS: Final = 300
"""By how much the issuance clock may be behind."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_PARALLEL: Final = 8
_PAGE: Final = 1000
_MOST: Final = 65_536
"""Octets read of what a cache says."""
_DONE: Final = frozenset({*range(200, 300), 404, 410, 412})
"""404, 410 and 412 are how caches say that they hold no such thing."""
_SENT, _FAILED, _GIVEN_UP = (counter_index(PURGES, each) for each in ("sent", "failed", "given_up"))

_logger: Final = logging.getLogger(__name__)


class Subject(NamedTuple):
    """What changed: a certificate, or an issuer's CRL when ``serial`` is None."""

    issuer: IssuerID
    serial: int | None


class PurgeRequest(NamedTuple):
    """One PURGE."""

    url: URL
    header: Mapping[str, str]
    body: bytes = b""


class PurgeFailed(Exception):  # noqa: N818 - named as its meaning
    """A cache has not forgotten; one sentence."""


@dataclass(slots=True)
class _Scan:
    """Reading revocations from the database: since when, and behind which row."""

    since: int
    after: tuple[IssuerID, int] | None = None


@dataclass(frozen=True, slots=True)
class CacheAddress:
    """One cache, and how it is told."""

    url: str
    tag_header: str | None = None
    """None: it forgets by URL."""
    hosts: tuple[str, ...] = ()
    posts: bool = False
    """It keeps answers to POST under the request's body."""

    def requests(self, issuer: Issuer, serial: int | None) -> Iterator[PurgeRequest]:
        """Each PURGE about a certificate, or about the CRL when ``serial`` is None."""
        if self.tag_header is not None:
            tag = crl_tag(issuer.label) if serial is None else certificate_tag(issuer.label, serial)
            yield PurgeRequest(URL(self.url, encoded=True), {self.tag_header: tag})
            return
        base = self.url.rstrip("/")
        paths = [crl_path(issuer.label)] if serial is None else certificate_paths(issuer, serial)
        headers: list[dict[str, str]] = [{"Host": host} for host in self.hosts] or [{}]
        for path in paths:
            for header in headers:
                yield PurgeRequest(URL(base + path, encoded=True), header)
        if self.posts and serial is not None:
            for body in plain_requests(issuer, serial):
                for header in headers:
                    yield PurgeRequest(URL(f"{base}/ocsp", encoded=True), header, body)


class Purger:
    """Tells one cache. ``changed`` and ``reset`` are what the change feed delivers to.

    Args:
        cache: whom to tell.
        settings: bounds.
        span: seconds for which an answer may be fresh in a cache; after that there is nothing to forget.
        good_too: also when a certificate becomes good: a signed *unknown* about it may be held.
    """

    def __init__(
        self,
        cache: CacheAddress,
        *,
        settings: Purge,
        span: int,
        good_too: bool,
        store: ReadStore,
        clock: Clock,
        row: Row,
    ) -> None:
        self._cache = cache
        self._seconds = settings.seconds
        self._bound = settings.waiting
        self._span = span
        self._spoken = {CertificateState.REVOKED} | ({CertificateState.GOOD} if good_too else set())
        self._store = store
        self._clock = clock
        self._row = row
        self._issuers: Mapping[IssuerID, Issuer] = {}
        self._first: dict[Subject, float] = {}
        """Subjects for their first round, and since when they wait."""
        self._again: dict[Subject, float] = {}
        """Subjects for their second round, and when it is due, in that order."""
        self._scan: _Scan | None = None
        self._missed_since: int | None = None
        self._all_crls = False
        self._work = asyncio.Event()
        self._failing = False

    @property
    def waiting(self) -> int:
        """Subjects that this cache has yet to forget."""
        return len(self._first)

    def changed(self, changes: Sequence[Change]) -> None:
        """Take note of what the feed delivered."""
        for change in changes:
            if change.kind is ChangeKind.STATUS or change.kind is ChangeKind.CRL:
                self._add(Subject(change.issuer, change.serial))

    def reset(self) -> None:
        """Changes may have been missed."""
        self._miss(self._span + SKEW_SECONDS)
        self._all_crls = True

    def _add(self, subject: Subject) -> None:
        self._again.pop(subject, None)
        if len(self._first) < self._bound:
            self._first.setdefault(subject, self._clock.monotonic())
            self._work.set()
        else:
            self._miss(SKEW_SECONDS)
            self._all_crls = self._all_crls or subject.serial is None

    def _miss(self, seconds: int) -> None:
        since = int(self._clock.now()) - seconds
        self._missed_since = since if self._missed_since is None else min(self._missed_since, since)
        self._work.set()

    async def run(self) -> None:
        """Tell the cache, for ever."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_PARALLEL),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            skip_auto_headers=("User-Agent",),
            auto_decompress=False,
        ) as session:
            while True:
                await self._step(session)

    async def _step(self, session: aiohttp.ClientSession) -> None:
        now = self._clock.monotonic()
        due = next(iter(self._again.values()), None)
        if due is not None and (due <= now or len(self._again) >= self._bound):
            await asyncio.sleep(max(0.0, due - now))
            if self._again:  # nothing was taken out meanwhile but by a newer change
                subject = next(iter(self._again))
                del self._again[subject]
                await self._forget(session, subject, now)
        elif self._first:
            subject, born = next(iter(self._first.items()))
            del self._first[subject]
            if await self._forget(session, subject, born):
                _logger.info("cache %s has forgotten %s", self._cache.url, self._name(subject))
                if subject not in self._first:
                    self._again[subject] = self._clock.monotonic() + AGAIN_SECONDS
        elif self._scan is not None or self._missed_since is not None:
            await self._read()
        else:
            self._work.clear()
            try:
                async with asyncio.timeout(None if due is None else due - now):
                    await self._work.wait()
            except TimeoutError:
                pass

    async def _read(self) -> None:
        """One page of what was missed."""
        if self._scan is None:
            self._scan, self._missed_since = _Scan(self._missed_since or 0), None
        scan = self._scan
        page = min(_PAGE, self._bound)
        try:
            if self._all_crls:
                self._issuers = {issuer.id: issuer for issuer in await self._store.issuers()}
                self._all_crls = False
                for issuer in self._issuers:
                    self._add(Subject(issuer, None))
            rows = await self._store.revocations(scan.since, after=scan.after, limit=page)
        except StoreUnavailable as error:
            self._complain(str(error))
            await asyncio.sleep(_FIRST_PAUSE)
            return
        now = self._clock.monotonic()
        for issuer, serial in rows:
            self._first.setdefault(Subject(issuer, serial), now)
            scan.after = issuer, serial
        if len(rows) < page:
            self._scan = None

    async def _forget(self, session: aiohttp.ClientSession, subject: Subject, born: float) -> bool:
        """Try until the cache has forgotten, or no longer can hold what it should forget. Whether it was told."""
        pause = _FIRST_PAUSE
        while True:
            try:
                requests = await self._requests(subject)
                await self._send(session, requests)
            except (StoreUnavailable, PurgeFailed) as error:
                self._complain(str(error))
                if self._clock.monotonic() - born > self._span:
                    self._row.count(_GIVEN_UP)
                    gone = "cache %s: gave up on %s"
                    _logger.error(gone, self._cache.url, self._name(subject))  # noqa: TRY400 - nothing to trace
                    return False
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if requests and self._failing:
                    self._failing = False
                    _logger.info("cache %s forgets again", self._cache.url)
                return bool(requests)

    async def _requests(self, subject: Subject) -> list[PurgeRequest]:
        """What to send; nothing when caches cannot hold what is wrong now. Raises StoreUnavailable."""
        if subject.issuer not in self._issuers:
            self._issuers = {issuer.id: issuer for issuer in await self._store.issuers()}
        if subject.serial is not None:
            try:
                status = await self._store.status(subject.issuer, subject.serial)
            except NotFound:
                return []
            if status.state not in self._spoken:
                return []
        issuer = self._issuers.get(subject.issuer)
        return [] if issuer is None else list(self._cache.requests(issuer, subject.serial))

    async def _send(self, session: aiohttp.ClientSession, requests: Sequence[PurgeRequest]) -> None:
        outcomes = await asyncio.gather(*[self._purge(session, request) for request in requests])
        faults = [fault for fault in outcomes if fault is not None]
        if faults:
            raise PurgeFailed(faults[0])

    async def _purge(self, session: aiohttp.ClientSession, request: PurgeRequest) -> str | None:
        """Send one; what went wrong, if anything did."""
        fault: str | None = None
        try:
            async with session.request(
                "PURGE", request.url, headers=request.header, data=request.body or None, allow_redirects=False
            ) as response:
                await response.content.read(_MOST)
                if response.status not in _DONE:
                    fault = f"it answered {response.status} to PURGE"
        except TimeoutError:
            fault = f"it did not answer within {self._seconds:g} s"
        except (aiohttp.ClientError, OSError) as error:
            fault = str(error) or type(error).__name__
        self._row.count(_SENT if fault is None else _FAILED)
        return fault

    def _complain(self, fault: str) -> None:
        """Once, until it is well again."""
        if not self._failing:
            self._failing = True
            _logger.error("cache %s has not forgotten what has changed and is told again: %s", self._cache.url, fault)

    def _name(self, subject: Subject) -> str:
        issuer = self._issuers.get(subject.issuer)
        label = str(subject.issuer) if issuer is None else issuer.label
        return f"the CRL of {label}" if subject.serial is None else f"{format_serial(subject.serial)} of {label}"


class Purging:
    """All caches of a worker's configuration; none in the workers that do not purge."""

    def __init__(self, purgers: Sequence[Purger] = ()) -> None:
        self.purgers = purgers

    @property
    def waiting(self) -> int:
        """Subjects that some cache has yet to forget."""
        return sum(purger.waiting for purger in self.purgers)

    def changed(self, changes: Sequence[Change]) -> None:
        """Hand on what the feed delivered."""
        for purger in self.purgers:
            purger.changed(changes)

    def reset(self) -> None:
        """Hand on that changes may have been missed."""
        for purger in self.purgers:
            purger.reset()


def cache_addresses(settings: Purge) -> list[CacheAddress]:
    """Every cache of a configuration."""
    return [
        *(CacheAddress(url, hosts=settings.hosts, posts=settings.posts) for url in settings.caches),
        *(CacheAddress(url, settings.tag_header) for url in settings.tag_caches),
    ]
