"""The review of one application: everything that is checked before a serial is taken.

Writes nothing but what CAA said.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asn1crypto import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca_store.errors import NotFound
from ca_store.types import MAX_SERIAL, CertificateState, Reason
from issuance.application_codes import ApplicationRefused
from issuance.application_columns import Action, layout
from issuance.caa_permission import CAARefused, check_permission
from issuance.csr import decode_request
from issuance.distinguished_name import DistinguishedName, decode_name, parse_name
from issuance.domain import is_under
from issuance.errors import IssuanceError
from issuance.issuer import examine, purpose_of, standing_of
from issuance.pkcs12 import MAX_PIN, MIN_PIN, generate_key, is_pin
from issuance.profile import CLIENT, SERVER, SMIME
from issuance.revocation import check_reason
from issuance.subject_rules import check_host
from issuance.subscriber import order_as_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from ca_store.types import Certificate, Institution, Issuer, Officer
    from issuance.application_columns import Column
    from issuance.application_file import Line
    from issuance.certificate import Contents
    from issuance.core import Core
    from issuance.csr import Request
    from issuance.profile import Profile
    from issuance.rule_set import RuleSet

_MARKERS: Final = re.compile(r"-----(?:BEGIN|END)(?: NEW)? CERTIFICATE REQUEST-----")
_SEPARATORS: Final = re.compile(r"[,; ]+")
_DNS_NAME: Final = re.compile(r"dNSName=", re.IGNORECASE)
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
_EC: Final = "ec"
_BROWSER: Final = "3"
_DOWNLOADS: Final = ("1", "2", _BROWSER)
_WITH_KEYS: Final = (CLIENT.name, SMIME.name)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An application that may be carried out."""

    action: Action
    fields: dict[str, str]
    digest: bytes
    name: DistinguishedName
    profile: Profile
    certificate: Certificate | None = None
    """The one to be revoked or replaced."""
    reason: Reason | None = None
    issuer: Issuer | None = None
    contents: Contents | None = None
    """Of the certificate that is to be issued."""
    key: RSAPrivateKey | None = None
    """Made for a subscriber who brings none."""


def digest_of(line: Line, action: Action, institution: Institution) -> bytes:
    """What makes an application the same one again."""
    return hashlib.sha256(b"\0".join((action.encode(), institution.name.encode(), line.octets))).digest()


