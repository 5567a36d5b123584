"""One worker process: everything that answers, put together. The supervisor starts it; nobody else does."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from ca_store.clock import SystemClock
from ca_store.database import open_read_store
from ca_store.errors import StoreError
from ca_store.gate import SigningGate
from ca_store.home import Home
from ocsp.responder import Responder
from responders.cache_keys import TagHeader
from responders.clock_monitor import ClockMonitor
from responders.config import ConfigError, open_config
from responders.connections import ConnectionServer
from responders.credentials import CredentialLoader, CredentialsRefused, read_records
from responders.log_http import PublishedLog
from responders.ocsp_http import OCSPEndpoint
from responders.prepared import Second
from responders.process import BACKLOG, REFUSED, configure_logging
from responders.public import PublicListener
from responders.purger import Purger, Purging, cache_addresses
from responders.repeats import Repeats
from responders.shared_state import SharedState
from responders.static_http import Documents
from responders.tsa_http import TSAEndpoint
from responders.upkeep import Upkeep
from tsa.authority import Authority
from tsa.token_log import TokenLog

if TYPE_CHECKING:
    from ca_store.contracts import ReadStore
    from responders.config import Config

_logger: Final = logging.getLogger(__name__)


class Worker:
    """The composition root."""

    def __init__(self, home: Home, config: Config, state: SharedState, number: int) -> None:
        self._home = home
        self._config = config
        self._workers = state.workers
        self._number = number
        self._row = state.row(number)
        self._epoch = state.epoch
        self._clock = SystemClock()
        self._second = Second(self._clock)

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Answer on ``listener`` until ``stop``, then finish what is in hand.

        Raises StoreError or CredentialsRefused before the first connection is accepted.
        """
        async with contextlib.AsyncExitStack() as closing:
            store = await open_read_store(self._home.database_url, self._clock, self._home.read_url)
            closing.push_async_callback(store.close)
            public, upkeep = await self._assemble(store, closing)
            await upkeep.prepare()
            settings = self._config.server
            server = ConnectionServer(
                public.handle,
                refuse=public.refuse,
                header_seconds=settings.header_seconds,
                keep_alive_seconds=settings.keep_alive_seconds,
                repeats=Repeats(public) if settings.prepared_responses else None,
            )
            async with asyncio.TaskGroup() as background:
                tasks = [background.create_task(each) for each in (server.sweep(), *upkeep.tasks(server))]
                accepting = await asyncio.get_running_loop().create_server(server, sock=listener, backlog=BACKLOG)
                # What exists now exists for ever: the collector need not look at it again.
                gc.collect()
                gc.freeze()
                # A start may take longer than a worker that is ready may be silent.
                self._row.beat(self._clock.monotonic(), store.feed.confirmed)
                self._row.ready = True
                await stop.wait()
                self._row.ready = False
                accepting.close()
                public.draining = True
                await server.drain(settings.drain_seconds)
                for task in tasks:
                    task.cancel()

    async def _assemble(self, store: ReadStore, closing: contextlib.AsyncExitStack) -> tuple[PublicListener, Upkeep]:
        config, clock, row, second = self._config, self._clock, self._row, self._second
        loader = CredentialLoader(self._home.keys(), config.tsa)
        roster = loader.load(await read_records(store), int(clock.now()), strict=True)
        gate = SigningGate(config.in_flight(self._workers), config.signing.waiters, config.signing.deadline)
        closing.callback(gate.close)
        responder = Responder(
            store=store,
            feed=store.feed,
            gate=gate,
            clock=clock,
            settings=config.ocsp,
            directory=roster.directory,
            epoch=self._epoch,
        )
        authority = None
        if roster.units:
            authority = Authority(
                units=roster.units,
                authenticode=roster.authenticode,
                default=config.tsa.default,
                store=store,
                gate=gate,
                clock=clock,
                settings=config.tsa.settings,
                clock_settings=config.clock,
                token_log=self._token_log(closing),
            )
            closing.push_async_callback(authority.close)
        tags = TagHeader(config.purge.tag_header)
        documents = Documents(store, clock, config.ocsp.feed_bound, second, row, tags)
        public = PublicListener(
            ocsp=OCSPEndpoint(
                responder, config.server, second, row, tags=tags, by_address=bool(config.ocsp.nonce_rate)
            ),
            tsa=None if authority is None else TSAEndpoint(authority, config.server, second, row),
            documents=documents,
            log=None
            if authority is None or not config.log.enabled
            else PublishedLog(self._home.path / config.log.folder, config.log, second, row),
            settings=config.server,
            second=second,
            row=row,
        )
        upkeep = Upkeep(
            store=store,
            clock=clock,
            loader=loader,
            roster=roster,
            responder=responder,
            authority=authority,
            clock_monitor=None if authority is None else ClockMonitor(authority.clock_guard, config.clock, clock),
            documents=documents,
            purging=self._purging(store),
            second=second,
            row=row,
        )
        return public, upkeep

    def _token_log(self, closing: contextlib.AsyncExitStack) -> TokenLog | None:
        settings = self._config.log
        if not settings.enabled:
            return None
        signer = self._home.keys().load(settings.key)
        token_log = TokenLog(self._home.path / settings.folder, settings, signer, self._clock)
        closing.push_async_callback(asyncio.to_thread, token_log.close)
        return token_log

    def _purging(self, store: ReadStore) -> Purging:
        """The caches to tell of changes. One worker does it for the machine; whoever replaces it begins with what was
        revoked within the last window.
        """
        if self._number % self._workers:
            return Purging()
        config = self._config
        return Purging(
            [
                Purger(
                    cache,
                    settings=config.purge,
                    span=config.ocsp.window,
                    good_too=config.ocsp.signed_unknown,
                    store=store,
                    clock=self._clock,
                    row=self._row,
                )
                for cache in cache_addresses(config.purge)
            ]
        )


def main() -> int:
    """Entry point of the process."""
    arguments = _arguments()
    configure_logging()
    # Ctrl-C reaches the whole process group; only the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=arguments.lifeline) as lifeline, socket.socket(fileno=arguments.listener) as listener:
        try:
            home = Home.open(arguments.home)
            config = open_config(home, arguments.config)
            worker = Worker(home, config, SharedState(arguments.state, arguments.workers), arguments.number)
            uvloop.run(_serve(worker, listener, lifeline))
        except (StoreError, ConfigError, CredentialsRefused) as error:
            lifeline.sendall(str(error).encode())
            return REFUSED
    return 0


async def _serve(worker: Worker, listener: socket.socket, lifeline: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def hang_up() -> None:
        # The supervisor never sends anything: this is its end.
        loop.remove_reader(lifeline)
        _logger.error("the supervisor is gone: stopping")
        stop.set()

    loop.add_reader(lifeline, hang_up)
    await worker.run(listener, stop)
    loop.remove_reader(lifeline)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("responders.worker")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    for name in ("number", "workers", "listener", "state", "lifeline"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
