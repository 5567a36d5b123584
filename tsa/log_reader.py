"""Logs of tokens, read: verified against their checkpoints, searched, proved from, exported.

Nothing here needs a key but the public one.
"""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asn1crypto import cms, tsp

from ca_store import der
from tsa.log_files import CHECKPOINT, LogDamaged, LogFiles, log_folders, pack, tile_path
from tsa.merkle import TILE_HEIGHT, TILE_WIDTH, Frontier, inclusion_path, leaf_hash
from tsa.note import Checkpoint, NoteRefused, Proof, open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_SET: Final = 0x31


class NotLogged(LookupError):  # noqa: N818 - named as its meaning
    """No log has this token."""


@dataclass(frozen=True, slots=True)
class SignedLog:
    """A log with the checkpoint that its key has signed."""

    files: LogFiles
    checkpoint: Checkpoint
    note: str

    @classmethod
    def open(cls, folder: Path, public_key: bytes) -> SignedLog:
        """Raises LogDamaged when there is no checkpoint by this key."""
        try:
            note = (folder / CHECKPOINT).read_text("utf-8")
            checkpoint = open_checkpoint(note, public_key)
        except (OSError, UnicodeDecodeError) as error:
            raise LogDamaged(f"{folder.name}: the checkpoint cannot be read: {error}") from None
        except NoteRefused as error:
            raise LogDamaged(f"{folder.name}: {error}") from None
        if not checkpoint.origin.endswith(f"/{folder.name}"):
            raise LogDamaged(f"{folder.name}: the checkpoint is that of {checkpoint.origin}")
        return cls(LogFiles(folder, checkpoint.size), checkpoint, note)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, taken apart as far as it can be searched."""

    log: str
    position: int
    octets: bytes
    time: str
    """genTime or signingTime, RFC 3339."""
    serial: int | None
    """None for a countersignature of Authenticode."""
    digest: bytes
    """The imprint's, or that of the stamped signature."""
    policy: str | None


def open_logs(folder: Path, public_key: bytes) -> Iterator[SignedLog]:
    """Every log with a checkpoint, the oldest first; one that has none never recorded anything. Raises LogDamaged."""
    for each in log_folders(folder):
        if (each / CHECKPOINT).exists() or (each / "tile").exists():
            yield SignedLog.open(each, public_key)


def verify(log: SignedLog, kept: Iterable[Checkpoint] = ()) -> None:
    """Compute the whole tree again. ``kept`` are checkpoints of this log that were kept elsewhere: without one, entries
    cut off at the end and a log that was signed anew cannot be told from the real one. Raises LogDamaged.
    """
    name, files = log.files.folder.name, log.files
    wanted: dict[int, list[Checkpoint]] = {}
    for each in kept:
        if each.size > log.checkpoint.size:
            raise LogDamaged(f"{name}: has {log.checkpoint.size} entries, but a checkpoint was signed for {each.size}")
        wanted.setdefault(each.size, []).append(each)
    tree = Frontier()
    tiles = _TileCheck(files)
    if any(each.root != tree.root() for each in wanted.get(0, ())):
        raise LogDamaged(f"{name}: another history was signed: the roots at 0 differ")
    for _, entry in files.entries():
        leaf = leaf_hash(entry)
        tiles.collect(0, leaf)
        tree.append(leaf, tiles.collect)
        for each in wanted.get(tree.size, ()):
            if each.root != tree.root():
                raise LogDamaged(f"{name}: another history was signed: the roots at {tree.size} differ")
    if tree.root() != log.checkpoint.root:
        raise LogDamaged(f"{name}: the entries do not lead to the root that was signed")
    tiles.finish()


