"""A CertID names an issuer by both hashes, and an issuer is one key."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from fakes import SHA1, TinyCA

from ca_store.types import IssuerID
from ocsp.codec import CertID, decode_request
from ocsp.directory import Directory
from ocsp.errors import Unauthorized

OLD = TinyCA(id=IssuerID(1))
NEW = TinyCA(id=IssuerID(2))
STRANGER = TinyCA(id=IssuerID(3), common_name="Stranger CA")
DIRECTORY = Directory([OLD.issuer, NEW.issuer], [OLD.delegate(), NEW.delegate()])


def asked(ca: TinyCA, algorithm: hashes.HashAlgorithm = SHA1) -> CertID:
    """As another library hashes the issuer."""
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate(ca.issue(5), ca.certificate, algorithm)
    (found,) = decode_request(builder.build().public_bytes(Encoding.DER), cert_ids=1, nonce=32).cert_ids
    return found


@pytest.mark.parametrize(
    "algorithm", [SHA1, hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda each: each.name
)
def test_an_issuer_is_found_under_every_hash(algorithm: hashes.HashAlgorithm) -> None:
    assert DIRECTORY.issuer([asked(NEW, algorithm)]) is NEW.issuer


def test_a_new_key_under_the_old_name_is_another_issuer() -> None:
    assert DIRECTORY.issuer([asked(OLD)]) is OLD.issuer
    assert DIRECTORY.issuer([asked(NEW)]) is NEW.issuer


def test_sha_1_and_sha_256_of_one_issuer_go_together() -> None:
    assert DIRECTORY.issuer([asked(NEW), asked(NEW, hashes.SHA256())]) is NEW.issuer


@pytest.mark.parametrize(
    "cert_ids",
    [
        [asked(STRANGER)],
        [asked(NEW), asked(STRANGER)],
        [asked(STRANGER), asked(NEW)],
        [asked(NEW), asked(OLD)],
        [asked(NEW, hashes.SHA224())],
        [asked(NEW)._replace(key_hash=asked(STRANGER).key_hash)],
        [asked(NEW)._replace(name_hash=asked(STRANGER).name_hash)],
        [asked(NEW)._replace(algorithm=asked(NEW, hashes.SHA256()).algorithm)],
    ],
    ids=[
        "stranger",
        "known and stranger",
        "stranger and known",
        "two known",
        "hash algorithm not known here",
        "another's key",
        "another's name",
        "hashes of another algorithm",
    ],
)
def test_what_is_not_one_known_issuer_is_unauthorized(cert_ids: list[CertID]) -> None:
    """Never another CA's delegate saying good."""
    with pytest.raises(Unauthorized):
        DIRECTORY.issuer(cert_ids)
