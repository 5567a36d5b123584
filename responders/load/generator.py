"""The two ways of making load, on one event loop.

Open: questions are due at a fixed rate whatever the server does, and a latency counts from when its question was due. A
server that stands still cannot hide it, because the questions that were due meanwhile all waited (what Gil Tene calls
coordinated omission). Closed: each connection asks as soon as it was answered.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Final

from responders.load.connection import Connection
from responders.load.metronome import Metronome
from responders.load.verdict import Failed, Response, Wrong

if TYPE_CHECKING:
    from ca_store.clock import Clock
    from responders.load.plan import Pace, Target
    from responders.load.tally import Tally
    from responders.load.verdict import Asker

_SWEEP: Final = 0.02
"""Seconds between two looks for questions whose time ran out; also how the process watches its own lateness."""
_RETRY: Final = 0.1
"""Seconds until a lost connection is made again."""
_CONNECT_SECONDS: Final = 5.0
_AT_FIRST: Final = 16
"""Connections of an open loop before the first question is due."""
_TIMEOUT_LABEL: Final = "timeout"


class Generator:
    """What both ways share. ``run`` ends by itself, within duration and timeout."""

    def __init__(self, asker: Asker, target: Target, pace: Pace, tally: Tally, clock: Clock) -> None:
        self._asker, self._target, self._pace, self._tally, self._clock = asker, target, pace, tally, clock
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._end = float("inf")
        self._swept = 0.0
        self._done = asyncio.Event()

    async def run(self, start: float) -> None:
        """Make load from ``start`` (monotonic seconds) on; until then, connect."""
        self._end = start + self._pace.duration
        self._connect()
        await asyncio.sleep(max(start - self._clock.monotonic(), 0))
        self._swept = self._clock.monotonic()
        sweeper = Metronome(self._loop, _SWEEP, self._sweep)
        try:
            self._start(start)
            await self._done.wait()
        finally:
            sweeper.stop()
            self._finish()
            await asyncio.gather(*self._opening, return_exceptions=True)
            await asyncio.sleep(0)  # in which the closed ones are lost

    def stop(self) -> None:
        """Nothing more is due from now on."""
        self._end = min(self._end, self._clock.monotonic())

    def answered(self, connection: Connection, response: Response) -> None:
        """See ``responders.load.connection.Owner``."""
        inquiry, due = connection.inquiry, connection.due
        if inquiry is None:
            return
        connection.inquiry = None
        seconds = self._clock.monotonic() - due
        try:
            verified = inquiry.check(response, self._clock.now())
        except Wrong as error:
            self._tally.wrong(seconds, error.label, str(error))
        except Failed as error:
            self._tally.failed(error.label, str(error))
        except Exception as error:  # noqa: BLE001 - no octets of a server may end the run or go uncounted
            self._tally.wrong(seconds, "unreadable", f"{type(error).__name__}: {error}")
        else:
            self._tally.right(seconds, verified=verified)
        if connection.usable:
            self._free(connection)

    def lost(self, connection: Connection, reason: str, sentence: str) -> None:
        """See ``responders.load.connection.Owner``."""
        self._connections.discard(connection)
        if connection.inquiry is not None:
            seconds = self._clock.monotonic() - connection.due
            connection.inquiry = None
            if reason == "not HTTP":
                self._tally.wrong(seconds, reason, sentence)
            else:
                self._tally.failed(reason, sentence)
        self._lost(served=not reason and connection.sent > 0)

    def _ask(self, connection: Connection, due: float, now: float) -> None:
        inquiry = next(self._asker)
        counts = self._tally.counts
        counts.sent += 1
        counts.kinds[inquiry.kind] += 1
        connection.ask(inquiry, due, now)

    def _open(self) -> None:
        task = self._loop.create_task(self._opened())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _opened(self) -> None:
        target = self._target
        try:
            async with asyncio.timeout(min(_CONNECT_SECONDS, self._pace.timeout)):
                _, connection = await self._loop.create_connection(lambda: Connection(self), target.host, target.port)
        except (OSError, TimeoutError) as error:
            number = error.errno if isinstance(error, OSError) and error.errno else 0
            self._refused(os.strerror(number) if number > 0 else str(error) or "no connection in time")
            return
        self._connections.add(connection)
        if connection.usable:
            self._free(connection)

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        self._tally.lag = max(self._tally.lag, now - self._swept - _SWEEP)
        self._swept = now
        oldest = now - self._pace.timeout
        for connection in [each for each in self._connections if each.inquiry is not None and each.sent < oldest]:
            self._tally.failed(_TIMEOUT_LABEL, self._gave_up(), seconds=now - connection.due)
            connection.close()
        self._swept_up(now)
        if now >= self._end and not any(each.inquiry is not None for each in self._connections):
            self._idle()

    def _gave_up(self) -> str:
        return f"no answer within {self._pace.timeout:g} s"

    def _finish(self) -> None:
        for task in self._opening:
            task.cancel()
        for connection in list(self._connections):
            connection.close()

    # What differs.

    def _connect(self) -> None:
        """Before the start."""

    def _start(self, start: float) -> None:
        """From now on questions are due."""

    def _free(self, connection: Connection) -> None:
        """A connection can take a question."""

    def _lost(self, *, served: bool) -> None:
        """A connection has ended; ``served`` when it did so after an answer, as its server's way is."""

    def _refused(self, sentence: str) -> None:
        """No connection could be made."""

    def _swept_up(self, now: float) -> None:
        """Some time has passed."""

    def _idle(self) -> None:
        """The end has come and nothing is on its way."""
        self._done.set()


