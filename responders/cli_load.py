"""``responders load``: make load, check every answer, say what came of it.

Exit status 0: there were answers, and none was wrong or failed. 1: anything else. 2: an argument that cannot be used.
SIGINT and SIGTERM end a run early; it then says what it knows.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from ca_store.clock import SystemClock
from ca_store.types import HashAlgorithm
from responders import relying_party
from responders.config import usable_cores
from responders.load import crew, population
from responders.load.live import live_table
from responders.load.plan import Checking, OCSPMix, Pace, Plan, Population, Target, TSAMix
from responders.load.report import make_report
from responders.load.summary import is_clean, summarise, text_lines
from responders.relying_party import ToolError
from tsa.settings import ACCEPTED_DIGESTS, KNOWN_DIGESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FAILED: Final = 1
_USAGE: Final = 2
_CONNECTIONS: Final = 16
_MOST_CONNECTIONS: Final = 512
_REVOKED: Final = 0.1
_UNASSIGNED: Final = 0.05
_MOST_RATE: Final = 1e6
_MOST_SECONDS: Final = 86_400.0
_MOST_TIMEOUT: Final = 300.0


def add_commands(parser: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    """``load ocsp`` and ``load tsa``."""
    protocols = parser.add_subparsers(required=True, metavar="PROTOCOL", parser_class=type(parser))
    ocsp = protocols.add_parser("ocsp", parents=[home], help="ask an OCSP responder")
    _add_common(ocsp)
    _add_ocsp(ocsp)
    tsa = protocols.add_parser("tsa", parents=[home], help="ask a time-stamp authority")
    _add_common(tsa)
    _add_tsa(tsa)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--url", type=_target, required=True, metavar="URL", help="where to ask, for instance http://host:8080/ocsp")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=_number(1e-3, _MOST_RATE), metavar="N", help="open loop: questions due a second")
    pace.add_argument(
        *("--connections", "-c"), type=_count(10_000), metavar="N",
        help=f"closed loop: connections that ask as fast as they go (default: {_CONNECTIONS})",
    )  # fmt: skip
    add("--duration", type=_number(0.1, _MOST_SECONDS), required=True, metavar="S", help="seconds")
    add("--report", type=Path, metavar="FILE.html", help="a page with plots")
    add("--json", type=Path, metavar="FILE", help="the figures")
    add("--processes", type=_count(256), metavar="N", help="that make the load (default: the usable cores but one)")
    add("--most-connections", type=_count(10_000), default=_MOST_CONNECTIONS, metavar="N", help="of an open loop")
    add("--timeout", type=_number(0.01, _MOST_TIMEOUT), default=10.0, metavar="S", help="until a question is given up")
    add("--slow", type=_number(0, _MOST_TIMEOUT), default=1.0, metavar="S", help="what is slow (default: 1)")
    add("--verify", type=_share, default=0.01, metavar="SHARE", help="answers with verified signature (default: 0.01)")
    add("--skew", type=_count(86_400), default=5, metavar="S", help="how far the clocks may differ (default: 5)")
    add("--seed", type=_count(1 << 31), help="of every choice (default: any)")


def _add_ocsp(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--ca", action="append", default=[], metavar="LABEL", help="only what this CA of the home issued; repeatable")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--serials", type=Path, metavar="FILE", help="a line each: SERIAL [good|revoked|unassigned]")
    source.add_argument("--certificates", type=Path, nargs="+", metavar="FILE", help="certificates to ask about")
    add("--issuer", type=Path, metavar="FILE", help="the certificate of their CA")
    add("--most-serials", type=_count(10_000_000), default=100_000, metavar="N", help="of each CA, from the database")
    add("--get", type=_share, default=0.5, metavar="SHARE", help="asked by GET, the rest by POST (default: 0.5)")
    add("--nonce", type=_share, default=0.0, metavar="SHARE", help="with a nonce (default: 0)")
    add("--revoked", type=_share, metavar="SHARE", help=f"about revoked ones (default: {_REVOKED}, if there are any)")
    add("--unassigned", type=_share, default=_UNASSIGNED, metavar="SHARE", help=f"of no one (default: {_UNASSIGNED})")
    add("--hot", type=_share, default=0.9, metavar="SHARE", help="about the hot serials (default: 0.9)")
    add("--hot-serials", type=_count(10_000_000), default=1000, metavar="N", help="how many are hot (default: 1000)")
    add("--hash", choices=[each.name.lower() for each in HashAlgorithm], default="sha1", help="in the CertID")
    parser.set_defaults(run=_run, protocol="ocsp", mix=_ocsp_mix)


def _add_tsa(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--anchors", type=Path, metavar="FILE", help="certificates to trust (default: the home's own)")
    add("--digest", choices=sorted(KNOWN_DIGESTS), action="append", help="repeatable (default: SHA-2)")
    add("--unit", action="append", default=[], metavar="NAME", help="ask at URL/NAME; repeatable")
    add("--certreq", type=_share, default=1.0, metavar="SHARE", help="that want certificates (default: 1)")
    add("--nonce", type=_share, default=1.0, metavar="SHARE", help="with a nonce (default: 1)")
    add("--legacy", type=_share, default=0.0, metavar="SHARE", help="of Authenticode's older protocol (default: 0)")
    parser.set_defaults(run=_run, protocol="tsa", mix=_tsa_mix)


def _run(options: argparse.Namespace) -> int:
    try:
        for file in (options.report, options.json):
            _check_writable(file)
        return _load(make_plan(options), options)
    except ToolError as error:
        print(f"responders load {options.protocol}: {error}", file=sys.stderr)
        return _USAGE if error.usage else _FAILED
    except crew.CrewError as error:
        print(f"responders load {options.protocol}: {error}", file=sys.stderr)
        return _FAILED


def _load(plan: Plan, options: argparse.Namespace) -> int:
    clock = SystemClock()
    started = clock.now()
    with _interruptible(), live_table(plan) as watch:
        totals, interrupted = crew.run(plan, clock, watch)
    summary = summarise(plan, totals, started=started, interrupted=interrupted)
    for line in text_lines(summary):
        print(line)
    if options.json is not None:
        options.json.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    if options.report is not None:
        options.report.write_text(make_report(summary, totals.histogram), "utf-8")
    return 0 if is_clean(totals) and not interrupted else _FAILED


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have both signals end the run: a shell that starts a program in the background makes it ignore SIGINT. They are
    the main thread's business, and a run in another one leaves them alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def make_plan(options: argparse.Namespace) -> Plan:
    """What these arguments mean. Raises ToolError."""
    connections = options.connections or _CONNECTIONS
    if options.rate is not None:
        connections = options.most_connections
    processes = options.processes or max(usable_cores() - 1, 1)
    pace = Pace(options.rate, connections, options.duration, options.timeout, options.slow)
    return Plan(
        target=options.url,
        pace=pace,
        checking=Checking(options.verify, options.skew),
        mix=options.mix(options),
        processes=min(processes, connections),
        seed=random.randrange(1 << 31) if options.seed is None else options.seed,
    )


def _ocsp_mix(options: argparse.Namespace) -> OCSPMix:
    subjects = _population(options)
    revoked = options.revoked
    if revoked is None:
        revoked = min(_REVOKED, 1 - options.unassigned) if subjects.subjects.get("revoked") else 0.0
    elif revoked and not subjects.subjects.get("revoked"):
        raise ToolError("no revoked certificate is known: leave --revoked out, or name one with --serials", usage=True)
    if revoked + options.unassigned > 1:
        raise ToolError("the shares of revoked and unassigned serials are more than 1 together", usage=True)
    known = subjects.subjects.get("good") or subjects.subjects.get("any")
    if revoked + options.unassigned < 1 and not known:
        raise ToolError("no good certificate is known: --revoked and --unassigned must make 1 together", usage=True)
    return OCSPMix(
        population=subjects,
        get=options.get,
        nonce=options.nonce,
        revoked=revoked,
        unassigned=options.unassigned,
        hot=options.hot,
        hot_serials=options.hot_serials,
        algorithm=HashAlgorithm[options.hash.upper()],
    )


def _population(options: argparse.Namespace) -> Population:
    if options.serials is not None:
        return population.from_serials(options.serials, options.issuer)
    if options.certificates is not None:
        return population.from_certificates(options.certificates, options.issuer, options.home)
    return population.from_home(options.home, options.ca, int(SystemClock().now()), options.most_serials)


def _tsa_mix(options: argparse.Namespace) -> TSAMix:
    known = relying_party.home_certificates(options.home)
    if options.anchors is None:
        anchors = [each for each in known if relying_party.is_self_signed(each)]
    else:
        anchors = relying_party.load_certificates(options.anchors)
    if not anchors and options.verify:
        raise ToolError(f"{options.home} has no trust anchor: give --anchors, or --verify 0", usage=True)
    return TSAMix(
        anchors=[each.public_bytes(Encoding.DER) for each in anchors],
        others=[each.public_bytes(Encoding.DER) for each in known if each not in anchors],
        digests=options.digest or ACCEPTED_DIGESTS,
        units=options.unit,
        certificates=options.certreq,
        nonce=options.nonce,
        legacy=options.legacy,
    )


def _check_writable(file: Path | None) -> None:
    """A run must not end with its results lost. Raises ToolError."""
    if file is None:
        return
    try:
        file.open("a").close()
    except OSError as error:
        raise ToolError(f"{file} cannot be written: {error.strerror}", usage=True) from None


def _target(text: str) -> Target:
    try:
        parts = urlsplit(text)
        port = parts.port or 80
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an HTTP URL") from None
    plain = not (parts.query or parts.fragment or parts.username) and text.isascii() and text.isprintable()
    if parts.scheme != "http" or not parts.hostname or not plain or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not an HTTP URL, such as http://127.0.0.1:8080/ocsp")
    return Target(parts.hostname, port, parts.path.rstrip("/"))


def _share(text: str) -> float:
    return _number(0, 1)(text)


def _number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return value

    return parse


def _count(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 0 < int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return parse
