"""Merkle trees of RFC 6962 §2.1, in tiles of 256 hashes (C2SP tlog-tiles): pure arithmetic on hashes."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HASH_SIZE: Final = 32
TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
EMPTY_ROOT: Final = sha256(b"").digest()


class ProofRefused(Exception):  # noqa: N818 - named as its meaning
    """An inclusion proof does not lead from its leaf to its root."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of an entry: SHA-256 over a zero octet and the entry."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees."""
    return sha256(b"\x01" + left + right).digest()


def tree_hash(hashes: Sequence[bytes]) -> bytes:
    """Root over these hashes, taken as leaves or as roots of full subtrees of one height."""
    if not hashes:
        return EMPTY_ROOT
    frontier = Frontier()
    for each in hashes:
        frontier.append(each)
    return frontier.root()


class Frontier:
    """A tree that grows at its right end and remembers nothing but the roots of its full subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes, at_tile: Callable[[int, bytes], None] | None = None) -> None:
        """Add a leaf's hash. ``at_tile`` is told each further hash that belongs into a tile, with the tile's level."""
        peaks, size, height = self._peaks, self.size, 0
        # Each one bit at the end of the old size is a full subtree that now gets its right half.
        while size & 1:
            leaf = node_hash(peaks.pop(), leaf)
            size >>= 1
            height += 1
            if at_tile is not None and not height % TILE_HEIGHT:
                at_tile(height // TILE_HEIGHT, leaf)
        peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The Merkle Tree Hash of everything appended."""
        if not self._peaks:
            return EMPTY_ROOT
        *peaks, root = self._peaks
        for left in reversed(peaks):
            root = node_hash(left, root)
        return root


def inclusion_path(index: int, size: int, subtree: Callable[[int, int], bytes]) -> list[bytes]:
    """The audit path of leaf ``index`` in a tree of ``size`` leaves, the leaf's sibling first (RFC 6962 §2.1.1).
    ``subtree`` gives the Merkle Tree Hash of the leaves from its first to before its second argument.
    """
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + (1 << (end - begin - 1).bit_length() - 1)
        if index < middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin = middle
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raises ProofRefused unless the path leads from the leaf's hash to the root (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofRefused(f"there is no entry {index} in a log of {size}")
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofRefused("the proof is too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while node and not node & 1:
                node >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        node >>= 1
        last >>= 1
    if last or found != root:
        raise ProofRefused("the proof does not lead to the root of its checkpoint")
