"""The generating processes of one run."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
from typing import TYPE_CHECKING, Final

from responders.load.process import READY, generate
from responders.load.tally import Interval, Totals

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.context import SpawnProcess

    from ca_store.clock import Clock
    from responders.load.plan import Plan

_START_SECONDS: Final = 60.0
_AHEAD: Final = 0.25
"""Seconds between the word to start and the start, in which the first connections are made."""
_GRACE: Final = 10.0
_LOOK: Final = 0.2


class CrewError(Exception):
    """The run could not be made; one sentence."""


def run(plan: Plan, clock: Clock, watch: Callable[[Totals, float], None]) -> tuple[Totals, bool]:
    """Make the load of a plan. The totals, and whether someone interrupted it. ``watch`` is shown the totals so far and
    the elapsed seconds several times a second. Raises CrewError.
    """
    context = multiprocessing.get_context("spawn")
    pipes: list[Pipe] = []
    processes: list[SpawnProcess] = []
    try:
        for number in range(plan.processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=generate, args=(plan, number, theirs), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        return _conduct(plan, clock, watch, pipes)
    finally:
        for process in processes:
            process.join(1)
            if process.is_alive():
                process.kill()
                process.join()


def _conduct(
    plan: Plan, clock: Clock, watch: Callable[[Totals, float], None], pipes: list[Pipe]
) -> tuple[Totals, bool]:
    for pipe in pipes:
        if not pipe.poll(_START_SECONDS) or _receive(pipe) != READY:
            raise CrewError("a generating process did not start")
    start = clock.monotonic() + _AHEAD
    for pipe in pipes:
        pipe.send(start)
    deadline = start + plan.pace.duration + plan.pace.timeout + _GRACE
    totals, running, interrupted = Totals(plan.processes, plan.pace.duration), set(pipes), False
    while running:
        try:
            for each in multiprocessing.connection.wait(running, _LOOK):
                pipe = next(pipe for pipe in running if pipe is each)
                received = _receive(pipe)
                if isinstance(received, Interval):
                    totals.add(received)
                else:
                    running.discard(pipe)
            watch(totals, max(clock.monotonic() - start, 0.0))
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            for pipe in running:
                pipe.send(None)
        if clock.monotonic() > deadline:
            raise CrewError("a generating process did not stop")
    totals.finish()
    return totals, interrupted


def _receive(pipe: Pipe) -> object:
    try:
        received: object = pipe.recv()
    except (EOFError, OSError):
        raise CrewError("a generating process died") from None
    return received
