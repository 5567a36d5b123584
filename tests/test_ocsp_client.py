"""The relying party believes an answer only for the right reasons."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes import DAY, DELEGATE_EXTENSIONS, NOW, TINY, KeySigner, TinyCA, good, p256_signer, revoked
from hypothesis import given
from hypothesis import strategies as st
from ocsp_world import SERIAL, World

from ca_store import der
from ca_store.types import HashAlgorithm, Reason
from ocsp import client
from ocsp.client import OCSPClientError, Question, Verified, build_request, verify_response
from ocsp.response import response, response_data, single_response
from ocsp.window import Times

if TYPE_CHECKING:
    from ca_store.types import Status
    from ocsp.delegate import Delegate

CA = TinyCA()
LEAF = CA.issue(SERIAL)
SIGNER = p256_signer()
DELEGATE = CA.delegate(SIGNER)
TIMES = Times(NOW - 60, NOW + DAY, NOW + 60)
NONCE = b"n" * client.NONCE_OCTETS
PLAIN = build_request(LEAF, CA.certificate)
WITH_NONCE = build_request(LEAF, CA.certificate, nonce=NONCE)


def cert_id(question: Question) -> bytes:
    found: bytes = asn1_ocsp.OCSPRequest.load(question.der)["tbs_request"]["request_list"][0]["req_cert"].dump()
    return found


def answer(
    status: Status | None = good(),  # noqa: B008 - frozen
    *,
    question: Question = PLAIN,
    delegate: Delegate = DELEGATE,
    nonce: bytes | None = None,
    times: Times = TIMES,
) -> bytes:
    single = single_response(cert_id(question), status, times)
    inner = None if nonce is None else der.octet_string(nonce)
    data = response_data(delegate, times.this_update, [single], inner)
    return response(delegate, data, delegate.signer.sign(data))


def verify(encoded: bytes, question: Question = PLAIN, at: int = NOW) -> Verified:
    return verify_response(encoded, question, at)


def test_good() -> None:
    assert verify(answer()) == Verified(
        status="good",
        this_update=NOW - 60,
        next_update=NOW + DAY,
        produced_at=NOW - 60,
        revoked_at=None,
        reason=None,
        responder="CN=Delegate,O=Tiny,C=JP",
        warnings=(),
    )


@pytest.mark.parametrize("reason", [Reason.keyCompromise, Reason.privilegeWithdrawn, None])
def test_revoked(reason: Reason | None) -> None:
    found = verify(answer(revoked(NOW - DAY, reason)))
    assert (found.status, found.revoked_at, found.reason) == ("revoked", NOW - DAY, reason and reason.name)


def test_unknown_is_a_status_too() -> None:
    assert verify(answer(None)).status == "unknown"


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_every_hash_of_the_issuer(algorithm: HashAlgorithm) -> None:
    question = build_request(LEAF, CA.certificate, algorithm=algorithm)
    assert verify(answer(question=question), question).status == "good"


def test_an_rsa_responder() -> None:
    delegate = CA.delegate(KeySigner(rsa.generate_private_key(65537, 2048)))
    assert verify(answer(delegate=delegate)).status == "good"


def test_the_responder_of_this_project() -> None:
    """End to end, with a nonce."""
    world = World()
    world.store.issue(TINY, SERIAL)
    question = build_request(world.ca.issue(SERIAL), world.ca.certificate, nonce=NONCE)
    found = verify(asyncio.run(world.responder.answer(question.der)).der, question)
    assert (found.status, found.produced_at, found.warnings) == ("good", NOW, ())


def test_a_nonce_that_comes_back() -> None:
    assert verify(answer(nonce=NONCE), WITH_NONCE).warnings == ()


def test_a_nonce_that_does_not_come_back_is_a_warning() -> None:
    """RFC 9654 §2.1 allows the responder to leave it out."""
    (warning,) = verify(answer(), WITH_NONCE).warnings
    assert "ignored the nonce" in warning


def test_a_nonce_that_was_not_sent_is_a_warning() -> None:
    (warning,) = verify(answer(nonce=NONCE)).warnings
    assert "not sent" in warning


def stranger(**changes: object) -> Delegate:
    """A delegate whose certificate has another profile than it should, which our own loader would refuse."""
    extensions = dict(DELEGATE_EXTENSIONS)
    for name, value in changes.items():
        extensions.pop(name)
        if isinstance(value, tuple):
            extensions[name] = value
    certificate = CA.credential(SIGNER, extensions=extensions).certificate
    return replace(DELEGATE, certificates=der.context(0, der.sequence(certificate)))


CLIENT_AUTH = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
OTHER_CA = TinyCA()


def altered(encoded: bytes, old: bytes, new: bytes) -> bytes:
    assert encoded.count(old) >= 1
    return encoded.replace(old, new)


@pytest.mark.parametrize(
    ("encoded", "question", "error"),
    [
        (b"", PLAIN, client.UnreadableAnswer),
        (b"3", PLAIN, client.UnreadableAnswer),
        (answer()[:-1], PLAIN, client.UnreadableAnswer),
        (answer(question=build_request(CA.issue(7), CA.certificate)), PLAIN, client.OtherCertificate),
        (answer(), build_request(LEAF, CA.certificate, algorithm=HashAlgorithm.SHA256), client.OtherCertificate),
        (answer(), build_request(LEAF, OTHER_CA.certificate), client.OtherCertificate),
        (answer(nonce=b"m" * 32), WITH_NONCE, client.NonceMismatch),
        (answer(delegate=replace(DELEGATE, certificates=b"")), PLAIN, client.UntrustedResponder),
        (answer(delegate=OTHER_CA.delegate(SIGNER)), PLAIN, client.UntrustedResponder),
        (answer(delegate=stranger(extendedKeyUsage=None)), PLAIN, client.UntrustedResponder),
        (answer(delegate=stranger(extendedKeyUsage=CLIENT_AUTH)), PLAIN, client.UntrustedResponder),
        (answer(delegate=CA.delegate(SIGNER, not_after=NOW - 1)), PLAIN, client.UntrustedResponder),
        (answer(delegate=replace(DELEGATE, signer=p256_signer())), PLAIN, client.BadSignature),
        (altered(answer(), b"\x80\x00\x18", b"\x82\x00\x18"), PLAIN, client.BadSignature),
        (answer(times=Times(NOW + 301, NOW + DAY, NOW)), PLAIN, client.NotCurrent),
        (answer(times=Times(NOW - DAY, NOW - 300, NOW)), PLAIN, client.NotCurrent),
    ],
    ids=[
        "nothing", "one octet", "cut short", "another serial", "another hash", "another issuer", "another nonce",
        "no certificate", "a delegate of another CA", "no extendedKeyUsage", "clientAuth", "an expired delegate",
        "another key", "good turned into unknown", "from the future", "expired",
    ],
)  # fmt: skip
def test_what_is_not_believed(encoded: bytes, question: Question, error: type[OCSPClientError]) -> None:
    with pytest.raises(OCSPClientError) as caught:
        verify(encoded, question)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("octet", "name"),
    [(1, "malformedRequest"), (2, "internalError"), (3, "tryLater"), (5, "sigRequired"), (6, "unauthorized")],
)
def test_a_refusal_keeps_its_name(octet: int, name: str) -> None:
    with pytest.raises(client.Refused) as caught:
        verify(bytes((0x30, 3, 0x0A, 1, octet)))
    assert caught.value.status == name


def test_the_hash_algorithm_belongs_to_the_cert_id() -> None:
    sha256 = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.NULL)
    renamed = altered(cert_id(PLAIN), der.sequence(der.oid("1.3.14.3.2.26"), der.NULL), sha256)
    single = single_response(der.sequence(renamed[2:]), good(), TIMES)
    with pytest.raises(client.OtherCertificate):
        verify(signed(response_data(DELEGATE, NOW, [single], None)))


def test_a_delegate_without_nocheck_is_a_warning() -> None:
    (warning,) = verify(answer(delegate=stranger(nocheck=None))).warnings
    assert "nocheck" in warning


BY_NAME = replace(
    DELEGATE,
    signer=CA.signer,
    responder_id=der.context(1, CA.certificate.subject.public_bytes()),
    certificates=b"",
)


def test_an_answer_by_the_issuer_itself() -> None:
    """RFC 6960 §4.2.2.2: no delegation needed, no certificate sent along."""
    assert verify(answer(delegate=BY_NAME)).responder == "CN=Tiny CA,O=Tiny,C=JP"


def signed(data: bytes) -> bytes:
    return response(DELEGATE, data, SIGNER.sign(data))


def test_an_answer_without_next_update_is_a_warning() -> None:
    single = der.sequence(cert_id(PLAIN), b"\x80\x00", der.generalized_time(NOW))
    (warning,) = verify(signed(response_data(DELEGATE, NOW, [single], None))).warnings
    assert "nextUpdate" in warning


def test_a_critical_extension_that_is_not_known_is_not_passed_over() -> None:
    unknown = der.context(1, der.sequence(der.sequence(der.oid("1.2.3.4"), der.TRUE, der.octet_string(b""))))
    single = single_response(cert_id(PLAIN), good(), TIMES)
    for data in (
        der.sequence(DELEGATE.responder_id, der.generalized_time(NOW), der.sequence(single), unknown),
        response_data(DELEGATE, NOW, [der.sequence(der.contents(single), unknown)], None),
    ):
        with pytest.raises(client.UnreadableAnswer, match=r"1\.2\.3\.4"):
            verify(signed(data))


@given(st.data())
def test_altered_answers_are_never_believed_otherwise(data: st.DataObject) -> None:
    """Whatever is changed, what comes out is an error of ours, or what was said before."""
    encoded = bytearray(answer(nonce=NONCE))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    try:
        found = verify(bytes(encoded), WITH_NONCE)
    except OCSPClientError:
        return
    assert found.status == "good"
