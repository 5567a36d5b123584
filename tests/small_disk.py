"""A real file system that is full when the test says so: a tmpfs of its own, which only root can mount."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from strangers import attempt, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK: Final = 1 << 16


class SmallDisk:
    """What lies below ``folder`` shares so many octets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room for another page."""
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        size = _CHUNK
        try:
            while size:
                try:
                    os.write(descriptor, bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
        finally:
            os.close(descriptor)
        found = os.statvfs(self.folder)
        assert found.f_bavail == 0, found

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """For as long as the block lasts."""
        self.fill()
        try:
            yield
        finally:
            self.free()


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """Mount it; whatever uses it must have ended when the block does. The test is skipped, and listed, where nobody
    may mount anything.
    """
    folder.mkdir()
    mounted = attempt("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", folder)
    if mounted.status:
        pytest.skip(f"no file system can be mounted here: {mounted.output}")
    try:
        yield SmallDisk(folder)
    finally:
        run("umount", folder)
