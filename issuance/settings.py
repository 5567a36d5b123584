"""The ``[issuance]`` section of a home's configuration."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ca_store import der
from issuance.caa import Policy
from issuance.certificate import Pointers
from issuance.errors import SetupRefused
from issuance.profile import CLIENT, CLIENT_POLICY, PROFILES, SUBSCRIBER_PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from issuance.profile import Profile

DEFAULT_BASE_URL: Final = "http://127.0.0.1:8080"
DEFAULT_IDENTITY: Final = "certs.nii.ac.jp"
DNS_PORT: Final = 53

PROFILE_IDS: Final = {"3": "server", "11": "server:ec", "5": "client", "7": "smime", "8": "code-signing"}
"""5 and 7 are known from the service that this is modelled on; the others are not public."""

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_MAX_PROFILE_ID: Final = 2
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~%-]+)*")


@dataclass(frozen=True, slots=True)
class Settings:
    """Raises SetupRefused with a sentence that names the field."""

    base_url: str = DEFAULT_BASE_URL
    """Where relying parties reach the responders: AIA and CRL pointers begin with it. Plain HTTP (RFC 5280 §8)."""
    client_policy: str = CLIENT_POLICY
    """The certificate policy of client certificates; an OID."""

    profile_ids: Mapping[str, str] = field(default_factory=lambda: dict(PROFILE_IDS))
    """The profile IDs of applications: each names a profile, with ``:ec`` behind it where the CA's key is an EC key."""

    caa: bool = True
    """Whether CAA is looked up before a certificate is issued (BR §3.2.2.8)."""
    caa_identities: Sequence[str] = (DEFAULT_IDENTITY,)
    """Our issuer domain names: what subscribers write into their CAA records."""
    caa_resolver: str = ""
    """ADDRESS or ADDRESS:PORT of a recursive name server that validates DNSSEC; empty: the operating system's own."""
    caa_strict: bool = False
    """Whether records that do not speak of the kind of certificate in question forbid it."""

    def __post_init__(self) -> None:
        """Refuse what would end up wrong in certificates."""
        _check_profile_ids(self.profile_ids)
        _check_caa(self)
        _check_base_url(self.base_url)
        try:
            der.oid(self.client_policy)
        except (ValueError, AttributeError):
            raise SetupRefused(
                f"[issuance] client_policy must be an object identifier, not {self.client_policy!r}"
            ) from None

    @property
    def caa_policy(self) -> Policy:
        """Who we are to CAA records."""
        return Policy(frozenset(name.lower() for name in self.caa_identities), self.caa_strict)

    @property
    def name_server(self) -> tuple[str, int] | None:
        """Address and port of ``caa_resolver``; None for the operating system's own."""
        return parse_name_server(self.caa_resolver) if self.caa_resolver else None

    def pointers(self, label: str) -> Pointers:
        """The URLs about the CA of this label."""
        return Pointers(
            ocsp=f"{self.base_url}/ocsp",
            certificate=f"{self.base_url}/ca/{label}.cer",
            crl=f"{self.base_url}/crl/{label}.crl",
        )

    def profile(self, name: str) -> Profile:
        """The profile of this name, with what the configuration says about it. Raises SetupRefused."""
        if name == CLIENT.name:
            return replace(CLIENT, policies=(self.client_policy,))
        try:
            return PROFILES[name]
        except KeyError:
            raise SetupRefused(f"there is no profile {name!r}") from None


def _check_profile_ids(identifiers: object) -> None:
    if not isinstance(identifiers, dict) or not identifiers:
        raise SetupRefused("[issuance] profile_ids must be a table with an entry")
    for identifier, profile in identifiers.items():
        if not (identifier.isascii() and identifier.isdigit() and len(identifier) <= _MAX_PROFILE_ID):
            raise SetupRefused(f"[issuance] profile_ids: {identifier!r} is not one or two digits")
        if not isinstance(profile, str) or profile.removesuffix(":ec") not in SUBSCRIBER_PROFILES:
            raise SetupRefused(f"[issuance] profile_ids: {profile!r} is no profile for subscribers")


def _check_caa(settings: Settings) -> None:
    for name in ("caa", "caa_strict"):
        if not isinstance(getattr(settings, name), bool):
            raise SetupRefused(f"[issuance] {name} must be true or false")
    identities = settings.caa_identities
    if not isinstance(identities, list | tuple) or not identities:
        raise SetupRefused("[issuance] caa_identities must be a list of domain names, with one at least")
    for identity in identities:
        if not isinstance(identity, str) or not _HOST.fullmatch(identity):
            raise SetupRefused(f"[issuance] caa_identities: {identity!r} is no domain name")
    if settings.caa_resolver != "":
        parse_name_server(settings.caa_resolver)


def parse_name_server(text: object) -> tuple[str, int]:
    """Address and port. Raises SetupRefused."""
    try:
        parts = urlsplit(f"//{text}" if isinstance(text, str) else "")
        address = str(ipaddress.ip_address(parts.hostname or ""))
        port = DNS_PORT if parts.port is None else parts.port
    except ValueError:
        raise SetupRefused(
            f"[issuance] caa_resolver must be an address such as 127.0.0.1:53 or [::1]:53, not {text!r}"
        ) from None
    return address, port


def _check_base_url(url: object) -> None:
    """Only what every client writes the same way; a pointer is an IA5String (RFC 5280 §4.2.1.6)."""
    refused = SetupRefused(f"[issuance] base_url must be an http:// URL without a slash at its end, not {url!r}")
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, port = parts.hostname or "", parts.port
        if parts.netloc.startswith("["):
            ipaddress.IPv6Address(host)
        elif not _HOST.fullmatch(host):
            raise refused
    except ValueError:
        raise refused from None
    suffix = "" if port is None else f":{port}"
    if port == 0 or parts.netloc.lower() not in (host + suffix, f"[{host}]{suffix}") or not _PATH.fullmatch(parts.path):
        raise refused
    if url != f"http://{parts.netloc}{parts.path}":
        raise refused


def read_settings(document: Mapping[str, Any]) -> Settings:
    """The settings in a parsed configuration. Raises SetupRefused, also for a key that is not known."""
    section = document.get("issuance", {})
    if not isinstance(section, dict):
        raise SetupRefused("[issuance] must be a table")
    known = {field.name for field in fields(Settings)}
    for key in section:
        if key not in known:
            raise SetupRefused(f"[issuance] {key} is not a setting")
    return Settings(**section)
