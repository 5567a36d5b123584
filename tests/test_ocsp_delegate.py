"""A delegate is refused at load for whatever BR §7.1.2.8 or RFC 6960 §4.2.2.2 forbids it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fakes import DAY, DELEGATE_EXTENSIONS, NOW, KeySigner, TinyCA, p256_signer

from ca_store.types import CredentialKind, IssuerID
from ocsp.delegate import DelegateRefused, load_delegate

if TYPE_CHECKING:
    from ca_store.types import Credential

    PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

SHA256 = hashes.SHA256()
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


def certificate_with(builder: x509.CertificateBuilder, digest: hashes.SHA256 | hashes.SHA224 = SHA256) -> Credential:
    """A credential whose certificate was put together by hand."""
    credential = CA.credential(SIGNER)
    der = builder.sign(CA.signer.key, digest).public_bytes(Encoding.DER)
    return replace(credential, certificate=der)


def right(subject: x509.Name | None = None, key: PublicKey | None = None, *leave_out: str) -> x509.CertificateBuilder:
    """What ``CA.credential`` makes, up to the signature and the authority key identifier."""
    made = x509.load_der_x509_certificate(CA.credential(SIGNER).certificate)
    builder = (
        x509.CertificateBuilder(made.issuer, subject or made.subject, key or made.public_key(), made.serial_number)
        .not_valid_before(made.not_valid_before_utc)
        .not_valid_after(made.not_valid_after_utc)
    )
    for name, (value, critical) in DELEGATE_EXTENSIONS.items():
        if name not in leave_out:
            builder = builder.add_extension(value, critical)
    return builder


AUTHORITY = x509.AuthorityKeyIdentifier.from_issuer_public_key(CA.signer.key.public_key())
NAMED = x509.AuthorityKeyIdentifier(AUTHORITY.key_identifier, [x509.DirectoryName(CA.name)], 1)
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused


def named(*oids: x509.ObjectIdentifier) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, "JP") for oid in oids])


COUNTRY, ORGANIZATION, COMMON = NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME


@pytest.mark.parametrize(
    ("builder", "field"),
    [
        (right().add_extension(x509.AuthorityKeyIdentifier(b"another", None, None), critical=False), "authorityKey"),
        (right().add_extension(NAMED, critical=False), "authorityKeyIdentifier"),
        (right(named(ORGANIZATION, COMMON)).add_extension(AUTHORITY, critical=False), "countryName"),
        (right(named(COUNTRY, COMMON)).add_extension(AUTHORITY, critical=False), "organizationName"),
        (right(named(COUNTRY, ORGANIZATION)).add_extension(AUTHORITY, critical=False), "commonName"),
        (right(None, WEAK.public_key()).add_extension(AUTHORITY, critical=False), "RSA of 1024 bits"),
        (
            right(None, ed25519.Ed25519PrivateKey.generate().public_key()).add_extension(AUTHORITY, critical=False),
            "must be RSA or EC",
        ),
        (
            right(None, None, "nocheck")
            .add_extension(AUTHORITY, critical=False)
            .add_extension(x509.OCSPNoCheck(), True),
            "critical extension 1.3.6.1.5.5.7.48.1.5",
        ),
    ],
    ids=["another AKI", "AKI with names", "no C", "no O", "no CN", "short RSA", "Ed25519", "critical nocheck"],
)
def test_the_rest_of_br_7_1_2_8(builder: x509.CertificateBuilder, field: str) -> None:
    with pytest.raises(DelegateRefused, match=field) as refusal:
        load(certificate_with(builder))
    assert "the certificate of OCSP delegate d1 of tiny is refused" in str(refusal.value)


def test_a_weak_digest_is_refused() -> None:
    """BR §7.1.3.2.1: SHA-1 signs nothing."""
    weak = certificate_with(right().add_extension(AUTHORITY, critical=False), hashes.SHA224())
    with pytest.raises(DelegateRefused, match="signatureAlgorithm must use SHA-256, SHA-384 or SHA-512"):
        load(weak)


def test_what_the_cases_are_made_of_is_right_but_for_the_fault() -> None:
    load(certificate_with(right().add_extension(AUTHORITY, critical=False)))


def test_a_code_signing_ca_promises_ten_years() -> None:
    """Told by the CA's own extended key usage."""
    plain = load_delegate(CA.credential(SIGNER), CA.issuer, SIGNER, NOW)
    assert (plain.default, plain.retention) == (True, None)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    builder = (
        x509.CertificateBuilder(CA.name, CA.name, CA.signer.key.public_key(), 1)
        .not_valid_before(CA.certificate.not_valid_before_utc)
        .not_valid_after(CA.certificate.not_valid_after_utc)
        .add_extension(x509.SubjectKeyIdentifier(AUTHORITY.key_identifier or b""), critical=False)
        .add_extension(usage, critical=False)
    )
    issuer = replace(CA.issuer, certificate=builder.sign(CA.signer.key, SHA256).public_bytes(Encoding.DER))
    other = replace(CA.credential(SIGNER), name="tiny.p256")
    found = load_delegate(other, issuer, SIGNER, NOW)
    assert (found.default, found.retention) == (False, 3653 * DAY)


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
