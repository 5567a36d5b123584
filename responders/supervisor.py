"""The parent of the workers: binds the sockets, keeps so many workers running, and stops them when told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ca_store.clock import SystemClock
from responders.admin import Readiness, create_admin
from responders.metrics import make_registry
from responders.process import BACKLOG, REFUSED
from responders.selfcheck import SelfCheck
from responders.shared_state import SharedState

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

    from responders.config import Address, Config

_START_SECONDS: Final = 60.0
"""A worker that is not ready by then hangs."""
_WATCH_SECONDS: Final = 0.25
_STALLED_MILLISECONDS: Final = 30_000
"""A connection whose client takes nothing for this long is dropped by the kernel."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_REPEAT_SECONDS: Final = 1.0
"""A signal that follows the first one within this time is the same wish: a terminal and a parent both pass it on."""
_STEADY_SECONDS: Final = 10.0
"""A worker that lived this long did not die at its start."""
_KILL_SECONDS: Final = 5.0
"""Beyond the drain deadline, how long a worker may take to be gone."""

_logger: Final = logging.getLogger(__name__)


class StartFailed(Exception):  # noqa: N818 - named as its meaning
    """The server cannot start; one sentence."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    home: Path
    config_file: Path | None
    config: Config
    listen: Address
    admin: Address
    workers: int


def bind(address: Address) -> socket.socket:
    """A listening socket that workers can inherit. Raises StartFailed."""
    try:
        [(family, kind, protocol, _, bound), *_] = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise StartFailed(f"cannot listen on {address}: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MILLISECONDS)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listener.bind(bound)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        raise StartFailed(
            f"cannot listen on {address}: {'the port is taken' if taken else os.strerror(error.errno or 0)}"
        ) from None
    return listener


class Supervisor:
    """Runs one plan until SIGTERM or SIGINT."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._settings = plan.config.server
        self._clock = SystemClock()
        self._state = SharedState.create(plan.workers)
        self._selfcheck = SelfCheck(plan.home, plan.config_file, self._state, self._clock)
        self._readiness = Readiness(self._state, self._clock, plan.config.ocsp.feed_bound, self._selfcheck)
        self._readiness.starting = True
        self._processes: dict[int, Process] = {}
        self._reloads = [asyncio.Event() for _ in range(plan.workers)]
        self._handing_over = asyncio.Lock()
        self._restarts = 0
        self._started = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve. Returns after a clean stop; raises StartFailed."""
        _raise_descriptor_limit()
        with bind(self._plan.listen) as listener, bind(self._plan.admin) as admin:
            runner = web.AppRunner(
                create_admin(
                    self._readiness,
                    make_registry(self._state, self._clock, lambda: self._restarts, self._selfcheck),
                ),
                access_log=None,
                handle_signals=False,
            )
            await runner.setup()
            try:
                await web.SockSite(runner, admin).start()
                await self._supervise(listener, admin)
            finally:
                await runner.cleanup()

    async def _supervise(self, listener: socket.socket, admin: socket.socket) -> None:
        keepers = [asyncio.create_task(self._keep(number, listener)) for number in range(self._plan.workers)]
        announcement = asyncio.create_task(self._announce(listener, admin))
        stop = asyncio.create_task(self._stop_requested())
        try:
            await asyncio.wait([*keepers, stop], return_when=asyncio.FIRST_COMPLETED)
            for keeper in keepers:
                if keeper.done():
                    keeper.result()
        finally:
            self._stopping.set()
            self._readiness.stopping = True
            listener.close()
            announcement.cancel()
            await self._stop_workers(keepers)

    async def _announce(self, listener: socket.socket, admin: socket.socket) -> None:
        """Say so once everything answers; from then on a worker that dies is replaced, and the server checks itself."""
        while any(self._readiness.worker_faults()):  # noqa: ASYNC110 - shared memory tells nobody when it changes
            await asyncio.sleep(_WATCH_SECONDS / 5)
        # Whoever has been told that the server is ready may count on it that a worker is replaced.
        self._started = True
        self._readiness.starting = False
        _logger.info(
            "serving on http://%s with %d workers; health and metrics on http://%s",
            *(_name(listener), self._plan.workers, _name(admin)),
        )
        await self._selfcheck.run()

    async def _stop_requested(self) -> None:
        """Returns on the first signal; one more, a second or more later, ends everything at once."""
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        first = 0.0

        def on_signal() -> None:
            nonlocal first
            now = self._clock.monotonic()
            first = first or now
            if now - first >= _REPEAT_SECONDS:
                for process in self._processes.values():
                    process.kill()
                os._exit(1)
            asked.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        await asked.wait()

    def _reload(self) -> None:
        """Replace every worker by one that reads configuration and keys anew; without a listener or a number of
        workers of its own, which take a restart.
        """
        _logger.info("reloading: every worker is replaced, one after another")
        for reload in self._reloads:
            reload.set()

    async def _stop_workers(self, keepers: list[asyncio.Task[None]]) -> None:
        """Let every worker finish what it has in hand."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        seconds = self._settings.drain_seconds + _KILL_SECONDS
        _, late = await asyncio.wait(keepers, timeout=seconds)
        if late:
            _logger.error("%d workers were not done after %g s", len(late), seconds)
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*keepers, return_exceptions=True)

    async def _keep(self, seat: int, listener: socket.socket) -> None:
        """Run the worker of a seat and whoever replaces it. Raises StartFailed when it dies before the server
        answered.
        """
        pause = 0.0
        while not self._stopping.is_set():
            born = self._clock.monotonic()
            end = await self._hold(seat, listener)
            self._state.row(self._state.seated[seat]).forget()
            if self._stopping.is_set():
                return
            if not self._started:
                raise StartFailed(end)
            lived = self._clock.monotonic() - born
            pause = 0.0 if lived > _STEADY_SECONDS else min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * pause))
            self._restarts += 1
            _logger.error("%s; it is replaced in %g s", end, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _hold(self, seat: int, listener: socket.socket) -> str:
        """One worker's life, and those of the successors that take over from it at a reload; how the last one ended."""
        life = asyncio.create_task(self._live(self._state.seated[seat], listener))
        while True:
            wish = asyncio.create_task(self._reloads[seat].wait())
            await asyncio.wait([life, wish], return_when=asyncio.FIRST_COMPLETED)
            wish.cancel()
            if life.done():
                return life.result()
            self._reloads[seat].clear()
            async with self._handing_over:
                life = await self._hand_over(seat, life, listener)

    async def _hand_over(self, seat: int, life: asyncio.Task[str], listener: socket.socket) -> asyncio.Task[str]:
        """Start a successor and, once it answers, let the present worker finish what it has in hand; the life that goes
        on. The present one stays when its successor cannot start: the reason is in the log.
        """
        state, number = self._state, self._state.successor(seat)
        present = self._processes.get(state.seated[seat])
        successor = asyncio.create_task(self._live(number, listener))
        while not (state.row(number).ready or successor.done() or self._stopping.is_set()):  # noqa: ASYNC110 - shared memory tells nobody
            await asyncio.sleep(_WATCH_SECONDS / 5)
        if successor.done():
            _logger.error("not reloaded: %s", successor.result())
            state.row(number).forget()
            return life
        old = state.seated[seat]
        state.seated[seat] = number
        if present is not None:
            with contextlib.suppress(ProcessLookupError):
                present.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(life), self._settings.drain_seconds + _KILL_SECONDS)
        if not life.done() and present is not None:
            with contextlib.suppress(ProcessLookupError):
                present.kill()
            await life
        state.row(old).forget()
        _logger.info("worker %d has taken over from worker %d", number, old)
        return successor

    async def _live(self, number: int, listener: socket.socket) -> str:
        """One process's life; how it ended."""
        try:
            return await self._run(number, listener)
        except OSError as error:  # no memory, no process or no descriptor to be had now
            return f"worker {number} could not be started: {error.strerror or error}"

    async def _run(self, number: int, listener: socket.socket) -> str:
        ours, lifeline = socket.socketpair()
        with ours:
            with lifeline:
                process = await self._spawn(number, listener, lifeline)
            self._processes[number] = process
            if self._stopping.is_set():
                process.terminate()
            watch = asyncio.create_task(self._watch(number, process))
            try:
                status = await process.wait()
            finally:
                watch.cancel()
                del self._processes[number]
            ours.setblocking(False)
            with contextlib.suppress(OSError):
                sentence = ours.recv(65_536).decode()
                if status == REFUSED and sentence:
                    return sentence
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"worker {number} (process {process.pid}) {how}"

    async def _spawn(self, number: int, listener: socket.socket, lifeline: socket.socket) -> Process:
        inherited = {
            "listener": listener.fileno(),
            "state": self._state.descriptor,
            "lifeline": lifeline.fileno(),
        }
        arguments = {"home": self._plan.home, "number": number, "workers": self._plan.workers, **inherited}
        if self._plan.config_file is not None:
            arguments["config"] = self._plan.config_file
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "responders.worker"),
            *(f"--{name}={value}" for name, value in arguments.items()),
            pass_fds=list(inherited.values()),
        )

    async def _watch(self, number: int, process: Process) -> None:
        """Kill a worker that hangs. One that was ready and is not any more finishes what it has in hand; how long it
        may take is for whoever told it to.
        """
        row = self._state.row(number)
        born = self._clock.monotonic()
        started = False
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now = self._clock.monotonic()
            started = started or row.ready
            # A worker can be ready a moment before its first sign of life.
            silent = row.ready and now - max(born, row.heartbeat) > self._settings.hang_seconds
            if silent or (not started and not self._stopping.is_set() and now - born > _START_SECONDS):
                _logger.error("worker %d (process %d) shows no sign of life", number, process.pid)
                process.kill()
                return


def _name(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _raise_descriptor_limit() -> None:
    """As many connections as the system allows: the soft limit is often 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