class Reviewer:
    """Reviews the applications of one run, one after another.

    Args:
        core: the issuance core.
        officer: who applies.
        rules: by which.
        keys: whether a key can be handed over that is made for a subscriber.
        pins: whether a PIN can be handed over that the applicant leaves to us.
        keep: whether looks at CAA are put on record.
    """

    def __init__(self, core: Core, officer: Officer, rules: RuleSet, *, keys: bool, pins: bool, keep: bool) -> None:
        self._core = core
        self._rules = rules
        self._keys = keys
        self._keep = keep
        self._pins = pins
        (self._institution,) = (each for each in core.store.institutions() if each.name == officer.institution)
        self._accepted: set[tuple[str, str]] = set()

    @property
    def institution(self) -> Institution:
        """Whose applications these are."""
        return self._institution

    def review(self, line: Line, action: Action, fields: dict[str, str]) -> Reviewed:
        """Raises ApplicationRefused."""
        kind, _, key_kind = self._core.settings.profile_ids[fields["profile"]].partition(":")
        profile = self._core.settings.profile(kind)
        columns = {column.key: column for column in layout(action, kind, self._rules)}
        digest = digest_of(line, action, self._institution)
        with _refusing("206", columns["dn"]):
            name = parse_name(fields["dn"])
        if action is Action.REVOKE:
            certificate = self._find(name, profile, fields, columns["serial"])
            reason = _reason(fields, profile, columns)
            return Reviewed(action, fields, digest, name, profile, certificate, reason)
        hosts = _hosts(name, fields, columns) if profile.name == SERVER.name else ()
        addresses = (fields["user_mail"],) if profile.name == SMIME.name else ()
        with _refusing("206", columns["dn"]):
            named = order_as_named(name, profile, self._institution, self._rules, hosts or addresses)
        replaced = self._find(name, profile, fields, columns["serial"]) if action is Action.RENEW else None
        if profile.name in _WITH_KEYS:
            self._check_delivery(fields, columns)
            key = generate_key()
            public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            key = None
            public_key = _public_key(name, hosts, fields, replaced, columns["csr"])
        issuer = self._issuer(profile, key_kind)
        with _refusing("906", columns.get("csr")):
            contents = examine(
                self._core, issuer, profile, subject=named.subject, public_key=public_key, names=named.names
            )
        self._check_new(decode_name(named.subject), profile, action, columns["dn"])
        self._check_caa(contents)
        return Reviewed(action, fields, digest, name, profile, replaced, None, issuer, contents, key)

    def _check_caa(self, contents: Contents) -> None:
        try:
            check_permission(self._core, contents.names, contents.profile, self._rules, keep=self._keep)
        except CAARefused as error:
            raise ApplicationRefused("338", str(error), names=error.names) from None

    def _find(self, name: DistinguishedName, profile: Profile, fields: dict[str, str], column: Column) -> Certificate:
        """The certificate that an application is about: of this kind, of this name, of this institution."""
        serial = _serial(fields["serial"], column)
        for issuer in self._core.store.issuers():
            try:
                found = self._core.store.certificate(issuer.id, serial)
            except NotFound:
                continue
            if found.profile == profile.name and found.der is not None and self._is_of(found.der, name):
                return found
        raise ApplicationRefused("908", f"there is no {profile.name} certificate {serial:x} with this DN", column)

    def _is_of(self, der: bytes, name: DistinguishedName) -> bool:
        subject = decode_name(x509.Certificate.load(der).subject.dump())
        if subject.keys == ("CN",):
            host = subject.attributes[0][1].rpartition("@")[2]
            own = any(is_under(host, domain) for domain in self._institution.domains)
            return own and name.get("O") == self._institution.name
        return subject == name and name.get("O") == self._institution.name

    def _check_delivery(self, fields: dict[str, str], columns: dict[str, Column]) -> None:
        if fields["download"] not in _DOWNLOADS:
            raise ApplicationRefused("206", "the download method is 1, 2 or 3", columns["download"])
        if fields["download"] == _BROWSER:
            raise ApplicationRefused("910", "certificates are not delivered to browsers", columns["download"])
        if not self._keys:
            sentence = "there is nowhere to put a PKCS #12 file: name a folder with --out"
            raise ApplicationRefused("910", sentence, columns["download"])
        if fields["file"] and not _FILE_NAME.fullmatch(fields["file"]):
            raise ApplicationRefused("206", "the file name must be letters, digits and . _ @ -", columns["file"])
        pin = fields.get("pin", "")
        if pin and not is_pin(pin):
            sentence = f"the access PIN must be {MIN_PIN} to {MAX_PIN} ASCII characters without a space"
            raise ApplicationRefused("206", sentence, columns["pin"])
        if not pin and not self._pins:
            sentence = "there is no access PIN, and nowhere to put one that is made: name a folder with --pins"
            raise ApplicationRefused("910", sentence, columns.get("pin", columns["file"]))

    def _issuer(self, profile: Profile, key_kind: str) -> Issuer:
        """The newest CA in force for this kind of certificate and key."""
        now = self._core.now()
        for issuer in reversed(self._core.store.issuers()):
            algorithm = x509.Certificate.load(issuer.certificate).public_key.algorithm
            if (
                profile.name in purpose_of(issuer).profiles
                and (algorithm == _EC) == (key_kind == _EC)
                and issuer.not_after > now
                and standing_of(self._core, issuer).state is not CertificateState.REVOKED
            ):
                return issuer
        raise ApplicationRefused("911", f"there is no CA in force for {profile.name} certificates of this kind")

    def _check_new(self, subject: DistinguishedName, profile: Profile, action: Action, column: Column) -> None:
        """Whoever has had the name must renew; whoever renews has had it, as was seen above."""
        start = DistinguishedName(tuple(each for each in subject.attributes if each[0] in ("CN", "OU")))
        compared = start if self._rules.renewal_by_common_name else subject
        # What follows is another attribute, unless the whole name was compared.
        beginning = str(compared) if compared == subject else f"{compared},"
        for known in self._core.store.certificates_named(beginning) if action is Action.ISSUE else ():
            name = parse_name(known.subject)
            same = name.attributes[: len(compared.attributes)] == compared.attributes
            if known.profile == profile.name and same and name.values("OU") == compared.values("OU"):
                raise ApplicationRefused("212", f"{compared} has had a certificate: apply for its renewal", column)
        accepted = (profile.name, str(compared))
        if accepted in self._accepted:
            raise ApplicationRefused("212", f"{compared} is in another line of this file already", column)
        self._accepted.add(accepted)


