"""What an answer says: times, reasons, the signer and its certificate, on a running server."""

from __future__ import annotations

import hashlib
import re
import sys
from base64 import b64encode
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509 import ocsp as x509_ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from ocsp_wire import MALFORMED, UNAUTHORIZED, basic, cert_id, data, nonce, post, request, send, serial_of, singles
from strangers import SHA1, SHA256, ask, attempt, certificate, issue, load, ocsp_request, revoke

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server

HOUR, DAY = 3600, 86_400
LEAVES = [
    ("root", "server-rsa"),
    ("server-rsa", "demo-good"),
    ("server-rsa", "demo-revoked"),
    ("code-signing", "demo-code-signer"),
    ("timestamp", "tsa"),
]
EVERY_CA = pytest.mark.parametrize(("ca", "leaf"), LEAVES)


def about(server: Server, ca: str, leaf: str, *extensions: bytes) -> bytes:
    asked = cert_id(certificate(server.home, ca), serial_of(certificate(server.home, leaf)))
    return request(asked, extensions=extensions)


@EVERY_CA
@pytest.mark.parametrize("with_nonce", [False, True])
def test_times_are_whole_seconds_and_meet_every_rule_at_once(
    server: Server, ca: str, leaf: str, with_nonce: bool
) -> None:
    """B49, B50, B51, B52, B53, B58: RFC 9919 §3.2.4, BR §4.9.9, and seven days for Windows."""
    extensions = (nonce(bytes(range(16))),) if with_nonce else ()
    reply = send(server, "POST", "/ocsp", about(server, ca, leaf, *extensions))
    body, found = reply.body, data(reply.body)
    (single,) = found["responses"]
    fields: list[Any] = [found["produced_at"], single["this_update"], single["next_update"]]
    if single["cert_status"].name == "revoked":
        fields.append(single["cert_status"].chosen["revocation_time"])
    assert all(re.fullmatch(rb"\d{14}Z", each.contents) for each in fields)
    produced, this_update, next_update = (each.native.timestamp() for each in fields[:3])
    now = parsedate_to_datetime(reply.fields["Date"]).timestamp()
    assert this_update == produced <= now < next_update
    assert now - this_update <= HOUR + 300 + 60
    assert 8 * HOUR <= next_update - this_update <= 7 * DAY - 1
    (delegate,) = basic(body)["certs"]
    assert produced >= delegate.not_valid_before.timestamp()
    assert next_update <= delegate.not_valid_after.timestamp()
    assert this_update >= load(certificate(server.home, leaf)).not_valid_before_utc.timestamp()


