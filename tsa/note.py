"""Signed notes, checkpoints and proofs in the formats of C2SP: signed-note, tlog-checkpoint and tlog-proof."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from tsa.merkle import HASH_SIZE, check_inclusion, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.signing import Signer

PROOF_HEAD: Final = "c2sp.org/tlog-proof@v1"
_ED25519: Final = b"\x01"
_DASH: Final = "\u2014 "
_KEY_SIZE: Final = 32
_HINT: Final = 4
_CHECKPOINT_LINES: Final = 3


class NoteRefused(ValueError):  # noqa: N818 - named as its meaning
    """Not a note, checkpoint or proof in its format, or one without the signature of the key."""


class Checkpoint(NamedTuple):
    """What a log has signed about itself."""

    origin: str
    size: int
    root: bytes


class Proof(NamedTuple):
    """That an entry is in the tree of a checkpoint."""

    position: int
    """Of the entry in the log, from 0."""
    path: Sequence[bytes]
    checkpoint: str
    """The signed note, as the log wrote it."""


def raw_public_key(public_key_info: bytes) -> bytes:
    """The 32 octets of an Ed25519 key, from its SubjectPublicKeyInfo."""
    return public_key_info[-_KEY_SIZE:]


def key_hint(name: str, public_key: bytes) -> bytes:
    """The four octets by which a signature line names its key. ``public_key`` are its 32 octets."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:_HINT]


def verifier_key(name: str, public_key: bytes) -> str:
    """The key as tools of others take it: ``NAME+HINT+KEY``."""
    return f"{name}+{key_hint(name, public_key).hex()}+{base64.b64encode(_ED25519 + public_key).decode()}"


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """The signed note. ``signer`` has an Ed25519 key, whose name is the origin."""
    text = f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"
    hint = key_hint(checkpoint.origin, raw_public_key(signer.public_key))
    signature = base64.b64encode(hint + signer.sign(text.encode())).decode()
    return f"{text}\n{_DASH}{checkpoint.origin} {signature}\n"


def open_checkpoint(note: str, public_key: bytes) -> Checkpoint:
    """Read a checkpoint that this key (32 octets) has signed under the name of its origin; signatures of others are
    passed over. Raises NoteRefused.
    """
    text, blank, signatures = note.rpartition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) < _CHECKPOINT_LINES or not note.endswith("\n") or not all(lines):
        raise NoteRefused("this is not a signed checkpoint")
    origin, size, root = lines[:_CHECKPOINT_LINES]
    checkpoint = Checkpoint(origin, _decimal(size), _base64(root))
    if len(checkpoint.root) != HASH_SIZE:
        raise NoteRefused("the root hash has not 32 octets")
    hint = key_hint(origin, public_key)
    for line in signatures.splitlines():
        name, _, encoded = line.removeprefix(_DASH).rpartition(" ")
        signature = _base64(encoded)
        if line.startswith(_DASH) and name == origin and signature[:_HINT] == hint:
            try:
                key = ed25519.Ed25519PublicKey.from_public_bytes(public_key)
                key.verify(signature[_HINT:], f"{text}\n".encode())
            except InvalidSignature:
                raise NoteRefused(f"the signature on the checkpoint of {origin} is wrong") from None
            return checkpoint
    raise NoteRefused(f"the checkpoint of {origin} is not signed by this key")


def encode_proof(proof: Proof) -> str:
    """The proof as a file."""
    path = "".join(f"{base64.b64encode(each).decode()}\n" for each in proof.path)
    return f"{PROOF_HEAD}\nindex {proof.position}\n{path}\n{proof.checkpoint}"


def decode_proof(text: str) -> Proof:
    """Read a proof; a line of extra data is passed over. Raises NoteRefused."""
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines[0] != PROOF_HEAD:
        raise NoteRefused(f"this is not a proof: its first line is not {PROOF_HEAD}")
    if len(lines) > 1 and lines[1].startswith("extra "):
        del lines[1]
    if len(lines) == 1 or not lines[1].startswith("index "):
        raise NoteRefused("the proof has no index")
    path = [_base64(each) for each in lines[2:]]
    if any(len(each) != HASH_SIZE for each in path):
        raise NoteRefused("a hash of the proof has not 32 octets")
    return Proof(_decimal(lines[1].removeprefix("index ")), path, checkpoint)


def check_proof(entry: bytes, proof: Proof, public_key: bytes) -> Checkpoint:
    """The checkpoint whose tree has this entry. Raises NoteRefused and ProofRefused."""
    checkpoint = open_checkpoint(proof.checkpoint, public_key)
    check_inclusion(leaf_hash(entry), proof.position, checkpoint.size, proof.path, checkpoint.root)
    return checkpoint


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        raise NoteRefused(f"{text!r} is not a decimal number")
    return int(text)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteRefused(f"{text!r} is not base64") from None
