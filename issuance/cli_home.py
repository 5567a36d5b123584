"""``issuance init``, ``migrate``, ``roles`` and ``run``."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

from ca_store.database import migrate, schema_revision
from ca_store.home import DEFAULT_DATABASE_URL, Home
from ca_store.roles import grant_roles
from issuance import cli_arguments
from issuance.home import Wish, make_home, open_core, publish_unit
from issuance.settings import DEFAULT_BASE_URL
from issuance.timers import Timers

if TYPE_CHECKING:
    import argparse

    from ca_store.clock import Clock
    from issuance.cli_output import Commands


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add ``init``, ``migrate``, ``roles`` and ``run``."""
    init = commands.add_parser("init", parents=[common], help="create a home")
    init.add_argument("--demo", action="store_true", help="with CAs, signers and sample certificates")
    init.add_argument(
        "--database",
        type=cli_arguments.database_url,
        metavar="URL",
        default=DEFAULT_DATABASE_URL,
        help="default: SQLite in the home",
    )
    init.add_argument(
        "--base-url",
        type=cli_arguments.base_url,
        metavar="URL",
        default=DEFAULT_BASE_URL,
        help=f"where relying parties reach the responders (default: {DEFAULT_BASE_URL})",
    )
    init.add_argument(
        "--read-url",
        type=cli_arguments.database_url,
        metavar="URL",
        help="a replica of a PostgreSQL database, where the responders read status rows",
    )
    init.set_defaults(run=_init)
    migrating = commands.add_parser(
        "migrate", parents=[common], help="bring the database to the schema of this version"
    )
    migrating.set_defaults(run=_migrate)
    roles = commands.add_parser(
        "roles", parents=[common], help="PostgreSQL roles for responders and issuance, with what each needs and no more"
    )
    for name in ("responders", "issuance"):
        roles.add_argument(f"--{name}", type=cli_arguments.role, required=True, metavar="NAME")
    roles.set_defaults(run=_roles)
    run = commands.add_parser("run", parents=[common], help="renew CRLs and signers until stopped")
    run.set_defaults(run=_run)


def _init(options: argparse.Namespace, clock: Clock) -> None:
    make_home(options.home, Wish(options.demo, options.database, options.base_url, options.read_url), clock)


def _migrate(options: argparse.Namespace, _clock: Clock) -> None:
    url = Home.open(options.home).database_url
    before = schema_revision(url)
    if migrate(url):
        print(f"the database had schema {before} and has {schema_revision(url)} now")
    else:
        print(f"the database has schema {before} already: nothing to do")


def _roles(options: argparse.Namespace, _clock: Clock) -> None:
    grant_roles(Home.open(options.home).database_url, options.responders, options.issuance)
    print(
        f"{options.responders} can read what is answered and reserve serials; {options.issuance} can issue and revoke"
    )


def _run(options: argparse.Namespace, clock: Clock) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())

    def report(sentence: str) -> None:
        sys.stderr.write(f"issuance: {sentence}\n")
        sys.stderr.flush()

    with open_core(options.home, clock) as core:
        Timers(core, lambda credential: publish_unit(options.home, credential), report).run(stop)
