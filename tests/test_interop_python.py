"""cryptography, asn1crypto and rfc3161-client read what a running server answers."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from asn1crypto import ocsp as raw_ocsp
from asn1crypto import tsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response
from rfc3161_client.errors import VerificationError
from strangers import SHA1, SHA256, SUB_CAS, TIMESTAMP_QUERY, ask, certificate, load, ocsp_request

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.hashes import HashAlgorithm as Digest
    from running_server import Server

DIGESTS = pytest.mark.parametrize("digest", [SHA1, SHA256], ids=["SHA-1", "SHA-256"])
UNITS = pytest.mark.parametrize(("path", "unit"), [("/tsa", "tsa"), ("/tsa/p256", "tsa-p256")])
MESSAGE = b"what was there at that time"


def answer(server: Server, label: str, issuer: str, **options: Any) -> x509_ocsp.OCSPResponse:
    request = ocsp_request(certificate(server.home, label), certificate(server.home, issuer), **options)
    reply = ask(f"{server.url}/ocsp", request)
    assert (reply.status, reply.content_type) == (200, "application/ocsp-response")
    return x509_ocsp.load_der_ocsp_response(reply.body)


def check_signature(response: x509_ocsp.OCSPResponse, issuer: x509.Certificate) -> None:
    """By the delegate that came along, which the issuer itself certified (RFC 6960 §4.2.2.2)."""
    (delegate,) = response.certificates
    delegate.verify_directly_issued_by(issuer)
    assert [*delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value] == [
        ExtendedKeyUsageOID.OCSP_SIGNING
    ]
    assert response.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(delegate.public_key()).digest
    key, digest = delegate.public_key(), response.signature_hash_algorithm
    assert digest is not None
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))


@DIGESTS
@pytest.mark.parametrize("nonce", [secrets.token_bytes(32), None], ids=["nonce", "no nonce"])
def test_cryptography_reads_good_and_revoked(server: Server, digest: Digest, nonce: bytes | None) -> None:
    issuer = load(certificate(server.home, "server-rsa"))
    for label, status in (
        ("demo-good", x509_ocsp.OCSPCertStatus.GOOD),
        ("demo-revoked", x509_ocsp.OCSPCertStatus.REVOKED),
    ):
        response = answer(server, label, "server-rsa", digest=digest, nonce=nonce)
        check_signature(response, issuer)
        assert response.certificate_status is status
        assert response.serial_number == load(certificate(server.home, label)).serial_number
        assert response.hash_algorithm.name == digest.name
        assert [each.value for each in response.extensions] == ([] if nonce is None else [x509.OCSPNonce(nonce)])
        assert response.this_update_utc == response.produced_at_utc
        now, until = dt.datetime.now(dt.UTC), response.next_update_utc
        assert until is not None
        assert response.this_update_utc <= now < until
        assert dt.timedelta(hours=8) <= until - response.this_update_utc <= dt.timedelta(days=7)


@pytest.mark.parametrize(
    ("label", "issuer"),
    [
        *((label, "root") for label in SUB_CAS),
        ("demo-code-signer", "code-signing"),
        ("tsa", "timestamp"),
        ("tsa-p256", "timestamp"),
    ],
)
def test_each_issuer_has_a_delegate_of_its_own(server: Server, label: str, issuer: str) -> None:
    response = answer(server, label, issuer)
    check_signature(response, load(certificate(server.home, issuer)))
    assert response.certificate_status is x509_ocsp.OCSPCertStatus.GOOD
    (delegate,) = response.certificates
    # Microsoft's root programme knows no ECC for code signing and time-stamping.
    assert isinstance(delegate.public_key(), rsa.RSAPublicKey) == (issuer in {"code-signing", "timestamp"})


def test_the_delegates_are_rows_too(server: Server, tmp_path: Path) -> None:
    """Their certificates say that nobody needs to ask; who asks nevertheless gets an answer."""
    (delegate,) = answer(server, "demo-good", "server-rsa").certificates
    path = tmp_path / "delegate.pem"
    path.write_bytes(delegate.public_bytes(Encoding.PEM))
    reply = ask(f"{server.url}/ocsp", ocsp_request(path, certificate(server.home, "server-rsa")))
    assert x509_ocsp.load_der_ocsp_response(reply.body).certificate_status is x509_ocsp.OCSPCertStatus.GOOD


def test_an_altered_answer_does_not_verify(server: Server) -> None:
    """That the tests above verify something shows in this one."""
    request = ocsp_request(certificate(server.home, "demo-revoked"), certificate(server.home, "server-rsa"))
    body = ask(f"{server.url}/ocsp", request).body
    reason = b"\xa0\x03\x0a\x01"
    at = body.index(reason) + len(reason)
    altered = body[:at] + bytes((body[at] ^ 4,)) + body[at + 1 :]
    with pytest.raises(InvalidSignature):
        check_signature(x509_ocsp.load_der_ocsp_response(altered), load(certificate(server.home, "server-rsa")))


@pytest.mark.parametrize("label", ["demo-good", "demo-revoked"])
def test_asn1crypto_encodes_an_answer_to_the_same_octets(server: Server, label: str) -> None:
    request = ocsp_request(certificate(server.home, label), certificate(server.home, "server-rsa"))
    body = ask(f"{server.url}/ocsp", request).body
    parsed = raw_ocsp.OCSPResponse.load(body, strict=True)
    assert parsed.native["response_status"] == "successful"
    assert raw_ocsp.OCSPResponse.load(body, strict=True).copy().dump(force=True) == body


def test_the_published_ca_certificates_are_the_homes(server: Server) -> None:
    for label in ("root", *SUB_CAS):
        reply = ask(f"{server.url}/ca/{label}.cer")
        assert (reply.status, reply.content_type) == (200, "application/pkix-cert")
        assert x509.load_der_x509_certificate(reply.body) == load(certificate(server.home, label))


@pytest.mark.parametrize("label", ["root", *SUB_CAS])
def test_cryptography_verifies_every_crl(server: Server, label: str) -> None:
    reply = ask(f"{server.url}/crl/{label}.crl")
    assert (reply.status, reply.content_type) == (200, "application/pkix-crl")
    crl, issuer = x509.load_der_x509_crl(reply.body), load(certificate(server.home, label))
    key = issuer.public_key()
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    assert crl.is_signature_valid(key)
    assert crl.issuer == issuer.subject
    until = crl.next_update_utc
    assert until is not None
    assert crl.last_update_utc <= dt.datetime.now(dt.UTC) < until
    revoked = load(certificate(server.home, "demo-revoked")).serial_number
    assert (crl.get_revoked_certificate_by_serial_number(revoked) is not None) == (label == "server-rsa")


@UNITS
@pytest.mark.parametrize("digest", [HashAlgorithm.SHA256, HashAlgorithm.SHA512])
def test_rfc3161_client_verifies(server: Server, path: str, unit: str, digest: HashAlgorithm) -> None:
    request = TimestampRequestBuilder().data(MESSAGE).hash_algorithm(digest).nonce(nonce=True).build()
    reply = ask(server.url + path, request.as_bytes(), TIMESTAMP_QUERY)
    response = decode_timestamp_response(reply.body)
    trusting = VerifierBuilder(
        roots=[load(certificate(server.home, "root"))],
        nonce=request.nonce,
        common_name=load(certificate(server.home, unit)).subject.rfc4514_string(),
    )
    assert trusting.build().verify_message(response, MESSAGE)
    with pytest.raises(VerificationError, match="Mismatch between messages"):
        trusting.build().verify_message(decode_timestamp_response(reply.body), b"something else")
    with pytest.raises(VerificationError, match="certificates"):
        VerifierBuilder(roots=[load(certificate(server.home, "server-rsa"))]).build().verify_message(response, MESSAGE)


@UNITS
def test_asn1crypto_encodes_a_token_to_the_same_octets(server: Server, path: str, unit: str) -> None:
    """EU DSS encodes what it reads again: a token must be DER to the last octet."""
    query = tsp.TimeStampReq(
        {
            "version": 1,
            "message_imprint": {
                "hash_algorithm": {"algorithm": "sha512"},
                "hashed_message": hashlib.sha512(MESSAGE).digest(),
            },
            "cert_req": True,
        }
    )
    body = ask(server.url + path, query.dump(), TIMESTAMP_QUERY).body
    parsed = tsp.TimeStampResp.load(body, strict=True)
    signed = parsed["time_stamp_token"]["content"]
    assert load(certificate(server.home, unit)).serial_number in {
        each.chosen.serial_number for each in signed["certificates"]
    }
    assert parsed.copy().dump(force=True) == body
