"""The supervisor's side of the self-check: when it runs, what it found last, who is told.

The result lives in the supervisor's memory, where the admin listener is too: it is about keys that were loaded by this
very server, and worth nothing to the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Final

import msgspec

from responders.inspection import Inspection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ca_store.clock import Clock
    from responders.shared_state import SharedState

_LOOK_SECONDS: Final = 0.5
"""How often the workers' words are looked at for another set of delegates."""
_AGAIN_SECONDS: Final = 300.0
"""Until the next run after one that failed or was not finished."""
_PERIOD_SECONDS: Final = 86_400.0
"""Until the next run when nothing changes."""
_MOST_SECONDS: Final = 1800.0
"""A run that takes longer is given up."""

_logger: Final = logging.getLogger(__name__)


class SelfCheck:
    """Runs the process again and again; ``found`` is what the last one that finished found, None before."""

    def __init__(self, home: Path, config_file: Path | None, state: SharedState, clock: Clock) -> None:
        self._arguments = [f"--home={home}", *([] if config_file is None else [f"--config={config_file}"])]
        self._state = state
        self._clock = clock
        self.found: Inspection | None = None
        self.finished_at = 0.0
        """POSIX seconds at which ``found`` was found."""

    def failures(self) -> Sequence[str]:
        """A sentence for each thing that clients are served wrongly: the server is not ready while there is one."""
        return () if self.found is None else [f"self-check: {each}" for each in self.found.failures]

    def remarks(self) -> Sequence[str]:
        """What an operator should know of, and clients get by with: a sentence each."""
        found = self.found
        if found is None:
            return ()
        sentences = [
            *(each.sentence for each in found.refused),
            *(f"nobody speaks OCSP for {each}" for each in found.silent),
            *found.notes,
        ]
        return [f"self-check: {each}" for each in sentences]

    def summary(self) -> Sequence[str]:
        """How far it is, signer by signer."""
        if self.found is None:
            return ["self-check: not finished yet"]
        linted = f"linted by {self.found.linter}" if self.found.linter else f"not linted: {self.found.not_linted}"
        return [
            f"self-check: {each.name}: {'failed' if each.failed else 'answers as the database says'}"
            f" ({', '.join(each.asked)}; {len(each.findings)} findings), {linted}"
            for each in self.found.signers
        ]

    async def run(self) -> None:
        """Check now, whenever the workers have come to another set of delegates, and from time to time."""
        while True:
            checked = self._signers()
            wait = _PERIOD_SECONDS if await self._check() and not self.failures() else _AGAIN_SECONDS
            due = self._clock.monotonic() + wait
            while self._clock.monotonic() < due:
                await asyncio.sleep(_LOOK_SECONDS)
                if len(now := self._signers()) == 1 and now != checked:
                    break

    def _signers(self) -> set[int]:
        """What the ready workers hold; more than one value while they have not all learnt of a change."""
        return {row.signers for row in self._state.rows() if row.ready}

    async def _check(self) -> bool:
        """One run; whether it came to a result."""
        try:
            result = await self._process()
            found = msgspec.json.decode(result, type=Inspection)
        except (OSError, msgspec.MsgspecError, TimeoutError) as error:
            _logger.error("the self-check came to no result: %s", error or "it took too long")  # noqa: TRY400 - one sentence
            return False
        before, self.found, self.finished_at = self.found, found, self._clock.now()
        if before != found:
            self._tell(found)
        return True

    async def _process(self) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "responders.selfcheck_process", *self._arguments), stdout=PIPE, stderr=PIPE
        )
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                result, complaint = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.returncode:
            lines = complaint.decode(errors="replace").strip().splitlines() or [f"status {process.returncode}"]
            raise OSError(lines[-1])
        return result

    def _tell(self, found: Inspection) -> None:
        for failure in self.failures():
            _logger.error("%s", failure)
        for remark in self.remarks():
            _logger.warning("%s", remark)
        if not found.failures:
            linted = f"linted by {found.linter}" if found.linter else f"not linted: {found.not_linted}"
            _logger.info("self-check: %d delegates answer as the database says, %s", len(found.signers), linted)
