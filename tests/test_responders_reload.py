"""SIGHUP: configuration and keys are read anew, and no client notices."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from fakes import ManualClock
from running_server import running_server, until
from strangers import ask, run
from tsa_server import query

from ca_store.home import Home
from responders.config import Address, open_config
from responders.supervisor import Plan, Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server


@pytest.fixture
def home(demo_home: Path, tmp_path: Path) -> Path:
    run("cp", "-r", demo_home, tmp_path / "home")
    return tmp_path / "home"


def accuracy(server: Server) -> float:
    found: float = json.loads(ask(f"{server.url}/tsa/p256").body)["accuracy_seconds"]
    return found


def reconfigure(home: Path, old: str, new: str) -> None:
    file = home / "responders.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def wait_for(server: Server, words: str, times: int) -> None:
    until(lambda: server.log.read_text().count(words) >= times, f"{words} is not logged")


@contextmanager
def busy_clients(server: Server) -> Iterator[list[str]]:
    """Clients over fresh and over kept connections, and what went wrong for any of them."""
    stop, faults, answered = threading.Event(), list[str](), [0] * 6

    def client(number: int) -> None:
        kept = number % 2 == 1
        connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        while not stop.is_set():
            if not kept:
                connection.close()
            try:
                connection.request("POST", "/tsa/p256", query())
                answer = connection.getresponse()
                if answer.status != 200 or len(answer.read()) < 200:
                    faults.append(f"HTTP {answer.status}")
                answered[number] += 1
            except (OSError, http.client.HTTPException) as error:
                faults.append(repr(error))
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(len(answered))]
    for thread in threads:
        thread.start()
    try:
        yield faults
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert all(answered)


@pytest.mark.parametrize("workers", [1, 2])
def test_no_request_is_lost_while_every_worker_is_replaced(home: Path, workers: int) -> None:
    with running_server(home, workers) as server:
        before = set(server.worker_pids())
        counted = server.metric('responders_timestamps_total{outcome="granted"}')
        with busy_clients(server) as faults:
            for seconds in (3, 4):
                setting = '2.999.3161.2"\naccuracy_seconds = '
                reconfigure(home, f"{setting}{seconds - 1}", f"{setting}{seconds}")
                server.process.send_signal(signal.SIGHUP)
                wait_for(server, "has taken over", workers * (seconds - 2))
                assert {accuracy(server) for _ in range(10)} == {seconds}
                assert server.ready()
        assert faults == []
        until(lambda: len(server.worker_pids()) == workers, "the old ones do not end")
        assert not before & set(server.worker_pids())
        assert server.metric("responders_worker_restarts_total") == 0
        assert server.metric('responders_timestamps_total{outcome="granted"}') > counted


def test_a_configuration_that_cannot_work_changes_nothing(home: Path) -> None:
    with running_server(home, 2) as server:
        before = server.worker_pids()
        reconfigure(home, 'policy = "2.999.3161.2"', 'policy = "no policy"')
        server.process.send_signal(signal.SIGHUP)
        wait_for(server, "not reloaded: ", 2)
        assert "[tsa.units.p256] policy 'no policy' is not an object identifier" in server.log.read_text()
        assert server.worker_pids() == before
        assert server.ready()
        assert accuracy(server) == 2
        reconfigure(home, 'policy = "no policy"', 'policy = "2.999.3161.2"')
        server.process.send_signal(signal.SIGHUP)
        wait_for(server, "has taken over", 2)


def test_a_worker_that_dies_after_a_reload_is_replaced(home: Path) -> None:
    with running_server(home, 1) as server:
        server.process.send_signal(signal.SIGHUP)
        wait_for(server, "has taken over", 1)
        time.sleep(0.5)
        (pid,) = server.worker_pids()
        run("kill", "-9", str(pid))
        until(lambda: server.metric("responders_worker_restarts_total") == 1 and server.ready(), "nobody replaces it")


async def test_a_worker_that_leaves_is_not_taken_for_one_that_never_came(
    pristine_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it has lived, it finishes what it has in hand; one that is not ready after a minute is killed."""
    address, config = Address("127.0.0.1", 0), open_config(Home.open(pristine_home), None)
    supervisor, clock = Supervisor(Plan(pristine_home, None, config, address, address, 1)), ManualClock()
    monkeypatch.setattr(supervisor, "_clock", clock)
    row = supervisor._state.row(0)

    async def watched(*, comes: bool) -> bool:
        """Whether a worker that is not ready an hour after its birth is let live."""
        process = await asyncio.create_subprocess_exec("sleep", "60")
        row.ready = comes
        row.beat(clock.monotonic(), clock.monotonic())
        watch = asyncio.create_task(supervisor._watch(0, process))
        try:
            await asyncio.sleep(0.6)
            clock.advance(3600)
            row.ready = False
            await asyncio.wait([watch], timeout=1)
            return not watch.done()
        finally:
            watch.cancel()
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            await process.wait()

    assert await watched(comes=True)
    assert not await watched(comes=False)
    os.close(supervisor._state.descriptor)
