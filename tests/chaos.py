"""``make chaos``: one fault after another under load, with what each cost.

Workers are killed and stopped, the configuration is read anew, the database is locked, restarted and hung, the disk is
filled and the clock set. Exit status 1 when an answer was wrong, a serial came twice, a token is missing from the log,
or something did not heal by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from chaos_load import asking
from faked_time import FakedTime
from long_run import demo_home, machine, write_notes
from ports import free_port
from postgres_server import running_node
from running_server import running_server, until
from small_disk import small_disk
from test_interop_log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chaos_load import ChaosLoad
    from postgres_server import PostgresNode
    from running_server import Server
    from small_disk import SmallDisk

SECONDS: Final = 30.0
_DISK_MEBIBYTES: Final = 200
_SETTLE: Final = 4
_PAUSE: Final = 0.5
_BLOCK: Final = 50
_WORKERS: Final = 2
_SETTINGS: Final = """
[log]
enabled = {log}
commit_before_answer = true
"""
_HEADINGS: Final = (
    "fault",
    "times",
    "OCSP sent",
    "tryLater",
    "failed",
    "tokens",
    "refused",
    "failed",
    "wrong",
    "heals",
)


@dataclass(frozen=True)
class Outcome:
    """One fault, over and over, and what it cost."""

    name: str
    times: int
    load: ChaosLoad
    healed: float
    """Seconds until everything answered again, at the slowest: after the fault, of a hang from its beginning."""

    @property
    def wrong(self) -> list[str]:
        return self.load.ocsp.wrong + self.load.tsa.wrong

    def row(self) -> str:
        """A line of the table."""
        ocsp, tsa = self.load.ocsp, self.load.tsa
        cells = (
            self.name, self.times, f"{ocsp.sent:,}", f"{ocsp.refused.total():,}", f"{ocsp.failed:,}", f"{tsa.right:,}",
            f"{tsa.refused.total():,}", f"{tsa.failed:,}", len(self.wrong), f"{self.healed:.1f} s",
        )  # fmt: skip
        return f"| {' | '.join(map(str, cells))} |"


class Scene:
    """A running server and how faults are done to it. ``seconds`` bounds each kind of fault."""

    def __init__(self, server: Server, seconds: float) -> None:
        self.server = server
        self._seconds = seconds
        self.outcomes: list[Outcome] = []

    def suffer(self, name: str, fault: Callable[[int], None], *, from_the_start: bool = False) -> None:
        """Do ``fault`` again and again under load; it may wait for its own end."""
        with asking(self.server) as load:
            time.sleep(1)
            end, healed, times = time.monotonic() + self._seconds, 0.0, 0
            for number in count():
                began = time.monotonic()
                fault(number)
                lasted = time.monotonic() - began if from_the_start else 0.0
                times += 1
                healed = max(healed, lasted + load.heal())
                time.sleep(_PAUSE)
                if time.monotonic() > end:
                    break
            until(self.server.ready, "it is not ready again")
        self.outcomes.append(Outcome(name, times, load, healed))
        sys.stdout.write(f"{self.outcomes[-1].row()}\n")
        sys.stdout.flush()

    def _worker(self, number: int) -> int:
        """One of those that answer, while all do: of one that still starts nobody expects anything for a minute."""
        until(lambda: self.server.metric("responders_workers_ready") == _WORKERS, "workers are not replaced")
        pids = self.server.worker_pids()
        return pids[number % len(pids)]

    def kill(self, number: int) -> None:
        """A worker, by a signal that nobody can catch."""
        os.kill(self._worker(number), signal.SIGKILL)

    def kill_all(self, _: int) -> None:
        """All workers at once."""
        for pid in self.server.worker_pids():
            os.kill(pid, signal.SIGKILL)

    def hang(self, number: int) -> None:
        """A worker that stands still until the supervisor ends it."""
        pid = self._worker(number)
        os.kill(pid, signal.SIGSTOP)
        until(lambda: pid not in self.server.worker_pids(), "a worker hangs for ever")

    def reload(self, _: int) -> None:
        """Replace every worker by a successor."""
        said = self.server.log.read_text().count("has taken over")
        self.server.process.send_signal(signal.SIGHUP)
        until(lambda: self.server.log.read_text().count("has taken over") >= said + _WORKERS, "no successor takes over")

    def lock(self, _: int) -> None:
        """Another process writes to SQLite's file for three seconds, and the journal's lock is held."""
        with closing(sqlite3.connect(self.server.home / "ca.db", isolation_level=None, timeout=10)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(3)
            connection.execute("ROLLBACK")

    def check_end(self) -> list[str]:
        """What is wrong after all: with serials, or in the server's log."""
        serials = [each for outcome in self.outcomes for each in outcome.load.serials]
        faults = [wrong for outcome in self.outcomes for wrong in outcome.wrong]
        if len(set(serials)) != len(serials):
            faults.append("a serial came twice")
        if "Traceback" in self.server.log.read_text():
            faults.append("a traceback is in the log")
        return faults