class ClosedLoop(Generator):
    """``connections`` connections, each of which asks as soon as it was answered."""

    _started = False

    def _connect(self) -> None:
        for _ in range(self._pace.connections):
            self._open()

    def _start(self, start: float) -> None:  # noqa: ARG002 - it is now
        self._started = True
        for connection in list(self._connections):
            if connection.usable and connection.inquiry is None:
                self._free(connection)

    def _free(self, connection: Connection) -> None:
        now = self._clock.monotonic()
        if self._started and now < self._end:
            self._ask(connection, now, now)

    def _lost(self, *, served: bool) -> None:
        if self._clock.monotonic() < self._end:
            self._loop.call_later(0 if served else _RETRY, self._reopen)

    def _reopen(self) -> None:
        if self._clock.monotonic() < self._end and not self._done.is_set():
            self._open()

    def _refused(self, sentence: str) -> None:
        if self._started:
            self._tally.failed("no connection", sentence)
        self._lost(served=False)


class OpenLoop(Generator):
    """``rate`` questions a second are due; each takes a free connection, or a new one while there may be more."""

    def __init__(
        self, asker: Asker, target: Target, pace: Pace, tally: Tally, clock: Clock, *, phase: float = 0.0
    ) -> None:
        """``phase`` is the part of an interval by which this process is behind the first one, 0 to 1."""
        super().__init__(asker, target, pace, tally, clock)
        if pace.rate is None:
            raise ValueError("an open loop needs a rate")
        self._interval = 1 / pace.rate
        self._phase = phase
        self._start_time = 0.0
        self._number = 0
        self._waiting: deque[float] = deque()
        """When the questions that have no connection yet were due."""
        self._unused: list[Connection] = []
        self._metronome: Metronome | None = None

    def _connect(self) -> None:
        for _ in range(min(self._pace.connections, _AT_FIRST)):
            self._open()

    def _start(self, start: float) -> None:
        self._start_time = start + self._phase * self._interval
        self._metronome = Metronome(self._loop, self._interval, self._tick)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        last = min(now, self._end)
        due = self._start_time + self._number * self._interval
        tally = self._tally
        while due < last:
            if self._take(due, now):
                # Each tick sends what was due since the one before: that much is no lateness.
                tally.late(now - due)
            else:
                tally.counts.waited += 1
                self._waiting.append(due)
            tally.counts.due += 1
            self._number += 1
            due = self._start_time + self._number * self._interval
        self._widen()
        if now >= self._end:
            self._stop_ticking()

    def _take(self, due: float, now: float) -> bool:
        """Whether there was a free connection."""
        while self._unused:
            connection = self._unused.pop()
            if connection.usable:
                self._ask(connection, due, now)
                return True
        return False

    def _widen(self) -> None:
        room = self._pace.connections - len(self._connections) - len(self._opening)
        for _ in range(min(room, len(self._waiting) - len(self._opening))):
            self._open()

    def _free(self, connection: Connection) -> None:
        if self._waiting:
            self._ask(connection, self._waiting.popleft(), self._clock.monotonic())
        else:
            self._unused.append(connection)

    def _lost(self, *, served: bool) -> None:  # noqa: ARG002 - one is made when it is needed
        self._widen()

    def _refused(self, sentence: str) -> None:
        if self._waiting:
            self._waiting.popleft()
            self._tally.failed("no connection", sentence)

    def _swept_up(self, now: float) -> None:
        oldest = now - self._pace.timeout
        while self._waiting and self._waiting[0] < oldest:
            self._tally.failed(_TIMEOUT_LABEL, self._gave_up(), seconds=now - self._waiting.popleft())
        self._widen()

    def _idle(self) -> None:
        if not self._waiting and self._metronome is None:  # nothing is due any more
            super()._idle()

    def _stop_ticking(self) -> None:
        if self._metronome is not None:
            self._metronome.stop()
            self._metronome = None

    def _finish(self) -> None:
        self._stop_ticking()
        super()._finish()
