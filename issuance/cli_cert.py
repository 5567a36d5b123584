"""``issuance cert``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ca_store.errors import NotFound, StoreError
from ca_store.types import CertificateState, Reason, format_serial
from issuance import cli_arguments
from issuance.cli_output import announce, print_record, print_records
from issuance.crl import sign_crl
from issuance.csr import decode_request
from issuance.errors import IssuanceError
from issuance.files import encode_pem, replace_file
from issuance.home import open_core
from issuance.period import format_time
from issuance.precertificate import is_precertificate
from issuance.profile import SUBSCRIBER_PROFILES
from issuance.revocation import certificate_of, revoke
from issuance.rule_set import rule_set
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca_store.clock import Clock
    from ca_store.types import Certificate
    from issuance.cli_output import Commands, Record
    from issuance.core import Core

_COLUMNS = {"serial": 40, "ca": 12, "profile": 13, "state": 8, "not_after": 20, "subject": 0}
_PAGE = 1000


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add ``cert issue``, ``cert revoke``, ``cert list`` and ``cert show``."""
    topic = commands.add_parser("cert", help="certificates")
    actions = topic.add_subparsers(title="commands", required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--ca", required=True, metavar="LABEL", help="the CA that issued it")
    named.add_argument("--serial", required=True, type=cli_arguments.serial, metavar="HEX")

    issuing = actions.add_parser("issue", parents=[common], help="issue from a signing request; prints the serial")
    issuing.add_argument("--ca", required=True, metavar="LABEL", help="the CA that issues")
    issuing.add_argument("--profile", required=True, choices=SUBSCRIBER_PROFILES)
    issuing.add_argument(
        "--csr", required=True, type=cli_arguments.contents, metavar="FILE", help="PKCS #10, PEM or DER"
    )
    issuing.add_argument("--out", type=cli_arguments.output, metavar="FILE", help="write the certificate as PEM")
    issuing.add_argument(
        "--as-of", type=cli_arguments.as_of, metavar="DATE", help="go by that day's rules (default: now)"
    )
    issuing.set_defaults(run=_issue)

    revoking = actions.add_parser("revoke", parents=[common, named], help="revoke, or correct a revocation")
    revoking.add_argument(
        "--reason",
        required=True,
        choices=[reason.name for reason in Reason],
        metavar="REASON",
        help="RFC 5280's name, such as keyCompromise",
    )
    revoking.add_argument("--at", type=cli_arguments.time, metavar="TIME", help="RFC 3339; default: now")
    revoking.set_defaults(run=_revoke)

    listing = actions.add_parser("list", parents=[common], help="certificates")
    listing.add_argument("--ca", metavar="LABEL")
    listing.add_argument("--profile", metavar="PROFILE")
    listing.add_argument("--state", choices=[state.name.lower() for state in CertificateState])
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)

    showing = actions.add_parser("show", parents=[common, named], help="one certificate")
    showing.add_argument("--json", action="store_true")
    showing.add_argument("--out", type=cli_arguments.output, metavar="FILE", help="write the certificate as PEM")
    showing.set_defaults(run=_show)


def _issue(options: argparse.Namespace, clock: Clock) -> None:
    request = decode_request(options.csr)
    with open_core(options.home, clock) as core:
        rules = options.as_of or rule_set(core.now())
        announce(rules, core)
        issuer = core.store.issuer(options.ca)
        profile = core.settings.profile(options.profile)
        serial, certificate = issue_from_request(core, issuer, profile, request, rules)
    print(format_serial(serial), flush=True)
    if options.out is not None:
        replace_file(options.out, encode_pem(certificate))


def _revoke(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        issuer = core.store.issuer(options.ca)
        revoke(core, issuer, options.serial, Reason[options.reason], options.at)
        try:
            sign_crl(core, issuer)
        except (StoreError, IssuanceError) as error:
            # What was asked for is committed, and the timers sign the CRL as soon as they can.
            sys.stderr.write(f"issuance: revoked, but no new CRL was signed: {error}\n")


def _list(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        print_records(_records(core, options), _COLUMNS, as_json=options.json)


def _show(options: argparse.Namespace, clock: Clock) -> None:
    with open_core(options.home, clock) as core:
        certificate = certificate_of(core, core.store.issuer(options.ca), options.serial)
        print_record(_record(certificate), as_json=options.json)
        if options.out is not None:
            if certificate.der is None:
                raise NotFound(f"no certificate was ever signed under the serial {format_serial(certificate.serial)}")
            if is_precertificate(certificate.der):
                raise NotFound(f"the serial {format_serial(certificate.serial)} has a precertificate only")
            replace_file(options.out, encode_pem(certificate.der))


def _records(core: Core, options: argparse.Namespace) -> Iterator[Record]:
    issuer = None if options.ca is None else core.store.issuer(options.ca).id
    state = None if options.state is None else CertificateState[options.state.upper()]
    after = None
    while True:
        page = core.store.certificates(issuer=issuer, state=state, profile=options.profile, after=after, limit=_PAGE)
        yield from map(_record, page)
        if len(page) < _PAGE:
            return
        after = (page[-1].issuer, page[-1].serial)


def _record(certificate: Certificate) -> Record:
    status = certificate.status
    return {
        "serial": format_serial(certificate.serial),
        "ca": certificate.issuer_label,
        "profile": certificate.profile,
        "subject": certificate.subject,
        "not_before": format_time(certificate.not_before),
        "not_after": format_time(certificate.not_after),
        "state": status.state.name.lower(),
        "precertificate": certificate.der is not None and is_precertificate(certificate.der),
        "changed_at": format_time(status.changed_at),
        "revoked_at": None if status.revoked_at is None else format_time(status.revoked_at),
        "reason": None if status.reason is None else status.reason.name,
    }
