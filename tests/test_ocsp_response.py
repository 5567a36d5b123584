"""The octets of an answer, read by decoders that no one here wrote."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from fakes import DAY, NOW, SHA1, KeySigner, TinyCA, good, p256_signer, revoked
from pkilint import loader, pkix, validation
from pkilint.pkix import extension, name
from pkilint.pkix import ocsp as pkilint_ocsp

from ca_store import der
from ca_store.types import CertificateState, Reason, Status
from ocsp.response import response, response_data, single_response
from ocsp.window import Times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ocsp.delegate import Delegate

CA = TinyCA()
SIGNER = p256_signer()
DELEGATE = CA.delegate(SIGNER)
TIMES = Times(NOW - 60, NOW - 60 + DAY, NOW + 60)
SERIAL = 0x5EA1


def cert_id(serial: int = SERIAL, hash_algorithm: hashes.HashAlgorithm | None = None) -> bytes:
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate(CA.issue(serial), CA.certificate, hash_algorithm or SHA1)
    encoded = builder.build().public_bytes(Encoding.DER)
    found: bytes = asn1_ocsp.OCSPRequest.load(encoded)["tbs_request"]["request_list"][0]["req_cert"].dump()
    return found


CERT_ID = cert_id()


def answer(
    *statuses: Status | None, delegate: Delegate = DELEGATE, nonce: bytes | None = None, times: Times = TIMES
) -> bytes:
    """A signed OCSPResponse with one SingleResponse a status."""
    responses = [single_response(CERT_ID, status, times) for status in statuses]
    data = response_data(delegate, times.this_update, responses, nonce)
    return response(delegate, data, delegate.signer.sign(data))


def read(encoded: bytes) -> x509_ocsp.OCSPResponse:
    return x509_ocsp.load_der_ocsp_response(encoded)


def test_good() -> None:
    found = read(answer(good()))
    assert found.response_status is x509_ocsp.OCSPResponseStatus.SUCCESSFUL
    assert found.certificate_status is x509_ocsp.OCSPCertStatus.GOOD
    assert found.serial_number == SERIAL
    assert found.this_update_utc.timestamp() == found.produced_at_utc.timestamp() == TIMES.this_update
    assert found.next_update_utc is not None
    assert found.next_update_utc.timestamp() == TIMES.next_update


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in {0, 8}], ids=lambda each: each.name)
def test_revoked_with_its_reason(reason: Reason) -> None:
    found = read(answer(revoked(NOW - DAY, reason)))
    assert found.certificate_status is x509_ocsp.OCSPCertStatus.REVOKED
    assert found.revocation_reason is not None
    assert found.revocation_reason.value == reason.name
    assert found.revocation_time_utc is not None
    assert found.revocation_time_utc.timestamp() == NOW - DAY


@pytest.mark.parametrize("reason", [None, Reason.unspecified, Reason.removeFromCRL])
def test_a_reason_that_says_nothing_is_left_out(reason: Reason | None) -> None:
    """RFC 5280 §5.3.1: absent instead of unspecified (0)."""
    assert read(answer(revoked(NOW - DAY, reason))).revocation_reason is None


def test_unknown() -> None:
    assert read(answer(None)).certificate_status is x509_ocsp.OCSPCertStatus.UNKNOWN


def test_several_stay_in_order() -> None:
    found = [each.certificate_status.name for each in read(answer(good(), None, revoked())).responses]
    assert found == ["GOOD", "UNKNOWN", "REVOKED"]


def test_a_revocation_dated_ahead_of_the_answer_is_dated_like_it() -> None:
    """revocationTime ≤ thisUpdate."""
    ahead = Status(CertificateState.REVOKED, NOW - DAY, NOW + DAY, NOW + DAY, Reason.superseded)
    found = read(answer(ahead)).revocation_time_utc
    assert found is not None
    assert found.timestamp() == TIMES.this_update


@pytest.mark.parametrize(
    "status",
    [Status(CertificateState.REVOKED, NOW, NOW + DAY), Status(CertificateState.RESERVED, NOW, NOW + DAY)],
    ids=["revoked without a time", "reserved"],
)
def test_rows_that_no_answer_can_be_made_of(status: Status) -> None:
    with pytest.raises(ValueError, match="no answer"):
        answer(status)


@pytest.mark.parametrize("algorithm", [SHA1, hashes.SHA256(), hashes.SHA512()], ids=lambda each: each.name)
def test_the_cert_id_is_repeated_octet_for_octet(algorithm: hashes.HashAlgorithm) -> None:
    """RFC 6960 §4.2.1; clients compare it with what they sent."""
    sent = cert_id(SERIAL, algorithm)
    assert sent in single_response(sent, good(), TIMES)


def fields(encoded: bytes) -> tuple[asn1_ocsp.BasicOCSPResponse, asn1_ocsp.ResponseData]:
    basic = asn1_ocsp.OCSPResponse.load(encoded, strict=True).basic_ocsp_response
    return basic, basic["tbs_response_data"]


def test_what_an_answer_without_nonce_holds() -> None:
    """RFC 9919 §3.2: byKey, the delegate's certificate once, no responseExtensions, and DEFAULTs not encoded."""
    encoded = answer(good())
    basic, data = fields(encoded)
    basic.native  # noqa: B018 - asn1crypto is lazy
    assert data["responder_id"].name == "by_key"
    key = x509.SubjectKeyIdentifier.from_public_key(SIGNER.key.public_key())
    assert data["responder_id"].native == key.digest
    assert [each.dump() for each in basic["certs"]] == [
        each.public_bytes(Encoding.DER) for each in read(encoded).certificates
    ]
    assert len(basic["certs"]) == 1
    assert data["response_extensions"].native is None
    assert data.contents.startswith(b"\xa2"), "the version is left out"


