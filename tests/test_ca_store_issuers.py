"""How a CertID names an issuer: over the certificate's own octets (RFC 6960 §4.1.1)."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as x509_ocsp
from store_world import make_certificate

from ca_store import der
from ca_store.issuers import issuer_hashes
from ca_store.types import HashAlgorithm


def test_hashes_are_those_that_a_client_computes() -> None:
    """A root issues itself, so a request for its own certificate names it."""
    certificate = make_certificate("root")
    hashed = {entry.algorithm: entry for entry in issuer_hashes(certificate.public_bytes(Encoding.DER))}
    assert set(hashed) == set(HashAlgorithm)
    for algorithm, entry in hashed.items():
        digest = getattr(hashes, algorithm.name)()
        request = x509_ocsp.OCSPRequestBuilder().add_certificate(certificate, certificate, digest).build()
        assert (entry.name_hash, entry.key_hash) == (request.issuer_name_hash, request.issuer_key_hash)


def test_hashes_are_over_octets_as_they_are_in_the_certificate() -> None:
    """A name in TeletexString and a compressed point, which no encoder of today would write again."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    name = der.sequence(der.set_of([der.sequence(der.oid("2.5.4.3"), der.tlv(0x14, b"Old CA"))]))
    algorithm = der.sequence(der.oid("1.2.840.10045.4.3.2"))
    curve = der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))
    validity = der.sequence(der.generalized_time(2_600_000_000), der.generalized_time(2_700_000_000))
    body = der.sequence(
        der.context(0, der.integer(2)),
        der.integer(77),
        algorithm,
        name,
        validity,
        name,
        der.sequence(curve, der.bit_string(point)),
    )
    signature = key.sign(body, ec.ECDSA(hashes.SHA256()))
    certificate = der.sequence(body, algorithm, der.bit_string(signature))
    [sha256] = [entry for entry in issuer_hashes(certificate) if entry.algorithm is HashAlgorithm.SHA256]
    assert sha256.name_hash == hashlib.sha256(name).digest()
    assert sha256.key_hash == hashlib.sha256(point).digest()


@pytest.mark.parametrize("octets", [b"", b"\x30\x00", b"no certificate"])
def test_what_is_no_certificate_has_no_hashes(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        issuer_hashes(octets)


def test_a_certificate_with_trailing_octets_has_no_hashes() -> None:
    encoded = make_certificate("root").public_bytes(Encoding.DER)
    assert x509.load_der_x509_certificate(encoded)
    with pytest.raises(ValueError, match=r".+"):
        issuer_hashes(encoded + b"\0")
