"""The ``responders`` command."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from responders.config import parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE: Final = 2
_FAILED: Final = 1


class _Parser(argparse.ArgumentParser):
    """One sentence instead of a usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = build_parser(given[0] if given else "").parse_args(given)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more; the interpreter must not try to flush at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return _failed("interrupted")
    return status


def _failed(sentence: str) -> int:
    sys.stderr.write(f"responders: {' '.join(sentence.split())}\n")
    return _FAILED


def build_parser(command: str = "log") -> argparse.ArgumentParser:
    """The parser of the whole command line, with everything that belongs to ``command``."""
    parser = _Parser("responders", description="Answer OCSP requests and issue time-stamps over HTTP.")
    home = _Parser(add_help=False)
    home.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("RESPONDERS_HOME") or "var"),
        help="the home (default: $RESPONDERS_HOME or var)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_serve(commands.add_parser("serve", parents=[home], help="run the server until it is told to stop"))
    _add_status(commands.add_parser("status", parents=[home], help="ask OCSP about a certificate as a relying party"))
    _add_timestamp(commands.add_parser("timestamp", parents=[home], help="get a time-stamp for a file and verify it"))
    _add_doctor(commands.add_parser("doctor", parents=[home], help="say what would make the service wrong"))
    logs = commands.add_parser("log", help="the log of issued tokens: verify, find, prove, export")
    if command == "log":
        from responders.cli_log import add_commands  # noqa: PLC0415 - see below

        add_commands(logs, home)
    load = commands.add_parser("load", help="make load for a responder or an authority, and check every answer")
    if command == "load":
        from responders.cli_load import add_commands as add_load  # noqa: PLC0415 - see below

        add_load(load, home)
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=_file, metavar="FILE", help="the responders' sections, instead of the home's")
    parser.add_argument("--listen", type=_address, metavar="HOST:PORT", help="the public listener")
    parser.add_argument("--admin", type=_address, metavar="HOST:PORT", help="health and metrics")
    parser.add_argument("--workers", type=_count, metavar="N", help="processes that answer (default: the usable cores)")
    parser.set_defaults(run=_serve)


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("certificate", type=Path, metavar="CERT.pem")
    parser.add_argument("--url", help="the responder (default: the one the certificate names)")
    parser.add_argument("--issuer", type=Path, metavar="FILE", help="the CA certificate (default: looked for)")
    parser.set_defaults(run=_status)


def _add_timestamp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--url", help="the authority (default: /tsa of the home's own server)")
    parser.add_argument("--out", type=Path, metavar="FILE.tsr", help="where to keep the reply")
    parser.set_defaults(run=_timestamp)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=_file, metavar="FILE", help="the responders' sections, instead of the home's")
    parser.add_argument("--admin", type=_address, metavar="HOST:PORT", help="where a running server says how it is")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.set_defaults(run=_doctor)


# Each command imports only what it needs: the server must be up within three seconds.


def _serve(options: argparse.Namespace) -> int:
    from responders.cli_serve import serve  # noqa: PLC0415 - see above

    return serve(options)


def _status(options: argparse.Namespace) -> int:
    from responders.cli_relying_party import status  # noqa: PLC0415 - see above

    return status(options)


def _timestamp(options: argparse.Namespace) -> int:
    from responders.cli_relying_party import timestamp  # noqa: PLC0415 - see above

    return timestamp(options)


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not a file")
    return path


def _doctor(options: argparse.Namespace) -> int:
    from responders.cli_doctor import doctor  # noqa: PLC0415 - see above

    return doctor(options)


def _address(text: str) -> object:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1024):  # noqa: PLR2004 - as in the configuration
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1024")
    return int(text)
