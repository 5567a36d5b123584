"""Nonces and extensions, on a running server (RFC 9654 §2.1, RFC 6960 §4.1.2 and §4.4)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from ocsp_wire import (
    MALFORMED,
    basic,
    cert_id,
    data,
    extension,
    nonce,
    post,
    request,
    send,
    serial_of,
    singles,
    tlv,
)
from strangers import certificate

if TYPE_CHECKING:
    from running_server import Server

UNKNOWN_OID = "06032a0304"
ACCEPTABLE_RESPONSES = "06092b0601050507300104"
PREFERRED = "06092b0601050507300108"
BASIC = bytes.fromhex("06092b0601050507300101")


@pytest.fixture(scope="module")
def good(server: Server) -> bytes:
    return cert_id(certificate(server.home, "server-rsa"), serial_of(certificate(server.home, "demo-good")))


def extensions_of(answer: bytes) -> dict[str, tuple[bool, bytes]]:
    """Of the ResponseData: OID to (critical, value)."""
    found = data(answer)["response_extensions"]
    return {each["extn_id"].dotted: (each["critical"].native, each["extn_value"].contents) for each in found}


NONCE = "1.3.6.1.5.5.7.48.1.2"


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("length", [1, 15, 16, 31, 32, 33, 64, 127, 128])
def test_a_nonce_is_echoed_and_never_critical(server: Server, good: bytes, length: int, critical: bool) -> None:
    """B40, B43, B45: 16 to 32 octets MUST be, others may."""
    sent = secrets.token_bytes(length)
    answer = post(server, request(good, extensions=(nonce(sent, critical=critical),)))
    assert extensions_of(answer) == {NONCE: (False, tlv(0x04, sent))}
    assert singles(answer) == [(good, "good")]


@pytest.mark.parametrize("octets", [b"", bytes(129), bytes(1000)], ids=len)
def test_a_nonce_of_another_length_is_malformed(server: Server, good: bytes, octets: bytes) -> None:
    """B40."""
    assert post(server, request(good, extensions=(nonce(octets),))) == MALFORMED


def test_the_example_of_the_standard_is_echoed(server: Server, good: bytes) -> None:
    """RFC 9654: this very extension."""
    encoded = bytes.fromhex(
        "302f06092b060105050730010204220420dd49d4072c449da1c317bd1c1bdffedbe150312ec4cd0add18e5bd6f84bf14c8"
    )
    answer = post(server, request(good, extensions=(encoded,)))
    assert encoded in answer


@pytest.mark.parametrize("value", [b"", b"\x05\x00", bytes(16), tlv(0x04, bytes(16)) + b"\0", tlv(0x24, bytes(16))])
def test_a_nonce_that_is_no_octet_string_is_malformed(server: Server, good: bytes, value: bytes) -> None:
    """B40: RFC 8954 and 9654 say OCTET STRING inside of extnValue."""
    assert post(server, request(good, extensions=(extension("06092b0601050507300102", value),))) == MALFORMED


def test_two_nonces_are_malformed(server: Server, good: bytes) -> None:
    """B40: which one to echo?"""
    assert post(server, request(good, extensions=(nonce(bytes(16)), nonce(bytes(32))))) == MALFORMED


def test_nonces_and_the_cache_do_not_meet(server: Server, good: bytes) -> None:
    """B46: a nonce is answered live, without an ETag, and the answer without one stays what it was."""
    plain = request(good)
    before = post(server, plain)
    seen = set()
    for _ in range(8):
        sent = secrets.token_bytes(32)
        reply = send(server, "POST", "/ocsp", request(good, extensions=(nonce(sent),)))
        assert sent in reply.body
        assert reply.fields["Cache-Control"] == "private"
        assert reply.fields.keys().isdisjoint({"ETag", "Expires"})
        seen.add(reply.body)
        assert post(server, plain) == before
        assert not extensions_of(before)
    assert len(seen) == 8
    repeated = request(good, extensions=(nonce(bytes(range(32))),))
    assert bytes(range(32)) in post(server, repeated)
    assert bytes(range(32)) in post(server, repeated)


def asked_with(good: bytes, extra: bytes, place: str) -> bytes:
    return request(good, extensions=(extra,)) if place == "request" else request(good, single_extensions=(extra,))


@pytest.mark.parametrize("place", ["request", "single"])
def test_a_critical_extension_that_is_not_understood_is_refused(server: Server, good: bytes, place: str) -> None:
    """B47, RFC 6960 §4.1.2: it may not be ignored."""
    unknown = extension(UNKNOWN_OID, b"\x05\x00", critical=True)
    assert post(server, asked_with(good, unknown, place)) == MALFORMED


@pytest.mark.parametrize("place", ["request", "single"])
def test_another_one_is_ignored(server: Server, good: bytes, place: str) -> None:
    """B47."""
    unknown = extension(UNKNOWN_OID, b"\x05\x00")
    assert singles(post(server, asked_with(good, unknown, place))) == [(good, "good")]


def test_a_client_that_accepts_no_basic_response_gets_none(server: Server, good: bytes) -> None:
    """B47, RFC 6960 §4.4.3."""
    other = extension(ACCEPTABLE_RESPONSES, tlv(0x30, bytes.fromhex("06032a0304")))
    both = extension(ACCEPTABLE_RESPONSES, tlv(0x30, bytes.fromhex("06032a0304"), BASIC))
    assert post(server, request(good, extensions=(other,))) == MALFORMED
    assert singles(post(server, request(good, extensions=(both,)))) == [(good, "good")]


def test_the_requestors_name_changes_nothing(server: Server, good: bytes) -> None:
    """RFC 9919 §3.1.2: handled as if it were absent; no more does a signature."""
    named = request(good, requestor=bytes.fromhex("8203612e62"))
    assert post(server, named) == post(server, request(good))


def test_without_a_nonce_there_are_no_response_extensions(server: Server, good: bytes) -> None:
    """RFC 9919 §3.2.1; and none that BR §7.3.2 forbids, in any SingleResponse."""
    for serial in (
        good,
        cert_id(certificate(server.home, "server-rsa"), serial_of(certificate(server.home, "demo-revoked"))),
    ):
        found = data(post(server, request(serial)))
        assert not len(found["response_extensions"])
        for single in found["responses"]:
            assert "2.5.29.21" not in [each["extn_id"].dotted for each in single["single_extensions"]]


def test_no_preference_leads_to_sha1(server: Server, good: bytes) -> None:
    """RFC 6960 §4.4.7, BR §7.1.3.2.1: nothing is signed with SHA-1, whoever prefers it."""
    sha1_rsa = tlv(0x30, bytes.fromhex("06092a864886f70d0101050500"))
    ecdsa_sha1 = tlv(0x30, bytes.fromhex("06072a8648ce3d0401"))
    preferred = extension(PREFERRED, tlv(0x30, tlv(0x30, sha1_rsa), tlv(0x30, ecdsa_sha1)))
    answer = post(server, request(good, extensions=(preferred,)))
    assert "sha256" in basic(answer)["signature_algorithm"]["algorithm"].native
