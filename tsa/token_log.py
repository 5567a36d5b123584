"""The log of issued tokens: appended to by one worker, committed in groups, signed (C2SP tlog-checkpoint, tlog-tiles).

An entry is the TSTInfo of a token, or the signed attributes of an Authenticode countersignature. Entries are on the
disk before a checkpoint that covers them is signed. What fails is never repaired: a log whose files could not be
written ends with its last checkpoint, and what was not committed goes into a new log under a new origin. So does
everything after a restart; no origin ever continues on files that a backup may have brought back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from tsa.errors import BadDataFormat, SystemFailure
from tsa.log_files import CHECKPOINT, MAX_ENTRY, log_folders, pack, tile_path
from tsa.merkle import TILE_WIDTH, Frontier, leaf_hash
from tsa.note import Checkpoint, sign_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from ca_store.clock import Clock
    from ca_store.signing import Signer
    from tsa.log_settings import LogSettings

_MOST_PENDING: Final = 1 << 17
"""Entries that may wait for a commit: some seconds of all that a core can sign."""
_RETRY_SECONDS: Final = 1.0
UNWRITABLE: Final = "The log of tokens cannot be written."
_HOUR: Final = 3600
_DAY: Final = 86_400

log = logging.getLogger(__name__)


class OpenLog:
    """One log that grows. Belongs to one thread."""

    def __init__(self, folder: Path, origin: str, signer: Signer, began: float) -> None:
        """Begin a log in a new folder. Raises OSError."""
        self.folder = folder
        self.began = began
        self._origin = origin
        self._signer = signer
        self._tree = Frontier()
        self._widths: dict[int, int] = {}
        folder.mkdir(parents=True)
        _sync(folder.parent)

    @property
    def size(self) -> int:
        """Entries under the last checkpoint."""
        return self._tree.size

    def commit(self, entries: list[bytes]) -> None:
        """Put entries onto the disk and sign for them. After an OSError this log is at its end."""
        self._write_entries(entries)
        levels: dict[int, list[bytes]] = {0: []}
        append, leaves = self._tree.append, levels[0]

        def collect(level: int, value: bytes) -> None:
            levels.setdefault(level, []).append(value)

        for entry in entries:
            leaf = leaf_hash(entry)
            leaves.append(leaf)
            append(leaf, collect)
        for level, hashes in levels.items():
            self._write_tiles(level, hashes)
        checkpoint = Checkpoint(self._origin, self._tree.size, self._tree.root())
        self._replace(CHECKPOINT, sign_checkpoint(checkpoint, self._signer).encode())

    def _write_entries(self, entries: list[bytes]) -> None:
        at, size = 0, self._tree.size
        while at < len(entries):
            index, used = divmod(size + at, TILE_WIDTH)
            part = entries[at : at + TILE_WIDTH - used]
            self._append(tile_path("entries", index), b"".join(map(pack, part)), durable=True)
            at += len(part)

    def _write_tiles(self, level: int, hashes: list[bytes]) -> None:
        at, width = 0, self._widths.get(level, 0)
        self._widths[level] = width + len(hashes)
        while at < len(hashes):
            index, used = divmod(width + at, TILE_WIDTH)
            part = hashes[at : at + TILE_WIDTH - used]
            self._append(tile_path(level, index), b"".join(part))
            at += len(part)

    def _append(self, path: str, octets: bytes, *, durable: bool = False) -> None:
        file = self.folder / path
        new = not file.exists()
        if new:
            file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(octets)
            stream.flush()
            if durable:
                os.fdatasync(stream.fileno())
        if new and durable:
            _sync(file.parent)

    def _replace(self, path: str, octets: bytes) -> None:
        file = self.folder / path
        temporary = file.with_suffix(".new")
        with temporary.open("wb") as stream:
            stream.write(octets)
            stream.flush()
            os.fdatasync(stream.fileno())
        temporary.replace(file)
        _sync(self.folder)


class TokenLog:
    """What a worker has of the log: ``append`` on the event loop, commits in a thread.

    Without ``commit_before_answer`` an entry is committed within ``commit_milliseconds``, as long as the disk keeps up.
    """

    def __init__(self, folder: Path, settings: LogSettings, signer: Signer, clock: Clock) -> None:
        self._folder = folder
        self._settings = settings
        self._signer = signer
        self._clock = clock
        self._pending: deque[bytes] = deque()
        self._appended = self._done = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._open: OpenLog | None = None
        self.fault: str | None = None
        """Why entries cannot be committed at present."""
        self.entries = 0
        """Entries committed since the start."""
        self._thread = threading.Thread(target=self._work, name="token-log", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Entries that are not on the disk yet."""
        return len(self._pending)

    def check(self) -> None:
        """Raises SystemFailure while what is issued could not be recorded."""
        if self.fault is not None:
            raise SystemFailure(UNWRITABLE)
        if len(self._pending) >= _MOST_PENDING:
            raise SystemFailure("The log of tokens does not keep up.")

    def append(self, entry: bytes) -> int:
        """Record one token that is about to be answered; the ticket is for ``committed``. Raises BadDataFormat for an
        entry that no bundle can hold: a nonce can be as long as a request's body.
        """
        if len(entry) > MAX_ENTRY:
            raise BadDataFormat("The nonce is too long for a token that must be recorded.")
        self._pending.append(entry)
        self._appended += 1
        if not self._wanted.is_set():
            self._wanted.set()
        return self._appended

    async def committed(self, ticket: int) -> None:
        """Wait until an entry is on the disk, where the settings ask for that. Raises SystemFailure when it could not
        be put there.
        """
        if not self._settings.commit_before_answer or self._done >= ticket:
            return
        self._loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((ticket, waiter))
        await waiter

    def close(self) -> None:
        """Commit what is there and end the thread."""
        self._closing.set()
        self._wanted.set()
        self._thread.join()

    def _work(self) -> None:
        """The thread's life. That it ends by a fault of ours must not look like a disk that keeps up."""
        try:
            self._commit_for_ever()
        except BaseException:
            log.exception("no time-stamps: the log of tokens has ended by an internal fault")
            self.fault = "internal fault"
            raise

    def _commit_for_ever(self) -> None:
        settings, done = self._settings, 0
        while True:
            self._wanted.wait()
            if not settings.commit_before_answer:
                self._closing.wait(settings.commit_milliseconds / 1000)
            # Cleared before they are taken: what comes later sets it again.
            self._wanted.clear()
            entries = [self._pending.popleft() for _ in range(len(self._pending))]
            failed = bool(entries) and not self._commit(entries)
            if failed:
                self._pending.extendleft(reversed(entries))
                self._wanted.set()
            else:
                done += len(entries)
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                    self._loop.call_soon_threadsafe(self._release, done)
            if self._closing.is_set() and (failed or not self._pending):
                return
            if failed:
                self._closing.wait(_RETRY_SECONDS)

    def _release(self, done: int) -> None:
        """On the loop: let those go on whose entries are on the disk, or none of them can be."""
        self._done = done
        fault = self.fault
        while self._waiters and (fault is not None or self._waiters[0][0] <= done):
            _, waiter = self._waiters.popleft()
            if waiter.done():  # its caller has gone
                continue
            if fault is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(SystemFailure(UNWRITABLE))

    def _commit(self, entries: list[bytes]) -> bool:
        try:
            current = self._current()
            current.commit(entries)
        except OSError as error:
            if self.fault is None:
                log.error("no time-stamps: the log of tokens cannot be written: %s", error)  # noqa: TRY400 - an outage has no use for our stack
            self.fault = str(error)
            self._end()
            return False
        except Exception:
            log.exception("no time-stamps: the log of tokens has an internal fault")
            self.fault = "internal fault"
            self._end()
            return False
        if self.fault is not None:
            log.warning("the log of tokens can be written again")
            self.fault = None
        self.entries += len(entries)
        return True

    def _end(self) -> None:
        """Leave the present log with its last checkpoint, or without a trace when it has none: a disk that stays full
        would collect the beginning of a log a second.
        """
        ended, self._open = self._open, None
        if ended is not None and not (ended.folder / CHECKPOINT).exists():
            shutil.rmtree(ended.folder, ignore_errors=True)

    def _current(self) -> OpenLog:
        now = self._clock.now()
        current = self._open
        if current is None or now - current.began >= self._settings.rotate_hours * _HOUR:
            name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{secrets.token_hex(4)}"
            current = OpenLog(self._folder / name, f"{self._settings.origin}/{name}", self._signer, now)
            self._open = current
            prune(self._folder, self._settings, now)
        return current


def prune(folder: Path, settings: LogSettings, now: float) -> list[str]:
    """Delete the logs that have been kept long enough; their names."""
    if not settings.keep_days:
        return []
    oldest = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now - settings.keep_days * _DAY))
    ended = [each for each in log_folders(folder) if each.name < oldest]
    for each in ended:
        log.warning("the log %s has been kept for %d days: deleted", each.name, settings.keep_days)
        shutil.rmtree(each, ignore_errors=True)
    return [each.name for each in ended]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
