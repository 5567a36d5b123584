"""``issuance ca``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ca_store.signing import KeyType
from ca_store.types import Reason, format_serial
from issuance import cli_arguments
from issuance.authority import Plan, create
from issuance.cli_output import print_record, print_records
from issuance.compromise import revoke_ca
from issuance.files import encode_pem, publish, replace_file
from issuance.home import open_core
from issuance.issuer import purpose_of, subject_text
from issuance.period import format_time
from issuance.profile import PURPOSES, SUB_CA
from issuance.roll_over import rekey

if TYPE_CHECKING:
    import argparse

    from ca_store.clock import Clock
    from ca_store.types import Issuer
    from issuance.cli_output import Commands, Record
    from issuance.core import Core

_CA_KEYS = (KeyType.RSA_3072, KeyType.RSA_4096, KeyType.P384)
_COLUMNS = {"label": 14, "purpose": 12, "parent": 14, "not_after": 20, "subject": 0}


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add ``ca list``, ``ca create``, ``ca rekey``, ``ca revoke`` and ``ca show``."""
    topic = commands.add_parser("ca", help="certification authorities")
    actions = topic.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = actions.add_parser("list", parents=[common], help="all CAs")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)

    making = actions.add_parser("create", parents=[common], help="create a CA with its CRL and OCSP signer")
    making.add_argument("label", metavar="LABEL", help="its name in URLs, files and commands")
    making.add_argument("--purpose", required=True, choices=list(PURPOSES), help="what it issues")
    making.add_argument("--parent", metavar="LABEL", help="the CA above; a root has none")
    making.add_argument("--key", choices=[key.value for key in _CA_KEYS], default=KeyType.RSA_3072.value)
    making.add_argument("--common-name", required=True, metavar="NAME")
    making.add_argument("--organization", metavar="NAME", help="default: the parent's")
    making.add_argument("--country", metavar="CC", help="default: the parent's")
    making.set_defaults(run=_create)

    rekeying = actions.add_parser("rekey", parents=[common], help="give a CA a new key; prints its new label")
    rekeying.add_argument("label", metavar="LABEL", help="the CA, by the label of its newest key")
    rekeying.add_argument("--label", dest="successor", metavar="NEW", help="of the new key (default: numbered)")
    rekeying.add_argument("--key", choices=[key.value for key in _CA_KEYS], help="default: the kind it has")
    rekeying.set_defaults(run=_rekey)

    revoking = actions.add_parser(
        "revoke",
        parents=[common],
        help="revoke a CA at its parent; when its key is compromised, all that it issued too",
    )
    revoking.add_argument("label", metavar="LABEL")
    revoking.add_argument("--reason", required=True, choices=sorted(reason.name for reason in SUB_CA.reasons))
    revoking.add_argument("--at", type=cli_arguments.time, metavar="TIME", help="RFC 3339; default: now")
    revoking.set_defaults(run=_revoke)

    showing = actions.add_parser("show", parents=[common], help="one CA")
    showing.add_argument("label", metavar="LABEL")
    showing.add_argument("--json", action="store_true")
    showing.add_argument("--out", type=cli_arguments.output, metavar="FILE", help="write its certificate as PEM")
    showing.set_defaults(run=_show)


def _list(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        print_records((_record(core, issuer) for issuer in core.store.issuers()), _COLUMNS, as_json=options.json)


def _create(options: argparse.Namespace, clock: Clock) -> None:
    plan = Plan(
        label=options.label,
        purpose=options.purpose,
        parent=options.parent,
        key_type=KeyType(options.key),
        common_name=options.common_name,
        organization=options.organization,
        country=options.country,
    )
    with open_core(options.home, clock) as core:
        issuer = create(core, plan)
        publish(options.home, issuer.label, issuer.certificate)
        print(format_serial(issuer.serial))


def _rekey(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        key_type = None if options.key is None else KeyType(options.key)
        successor = rekey(core, core.store.issuer(options.label), label=options.successor, key_type=key_type)
        publish(options.home, successor.label, successor.certificate)
        print(successor.label)


def _revoke(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        issuer = core.store.issuer(options.label)
        count = revoke_ca(core, issuer, Reason[options.reason], options.at, _warn)
        print(f"revoked {issuer.label} and {count} certificates that it issued")


def _warn(sentence: str) -> None:
    sys.stderr.write(f"issuance: {sentence}\n")


def _show(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        issuer = core.store.issuer(options.label)
        print_record(_record(core, issuer), as_json=options.json)
        if options.out is not None:
            replace_file(options.out, encode_pem(issuer.certificate))


def _record(core: Core, issuer: Issuer) -> Record:
    labels = {known.id: known.label for known in core.store.issuers()}
    return {
        "label": issuer.label,
        "purpose": purpose_of(issuer).name,
        "parent": None if issuer.parent is None else labels[issuer.parent],
        "subject": subject_text(issuer.certificate),
        "serial": format_serial(issuer.serial),
        "not_before": format_time(issuer.not_before),
        "not_after": format_time(issuer.not_after),
        "key": core.store.issuer_key(issuer.id),
    }
