"""``responders log``: the log of issued tokens, verified, searched, proved from and exported.

Exit status 0: in order, or found. 1: anything else. Everything but ``list`` works on a log that grows meanwhile.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ca_store.errors import StoreError
from ca_store.home import Home
from ca_store.types import format_serial
from responders.config import ConfigError, open_config
from responders.log_key import PUBLIC_KEY, read_public_key
from tsa.log_files import LogDamaged, log_folders
from tsa.log_reader import NotLogged, SignedLog, export, find, open_logs, prove, recorded, verify
from tsa.merkle import ProofRefused
from tsa.note import NoteRefused, check_proof, decode_proof, encode_proof, open_checkpoint, verifier_key

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from tsa.log_settings import LogSettings
    from tsa.note import Checkpoint

_FAILED: Final = 1
_TIME: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d(\.\d+)?)?)?)?)?)?Z?")
_REFUSALS: Final = (LogDamaged, NotLogged, NoteRefused, ProofRefused, ValueError, StoreError, ConfigError)


def add_commands(parser: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    """Add the actions of ``log``."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, work: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(name, parents=[home], help=about)
        made.add_argument("--key", type=Path, metavar="FILE", help=f"the log's public key (default: log/{PUBLIC_KEY})")
        made.set_defaults(run=lambda options: _run(name, options, work))
        return made

    action("list", _list, "the logs, with their sizes").add_argument("--json", action="store_true")
    action("key", _key, "the public key as tools for C2SP logs take it, for each log")
    verifying = action("verify", _verify, "compute every log again and hold it against what was signed")
    verifying.add_argument(
        "--checkpoint", type=Path, action="append", default=[], metavar="FILE", help="one that was kept elsewhere"
    )
    finding = action("find", _find, "look for tokens")
    finding.add_argument("--digest", type=hexadecimal, metavar="HEX", help="of what was stamped")
    finding.add_argument("--serial", type=hexadecimal, metavar="HEX", help="of the token")
    finding.add_argument("--from", dest="begin", type=utc_time, default="", metavar="TIME", help="RFC 3339, UTC")
    finding.add_argument("--to", dest="end", type=utc_time, default="~", metavar="TIME", help="RFC 3339, UTC")
    finding.add_argument("--json", action="store_true")
    proving = action("prove", _prove, "print a proof that a token is in the log")
    proving.add_argument("token", type=Path, metavar="TOKEN", help="a token or a reply, DER")
    proving.add_argument("--out", type=Path, metavar="FILE", help="where to put it")
    checking = action("check", _check, "check a proof, with the public key alone")
    checking.add_argument("token", type=Path, metavar="TOKEN")
    checking.add_argument("proof", type=Path, metavar="PROOF")
    exporting = action("export", _export, "write the logs as C2SP tlog-tiles")
    exporting.add_argument("target", type=Path, metavar="DIR")


def _run(name: str, options: argparse.Namespace, work: Callable[[argparse.Namespace], int]) -> int:
    try:
        return work(options)
    except _REFUSALS as error:
        print(f"responders log {name}: {error}", file=sys.stderr)
        return _FAILED


def _settings(options: argparse.Namespace) -> LogSettings:
    return open_config(Home.open(options.home), None).log


def _public_key(options: argparse.Namespace) -> bytes:
    return read_public_key(options.key or options.home / _settings(options).folder / PUBLIC_KEY)


def _logs(options: argparse.Namespace) -> Iterator[SignedLog]:
    return open_logs(options.home / _settings(options).folder, _public_key(options))


def _list(options: argparse.Namespace) -> int:
    found = [
        {"log": log.files.folder.name, "origin": log.checkpoint.origin, "entries": log.checkpoint.size}
        for log in _logs(options)
    ]
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for each in found:
        print(f"{each['log']}  {each['entries']:>12}  {each['origin']}")
    return 0


def _key(options: argparse.Namespace) -> int:
    for log in _logs(options):
        print(verifier_key(log.checkpoint.origin, _public_key(options)))
    return 0


def _verify(options: argparse.Namespace) -> int:
    public_key = _public_key(options)
    kept: dict[str, list[Checkpoint]] = {}
    for file in options.checkpoint:
        checkpoint = open_checkpoint(file.read_text("utf-8"), public_key)
        kept.setdefault(checkpoint.origin.rpartition("/")[2], []).append(checkpoint)
    folder = options.home / _settings(options).folder
    status = 0
    for each in log_folders(folder):
        checkpoints = kept.pop(each.name, [])
        try:
            log = SignedLog.open(each, public_key)
            verify(log, checkpoints)
        except LogDamaged as error:
            print(f"FAULT  {error}")
            status = _FAILED
        else:
            print(f"ok     {each.name}: {log.checkpoint.size} entries, {len(checkpoints)} checkpoints kept elsewhere")
    for name in kept:
        print(f"FAULT  {name}: a checkpoint was kept, but the log is gone")
        status = _FAILED
    return status


def _find(options: argparse.Namespace) -> int:
    serial = b"" if options.serial is None else _minimal(options.serial)
    needles = [each for each in (options.digest, serial) if each]
    found = 0
    for entry in find(_logs(options), needles=needles, begin=options.begin, end=options.end):
        if (options.digest and entry.digest != options.digest) or (
            serial and entry.serial != int.from_bytes(serial, "big")
        ):
            continue
        found += 1
        record = {
            "log": entry.log,
            "entry": entry.position,
            "time": entry.time,
            "serial": None if entry.serial is None else format_serial(entry.serial),
            "digest": entry.digest.hex(),
            "policy": entry.policy,
        }
        if options.json:
            print(json.dumps(record))
        else:
            print(*(each if each is not None else "-" for each in record.values()))
    return 0 if found else _FAILED


def _prove(options: argparse.Namespace) -> int:
    text = encode_proof(prove(_logs(options), recorded(options.token.read_bytes())))
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.write_text(text, "utf-8")
    return 0


def _check(options: argparse.Namespace) -> int:
    proof = decode_proof(options.proof.read_text("utf-8"))
    checkpoint = check_proof(recorded(options.token.read_bytes()), proof, _public_key(options))
    print(f"entry {proof.position} of {checkpoint.origin}, which has {checkpoint.size} entries or more")
    return 0


def _export(options: argparse.Namespace) -> int:
    for log in _logs(options):
        export(log, options.target)
        print(f"{log.files.folder.name}: {log.files.size} entries")
    return 0


def hexadecimal(text: str) -> bytes:
    """Octets from hex in any case, with or without 0x and a leading zero. Raises ValueError."""
    digits = text.lower().removeprefix("0x")
    return bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2))


def utc_time(text: str) -> str:
    """RFC 3339 in UTC, or a beginning of it, as entries are compared with it. Raises ValueError."""
    if text not in ("", "~") and not _TIME.fullmatch(text):
        raise ValueError(text)
    return text


def _minimal(serial: bytes) -> bytes:
    return serial.lstrip(b"\0") or b"\0"
