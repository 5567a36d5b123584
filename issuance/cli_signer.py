"""``issuance signer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca_store.signing import KeyType
from ca_store.types import CredentialKind, format_serial
from issuance.cli_output import print_records
from issuance.home import open_core, publish_unit
from issuance.period import format_time
from issuance.signer_renewal import (
    DELEGATE_KEYS,
    renew_all,
    renew_delegate,
    renew_unit,
    retire_delegates,
    retire_succeeded,
    tenures,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ca_store.clock import Clock
    from ca_store.types import Credential
    from issuance.cli_output import Commands, Record
    from issuance.core import Core

_UNIT_KEYS = (
    KeyType.RSA_3072,
    KeyType.RSA_4096,
    KeyType.P256,
    KeyType.P384,
    KeyType.ED25519,
    KeyType.ML_DSA_65,
)
_COLUMNS = {"kind": 4, "name": 14, "serial": 40, "state": 8, "active_from": 20, "until": 20, "not_after": 20}


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add ``signer list``, ``signer renew`` and ``signer retire``."""
    topic = commands.add_parser("signer", help="OCSP delegates and time-stamping units")
    actions = topic.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = actions.add_parser("list", parents=[common], help="signers on record")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)

    renewing = actions.add_parser("renew", parents=[common], help="renew signers that are due; prints their serials")
    which = renewing.add_mutually_exclusive_group()
    which.add_argument("--ca", metavar="LABEL", help="only the OCSP delegate of this CA")
    which.add_argument("--unit", metavar="NAME", help="only this time-stamping unit, which is made if there is none")
    renewing.add_argument(
        "--key",
        choices=[key.value for key in _UNIT_KEYS],
        help="the new key's type; with --ca, of a delegate beside the default one",
    )
    renewing.add_argument("--force", action="store_true", help="also when it is not due; speaks at once")
    renewing.set_defaults(run=_renew, command=renewing)

    retiring = actions.add_parser("retire", parents=[common], help="take a delegate beside the default one out of use")
    retiring.add_argument("--ca", required=True, metavar="LABEL", help="the CA it speaks for")
    retiring.add_argument("--key", required=True, choices=[key.value for key in DELEGATE_KEYS])
    retiring.set_defaults(run=_retire)


def _list(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        print_records(_records(core), _COLUMNS, as_json=options.json)


def _renew(options: argparse.Namespace, clock: Clock) -> None:
    if options.key is not None and options.unit is None and options.ca is None:
        options.command.error("argument --key: only with --unit or --ca")
    if options.ca is not None and options.key not in (None, *DELEGATE_KEYS):
        options.command.error(f"argument --key: an OCSP delegate has one of {', '.join(DELEGATE_KEYS)}")
    with open_core(options.home, clock) as core:
        for credential in _renewed(core, options):
            publish_unit(options.home, credential)
            print(credential.kind.value, credential.name, format_serial(credential.serial), flush=True)


def _retire(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        retire_delegates(core, core.store.issuer(options.ca), KeyType(options.key))


def _renewed(core: Core, options: argparse.Namespace) -> list[Credential]:
    if options.ca is None and options.unit is None:
        return list(renew_all(core, force=options.force))
    key_type = None if options.key is None else KeyType(options.key)
    if options.ca is not None:
        renewed = renew_delegate(core, core.store.issuer(options.ca), key_type=key_type, force=options.force)
    else:
        renewed = renew_unit(core, options.unit, force=options.force, key_type=key_type)
    retire_succeeded(core)
    return [] if renewed is None else [renewed]


def _records(core: Core) -> Iterator[Record]:
    labels = {issuer.id: issuer.label for issuer in core.store.issuers()}
    for kind in CredentialKind:
        for tenure in tenures(core, kind):
            credential = tenure.credential
            yield {
                "kind": kind.value,
                "name": credential.name,
                "ca": labels[credential.issuer],
                "serial": format_serial(credential.serial),
                "state": tenure.state.name.lower(),
                "active_from": format_time(credential.active_from),
                "until": format_time(tenure.until),
                "not_after": format_time(credential.not_after),
                "key": credential.key_reference,
            }
