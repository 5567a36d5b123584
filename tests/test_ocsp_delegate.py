"""A delegate is refused at load for whatever BR §7.1.2.8 or RFC 6960 §4.2.2.2 forbids it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes import DAY, DELEGATE_EXTENSIONS, NOW, KeySigner, TinyCA, p256_signer

from ca_store.types import CredentialKind, IssuerID
from ocsp.delegate import DelegateRefused, load_delegate

if TYPE_CHECKING:
    from ca_store.types import Credential

CA = TinyCA()
SIGNER = p256_signer()
KEY_USAGE = DELEGATE_EXTENSIONS["keyUsage"][0]


def load(credential: Credential, signer: KeySigner = SIGNER, now: int = NOW) -> None:
    load_delegate(credential, CA.issuer, signer, now)


def key_usage(**changes: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**({name: name == "digital_signature" for name in names} | changes))


def changed(name: str, value: x509.ExtensionType | None, *, critical: bool = False) -> Credential:
    """A credential whose certificate has another value for one extension, or does not have it."""
    extensions = {key: each for key, each in DELEGATE_EXTENSIONS.items() if key != name}
    if value is not None:
        extensions[name] = (value, critical)
    return CA.credential(SIGNER, extensions=extensions)


POINTS = x509.CRLDistributionPoints(
    [x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.example/")], None, None, None)]
)
OCSP_SIGNING, CLIENT_AUTH = ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH
BASIC = x509.BasicConstraints
DNS = x509.DNSName("ocsp.example")


@pytest.mark.parametrize(
    ("credential", "field"),
    [
        (changed("extendedKeyUsage", None), "extendedKeyUsage"),
        (changed("extendedKeyUsage", x509.ExtendedKeyUsage([CLIENT_AUTH])), "extendedKeyUsage"),
        (changed("extendedKeyUsage", x509.ExtendedKeyUsage([OCSP_SIGNING, CLIENT_AUTH])), "extendedKeyUsage"),
        (changed("nocheck", None), "nocheck"),
        (changed("nocheck", x509.UnrecognizedExtension(x509.OCSPNoCheck.oid, b"\x04\x00")), "cannot be read"),
        (changed("keyUsage", None), "keyUsage"),
        (changed("keyUsage", key_usage()), "keyUsage"),
        (changed("keyUsage", key_usage(content_commitment=True), critical=True), "keyUsage"),
        (changed("keyUsage", key_usage(digital_signature=False, crl_sign=True), critical=True), "keyUsage"),
        (changed("basicConstraints", BASIC(ca=True, path_length=None), critical=True), "basicConstraints"),
        (changed("cRLDistributionPoints", POINTS), "cRLDistributionPoints"),
        (changed("subjectAltName", x509.SubjectAlternativeName([DNS])), "subjectAltName"),
        (changed("nameConstraints", x509.NameConstraints([DNS], None), critical=True), "nameConstraints"),
        (
            changed("own", x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), critical=True),
            "1.2.3.4",
        ),
        (CA.credential(SIGNER, authority=False), "authorityKeyIdentifier"),
        (CA.credential(SIGNER, not_after=NOW), "notAfter"),
        (CA.credential(SIGNER, issuer_key=p256_signer()), "signature"),
        (TinyCA(common_name="Another CA").credential(SIGNER), "issuer"),
        (CA.credential(p256_signer()), "subjectPublicKeyInfo"),
        (replace(CA.credential(SIGNER), kind=CredentialKind.TSA), "tsa"),
        (replace(CA.credential(SIGNER), issuer=IssuerID(7)), "another issuer"),
        (replace(CA.credential(SIGNER), serial=0xABC), "serialNumber"),
        (replace(CA.credential(SIGNER), certificate=b"\x30\x00"), "cannot be read"),
    ],
)
def test_a_wrong_delegate_is_refused(credential: Credential, field: str) -> None:
    with pytest.raises(DelegateRefused, match=field) as refusal:
        load(credential)
    assert f"the certificate of OCSP delegate {credential.serial:x} of tiny" in str(refusal.value)


def test_every_field_at_fault_is_named() -> None:
    with pytest.raises(DelegateRefused, match=r"extendedKeyUsage.*nocheck.*keyUsage"):
        load(CA.credential(SIGNER, extensions={}))


@pytest.mark.parametrize(
    "credential",
    [
        CA.credential(SIGNER),
        changed("basicConstraints", BASIC(ca=False, path_length=None)),
        changed("basicConstraints", BASIC(ca=False, path_length=None), critical=True),
    ],
    ids=["plain", "basicConstraints", "critical basicConstraints"],
)
def test_a_right_delegate_is_loaded(credential: Credential) -> None:
    load(credential)


def test_a_delegate_of_an_expired_ca_is_refused() -> None:
    ca = TinyCA(not_after=NOW - 1)
    with pytest.raises(DelegateRefused, match="its CA"):
        load_delegate(ca.credential(SIGNER), ca.issuer, SIGNER, NOW)


def test_the_key_of_another_algorithm_is_not_this_key() -> None:
    with pytest.raises(DelegateRefused, match="subjectPublicKeyInfo"):
        load(CA.credential(SIGNER), KeySigner(rsa.generate_private_key(65537, 2048)))


def test_a_delegate_speaks_neither_before_its_date_nor_before_its_certificate() -> None:
    early = CA.credential(SIGNER, not_before=NOW, active_from=NOW - DAY)
    late = CA.credential(SIGNER, not_before=NOW, active_from=NOW + DAY)
    assert load_delegate(early, CA.issuer, SIGNER, NOW).active_from == NOW
    assert load_delegate(late, CA.issuer, SIGNER, NOW).active_from == NOW + DAY


def test_the_previous_key_of_a_ca_has_its_own_delegates() -> None:
    """RFC 6960 §4.2.2.2: certified by the key that certified the certificates in question, not by its successor."""
    successor = TinyCA(id=IssuerID(2))
    credential = replace(CA.credential(SIGNER), issuer=successor.id)
    with pytest.raises(DelegateRefused, match="signature"):
        load_delegate(credential, successor.issuer, SIGNER, NOW)
