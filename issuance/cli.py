"""The ``issuance`` command: arguments in, one sentence out when something is refused.

Exit status: 0 done, 1 refused or failed, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from ca_store.clock import SystemClock
from ca_store.errors import StoreError
from issuance import cli_ca, cli_cert, cli_home, cli_institution, cli_officer, cli_signer, cli_tsv
from issuance.errors import IssuanceError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_HOME: Final = "var"


class _Parser(argparse.ArgumentParser):
    """One sentence instead of the usage; help is what --help is for."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Every command, with ``run`` set to the function that carries it out."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("RESPONDERS_HOME") or DEFAULT_HOME),
        metavar="DIR",
        help="the home (default: $RESPONDERS_HOME or var/)",
    )
    parser = _Parser(prog="issuance", description="Create CAs and signers, issue and revoke certificates.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for topic in (cli_home, cli_ca, cli_cert, cli_signer, cli_institution, cli_officer, cli_tsv):
        topic.add_commands(commands, common)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; its exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    for name, value in vars(options).items():
        if isinstance(value, str) and not value.isprintable():  # also octets that are not text
            parser.error(f"{name} is not text: {value!r}")
    try:
        options.run(options, SystemClock())
    except (IssuanceError, StoreError) as error:
        return _failed(str(error))
    except BrokenPipeError:
        # Nobody reads the listing any more; the interpreter must not try to flush it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return _failed("interrupted")
    return 0


def _failed(sentence: str) -> int:
    sys.stderr.write(f"issuance: {' '.join(sentence.split())}\n")
    return 1