def main() -> int:
    """Every fault in turn; the table, and the page if one is wanted."""
    options = _arguments()
    began = time.monotonic()
    outcomes: list[Outcome] = []
    faults: list[str] = []
    sys.stdout.write(f"| {' | '.join(_HEADINGS)} |\n")
    for stage in (_processes, _full_disk, _set_clock, _database):
        with TemporaryDirectory(prefix="chaos-") as folder, stage(Path(folder), options.seconds) as scene:
            faults += scene.check_end()
            outcomes += scene.outcomes
    tokens = sum(outcome.load.tsa.right for outcome in outcomes)
    sys.stdout.write(
        f"{tokens:,} tokens; {'; '.join(faults) or 'no wrong answer, no serial twice, every log verifies'}\n"
    )
    if options.write is not None and not faults:
        write_notes(options.write, _page(outcomes, tokens, time.monotonic() - began))
    return 1 if faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=SECONDS, help=f"of each kind of fault (default: {SECONDS:g})")
    add("--write", type=Path, metavar="FILE.md", help="put the result into this page, below its marker")
    return parser.parse_args()


def _make_home(folder: Path, *, with_log: bool = True, database: str | None = None, clock: str = "") -> Path:
    home = folder / "home"
    chosen = () if database is None else ("--database", database)
    base = f"http://127.0.0.1:{free_port()}"
    demo_home(home, "--base-url", base, *chosen)
    file = home / "responders.toml"
    text = file.read_text().replace("[server]\n", "[server]\nhang_seconds = 3\n", 1)
    text = text.replace("[tsa]\n", f"[tsa]\nserial_block = {_BLOCK}\n", 1).replace(
        'source = "host"', f'source = "host"{clock}'
    )
    file.write_text(text + _SETTINGS.format(log=str(with_log).lower()))
    return home


def _check_log(scene: Scene, home: Path) -> None:
    """Every token that was answered is in the log, which is whole."""
    verified = log(home, "verify")
    if verified.returncode:
        raise AssertionError(verified.stdout + verified.stderr)
    logged = {json.loads(line)["serial"] for line in log(home, "find", "--json").stdout.splitlines()}
    answered = {f"{serial:x}" for outcome in scene.outcomes for serial in outcome.load.serials}
    if not answered <= logged:
        raise AssertionError(f"{len(answered - logged)} tokens are not in the log")


@contextmanager
def _processes(folder: Path, seconds: float) -> Iterator[Scene]:
    home = _make_home(folder)
    with running_server(home, _WORKERS) as server:
        scene = Scene(server, seconds)
        scene.suffer("a worker is killed (SIGKILL)", scene.kill)
        scene.suffer("all workers are killed", scene.kill_all)
        scene.suffer("a worker hangs (SIGSTOP)", scene.hang, from_the_start=True)
        scene.suffer("configuration read anew (SIGHUP)", scene.reload)
        scene.suffer("SQLite locked for 3 s", scene.lock)
        yield scene
    _check_log(scene, home)


@contextmanager
def _full_disk(folder: Path, seconds: float) -> Iterator[Scene]:
    with small_disk(folder / "disk", _DISK_MEBIBYTES) as disk:
        home = _make_home(disk.folder)
        with running_server(home, _WORKERS) as server:
            scene = Scene(server, seconds)
            scene.suffer("disk full for 3 s", lambda _: _fill(disk))
            yield scene
        _check_log(scene, home)


def _fill(disk: SmallDisk) -> None:
    with disk.full():
        time.sleep(3)


@contextmanager
def _set_clock(folder: Path, seconds: float) -> Iterator[Scene]:
    """Without a log: libfaketime has a thread's sleep fail when time is set meanwhile, which no kernel does."""
    clock = FakedTime(folder)
    home = _make_home(folder, with_log=False, clock=f"\nsettle_seconds = {_SETTLE}")
    with running_server(home, _WORKERS, environment=clock.environment) as server:
        scene = Scene(server, seconds)
        until(lambda: server.metric("responders_tsa_clock_good") == 1, "the clock is not good")
        scene.suffer("the clock is set by ±2 s", lambda number: clock.step(2.0 if number % 2 else -2.0))
        yield scene


@contextmanager
def _database(folder: Path, seconds: float) -> Iterator[Scene]:
    with ExitStack() as stack:
        node = stack.enter_context(running_node())
        home = _make_home(folder, database=node.url)
        server = stack.enter_context(running_server(home, _WORKERS))
        scene = Scene(server, seconds)
        scene.suffer("PostgreSQL restarted after 2 s", lambda _: _restart(node))
        scene.suffer("PostgreSQL hangs for 3 s", lambda _: _freeze(node))
        yield scene
        _check_log(scene, home)


def _restart(node: PostgresNode) -> None:
    node.stop("immediate")
    time.sleep(2)
    node.start()


def _freeze(node: PostgresNode) -> None:
    with node.frozen():
        time.sleep(3)


def _page(outcomes: list[Outcome], tokens: int, seconds: float) -> str:
    reasons = {reason for outcome in outcomes for reason in outcome.load.tsa.refused}
    lines = [
        f"{machine()}; {seconds / 60:.0f} minutes in all.",
        "",
        f"| {' | '.join(_HEADINGS)} |",
        f"|---|{'---:|' * (len(_HEADINGS) - 1)}",
        *(outcome.row() for outcome in outcomes),
        "",
        f"{tokens:,} tokens were granted. No serial came twice; every log verifies and holds every token answered.",
        "Refusals of time-stamps said: " + "; ".join(sorted(each.rstrip(".") for each in reasons)) + ".",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