def test_a_nonce_goes_back_as_it_came_and_never_critical() -> None:
    """RFC 9654 §2.1."""
    nonce = der.octet_string(b"n" * 40)
    found = read(answer(good(), nonce=nonce)).extensions
    assert [(each.value, each.critical) for each in found] == [(x509.OCSPNonce(b"n" * 40), False)]
    _, data = fields(answer(good(), nonce=nonce))
    assert data["response_extensions"][0]["extn_value"].contents == nonce


def test_every_time_is_whole_seconds_in_zulu() -> None:
    """RFC 5280 §4.1.2.5.2: YYYYMMDDHHMMSSZ, in all four fields."""
    encoded = answer(revoked(NOW - DAY))
    assert encoded.count(b"\x18\x0f20") == 4


def test_equal_arguments_give_equal_octets() -> None:
    """RFC 6979: also the signature."""
    assert answer(good()) == answer(good())


@pytest.mark.parametrize(
    "signer", [SIGNER, KeySigner(rsa.generate_private_key(65537, 3072))], ids=["P-256", "RSA-3072"]
)
def test_the_signature_is_over_the_response_data(signer: KeySigner) -> None:
    found = read(answer(good(), delegate=CA.delegate(signer)))
    key = signer.key.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(found.signature, found.tbs_response_bytes, padding.PKCS1v15(), hashes.SHA256())
    else:
        key.verify(found.signature, found.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


NONCE = der.octet_string(b"n" * 32)


def findings(encoded: bytes) -> Sequence[validation.ValidationFindingDescription]:
    """What pkilint has to say at error level and above."""
    container = pkilint_ocsp.create_pkix_ocsp_response_validator_container(
        [
            pkilint_ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )
    document = loader.load_ocsp_response(encoded, "answer")
    return [
        found
        for result in container.validate(document.root)
        for found in result.finding_descriptions
        if found.finding.severity <= validation.ValidationFindingSeverity.WARNING
    ]


@pytest.mark.parametrize(
    "encoded",
    [answer(good()), answer(revoked()), answer(None), answer(good(), None, revoked()), answer(good(), nonce=NONCE)],
    ids=["good", "revoked", "unknown", "several", "with nonce"],
)
def test_pkilint_finds_nothing(encoded: bytes) -> None:
    assert findings(encoded) == []


@pytest.mark.interop("openssl")
@pytest.mark.parametrize(
    ("status", "word"),
    [(good(1), "good"), (revoked(1, Reason.keyCompromise), "revoked"), (None, "unknown")],
    ids=["good", "revoked", "unknown"],
)
def test_openssl_verifies_a_stored_answer(status: Status | None, word: str, tmp_path: Path) -> None:
    now = int(time.time())
    ca = TinyCA(not_before=now - DAY, not_after=now + DAY)
    delegate = ca.delegate(not_before=now - DAY, not_after=now + DAY)
    leaf = ca.issue(SERIAL, not_before=now - DAY)
    request = x509_ocsp.OCSPRequestBuilder().add_certificate(leaf, ca.certificate, SHA1).build()
    asked = asn1_ocsp.OCSPRequest.load(request.public_bytes(Encoding.DER))["tbs_request"]["request_list"][0]
    times = Times(now - 60, now + 60, now + 30)
    data = response_data(delegate, now - 60, [single_response(asked["req_cert"].dump(), status, times)], None)
    (tmp_path / "answer.der").write_bytes(response(delegate, data, delegate.signer.sign(data)))
    (tmp_path / "ca.pem").write_bytes(ca.certificate.public_bytes(Encoding.PEM))
    done = subprocess.run(
        [
            "openssl",
            "ocsp",
            "-no_nonce",
            "-respin",
            "answer.der",
            "-issuer",
            "ca.pem",
            "-serial",
            hex(SERIAL),
            "-CAfile",
            "ca.pem",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Response verify OK" in done.stderr
    assert f"{hex(SERIAL)}: {word}" in done.stdout
    assert ("Reason: keyCompromise" in done.stdout) == (word == "revoked")
    assert "WARNING" not in done.stdout + done.stderr


SCTS = bytes.fromhex("00050003aabbcc")


@pytest.mark.parametrize("status", [good(), revoked()], ids=["good", "revoked"])
def test_single_extensions_are_the_scts_and_the_archive_cutoff_and_nothing_else(status: Status) -> None:
    """RFC 6962 §3.3, RFC 6960 §4.4.4; BR §7.3.2 forbids a reason code here."""
    responses = [single_response(CERT_ID, status._replace(sct_list=SCTS), TIMES, NOW - 3653 * DAY)]
    data = response_data(DELEGATE, TIMES.this_update, responses, None)
    _, read_data = fields(response(DELEGATE, data, DELEGATE.signer.sign(data)))
    (single,) = read_data["responses"]
    scts, cutoff = single["single_extensions"]
    assert scts["extn_id"].dotted == "1.3.6.1.4.1.11129.2.4.5"
    assert scts["extn_value"].contents == der.octet_string(SCTS)
    assert cutoff["extn_id"].dotted == "1.3.6.1.5.5.7.48.1.6"
    assert cutoff["extn_value"].contents == der.generalized_time(NOW - 3653 * DAY)
    assert not any(extension["critical"].native for extension in single["single_extensions"])


def test_an_answer_without_any_has_no_empty_list_of_extensions() -> None:
    _, data = fields(answer(good()))
    assert data["responses"][0]["single_extensions"].native is None
