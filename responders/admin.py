"""The admin listener: health and metrics, for the operator's network only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tsa.clock import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

    from ca_store.clock import Clock
    from responders.selfcheck import SelfCheck
    from responders.shared_state import SharedState

_STORE_SECONDS: Final = 5.0
"""Age of the database's last answer from which a worker is not ready; it is asked once a second."""
_FEED_MARGIN: Final = 1.0
"""Seconds by which a worker's report of its feed may lag behind."""


class Readiness:
    """Whether the whole server should get traffic, and if not, why."""

    def __init__(self, state: SharedState, clock: Clock, feed_bound: float, selfcheck: SelfCheck | None = None) -> None:
        self._state = state
        self._clock = clock
        self._feed_seconds = feed_bound + _FEED_MARGIN
        self._selfcheck = selfcheck
        self.starting = False
        """Set until the supervisor has seen that every worker answers."""
        self.stopping = False

    def faults(self) -> Iterator[str]:
        """One line for each thing that is not as it must be."""
        if self.starting:
            yield "the server is starting"
        if self.stopping:
            yield "the server is stopping"
        yield from self.worker_faults()
        if self._selfcheck is not None:
            yield from self._selfcheck.failures()

    def worker_faults(self) -> Iterator[str]:
        """One line for each worker that does not answer as it must."""
        now = self._clock.monotonic()
        for number, row in enumerate(self._state.rows()):
            if not row.ready:
                yield f"worker {number} is not ready"
            elif now - row.store_answered > _STORE_SECONDS:
                yield f"worker {number}: the database does not answer"
            elif now - row.confirmed > self._feed_seconds:
                yield f"worker {number}: the change feed is lost"

    def remarks(self, *, verbose: bool) -> Iterator[str]:
        """What does not keep traffic away: a clock that stops time-stamps, because OCSP goes on; lint errors, refused
        signers; with ``verbose`` all that was tried.
        """
        faults = [row.clock_fault for row in self._state.rows() if row.ready]
        for fault in dict.fromkeys(faults):
            if fault is not None:
                yield f"no time-stamps: {SENTENCES[fault]} ({faults.count(fault)} of {len(faults)} workers)"
        if not all(row.log_writable for row in self._state.rows()):
            yield "no time-stamps: the log of tokens cannot be written"
        if self._selfcheck is not None:
            yield from self._selfcheck.remarks()
            if verbose:
                yield from self._selfcheck.summary()


def create_admin(readiness: Readiness, registry: CollectorRegistry) -> web.Application:
    """``/healthz``: the supervisor runs. ``/readyz``: every worker answers, and no answer was found to be wrong; what
    the self-check found besides follows the first line, and ``/readyz?verbose`` says what it tried. ``/metrics``:
    Prometheus.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _text(["ok"])

    async def readyz(request: web.Request) -> web.Response:
        faults = list(readiness.faults())
        remarks = readiness.remarks(verbose="verbose" in request.query)
        return _text([*(faults or ["ready"]), *remarks], status=503 if faults else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", metrics)
    return application


def _text(lines: list[str], status: int = 200) -> web.Response:
    return web.Response(
        text="".join(f"{line}\n" for line in lines), status=status, headers={"Cache-Control": "no-store"}
    )
