"""``responders status`` and ``responders timestamp``: ask as a stranger would, verify, print.

Exit status 0: good, or a token that verifies. 1: anything else. 2: an argument that cannot be used.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from typing import TYPE_CHECKING, Final

from ca_store.clock import SystemClock
from ca_store.errors import StoreError
from ca_store.home import Home
from ca_store.types import format_serial
from ocsp import client as ocsp_client
from responders import relying_party
from responders.config import ConfigError, open_config, parse_address
from responders.prepared import iso_time
from responders.relying_party import ToolError
from tsa import client as tsa_client
from tsa.errors import ReplyError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from pathlib import Path

_FAILED: Final = 1
_USAGE: Final = 2
_DIGEST: Final = "sha256"
_ANY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104 - recognised here, not bound


def status(options: argparse.Namespace) -> int:
    """Ask OCSP about a certificate."""
    return _run("status", lambda: _status(options))


def timestamp(options: argparse.Namespace) -> int:
    """Get a time-stamp for a file."""
    return _run("timestamp", lambda: _timestamp(options))


def _run(command: str, work: Callable[[], int]) -> int:
    try:
        return work()
    except ToolError as error:
        print(f"responders {command}: {error}", file=sys.stderr)
        return _USAGE if error.usage else _FAILED
    except (ocsp_client.OCSPClientError, ReplyError) as error:
        print(f"responders {command}: not verified: {error}", file=sys.stderr)
        return _FAILED


def _status(options: argparse.Namespace) -> int:
    certificate, *others = relying_party.load_certificates(options.certificate)
    known = [*others, *relying_party.home_certificates(options.home)]
    if options.issuer is None:
        issuer = relying_party.find_issuer(certificate, known)
    else:
        issuer = relying_party.load_certificates(options.issuer)[0]
    url = options.url or relying_party.responder_url(certificate)
    now = int(SystemClock().now())
    path = relying_party.check_trust(issuer, known, now)
    question = ocsp_client.build_request(certificate, issuer, nonce=secrets.token_bytes(ocsp_client.NONCE_OCTETS))
    answer = relying_party.exchange(url, question.der, "application/ocsp-request")
    verified = ocsp_client.verify_response(answer, question, int(SystemClock().now()))
    print(f"{options.certificate}: {verified.status}")
    _print_fields(
        {
            "serial": format_serial(certificate.serial_number),
            "revoked": None if verified.revoked_at is None else iso_time(verified.revoked_at),
            "reason": verified.reason,
            "answered by": verified.responder,
            "this update": iso_time(verified.this_update),
            "next update": None if verified.next_update is None else iso_time(verified.next_update),
            "trust anchor": path[-1].subject.rfc4514_string(),
        }
    )
    for warning in verified.warnings:
        print(f"  warning: {warning}")
    if certificate.not_valid_after_utc.timestamp() < now:
        print(f"  warning: the certificate expired at {iso_time(int(certificate.not_valid_after_utc.timestamp()))}")
    return 0 if verified.status == "good" else _FAILED


def _timestamp(options: argparse.Namespace) -> int:
    try:
        with options.file.open("rb") as file:
            digest = hashlib.file_digest(file, _DIGEST).digest()
    except OSError as error:
        raise ToolError(f"{options.file} cannot be read: {error.strerror}", usage=True) from None
    url = options.url or _own_url(options.home)
    known = relying_party.home_certificates(options.home)
    query = tsa_client.Query(digest=digest, algorithm=_DIGEST, nonce=tsa_client.fresh_nonce())
    reply = relying_party.exchange(url, tsa_client.encode_query(query), "application/timestamp-query")
    own = [each for each in known if relying_party.is_self_signed(each)]
    anchors = [*own, *relying_party.system_anchors()]
    stamp = tsa_client.verify_reply(reply, query, anchors, [each for each in known if each not in own])
    if options.out is not None:
        _write(options.out, reply)
    print(f"{options.file}: {iso_time(int(stamp.gen_time))}")
    _print_fields(
        {
            "accuracy": None if stamp.accuracy is None else f"{stamp.accuracy:g} s",
            "serial": format_serial(stamp.serial),
            "policy": stamp.policy,
            "signed by": stamp.signer,
            "trust anchor": stamp.path[-1].subject.rfc4514_string(),
            _DIGEST: digest.hex(),
        }
    )
    return 0


def _own_url(home: Path) -> str:
    """``/tsa`` of the server that this home configures."""
    try:
        address = parse_address(open_config(Home.open(home), None).server.listen)
    except (StoreError, ConfigError) as error:
        raise ToolError(f"{error}; give --url", usage=True) from None
    host = "127.0.0.1" if address.host in _ANY_HOST else address.host
    return f"http://{type(address)(host, address.port)}/tsa"


def _write(path: Path, octets: bytes) -> None:
    """Replace a file, whole or not at all."""
    if not path.name or path.is_dir():
        raise ToolError(f"{path} cannot be written: it is a folder", usage=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(octets)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ToolError(f"{path} cannot be written: {error.strerror}", usage=True) from None


def _print_fields(fields: Mapping[str, str | None]) -> None:
    for name, value in fields.items():
        if value is not None:
            print(f"  {name:<13} {value}")
