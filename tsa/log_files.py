"""Where a log lies on the disk: C2SP tlog-tiles, with partial tiles kept as the beginning of the full one.

A log is a folder that is named after its beginning: ``YYYYMMDDTHHMMSSZ-RANDOM``. Nothing in it is ever changed but the
checkpoint; the files of tiles and entries only grow. What lies behind the size of the checkpoint is not part of the
log: the writer was interrupted there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tsa.merkle import HASH_SIZE, TILE_WIDTH, tree_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKPOINT: Final = "checkpoint"
MAX_ENTRY: Final = 65_535
"""Octets: what a bundle's length of two octets can say."""
_LENGTH: Final = 2
_GROUP: Final = 1000
_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


class LogDamaged(Exception):  # noqa: N818 - named as its meaning
    """A log's files are not what its checkpoint says; the sentence says where."""


def tile_path(level: int | str, index: int) -> str:
    """``tile/LEVEL/x001/x234/067``; the level of entry bundles is ``entries``."""
    groups = [f"{index % _GROUP:03}"]
    while index := index // _GROUP:
        groups.append(f"x{index % _GROUP:03}")
    return f"tile/{level}/{'/'.join(reversed(groups))}"


def pack(entry: bytes) -> bytes:
    """An entry as it stands in a bundle."""
    return len(entry).to_bytes(_LENGTH, "big") + entry


def unpack(bundle: bytes, most: int = TILE_WIDTH) -> Iterator[bytes]:
    """The whole entries of a bundle, ``most`` of them."""
    at = 0
    while at + _LENGTH <= len(bundle) and most:
        end = at + _LENGTH + int.from_bytes(bundle[at : at + _LENGTH], "big")
        if end > len(bundle):
            return
        yield bundle[at + _LENGTH : end]
        at, most = end, most - 1


def log_folders(folder: Path) -> list[Path]:
    """The logs in a folder, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if _NAME.fullmatch(each.name) and each.is_dir())


class LogFiles:
    """One log, to be read. ``size`` is that of its checkpoint."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size

    def bundle(self, index: int) -> bytes:
        """The octets of an entry bundle, and perhaps some behind the checkpoint. Raises LogDamaged."""
        return self._read(tile_path("entries", index))

    def entries(self, begin: int = 0) -> Iterator[tuple[int, bytes]]:
        """(index, entry), from the bundle in which ``begin`` lies. Raises LogDamaged where one is missing."""
        for index in range(begin // TILE_WIDTH, -(-self.size // TILE_WIDTH)):
            first = index * TILE_WIDTH
            wanted = min(TILE_WIDTH, self.size - first)
            found = list(unpack(self.bundle(index), wanted))
            if len(found) < wanted:
                raise LogDamaged(f"{self.folder.name}: entry {first + len(found)} is missing or cut off")
            yield from enumerate(found, first)

    def hashes(self, level: int, index: int, width: int) -> list[bytes]:
        """The first ``width`` hashes of a tile. Raises LogDamaged."""
        tile = self._read(tile_path(level, index))
        if len(tile) < width * HASH_SIZE:
            raise LogDamaged(f"{self.folder.name}: {tile_path(level, index)} is cut off")
        return [tile[at : at + HASH_SIZE] for at in range(0, width * HASH_SIZE, HASH_SIZE)]

    def subtree(self, begin: int, end: int) -> bytes:
        """The Merkle Tree Hash of the leaves from ``begin`` to before ``end``, of which the first has as many zero bits
        as the span has. Raises LogDamaged.
        """
        level, span = 0, end - begin
        while span > TILE_WIDTH and not span % TILE_WIDTH and not begin % TILE_WIDTH:
            level, span, begin, end = level + 1, span // TILE_WIDTH, begin // TILE_WIDTH, end // TILE_WIDTH
        if span > TILE_WIDTH or begin // TILE_WIDTH != (end - 1) // TILE_WIDTH:
            middle = begin + (1 << (span - 1).bit_length() - 1)
            scale = TILE_WIDTH**level
            left, right = self.subtree(begin * scale, middle * scale), self.subtree(middle * scale, end * scale)
            return tree_hash([left, right])
        index, first = divmod(begin, TILE_WIDTH)
        return tree_hash(self.hashes(level, index, first + span)[first:])

    def _read(self, path: str) -> bytes:
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            raise LogDamaged(f"{self.folder.name}: {path} is missing") from None