@contextmanager
def _refusing(code: str, column: Column | None) -> Iterator[None]:
    try:
        yield
    except ApplicationRefused:
        raise
    except IssuanceError as error:
        raise ApplicationRefused(code, str(error), column) from None


def _hosts(name: DistinguishedName, fields: dict[str, str], columns: dict[str, Column]) -> tuple[str, ...]:
    with _refusing("206", columns["dn"]):
        common_name = check_host(name.get("CN") or "")
    if fields["fqdn"].lower() != common_name:
        raise ApplicationRefused("907", f"the FQDN {fields['fqdn']} is not the CN {common_name}", columns["fqdn"])
    others = [_DNS_NAME.sub("", each) for each in _SEPARATORS.split(fields["names"].strip()) if each]
    with _refusing("907", columns["names"]):
        return tuple(dict.fromkeys((common_name, *map(check_host, others))))


def _public_key(
    name: DistinguishedName,
    hosts: tuple[str, ...],
    fields: dict[str, str],
    replaced: Certificate | None,
    column: Column,
) -> bytes:
    with _refusing("906", column):
        request = decode_request(_decode_body(fields["csr"]))
    _check_says_the_same(request, name, hosts, column)
    if replaced is not None and replaced.der is not None:
        before = x509.Certificate.load(replaced.der).public_key.dump()
        if before == request.public_key:
            raise ApplicationRefused("906", "a renewed certificate needs a new key", column)
    return request.public_key


def _decode_body(text: str) -> bytes:
    try:
        return base64.b64decode(_MARKERS.sub("", text).replace(" ", ""), validate=True)
    except binascii.Error:
        return b""  # which is no request


def _check_says_the_same(request: Request, name: DistinguishedName, hosts: tuple[str, ...], column: Column) -> None:
    if sorted(request.subject) != sorted(name.attributes):
        said = ",".join(f"{key}={value}" for key, value in request.subject)
        raise ApplicationRefused("906", f"the CSR's DN is {said}, not that of column 1", column)
    others = [host for host in request.dns_names if host.lower() not in hosts]
    if others or request.mail_addresses:
        others += request.mail_addresses
        raise ApplicationRefused("906", f"the CSR names {', '.join(others)}, which the columns do not", column)


def _serial(text: str, column: Column) -> int:
    """Decimal when it is digits, hexadecimal after ``0x``."""
    try:
        serial = int(text, 16) if text.lower().startswith("0x") else int(text) if text.isdigit() else 0
    except ValueError:
        serial = 0
    if not 0 < serial <= MAX_SERIAL:
        raise ApplicationRefused(
            "204", f"{text} is no serial number: use decimal digits, or 0x and hexadecimal", column
        )
    return serial


def _reason(fields: dict[str, str], profile: Profile, columns: dict[str, Column]) -> Reason:
    try:
        reason = Reason(int(fields["reason"]))
    except ValueError:
        raise ApplicationRefused("909", f"{fields['reason']} is no reason of RFC 5280", columns["reason"]) from None
    if reason is Reason.privilegeWithdrawn:
        raise ApplicationRefused("909", "9 is the CA's own reason (BR §7.2.2)", columns["reason"])
    with _refusing("909", columns["reason"]):
        check_reason(reason, profile)
    if reason is Reason.unspecified and not fields["comment"].strip():
        raise ApplicationRefused("201", "reason 0 needs a comment", columns["comment"])
    return reason
