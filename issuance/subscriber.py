"""What a subscriber's certificate may say: names under the institution's domains, and the institution's own subject.

A request proposes; the institution's record decides. Country, state, locality and organisation never come from a CSR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from issuance.caa_permission import check_permission
from issuance.distinguished_name import make_name
from issuance.domain import is_under, normalise
from issuance.errors import RequestRefused
from issuance.issuer import issue, prepare
from issuance.naming import MAX_NAME
from issuance.profile import CODE_SIGNING, SERVER, SMIME, SUBSCRIBER_PROFILES
from issuance.rule_set import rule_set
from issuance.subject_rules import check_host, check_subject, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.types import Institution, Issuer
    from issuance.core import Core
    from issuance.csr import Request
    from issuance.distinguished_name import DistinguishedName
    from issuance.profile import Profile
    from issuance.rule_set import RuleSet

_MAX_LOCAL_PART: Final = 64  # RFC 5321 §4.5.3.1.1
_ATOM_SPECIALS: Final = frozenset('()<>[]:;@\\,"')


@dataclass(frozen=True, slots=True)
class Order:
    """The names that a certificate is issued with."""

    subject: bytes
    """DER Name."""
    names: tuple[str, ...] = ()
    """For its subjectAltName."""


def order(request: Request, profile: Profile, institutions: Sequence[Institution], rules: RuleSet) -> Order:
    """The names a request gets under a profile. Raises RequestRefused, NameRefused."""
    if profile.name not in SUBSCRIBER_PROFILES:
        raise RequestRefused(f"{profile.name} certificates are not issued from requests")
    match profile.name:
        case SERVER.name:
            return _server(request, institutions, rules)
        case SMIME.name:
            return _smime(request, institutions, rules)
    if request.dns_names or request.mail_addresses:
        raise RequestRefused(f"a {profile.name} certificate holds no alternative names")
    institution = _named(request, institutions)
    common_name = request.common_name
    if profile.name == CODE_SIGNING.name:
        # CSBR §7.1.4.2.2: the name that a user is shown is the organisation's.
        common_name = institution.name if common_name is None else common_name
    if common_name is None:
        raise RequestRefused("the request has no common name")
    return order_as_named(_own_name(institution, common_name, rules), profile, institution, rules)


def order_as_named(
    name: DistinguishedName,
    profile: Profile,
    institution: Institution,
    rules: RuleSet,
    alternatives: Sequence[str] = (),
) -> Order:
    """The names of a certificate whose subject is stated in full; ``alternatives`` are host names or mail addresses.
    Raises RequestRefused, NameRefused.
    """
    check_subject(name, profile, institution, rules)
    match profile.name:
        case SERVER.name:
            names = tuple(dict.fromkeys(map(check_host, alternatives)))
            for host in names:
                _check_owner(host.removeprefix("*."), host, institution)
            common_name = name.get("CN") or ""
            if common_name.lower() not in names:
                raise RequestRefused(f"the common name {common_name!r} is not among the dNSNames")
            return Order(_lowered(name).encode(), names)
        case SMIME.name:
            return _mailboxes(name, institution, rules, alternatives)
        case CODE_SIGNING.name if name.get("CN") != institution.name:
            raise RequestRefused(f"the common name of a code-signing certificate is {institution.name!r}")
    return Order(name.encode())


def issue_from_request(
    core: Core, issuer: Issuer, profile: Profile, request: Request, rules: RuleSet | None = None
) -> tuple[int, bytes]:
    """Issue what a request asks for, by default under the rules in force now; (serial, DER). Raises RequestRefused,
    NameRefused, CAARefused.
    """
    rules = rules or rule_set(core.now())
    named = order(request, profile, core.store.institutions(), rules)
    check_permission(core, named.names, profile, rules)
    draft = prepare(core, issuer, profile, subject=named.subject, public_key=request.public_key, names=named.names)
    return draft.contents.serial, issue(core, draft)


def _server(request: Request, institutions: Sequence[Institution], rules: RuleSet) -> Order:
    if request.mail_addresses:
        raise RequestRefused("a server certificate holds no mail address")
    proposed = request.dns_names or (() if request.common_name is None else (request.common_name,))
    names = tuple(dict.fromkeys(map(check_host, proposed)))
    if not names:
        raise RequestRefused("the request names no host")
    common_name = names[0] if request.common_name is None else check_host(request.common_name)
    owners = {name: _owner(name.removeprefix("*."), name, institutions) for name in names}
    if len(set(owners.values())) > 1:
        raise RequestRefused("the request's dNSNames belong to more than one institution")
    institution = owners[names[0]]
    return order_as_named(_own_name(institution, common_name, rules), SERVER, institution, rules, names)


def _smime(request: Request, institutions: Sequence[Institution], rules: RuleSet) -> Order:
    if request.dns_names:
        raise RequestRefused("an S/MIME certificate holds no host name")
    if not request.mail_addresses:
        raise RequestRefused("the request names no mail address as its alternative name")
    addresses = tuple(dict.fromkeys(_address(address, institutions) for address in request.mail_addresses))
    if rules.mailbox_only:
        return _mailbox_named(addresses)
    if request.common_name is None:
        raise RequestRefused("the request has no common name")
    institution = _owner(addresses[0].rpartition("@")[2], addresses[0], institutions)
    name = _own_name(institution, request.common_name, rules)
    return order_as_named(name, SMIME, institution, rules, addresses)


def _mailboxes(name: DistinguishedName, institution: Institution, rules: RuleSet, alternatives: Sequence[str]) -> Order:
    addresses = tuple(dict.fromkeys(_address(address, (institution,)) for address in alternatives))
    if not addresses:
        raise RequestRefused("an S/MIME certificate needs a mail address")
    return _mailbox_named(addresses) if rules.mailbox_only else Order(name.encode(), addresses)


def _mailbox_named(addresses: tuple[str, ...]) -> Order:
    """SBR §7.1.4.2.2: a mailbox-validated common name is one of the mailboxes."""
    return Order(make_name({"CN": addresses[0]}).encode(), addresses)


def _address(address: str, institutions: Sequence[Institution]) -> str:
    local, _, host = address.rpartition("@")
    atoms = local.split(".")
    if len(local) > _MAX_LOCAL_PART or not all(atoms) or len(address) > MAX_NAME:
        raise RequestRefused(f"{address!r} is not a mail address of at most {MAX_NAME} characters")
    if any(not "!" <= character <= "~" or character in _ATOM_SPECIALS for character in local):
        raise RequestRefused(f"{address!r} is not a mail address of printable ASCII characters")
    host = normalise(host)
    _owner(host, address, institutions)
    return f"{local}@{host}"


def _owner(host: str, name: str, institutions: Sequence[Institution]) -> Institution:
    for institution in institutions:
        if any(is_under(host, domain) for domain in institution.domains):
            return institution
    raise RequestRefused(f"{name!r} is not under a domain that an institution has registered")


def _check_owner(host: str, name: str, institution: Institution) -> None:
    if not any(is_under(host, domain) for domain in institution.domains):
        raise RequestRefused(f"{name!r} is not under a domain that {institution.name} has registered")


def _named(request: Request, institutions: Sequence[Institution]) -> Institution:
    if request.organization is None and len(institutions) == 1:
        return institutions[0]
    for institution in institutions:
        if institution.name == request.organization:
            return institution
    if request.organization is None:
        raise RequestRefused("the request must name one of the registered institutions as its organization (O)")
    raise RequestRefused(f"no institution is registered under the name {request.organization!r}")


def _own_name(institution: Institution, common_name: str, rules: RuleSet) -> DistinguishedName:
    return make_name({"CN": common_name, "O": institution.name, "C": institution.country, **places(institution, rules)})


def _lowered(name: DistinguishedName) -> DistinguishedName:
    """BR §7.1.4.3: the common name is a dNSName to the character."""
    return replace(
        name, attributes=tuple((key, value.lower() if key == "CN" else value) for key, value in name.attributes)
    )
