"""The ``[issuance]`` section of a home's configuration."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ca_store import der
from issuance.certificate import Pointers
from issuance.errors import SetupRefused
from issuance.profile import CLIENT, CLIENT_POLICY, PROFILES, SUBSCRIBER_PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from issuance.profile import Profile

DEFAULT_BASE_URL: Final = "http://127.0.0.1:8080"

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

    def __post_init__(self) -> None:
        """Refuse what would end up wrong in certificates."""
        _check_profile_ids(self.profile_ids)
        _check_base_url(self.base_url)
        try:
            der.oid(self.client_policy)
        except (ValueError, AttributeError):
            raise SetupRefused(
                f"[issuance] client_policy must be an object identifier, not {self.client_policy!r}"
            ) from None

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