@EVERY_CA
def test_the_header_fields_say_what_the_answer_says(server: Server, ca: str, leaf: str) -> None:
    """B44, B60: RFC 9919 §6 and §7, on POST as on GET."""
    reply = send(server, "POST", "/ocsp", about(server, ca, leaf))
    found = data(reply.body)
    fields = {name: parsedate_to_datetime(reply.fields[name]) for name in ("Date", "Last-Modified", "Expires")}
    assert all(re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", reply.fields[name]) for name in fields)
    assert fields["Last-Modified"] == found["produced_at"].native == found["responses"][0]["this_update"].native
    assert fields["Expires"] == found["responses"][0]["next_update"].native
    assert reply.fields["ETag"] == f'"{hashlib.sha256(reply.body).hexdigest()}"'
    matched = re.fullmatch(r"max-age=(\d+), public, no-transform, must-revalidate", reply.fields["Cache-Control"])
    assert matched is not None
    assert 0 <= int(matched[1]) <= HOUR


@EVERY_CA
def test_the_answer_names_its_signer_by_key_and_carries_its_certificate_once(
    server: Server, ca: str, leaf: str
) -> None:
    """B65, B66, B67: RFC 6960 §4.2.1, RFC 9919 §3.2.2; independent of the algorithm, byKey is a SHA-1."""
    body = post(server, about(server, ca, leaf))
    (delegate,) = basic(body)["certs"]
    responder = data(body)["responder_id"]
    assert (responder.name, responder.chosen.native) == (
        "by_key",
        hashlib.sha1(delegate.public_key["public_key"].contents[1:]).digest(),  # noqa: S324 - what the standard says
    )
    stranger = x509_ocsp.load_der_ocsp_response(body)
    signer = x509.load_der_x509_certificate(delegate.dump())
    assert stranger.certificates == [signer]
    assert stranger.signature_hash_algorithm is not None
    assert stranger.signature_hash_algorithm.name in ("sha256", "sha384")


@EVERY_CA
def test_the_signers_certificate_keeps_the_profile(server: Server, ca: str, leaf: str) -> None:
    """B68: BR §7.1.2.8, RFC 6960 §4.2.2.2.1, Microsoft's programme §3.1.18."""
    (delegate,) = basic(post(server, about(server, ca, leaf)))["certs"]
    signer = x509.load_der_x509_certificate(delegate.dump())
    extensions = {each.oid._name: each for each in signer.extensions}
    assert extensions.keys() <= {
        "authorityKeyIdentifier", "subjectKeyIdentifier", "extendedKeyUsage", "OCSPNoCheck", "keyUsage",
        "basicConstraints",
    }  # fmt: skip
    assert list(extensions["extendedKeyUsage"].value) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert delegate.ocsp_no_check_value.dump() == b"\x05\x00"
    usage = extensions["keyUsage"]
    assert usage.critical
    assert delegate.key_usage_value.native == {"digital_signature"}
    assert "authorityKeyIdentifier" in extensions
    assert {each.oid._name for each in signer.subject} == {"countryName", "organizationName", "commonName"}
    if ca in ("code-signing", "timestamp"):  # Windows takes no ECC there
        assert delegate.public_key.algorithm == "rsa"


REASONS = {
    "unspecified": None,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_said_and_unspecified_is_left_out(server: Server, tmp_path: Path, reason: str) -> None:
    """B63, B64, B59: RFC 6960 §4.2.1; and once revoked, every way of asking says so at once."""
    issued = issue(server.home, tmp_path, "server-rsa", "server")
    issuer = certificate(server.home, "server-rsa")
    requests = [ocsp_request(issued.certificate, issuer, digest=digest) for digest in (SHA1, SHA256)]
    assert {singles(post(server, each))[0][1] for each in requests * 4} == {"good"}
    revoke(server.home, issued, reason)
    for each in requests * 4:
        (single,) = data(post(server, each))["responses"]
        revoked = single["cert_status"].chosen
        assert single["cert_status"].name == "revoked"
        said = revoked["revocation_reason"]
        assert (int(said) if REASONS[reason] else said.native) == REASONS[reason]
        assert revoked["revocation_time"].native <= single["this_update"].native
    reply = ask(f"{server.url}/ocsp", ocsp_request(issued.certificate, issuer, nonce=bytes(range(20))))
    assert x509_ocsp.load_der_ocsp_response(reply.body).certificate_status is x509_ocsp.OCSPCertStatus.REVOKED


def test_reasons_that_may_not_be_given_are_refused(server: Server, tmp_path: Path) -> None:
    """B64: BR §4.9.13 knows no suspension, and 7 is not used."""
    issued = issue(server.home, tmp_path, "server-rsa", "server")
    for reason in ("certificateHold", "removeFromCRL", "cACompromise", "aACompromise", "7"):
        refused = attempt(
            sys.executable, "-m", "issuance", "cert", "revoke", "--home", server.home, "--ca", issued.ca,
            "--serial", issued.serial, "--reason", reason,
        )  # fmt: skip
        assert refused.status in (1, 2)
        assert len(refused.output.splitlines()) == 1
    issuer = certificate(server.home, "server-rsa")
    assert singles(post(server, ocsp_request(issued.certificate, issuer)))[0][1] == "good"


def test_a_new_certificate_is_authoritative_at_once(server: Server, tmp_path: Path) -> None:
    """B56, B57: BR §4.9.9; the row is committed before the certificate leaves the CA."""
    for _ in range(4):
        issued = issue(server.home, tmp_path, "server-rsa", "server")
        body = post(server, ocsp_request(issued.certificate, certificate(server.home, "server-rsa")))
        assert singles(body)[0][1] == "good"


def test_an_answer_is_one_octet_string_for_all(server: Server) -> None:
    """B59, B60: GET, POST and every worker give the same octets and the same ETag."""
    asked = about(server, "server-rsa", "demo-good")
    path = "/ocsp/" + b64encode(asked).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    replies = [send(server, "POST", "/ocsp", asked) for _ in range(16)] + [send(server, "GET", path) for _ in range(16)]
    assert len({(reply.body, reply.fields["ETag"]) for reply in replies}) == 1
    head = send(server, "HEAD", path)
    assert (head.status, head.body, head.fields["ETag"]) == (200, b"", replies[0].fields["ETag"])
    again = send(server, "GET", path, if_none_match=f'"x", W/{replies[0].fields["ETag"]}')
    assert (again.status, again.body) == (304, b"")
    later = send(server, "GET", path, if_modified_since=replies[0].fields["Last-Modified"])
    assert later.status == 304


def test_errors_have_no_response_octets(server: Server) -> None:
    """B69, RFC 6960 §2.3: no responseBytes, no signature, and status 4 does not exist."""
    for body, expected in ((b"0", MALFORMED), (request(cert_id(certificate(server.home, "root"), 5)), UNAUTHORIZED)):
        assert post(server, body) == expected
        assert len(expected) == 5


def test_defaults_are_not_encoded(server: Server) -> None:
    """RFC 6960 §4.2.1, X.690 §11.5: no version, no ``critical``; and no empty certs."""
    sent = bytes(range(32))
    body = post(server, about(server, "server-rsa", "demo-good", nonce(sent)))
    contents = basic(body)["tbs_response_data"].contents
    assert contents[:1] == b"\xa2"  # byKey comes first: no version
    assert nonce(sent) in contents  # an Extension without a BOOLEAN
    for cert in basic(body)["certs"]:
        for each in cert["tbs_certificate"]["extensions"]:
            assert bytes.fromhex("010100") not in each.dump()[:20]


def test_several_certificates_are_dated_by_the_latest_and_kept_by_the_earliest(server: Server, tmp_path: Path) -> None:
    """RFC 9919 §6, §7.2: producedAt is the latest thisUpdate, Expires the earliest nextUpdate, max-age likewise."""
    young = issue(server.home, tmp_path, "server-rsa", "server")
    ca = certificate(server.home, "server-rsa")
    asked = [
        cert_id(ca, serial) for serial in (serial_of(certificate(server.home, "demo-good")), int(young.serial, 16))
    ]
    reply = send(server, "POST", "/ocsp", request(*asked))
    found = data(reply.body)
    updates = [each["this_update"].native for each in found["responses"]]
    assert found["produced_at"].native == max(updates)
    assert min(updates) < max(updates)
    assert parsedate_to_datetime(reply.fields["Last-Modified"]) == max(updates)
    ends = [each["next_update"].native for each in found["responses"]]
    assert parsedate_to_datetime(reply.fields["Expires"]) == min(ends)
    alone = [send(server, "POST", "/ocsp", request(each)) for each in asked]
    fresh = [
        parsedate_to_datetime(each.fields["Date"]).timestamp() + int(each.fields["Cache-Control"][8:].partition(",")[0])
        for each in (reply, *alone)
    ]
    assert fresh[0] == min(fresh[1:])
