"""``issuance tsv``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from issuance import cli_arguments
from issuance.application import Applications, Delivery
from issuance.application_columns import Action, template
from issuance.application_file import ENCODING, read_lines
from issuance.cli_output import announce
from issuance.errors import RequestRefused
from issuance.files import replace_file
from issuance.home import open_core
from issuance.officer import authenticate
from issuance.profile import SUBSCRIBER_PROFILES
from issuance.progress import Progress
from issuance.rule_set import describe, rule_set

if TYPE_CHECKING:
    from ca_store.clock import Clock
    from issuance.application import Outcome
    from issuance.cli_output import Commands

_HEAD = ("line", "code", "serial (hex)", "serial (decimal)", "結果", "result")


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add ``tsv apply`` and ``tsv template``."""
    topic = commands.add_parser("tsv", help="files of applications")
    actions = topic.add_subparsers(title="commands", required=True, metavar="COMMAND")
    dated = argparse.ArgumentParser(add_help=False)
    dated.add_argument(
        "--as-of", type=cli_arguments.as_of, metavar="DATE", help="go by that day's rules (default: now)"
    )
    dated.add_argument("--action", choices=[action.value for action in Action], default=Action.ISSUE.value)

    applying = actions.add_parser("apply", parents=[common, dated], help="carry out a file of applications")
    applying.add_argument("file", type=Path, metavar="FILE", help="TSV in Shift_JIS, 99 lines at most")
    applying.add_argument(
        "--officer", required=True, type=cli_arguments.contents, metavar="CERT", help="the officer's certificate"
    )
    applying.add_argument("--dry-run", action="store_true", help="check everything and write nothing")
    applying.add_argument("--out", type=cli_arguments.folder, metavar="DIR", help="for certificates and PKCS #12 files")
    applying.add_argument("--pins", type=cli_arguments.folder, metavar="DIR", help="for the PINs that are made here")
    applying.add_argument("--result", type=cli_arguments.output, metavar="FILE", help="write the result in Shift_JIS")
    applying.set_defaults(run=_apply)

    explaining = actions.add_parser(
        "template", parents=[common, dated], help="an empty file with its columns explained"
    )
    explaining.add_argument("--profile", choices=SUBSCRIBER_PROFILES, default=SUBSCRIBER_PROFILES[0])
    explaining.add_argument("--out", type=cli_arguments.output, metavar="FILE")
    explaining.set_defaults(run=_template)


def _apply(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        rules = options.as_of or rule_set(core.now())
        announce(rules, core)
        if options.out is not None and options.out == options.pins:
            raise RequestRefused("--out and --pins must be different folders: nobody may hold a key and its PIN")
        officer = authenticate(core, options.officer)
        lines = read_lines(options.file)
        applications = Applications(
            core, officer, rules, Delivery(options.out, options.pins), dry_run=options.dry_run, report=_warn
        )
        progress = Progress(sys.stderr, len(lines))
        outcomes: list[Outcome] = []
        print("\t".join(_HEAD))
        for outcome in applications.carry_out(lines, Action(options.action)):
            outcomes.append(outcome)
            progress.advance()
            print(_row(outcome), flush=True)
    if options.result is not None:
        text = "".join(f"{row}\r\n" for row in ("\t".join(_HEAD), *map(_row, outcomes)))
        replace_file(options.result, text.encode(ENCODING, "replace"))
    refused = sum(not outcome.accepted for outcome in outcomes)
    if refused:
        raise RequestRefused(f"{refused} of {len(outcomes)} applications were refused")


def _warn(sentence: str) -> None:
    sys.stderr.write(f"issuance: {sentence}\n")


def _row(outcome: Outcome) -> str:
    serials = ("", "") if outcome.serial is None else (f"{outcome.serial:#x}", str(outcome.serial))
    sentence = " ".join(outcome.english.split())
    return "\t".join((str(outcome.line), outcome.code, *serials, outcome.japanese, sentence))


def _template(options: argparse.Namespace, clock: Clock) -> None:
    rules = options.as_of or rule_set(int(clock.now()))
    sys.stderr.write(f"issuance: {describe(rules)}\n")
    octets = template(Action(options.action), options.profile, rules).encode(ENCODING)
    if options.out is not None:
        replace_file(options.out, octets)
    elif sys.stdout.isatty():
        print(octets.decode(ENCODING), end="")
    else:
        sys.stdout.buffer.write(octets)  # what is redirected into a file is what `tsv apply` reads