class _TileCheck:
    """Holds the tiles on the disk against what the entries make."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files
        self._tiles: dict[int, list[bytes]] = {}
        self._indices: dict[int, int] = {}

    def collect(self, level: int, value: bytes) -> None:
        """The next hash of a level."""
        tile = self._tiles.setdefault(level, [])
        tile.append(value)
        if len(tile) == TILE_WIDTH:
            self._compare(level)

    def finish(self) -> None:
        """Compare the partial tiles. Raises LogDamaged."""
        for level, tile in self._tiles.items():
            if tile:
                self._compare(level)

    def _compare(self, level: int) -> None:
        tile, index = self._tiles[level], self._indices.get(level, 0)
        if self._files.hashes(level, index, len(tile)) != tile:
            raise LogDamaged(f"{self._files.folder.name}: {tile_path(level, index)} is not what the entries make")
        self._tiles[level] = []
        self._indices[level] = index + 1


def recorded(token: bytes) -> bytes:
    """The entry that a token has in the log: its TSTInfo, or the signed attributes of a countersignature. ``token`` is
    a TimeStampToken, a TimeStampResp or the SignedData of an Authenticode reply, DER. Raises ValueError.
    """
    try:
        try:
            response = tsp.TimeStampResp.load(token, strict=True)
            content_info = cms.ContentInfo.load(response["time_stamp_token"].dump(), strict=True)
        except (ValueError, TypeError, LookupError):
            content_info = cms.ContentInfo.load(token, strict=True)
        signed_data = content_info["content"]
        encapsulated = signed_data["encap_content_info"]
        if encapsulated["content_type"].native == "tst_info":
            return bytes(encapsulated["content"])
        attributes = signed_data["signer_infos"][0]["signed_attrs"]
        return der.tlv(_SET, bytes(attributes.contents))
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"this is not a token: {error}") from None


def find(
    logs: Iterable[SignedLog], *, needles: Sequence[bytes] = (), begin: str = "", end: str = "~"
) -> Iterator[Entry]:
    """The entries that contain all of ``needles`` (a digest, a serial's contents octets, a whole entry) and whose time
    lies between ``begin`` and ``end``, RFC 3339 in UTC. The digest and the serial stand in an entry as they are, so
    whole bundles are searched for the octets before anything is read. Raises LogDamaged.
    """
    for log in logs:
        files = log.files
        for index in range(-(-files.size // TILE_WIDTH)):
            bundle = files.bundle(index)
            if not all(needle in bundle for needle in needles):
                continue
            for position, octets in itertools.islice(files.entries(index * TILE_WIDTH), TILE_WIDTH):
                if all(needle in octets for needle in needles):
                    entry = decode_entry(files.folder.name, position, octets)
                    if begin <= entry.time <= end:
                        yield entry


def decode_entry(log: str, position: int, octets: bytes) -> Entry:
    """Take an entry apart. Raises LogDamaged when it is none."""
    try:
        if octets[0] == _SET:
            attributes = {each["type"].native: each["values"][0] for each in cms.CMSAttributes.load(octets)}
            moment = attributes["signing_time"].native
            return Entry(log, position, octets, _iso(moment), None, attributes["message_digest"].native, None)
        info = tsp.TSTInfo.load(octets, strict=True)
        return Entry(
            log,
            position,
            octets,
            _iso(info["gen_time"].native),
            int(info["serial_number"]),
            info["message_imprint"]["hashed_message"].native,
            info["policy"].dotted,
        )
    except (ValueError, TypeError, LookupError) as error:
        raise LogDamaged(f"{log}: entry {position} cannot be read: {error}") from None


def prove(logs: Iterable[SignedLog], octets: bytes) -> Proof:
    """Proof that an entry is in one of the logs. Raises NotLogged and LogDamaged."""
    for log in logs:
        for entry in find([log], needles=[octets]):
            if entry.octets == octets:
                path = inclusion_path(entry.position, log.checkpoint.size, log.files.subtree)
                return Proof(entry.position, path, log.note)
    raise NotLogged("no log has this token")


def export(log: SignedLog, target: Path) -> None:
    """Write the log for others to read, with partial tiles under the names of C2SP tlog-tiles. What lies behind the
    checkpoint stays behind. Raises LogDamaged, OSError.
    """
    size, level = log.files.size, 0
    (target / log.files.folder.name).mkdir(parents=True)
    root = target / log.files.folder.name
    entries = log.files.entries()
    for index in range(-(-size // TILE_WIDTH)):
        part = [octets for _, octets in itertools.islice(entries, TILE_WIDTH)]
        bundle = b"".join(map(pack, part))
        _write(root / published_path("entries", index, len(part)), bundle)
    while width := size >> (TILE_HEIGHT * level):
        for index in range(-(-width // TILE_WIDTH)):
            part = log.files.hashes(level, index, min(TILE_WIDTH, width - index * TILE_WIDTH))
            _write(root / published_path(level, index, len(part)), b"".join(part))
        level += 1
    _write(root / CHECKPOINT, log.note.encode())


def published_path(level: int | str, index: int, width: int) -> str:
    """The path of a tile with so many members, as C2SP has it."""
    return tile_path(level, index) + ("" if width == TILE_WIDTH else f".p/{width}")


def _write(file: Path, octets: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(octets)


def _iso(moment: dt.datetime) -> str:
    text = moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{moment.microsecond // 1000:03}Z" if moment.microsecond else f"{text}Z"
