"""One generating process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from typing import TYPE_CHECKING, Final

import uvloop

from ca_store.clock import SystemClock
from responders.load.generator import ClosedLoop, Generator, OpenLoop
from responders.load.ocsp_questions import OCSPAsker
from responders.load.plan import OCSPMix
from responders.load.tally import Tally
from responders.load.tsa_questions import TSAAsker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

    from responders.load.plan import Plan
    from responders.load.verdict import Asker

READY: Final = "ready"
_SECOND: Final = 1.0


def generate(plan: Plan, number: int, pipe: Pipe) -> None:
    """Make this process's part of a plan's load. Sends READY, waits for the time to start (monotonic seconds, which all
    processes of a machine share), then sends an Interval every second and None at the end. Whatever arrives meanwhile,
    also the end of the pipe, means to stop.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    with contextlib.suppress(BrokenPipeError, EOFError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_generate(plan, number, pipe))


async def _generate(plan: Plan, number: int, pipe: Pipe) -> None:
    clock = SystemClock()
    tally = Tally(plan.pace.slow)
    generator = _generator(plan, number, tally, clock)
    # What lives now lives for ever: collections need not look at it again.
    gc.collect()
    gc.freeze()
    pipe.send(READY)
    start: float = pipe.recv()
    loop = asyncio.get_running_loop()

    def told() -> None:
        loop.remove_reader(pipe.fileno())
        generator.stop()

    loop.add_reader(pipe.fileno(), told)
    reporting = loop.create_task(_report(tally, pipe, start, clock))
    try:
        await generator.run(start)
    finally:
        loop.remove_reader(pipe.fileno())
        reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reporting
    pipe.send(None)


def make_asker(plan: Plan, number: int) -> Asker:
    """What asks the questions of one of a plan's processes, ``number`` counting from 0."""
    if isinstance(plan.mix, OCSPMix):
        return OCSPAsker(plan.mix, plan.checking, plan.target, plan.seed, number, plan.processes)
    return TSAAsker(plan.mix, plan.checking, plan.target, plan.seed, number)


def _generator(plan: Plan, number: int, tally: Tally, clock: SystemClock) -> Generator:
    asker = make_asker(plan, number)
    pace = plan.pace.share(number, plan.processes)
    if pace.rate is None:
        return ClosedLoop(asker, plan.target, pace, tally, clock)
    return OpenLoop(asker, plan.target, pace, tally, clock, phase=number / plan.processes)


async def _report(tally: Tally, pipe: Pipe, start: float, clock: SystemClock) -> None:
    """Cut an interval every second from ``start`` on, and what is left when cancelled."""
    await asyncio.sleep(max(start - clock.monotonic(), 0))
    cut, used, number = start, time.process_time(), 0
    try:
        while True:
            await asyncio.sleep(max(start + (number + 1) * _SECOND - clock.monotonic(), 0))
            cut, used = _cut(tally, pipe, number, cut, used, clock)
            number += 1
    finally:
        _cut(tally, pipe, number, cut, used, clock)


def _cut(tally: Tally, pipe: Pipe, number: int, since: float, used: float, clock: SystemClock) -> tuple[float, float]:
    now, cpu = clock.monotonic(), time.process_time()
    tally.counts.wall, tally.counts.cpu = now - since, cpu - used
    pipe.send(tally.cut(number))
    return now, cpu
