"""``issuance officer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca_store.types import format_serial
from issuance import cli_arguments
from issuance.cli_output import print_records
from issuance.home import open_core
from issuance.officer import enrol
from issuance.period import format_time

if TYPE_CHECKING:
    import argparse

    from ca_store.clock import Clock
    from ca_store.types import Officer
    from issuance.cli_output import Commands, Record
    from issuance.core import Core

_COLUMNS = {"name": 24, "institution": 32, "mail": 32, "state": 8, "not_after": 20, "serial": 0}


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add ``officer add`` and ``officer list``."""
    topic = commands.add_parser("officer", help="who may apply for an institution")
    actions = topic.add_subparsers(title="commands", required=True, metavar="COMMAND")

    adding = actions.add_parser("add", parents=[common], help="register an officer, or an officer's new certificate")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("--institution", required=True, metavar="NAME")
    adding.add_argument("--mail", required=True, metavar="ADDRESS")
    adding.add_argument(
        "--certificate",
        required=True,
        type=cli_arguments.contents,
        metavar="FILE",
        help="the officer's client certificate, issued here, PEM or DER",
    )
    adding.set_defaults(run=_add)

    listing = actions.add_parser("list", parents=[common], help="all officers with their certificates")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)


def _add(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        enrol(
            core,
            options.name,
            institution=options.institution,
            mail=options.mail,
            certificate=options.certificate,
        )


def _list(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        print_records((_record(core, officer) for officer in core.store.officers()), _COLUMNS, as_json=options.json)


def _record(core: Core, officer: Officer) -> Record:
    certificate = core.store.certificate(officer.issuer, officer.serial)
    return {
        "name": officer.name,
        "institution": officer.institution,
        "mail": officer.mail,
        "ca": certificate.issuer_label,
        "serial": format_serial(officer.serial),
        "state": certificate.status.state.name.lower(),
        "not_after": format_time(certificate.not_after),
    }
