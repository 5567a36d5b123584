"""What a demo home has: six CAs with their signers, two time-stamping units, one institution, three certificates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from ca_store.errors import Conflict, KeyUnavailable
from ca_store.signing import KeyType
from ca_store.types import CredentialKind, Institution, Reason
from issuance.authority import Plan, ensure
from issuance.crl import sign_crl
from issuance.csr import decode_request
from issuance.errors import SetupRefused
from issuance.files import publish, replace_file
from issuance.profile import CODE_SIGNING, SERVER
from issuance.revocation import revoke
from issuance.signer_renewal import renew_unit, tenures
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from issuance.core import Core
    from issuance.profile import Profile

INSTITUTION: Final = Institution("Example University", "JP", "Tokyo", "Chiyoda-ku", ("example.ac.jp",))

_O: Final = INSTITUTION.name
PLANS: Final = (
    Plan("root", "root", None, KeyType.RSA_4096, f"{_O} Root CA", _O, INSTITUTION.country),
    Plan("server-rsa", "server", "root", KeyType.RSA_3072, f"{_O} Server CA"),
    Plan("server-ecc", "server", "root", KeyType.P384, f"{_O} Server CA ECC"),
    Plan("client", "client", "root", KeyType.RSA_3072, f"{_O} Client CA"),
    Plan("code-signing", "code-signing", "root", KeyType.RSA_3072, f"{_O} Code Signing CA"),
    Plan("timestamp", "timestamp", "root", KeyType.RSA_3072, f"{_O} Time-Stamping CA"),
)
UNITS: Final = (
    ("rsa", KeyType.RSA_3072, "tsa"),
    ("p256", KeyType.P256, "tsa-p256"),
    ("authenticode", KeyType.RSA_3072, "tsa-authenticode"),
)


def furnish(core: Core, home: Path) -> None:
    """Make what is missing of it. Raises StoreError, IssuanceError, OSError."""
    with suppress(Conflict):
        core.store.add_institution(INSTITUTION)
    _make_keys(core)
    for plan in PLANS:
        publish(home, plan.label, ensure(core, plan)[0].certificate)
    for name, key_type, file in UNITS:
        if not tenures(core, CredentialKind.TSA, name):
            renew_unit(core, name, key_type=key_type)
        publish(home, file, tenures(core, CredentialKind.TSA, name)[-1].credential.certificate)
    _issue_good(core, home)
    _issue_revoked(core, home)
    _issue_code_signer(core, home)


def _make_keys(core: Core) -> None:
    """RSA keys take most of the time, their making and their check when opened; OpenSSL does both without the GIL."""
    present = {issuer.label for issuer in core.store.issuers()}

    def make(plan: Plan) -> None:
        if plan.label not in present:
            with suppress(Conflict):
                core.keys.generate(plan.key_reference, plan.key_type)
        try:
            core.key(plan.key_reference)
        except KeyUnavailable as error:
            raise SetupRefused(
                f"the key of the CA {plan.label} is not in this home (leave out --demo to share a database): {error}"
            ) from None

    with ThreadPoolExecutor() as pool:
        list(pool.map(make, PLANS))


def _issue_good(core: Core, home: Path) -> None:
    if not _is_published(home, "demo-good"):
        publish(home, "demo-good", _issue_server(core, "good.example.ac.jp")[1])


def _issue_revoked(core: Core, home: Path) -> None:
    if not _is_published(home, "demo-revoked"):
        serial, certificate = _issue_server(core, "revoked.example.ac.jp")
        issuer = core.store.issuer("server-rsa")
        revoke(core, issuer, serial, Reason.keyCompromise)
        sign_crl(core, issuer)
        publish(home, "demo-revoked", certificate)


def _issue_code_signer(core: Core, home: Path) -> None:
    if not _is_published(home, "demo-code-signer"):
        request = _sign_request(_code_signing_key(home), INSTITUTION.name)
        publish(home, "demo-code-signer", _issue(core, "code-signing", CODE_SIGNING, request)[1])


def _is_published(home: Path, name: str) -> bool:
    return (home / "certs" / f"{name}.pem").exists()


def _issue_server(core: Core, host: str) -> tuple[int, bytes]:
    # No one serves under these names, so the key is not kept.
    key = rsa.generate_private_key(65537, 2048)
    return _issue(core, "server-rsa", SERVER, _sign_request(key, host, (host,)))


def _issue(core: Core, label: str, profile: Profile, request: bytes) -> tuple[int, bytes]:
    return issue_from_request(core, core.store.issuer(label), profile, decode_request(request))


def _code_signing_key(home: Path) -> rsa.RSAPrivateKey:
    """A subscriber's key, which is no CA's business: it lies there in plain PEM for the tour's signing tools."""
    file = home / "keys" / "demo-code-signer.key"
    if not file.exists():
        made = rsa.generate_private_key(65537, 3072)
        replace_file(file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    key = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - made above
    return key


def _sign_request(key: rsa.RSAPrivateKey, common_name: str, dns_names: Sequence[str] = ()) -> bytes:
    """The subscriber's part: a signing request."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
    if dns_names:
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
