"""The clock of a running server, set while it runs: libfaketime, which its processes read anew at every look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strangers import run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class FakedTime:
    """Host time plus an offset; CLOCK_MONOTONIC goes on evenly, as it does when a real clock is set."""

    def __init__(self, folder: Path, offset: float = 0) -> None:
        self._file = folder / "offset"
        self.set(offset)

    @property
    def environment(self) -> Mapping[str, str]:
        """For the server's processes."""
        library = run("faketime", "-f", "+0s", "printenv", "LD_PRELOAD").strip()
        return {
            "LD_PRELOAD": library.replace("libfaketime.so", "libfaketimeMT.so"),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset: float) -> None:
        """Seconds, at once and never half."""
        self.offset = offset
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset:+.3f}s")
        fresh.replace(self._file)

    def step(self, seconds: float) -> None:
        self.set(self.offset + seconds)
