"""``issuance institution``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from issuance.cli_output import print_records
from issuance.home import open_core
from issuance.institution import register

if TYPE_CHECKING:
    import argparse

    from ca_store.clock import Clock
    from issuance.cli_output import Commands

_COLUMNS = {"name": 32, "country": 7, "state": 12, "locality": 16, "domains": 0}


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add ``institution add`` and ``institution list``."""
    topic = commands.add_parser("institution", help="organisations and their domains")
    actions = topic.add_subparsers(title="commands", required=True, metavar="COMMAND")

    adding = actions.add_parser("add", parents=[common], help="register an organisation")
    adding.add_argument("name", metavar="NAME", help="its registered name: O in its certificates")
    adding.add_argument("--country", required=True, metavar="CC")
    adding.add_argument("--state", metavar="NAME", help="its state or prefecture")
    adding.add_argument("--locality", metavar="NAME", help="its municipality")
    adding.add_argument("--domain", required=True, action="append", metavar="DOMAIN", help="may be repeated")
    adding.set_defaults(run=_add)

    listing = actions.add_parser("list", parents=[common], help="all organisations")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)


def _add(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        register(
            core,
            options.name,
            country=options.country,
            state=options.state,
            locality=options.locality,
            domains=options.domain,
        )


def _list(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        records = (
            {
                "name": institution.name,
                "country": institution.country,
                "state": institution.state,
                "locality": institution.locality,
                "domains": list(institution.domains),
            }
            for institution in core.store.institutions()
        )
        print_records(records, _COLUMNS, as_json=options.json)
