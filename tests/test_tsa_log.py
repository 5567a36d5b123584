"""The log of tokens: hashes, files, commits, and everything that can be done to it afterwards."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tsa_world import NOW, HandClock

from ca_store.signing import ED25519, SignatureAlgorithm
from tsa.errors import SystemFailure
from tsa.log_files import CHECKPOINT, LogDamaged, log_folders, pack, tile_path, unpack
from tsa.log_reader import SignedLog, export, open_logs, verify
from tsa.log_settings import LogSettings
from tsa.merkle import EMPTY_ROOT, ProofRefused, check_inclusion, inclusion_path, leaf_hash, node_hash, tree_hash
from tsa.note import (
    Checkpoint,
    NoteRefused,
    Proof,
    check_proof,
    decode_proof,
    encode_proof,
    open_checkpoint,
    raw_public_key,
    sign_checkpoint,
    verifier_key,
)
from tsa.token_log import OpenLog, TokenLog, prune

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ORIGIN = "log.example/tsa/20260725T172000Z-00000001"
NAME = ORIGIN.rpartition("/")[2]


class LogKey:
    """An Ed25519 key in memory."""

    slow = False
    signature_size = 64
    algorithm: SignatureAlgorithm = ED25519

    def __init__(self) -> None:
        self._key = ed25519.Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def raw(self) -> bytes:
        return raw_public_key(self.public_key)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def mth(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def entry(number: int) -> bytes:
    return b"entry %d" % number


@given(st.integers(0, 600))
def test_the_root_is_that_of_rfc_6962(size: int) -> None:
    leaves = [entry(number) for number in range(size)]
    assert tree_hash([leaf_hash(each) for each in leaves]) == mth(leaves)
    assert mth([]) == EMPTY_ROOT


@given(st.integers(1, 300), st.data())
def test_every_path_leads_to_the_root_and_no_other_does(size: int, data: st.DataObject) -> None:
    leaves = [entry(number) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, lambda begin, end: mth(leaves[begin:end]))
    root = mth(leaves)
    check_inclusion(leaf_hash(leaves[index]), index, size, path, root)
    wrong = [
        (leaf_hash(b"another"), index, size, path, root),
        (leaf_hash(leaves[index]), index, size, path, bytes(32)),
        (leaf_hash(leaves[index]), size, size, path, root),
        (leaf_hash(leaves[index]), index, size, [*path, bytes(32)], root),
        (leaf_hash(leaves[index]), index, size, [bytes(32), *path[1:]] if path else [bytes(32)], root),
    ]
    if size > 1:
        wrong.append((leaf_hash(leaves[index]), index, size, path[:-1], root))
        wrong.append((leaf_hash(leaves[index]), (index + 1) % size, size, path, root))
    for each in wrong:
        with pytest.raises(ProofRefused):
            check_inclusion(*each)


def test_tiles_are_named_as_c2sp_names_them() -> None:
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path("entries", 5) == "tile/entries/005"
    assert tile_path(1, 1000) == "tile/1/x001/000"


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 40))
def test_bundles_hold_what_was_packed_and_no_half_of_an_entry(entries: list[bytes], cut: int) -> None:
    bundle = b"".join(map(pack, entries))
    assert list(unpack(bundle)) == entries
    shortened = list(unpack(bundle[: max(0, len(bundle) - cut)]))
    assert shortened == entries[: len(shortened)]


def test_checkpoints_are_signed_notes() -> None:
    key, other = LogKey(), LogKey()
    checkpoint = Checkpoint(ORIGIN, 7, bytes(range(32)))
    note = sign_checkpoint(checkpoint, key)
    assert note.startswith(f"{ORIGIN}\n7\n{base64.b64encode(bytes(range(32))).decode()}\n\n\u2014 {ORIGIN} ")
    assert open_checkpoint(note, key.raw) == checkpoint
    assert open_checkpoint(note + "\u2014 witness.example AAAAAAAA\n", key.raw) == checkpoint
    for wrong in (
        note.replace("\n7\n", "\n8\n"),
        note.replace("\n7\n", "\n07\n"),
        note[:-1],
        "",
        note.replace("\n\n", "\n"),
    ):
        with pytest.raises(NoteRefused):
            open_checkpoint(wrong, key.raw)
    with pytest.raises(NoteRefused, match="not signed by this key"):
        open_checkpoint(note, other.raw)
    assert verifier_key(ORIGIN, key.raw).startswith(f"{ORIGIN}+")


def grown(folder: Path, key: LogKey, *sizes: int) -> SignedLog:
    """A log that was committed in groups of these sizes."""
    log = OpenLog(folder / NAME, ORIGIN, key, NOW)
    number = 0
    for size in sizes:
        log.commit([entry(number + each) for each in range(size)])
        number += size
    return SignedLog.open(folder / NAME, key.raw)


@pytest.mark.parametrize("sizes", [(1,), (255, 1), (256,), (257,), (100, 500, 3), (65_536, 1), (70_000,)])
def test_what_was_committed_verifies_and_every_entry_can_be_proved(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    key = LogKey()
    log = grown(tmp_path, key, *sizes)
    size = sum(sizes)
    assert log.checkpoint.size == size
    verify(log)
    for index in {0, size // 2, size - 1, min(255, size - 1), min(256, size - 1), min(65_535, size - 1)}:
        proof = Proof(index, inclusion_path(index, size, log.files.subtree), log.note)
        again = decode_proof(encode_proof(proof))
        assert check_proof(entry(index), again, key.raw) == log.checkpoint
        with pytest.raises(ProofRefused):
            check_proof(entry(index + 1), again, key.raw)


def test_an_export_has_the_partial_tiles_and_nothing_behind_the_checkpoint(tmp_path: Path) -> None:
    log = grown(tmp_path, LogKey(), 600)
    with (tmp_path / NAME / tile_path("entries", 2)).open("ab") as stream:
        stream.write(pack(b"not signed for"))
    export(log, tmp_path / "out")
    found = {str(each.relative_to(tmp_path / "out" / NAME)) for each in (tmp_path / "out").rglob("*") if each.is_file()}
    assert found == {
        "checkpoint",
        *(f"tile/{level}/{name}" for level in ("entries", "0") for name in ("000", "001", "002.p/88")),
        "tile/1/000.p/2",
    }
    assert b"not signed" not in (tmp_path / "out" / NAME / "tile/entries/002.p/88").read_bytes()


def _rewrite(path: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / path
        file.write_bytes(change(file.read_bytes()))

    return apply


def _swap(bundle: bytes) -> bytes:
    entries = list(unpack(bundle))
    entries[3], entries[4] = entries[4], entries[3]
    return b"".join(map(pack, entries))


def verify_all(folder: Path, key: LogKey) -> None:
    for log in open_logs(folder, key.raw):
        verify(log)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "altered": _rewrite("tile/entries/000", lambda octets: octets.replace(b"entry 5", b"entry 6", 1)),
    "removed": _rewrite("tile/entries/000", lambda octets: b"".join(map(pack, list(unpack(octets))[1:]))),
    "reordered": _rewrite("tile/entries/001", _swap),
    "cut off in the middle": _rewrite("tile/entries/000", lambda octets: octets[:-1]),
    "cut off at the end": _rewrite("tile/entries/002", lambda octets: octets[:-1]),
    "a bundle gone": lambda folder: (folder / "tile/entries/001").unlink(),
    "a tile altered": _rewrite("tile/0/001", lambda octets: bytes(32) + octets[32:]),
    "a higher tile altered": _rewrite("tile/1/000", lambda octets: bytes(len(octets))),
    "a tile gone": lambda folder: (folder / "tile/0/000").unlink(),
    "the checkpoint gone": lambda folder: (folder / CHECKPOINT).unlink(),
    "the checkpoint altered": _rewrite(CHECKPOINT, lambda octets: octets.replace(b"\n600\n", b"\n599\n")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_whatever_is_done_to_the_files_is_found(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    key = LogKey()
    verify(grown(tmp_path, key, 600))
    damage(tmp_path / NAME)
    with pytest.raises(LogDamaged, match=NAME):
        verify_all(tmp_path, key)


def test_a_cut_tail_and_a_fork_are_found_by_a_checkpoint_kept_elsewhere(tmp_path: Path) -> None:
    key = LogKey()
    kept = grown(tmp_path / "a", key, 300).checkpoint
    longer = grown(tmp_path / "b", key, 300, 20)
    verify(longer, [kept])
    shorter = grown(tmp_path / "c", key, 299)
    verify(shorter)
    with pytest.raises(LogDamaged, match="was signed for 300"):
        verify(shorter, [kept])
    fork = OpenLog(tmp_path / "d" / NAME, ORIGIN, key, NOW)
    fork.commit([b"forged", *(entry(number) for number in range(1, 320))])
    forged = SignedLog.open(tmp_path / "d" / NAME, key.raw)
    verify(forged)
    with pytest.raises(LogDamaged, match="another history"):
        verify(forged, [kept])


def test_a_log_copied_under_another_name_is_not_taken_for_it(tmp_path: Path) -> None:
    key = LogKey()
    grown(tmp_path, key, 3)
    shutil.copytree(tmp_path / NAME, tmp_path / "20260725T172000Z-00000002")
    with pytest.raises(LogDamaged, match="is that of"):
        list(open_logs(tmp_path, key.raw))


def settings(**given_settings: object) -> LogSettings:
    return LogSettings(origin="log.example/tsa", **given_settings)  # type: ignore[arg-type]  # each test knows its own


def test_tokens_are_committed_soon_and_the_rest_at_the_end(tmp_path: Path) -> None:
    key = LogKey()
    log = TokenLog(tmp_path, settings(commit_milliseconds=20), key, HandClock())
    log.append(b"one")
    deadline = time.monotonic() + 20
    while log.entries < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for number in range(500):
        log.append(entry(number))
    log.close()
    (found,) = open_logs(tmp_path, key.raw)
    assert [octets for _, octets in found.files.entries()] == [b"one", *(entry(number) for number in range(500))]
    assert log.pending == 0
    verify(found)


async def test_before_the_answer_means_on_the_disk(tmp_path: Path) -> None:
    key = LogKey()
    log = TokenLog(tmp_path, settings(commit_before_answer=True), key, HandClock())

    async def issue(number: int) -> None:
        await log.committed(log.append(entry(number)))
        (found,) = open_logs(tmp_path, key.raw)
        assert entry(number) in [octets for _, octets in found.files.entries()]

    await asyncio.gather(*(issue(number) for number in range(50)))
    await asyncio.to_thread(log.close)


async def test_while_the_disk_fails_nothing_is_issued_and_then_a_new_log_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = LogKey()
    folder = tmp_path / "log"
    log = TokenLog(folder, settings(commit_before_answer=True), key, HandClock())
    await log.committed(log.append(entry(0)))
    folder.rename(tmp_path / "elsewhere")
    folder.write_bytes(b"a file where the folder was")
    with pytest.raises(SystemFailure, match="cannot be written"):
        await log.committed(log.append(entry(1)))
    with pytest.raises(SystemFailure):
        log.check()
    folder.unlink()
    deadline = time.monotonic() + 20
    while log.fault is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    log.check()
    await log.committed(log.append(entry(2)))
    await asyncio.to_thread(log.close)
    (before,) = open_logs(tmp_path / "elsewhere", key.raw)
    (after,) = open_logs(folder, key.raw)
    assert before.checkpoint.size == 1
    assert [octets for _, octets in after.files.entries()] == [entry(1), entry(2)]
    assert before.checkpoint.origin != after.checkpoint.origin
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_what_an_interrupted_writer_left_behind_its_checkpoint_is_not_in_the_log(tmp_path: Path) -> None:
    key = LogKey()
    log = grown(tmp_path, key, 10)
    for path, octets in (("tile/entries/000", pack(entry(10)) + b"\0"), ("tile/0/000", bytes(7))):
        with (tmp_path / NAME / path).open("ab") as stream:
            stream.write(octets)
    verify(log)
    assert len(list(log.files.entries())) == 10


def test_a_log_ends_after_its_time_and_is_deleted_whole_when_it_was_kept_long_enough(tmp_path: Path) -> None:
    key, clock = LogKey(), HandClock()
    log = TokenLog(tmp_path, settings(commit_milliseconds=1, rotate_hours=1, keep_days=10), key, clock)
    for number in range(3):
        log.append(entry(number))
        deadline = time.monotonic() + 20
        while log.entries < number + 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        clock.step(3600)
    log.close()
    names = [each.name for each in log_folders(tmp_path)]
    assert len(names) == 3
    (tmp_path / "something else").mkdir()
    assert prune(tmp_path, settings(keep_days=0), NOW + 10**9) == []
    assert prune(tmp_path, settings(keep_days=10), NOW + 10 * 86_400 + 3601) == names[:2]
    assert [each.name for each in log_folders(tmp_path)] == names[2:]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"origin": ""}, "origin"),
        ({"origin": "a b"}, "origin"),
        ({"origin": "a+b"}, "origin"),
        ({"origin": "example.org/"}, "origin"),
        ({"commit_milliseconds": 0}, "commit_milliseconds"),
        ({"rotate_hours": 0}, "rotate_hours"),
        ({"keep_days": -1}, "keep_days"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        LogSettings(**wrong)  # type: ignore[arg-type]  # that is the point


@hypothesis_settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("c2sp.org/tlog-proof@v1\nindex 0123AB=+ "), max_size=80))
def test_no_text_makes_more_than_a_refusal(text: str) -> None:
    for read in (decode_proof, lambda each: open_checkpoint(each, bytes(32))):
        with pytest.raises(NoteRefused):
            read(text)
