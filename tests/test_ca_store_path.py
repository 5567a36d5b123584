"""Certification paths (RFC 5280 §6.1): what ends one, by certificate and field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ca_store.path import PathError, check_path

NOW = datetime(2026, 11, 25, tzinfo=UTC)
AT = int(NOW.timestamp())
DAY = timedelta(days=1)


@dataclass
class Entity:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def make(
    name: str,
    issuer: Entity | None = None,
    *,
    ca: bool | None = True,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    start: datetime = NOW - DAY,
    end: datetime = NOW + DAY,
    critical: bool = False,
) -> Entity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    parent = subject if issuer is None else issuer.certificate.subject
    builder = x509.CertificateBuilder(parent, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(end)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    return Entity(builder.sign(key if issuer is None else issuer.key, hashes.SHA256()), key)


ROOT = make("root")
SUB = make("sub", ROOT)
LEAF = make("leaf", SUB, ca=False)


def path(leaf: Entity, *intermediates: Entity, anchors: tuple[Entity, ...] = (ROOT,), at: int = AT) -> list[str]:
    found = check_path(
        leaf.certificate, [entity.certificate for entity in intermediates], [a.certificate for a in anchors], at
    )
    return [certificate.subject.rfc4514_string() for certificate in found]


def test_a_path_through_an_intermediate() -> None:
    assert path(LEAF, make("stray"), SUB) == ["CN=leaf", "CN=sub", "CN=root"]
    assert path(SUB) == ["CN=sub", "CN=root"]
    assert path(ROOT) == ["CN=root"]


def test_an_anchor_may_be_an_intermediate() -> None:
    assert path(LEAF, anchors=(SUB,)) == ["CN=leaf", "CN=sub"]


def test_of_two_issuers_with_one_name_the_signer_is_found() -> None:
    assert path(LEAF, make("sub", ROOT), SUB) == ["CN=leaf", "CN=sub", "CN=root"]


@pytest.mark.parametrize(
    ("leaf", "intermediates", "sentence"),
    [
        (LEAF, (), "CN=leaf: issuer CN=sub is not among the trust anchors"),
        (make("leaf", make("sub", ROOT), ca=False), (SUB,), "CN=leaf: signature was not made by the key of"),
        (make("leaf", ROOT, ca=False, end=NOW - timedelta(seconds=1)), (), "CN=leaf: notAfter .* is past"),
        (make("leaf", ROOT, ca=False, start=NOW + timedelta(seconds=1)), (), "CN=leaf: notBefore .* is ahead"),
        (make("leaf", ROOT, ca=False, critical=True), (), "CN=leaf: critical extension 1.2.3.4 is not understood"),
    ],
    ids=["unknown issuer", "other key of that name", "expired", "not yet valid", "critical extension"],
)
def test_a_leaf_without_a_path(leaf: Entity, intermediates: tuple[Entity, ...], sentence: str) -> None:
    with pytest.raises(PathError, match=sentence):
        path(leaf, *intermediates)


@pytest.mark.parametrize(
    ("sub", "sentence"),
    [
        (make("sub", ROOT, ca=None), "CN=sub: basicConstraints is missing"),
        (make("sub", ROOT, ca=False), "CN=sub: basicConstraints does not say cA"),
        (make("sub", ROOT, key_usage=usage(key_cert_sign=False)), "CN=sub: keyUsage lacks keyCertSign"),
        (make("sub", ROOT, end=NOW - timedelta(seconds=1)), "CN=sub: notAfter .* is past"),
    ],
    ids=["no basicConstraints", "not a CA", "may not sign certificates", "expired"],
)
def test_an_intermediate_that_may_not_issue(sub: Entity, sentence: str) -> None:
    with pytest.raises(PathError, match=sentence):
        path(make("leaf", sub, ca=False), sub)


def test_a_path_length_counts_the_certificate_authorities_below() -> None:
    tight = make("tight", path_length=0)
    below = make("below", tight, key_usage=usage(key_cert_sign=True))
    assert path(make("leaf", tight, ca=False), anchors=(tight,)) == ["CN=leaf", "CN=tight"]
    with pytest.raises(PathError, match="CN=tight: pathLenConstraint 0 is exceeded"):
        path(make("leaf", below, ca=False), below, anchors=(tight,))


def test_the_last_second_counts() -> None:
    leaf = make("leaf", ROOT, ca=False, start=NOW, end=NOW)
    assert path(leaf) == ["CN=leaf", "CN=root"]


def test_a_loop_of_cross_certificates_ends() -> None:
    one, two = make("one"), make("two")
    crossed = [Entity(make("one", two).certificate, one.key), Entity(make("two", one).certificate, two.key)]
    with pytest.raises(PathError):
        path(make("leaf", one, ca=False), *crossed)
