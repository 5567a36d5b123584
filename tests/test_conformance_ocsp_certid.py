"""Which certificate is meant: CertIDs, hash algorithms, serials and issuers, on a running server (RFC 6960 §4.1.1)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from ocsp_wire import (
    MALFORMED,
    UNAUTHORIZED,
    basic,
    cert_id,
    data,
    nonce,
    post,
    request,
    sequence,
    serial_of,
    singles,
    tlv,
)
from strangers import SUB_CAS, certificate, load

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server


@pytest.fixture(scope="module")
def issuer(server: Server) -> Path:
    return certificate(server.home, "server-rsa")


@pytest.fixture(scope="module")
def serial(server: Server) -> int:
    return serial_of(certificate(server.home, "demo-good"))


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("parameters", [bytes.fromhex("0500"), b""], ids=["NULL", "absent"])
def test_the_key_hash_is_over_the_key_itself_in_the_hash_that_was_asked(
    server: Server, issuer: Path, serial: int, digest: str, parameters: bytes
) -> None:
    """B28, B30, B32, B33: the answer's CertID is the request's, octet for octet."""
    asked = cert_id(issuer, serial, digest, parameters=parameters)
    assert singles(post(server, request(asked))) == [(asked, "good")]


@pytest.mark.parametrize("digest", ["md5", "sha224", "sha3_256"])
def test_an_unknown_hash_has_one_fixed_answer(server: Server, issuer: Path, serial: int, digest: str) -> None:
    """B32: no certificate is known by it."""
    assert {post(server, request(cert_id(issuer, serial, digest))) for _ in range(4)} == {UNAUTHORIZED}


def test_name_key_and_serial_must_all_fit(server: Server, issuer: Path, serial: int) -> None:
    """B29: the serial of one CA is not assigned under another, nor under a name with another's key."""
    other = certificate(server.home, "server-ecc")
    for asked in (
        cert_id(other, serial),
        cert_id(issuer, serial, key_of=other),
        cert_id(other, serial, key_of=issuer),
        cert_id(issuer, serial_of(certificate(server.home, "demo-code-signer"))),
    ):
        assert post(server, request(asked)) == UNAUTHORIZED


@pytest.mark.parametrize("with_nonce", [False, True])
def test_an_unknown_ca_is_unauthorized_and_no_exception(server: Server, issuer: Path, with_nonce: bool) -> None:
    """B34."""
    stranger = sequence(
        sequence(bytes.fromhex("06052b0e03021a0500")), tlv(4, bytes(20)), tlv(4, bytes(20)), bytes.fromhex("020107")
    )
    extensions = (nonce(bytes(16)),) if with_nonce else ()
    assert post(server, request(stranger, extensions=extensions)) == UNAUTHORIZED
    assert post(server, request(stranger, cert_id(issuer, 5), extensions=extensions)) == UNAUTHORIZED


@pytest.mark.parametrize(
    ("ca", "leaf"),
    [
        ("root", "server-rsa"),
        ("server-rsa", "demo-good"),
        ("code-signing", "demo-code-signer"),
        ("timestamp", "tsa"),
    ],
)
def test_each_ca_speaks_through_a_signer_of_its_own(server: Server, ca: str, leaf: str) -> None:
    """B35, RFC 6960 §4.2.2.2: the key that issued the certificate has issued the signer's."""
    issuer = certificate(server.home, ca)
    (signer,) = basic(post(server, request(cert_id(issuer, serial_of(certificate(server.home, leaf))))))["certs"]
    x509.load_der_x509_certificate(signer.dump()).verify_directly_issued_by(load(issuer))


def test_issuers_are_not_mixed_in_one_answer(server: Server, issuer: Path, serial: int) -> None:
    """B35: no signer speaks for both."""
    other = cert_id(certificate(server.home, "code-signing"), serial_of(certificate(server.home, "demo-code-signer")))
    for pair in ((cert_id(issuer, serial), other), (other, cert_id(issuer, serial))):
        assert post(server, request(*pair)) == UNAUTHORIZED


def test_a_sub_ca_is_asked_at_its_parent(server: Server) -> None:
    """B37."""
    root = certificate(server.home, "root")
    for label in SUB_CAS:
        asked = cert_id(root, serial_of(certificate(server.home, label)), "sha256")
        assert singles(post(server, request(asked))) == [(asked, "good")]


SERIALS = {
    "not minimal": ("000{serial}", MALFORMED),
    "zero": ("00", UNAUTHORIZED),
    "negative": ("ff", UNAUTHORIZED),
    "20 octets": ("7f" + "ab" * 19, UNAUTHORIZED),
    "a top bit that is set": ("00ff" + "ab" * 18, UNAUTHORIZED),
    "21 octets": ("7f" + "ab" * 20, UNAUTHORIZED),
    "100 octets": ("7f" + "ab" * 99, UNAUTHORIZED),
    "no octets": ("", MALFORMED),
    "not minimal and negative": ("ffff", MALFORMED),
}


@pytest.mark.parametrize(("contents", "answer"), list(SERIALS.values()), ids=list(SERIALS))
def test_serials_are_integers_and_der(server: Server, issuer: Path, serial: int, contents: str, answer: bytes) -> None:
    """B39."""
    octets = b"\0\0" + serial.to_bytes(20, "big").lstrip(b"\0") if "{serial}" in contents else bytes.fromhex(contents)
    assert post(server, request(cert_id(issuer, octets))) == answer


def test_odd_serials_beside_a_known_one_are_unknown_and_echoed(server: Server, issuer: Path, serial: int) -> None:
    """B39: negative, zero and over-long ones are never assigned."""
    odd = [cert_id(issuer, bytes.fromhex(contents)) for contents in ("00", "ff", "7f" + "ab" * 20, "00ff" + "ab" * 18)]
    known = cert_id(issuer, serial)
    assert singles(post(server, request(*odd, known))) == [*((each, "unknown") for each in odd), (known, "good")]


def test_a_serial_that_was_never_issued_is_never_good(server: Server, issuer: Path, serial: int) -> None:
    """B61, BR and CSBR §4.9.10: also one that begins as the probes of crt.sh do."""
    for unassigned in [b"crt.sh" + secrets.token_bytes(10), *(b"\x10" + secrets.token_bytes(19) for _ in range(16))]:
        assert post(server, request(cert_id(issuer, unassigned))) == UNAUTHORIZED
        both = singles(post(server, request(cert_id(issuer, unassigned), cert_id(issuer, serial))))
        assert [status for _, status in both] == ["unknown", "good"]


def test_each_certificate_is_answered_once_in_the_order_of_the_request(
    server: Server, issuer: Path, serial: int
) -> None:
    """RFC 6960 §4.2.2.3: duplicates and both hashes of one certificate included."""
    good, other = cert_id(issuer, serial), cert_id(issuer, serial, "sha256")
    revoked = cert_id(issuer, serial_of(certificate(server.home, "demo-revoked")))
    for asked in ((good, revoked), (revoked, good), (good, other, good, revoked, revoked), (other, good)):
        expected = [(each, "revoked" if each == revoked else "good") for each in asked]
        assert singles(post(server, request(*asked))) == expected
    times = {
        (each["this_update"].dump(), each["next_update"].dump())
        for each in data(post(server, request(good, good)))["responses"]
    }
    assert len(times) == 1
