"""What a subscriber's certificate may say: names under the institution's domains, and the institution's own subject.

A request proposes; the institution's record decides. Country, state, locality and organisation never come from a CSR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from issuance.certificate import encode_name
from issuance.domain import is_under, normalise
from issuance.errors import RequestRefused
from issuance.issuer import issue, prepare
from issuance.naming import MAX_NAME, check_text
from issuance.profile import CODE_SIGNING, SERVER, SMIME, SUBSCRIBER_PROFILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.types import Institution, Issuer
    from issuance.core import Core
    from issuance.csr import Request
    from issuance.profile import Profile

_MAX_LOCAL_PART: Final = 64  # RFC 5321 §4.5.3.1.1
_ATOM_SPECIALS: Final = frozenset('()<>[]:;@\\,"')


@dataclass(frozen=True, slots=True)
class Order:
    """The names that a certificate is issued with."""

    subject: bytes
    """DER Name."""
    names: tuple[str, ...] = ()
    """For its subjectAltName."""


def order(request: Request, profile: Profile, institutions: Sequence[Institution]) -> Order:
    """The names a request gets under a profile. Raises RequestRefused, NameRefused."""
    if profile.name not in SUBSCRIBER_PROFILES:
        raise RequestRefused(f"{profile.name} certificates are not issued from requests")
    match profile.name:
        case SERVER.name:
            return _server(request, institutions)
        case SMIME.name:
            return _smime(request, institutions)
    _check_no_names(request, profile)
    institution = _named(request, institutions)
    if profile.name == CODE_SIGNING.name:
        # CSBR §7.1.4.2.2: the name that a user is shown is the organisation's.
        if request.common_name not in (None, institution.name):
            raise RequestRefused(f"the common name of a code-signing certificate is {institution.name!r}")
        return Order(_subject(institution, institution.name))
    if request.common_name is None:
        raise RequestRefused("the request has no common name")
    return Order(_subject(institution, check_text("common name", request.common_name)))


def issue_from_request(core: Core, issuer: Issuer, profile: Profile, request: Request) -> tuple[int, bytes]:
    """Issue what a request asks for; (serial, DER). Raises RequestRefused, NameRefused."""
    named = order(request, profile, core.store.institutions())
    draft = prepare(core, issuer, profile, subject=named.subject, public_key=request.public_key, names=named.names)
    return draft.contents.serial, issue(core, draft)


def _server(request: Request, institutions: Sequence[Institution]) -> Order:
    if request.mail_addresses:
        raise RequestRefused("a server certificate holds no mail address")
    proposed = request.dns_names or (() if request.common_name is None else (request.common_name,))
    names = tuple(dict.fromkeys(normalise(name, wildcard=True) for name in proposed))
    if not names:
        raise RequestRefused("the request names no host")
    common_name = names[0] if request.common_name is None else normalise(request.common_name, wildcard=True)
    if common_name not in names:
        raise RequestRefused(f"the common name {common_name!r} is not among the request's dNSNames")
    if len(common_name) > MAX_NAME:
        raise RequestRefused(f"the common name {common_name!r} has more than {MAX_NAME} characters")
    owners = {name: _owner(name.removeprefix("*."), name, institutions) for name in names}
    if len(set(owners.values())) > 1:
        raise RequestRefused("the request's dNSNames belong to more than one institution")
    return Order(_subject(owners[common_name], common_name), names)


def _smime(request: Request, institutions: Sequence[Institution]) -> Order:
    if request.dns_names:
        raise RequestRefused("an S/MIME certificate holds no host name")
    if not request.mail_addresses:
        raise RequestRefused("the request names no mail address as its alternative name")
    addresses = tuple(dict.fromkeys(_address(address, institutions) for address in request.mail_addresses))
    # SBR §7.1.4.2.2: a mailbox-validated common name is one of the mailboxes.
    return Order(encode_name({"common_name": addresses[0]}), addresses)


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


def _named(request: Request, institutions: Sequence[Institution]) -> Institution:
    if request.organization is None and len(institutions) == 1:
        return institutions[0]
    for institution in institutions:
        if institution.name == request.organization:
            return institution
    if request.organization is None:
        raise RequestRefused("the request must name one of the registered institutions as its organization (O)")
    raise RequestRefused(f"no institution is registered under the name {request.organization!r}")


def _check_no_names(request: Request, profile: Profile) -> None:
    if request.dns_names or request.mail_addresses:
        raise RequestRefused(f"a {profile.name} certificate holds no alternative names")


def _subject(institution: Institution, common_name: str) -> bytes:
    attributes = {
        "country_name": institution.country,
        "state_or_province_name": institution.state,
        "locality_name": institution.locality,
        "organization_name": institution.name,
        "common_name": common_name,
    }
    return encode_name({name: value for name, value in attributes.items() if value is not None})
