"""Authenticode's older protocol at the addresses of RFC 3161, on a running server; the body decides."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from countersignatures import DATA_OID, LINE, REQUEST_OID, SIGNATURE, lines, open_countersignature, request
from cryptography.hazmat.primitives.serialization import Encoding
from http_wire import Wire, exchange, get, post
from strangers import attempt, certificate, load, run
from test_tsa_requests import F1
from tsa_http_answers import NONCES, OCTETS, QUERY, REPLY, check_granted, check_refused
from tsa_server import outcome, query

from ca_store import der

if TYPE_CHECKING:
    from http_wire import Answer
    from running_server import Server


@pytest.fixture(name="server")
def own_server(tsa_server: Server) -> Server:
    """Not the demo home's."""
    return tsa_server


PROGRAM = Path(str(getattr(find_spec("pip._vendor.distlib"), "origin", ""))).with_name("t64.exe")
"""A PE file that is there wherever pip is."""

SHAPES = {
    "lines": lines(request()),
    "one line": lines(request()).replace(b"\n", b""),
    "one line with its end": lines(request()).replace(b"\n", b"") + b"\r\n",
    "a NUL behind it": lines(request()).replace(b"\n", b"") + b"\0",
    "lines of CRLF and a NUL": lines(request(), b"\r\n") + b"\0",
    "an empty line in front": b"\r\n" + lines(request()),
}

TRUNCATED = lines(request()).replace(b"\n", b"")

BROKEN = {
    "base64 cut in a group": (TRUNCATED[:-1], "is not base64"),
    "base64 cut by a group": (TRUNCATED[:-4], "is not the encoding of a time-stamp request"),
    "base64 with another letter": (TRUNCATED[:50] + b"*" + TRUNCATED[51:], "is not base64"),
    "base64 of the URL alphabet": (TRUNCATED.replace(b"+", b"-").replace(b"/", b"_"), "is not base64"),
    "padding in the middle": (TRUNCATED[:40] + b"=" + TRUNCATED[41:], "is not base64"),
    "octets behind the request": (lines(request() + b"\0\0"), "is not the encoding of a time-stamp request"),
    "another OID": (lines(request(oid="1.3.6.1.4.1.311.3.2.2")), "is not a time-stamp request of Authenticode"),
    "content that is no data": (
        lines(request(content="1.2.840.113549.1.7.5")),
        "is not a time-stamp request of Authenticode",
    ),
    "no content": (
        lines(der.sequence(der.oid(REQUEST_OID), der.sequence(der.oid(DATA_OID)), der.octet_string(bytes(80)))),
        "does not hold a signature",
    ),
    "an empty signature": (lines(request(b"")), "does not hold a signature"),
    "RFC 3161 in base64": (lines(query("sha512")), "is not the encoding of a time-stamp request"),
    "a whole file": (b"M" + b"AAAA" * 3000, "has more than 8192 octets"),
}


def countersign(server: Server, body: bytes, target: str = "/tsa", *fields: str) -> Answer:
    return exchange(server, post(body, target, *(fields or ("Content-Type: application/octet-stream",))))


class TestOlderProtocol:
    """``signtool /t`` at the addresses of RFC 3161: the body decides."""

    @pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES)
    @pytest.mark.parametrize("target", ["/tsa", "/tsa/p256", "/tsa/authenticode", "/"])
    def test_is_answered_in_every_shape_at_every_address(self, server: Server, target: str, body: bytes) -> None:
        answer = countersign(server, body, target)
        assert answer.line == "HTTP/1.1 200 OK"
        assert answer.field("Content-Type") == OCTETS
        assert answer.names <= {"content-type", "content-length", "date"}
        assert open_countersignature(answer.body).content == SIGNATURE

    @pytest.mark.parametrize("media_type", ["application/timestamp-query", "text/plain", ""])
    def test_is_told_by_the_body_and_not_by_the_media_type(self, server: Server, media_type: str) -> None:
        answer = countersign(server, SHAPES["lines"], "/tsa", f"Content-Type: {media_type}", f"Accept: {REPLY}")
        assert (answer.status, answer.field("Content-Type")) == (200, OCTETS)

    def test_is_answered_in_lines_of_base64(self, server: Server) -> None:
        """osslsigncode cannot decode it without."""
        text = countersign(server, SHAPES["one line"]).body
        assert text.endswith(b"\n")
        *full, last = text.split(b"\n")[:-1]
        assert {len(line) for line in full} == {LINE}
        assert 0 < len(last) <= LINE
        assert re.fullmatch(rb"[A-Za-z0-9+/\n]+={0,2}\n", text)

    @pytest.mark.parametrize("size", [64, 70, 256, 384, 512, 1024])
    def test_signs_the_attributes_over_the_signature_that_was_sent(self, server: Server, size: int) -> None:
        signature = hashlib.shake_256(b"%d" % size).digest(size)
        before = datetime.now(UTC).replace(microsecond=0)
        made = open_countersignature(countersign(server, lines(request(signature))).body)
        assert made.content == signature
        assert made.attributes.keys() == {"content_type", "signing_time", "message_digest"}
        assert made.attributes["content_type"] == "data"
        digest = made.signer.signature_hash_algorithm
        assert digest is not None
        assert made.attributes["message_digest"] == hashlib.new(digest.name, signature).digest()
        assert before <= made.signing_time <= datetime.now(UTC)

    def test_is_signed_by_a_certificate_of_its_own_with_its_chain(self, server: Server) -> None:
        made = open_countersignature(countersign(server, SHAPES["lines"]).body)
        assert made.signer == load(certificate(server.home, "tsa-authenticode"))
        ca = load(certificate(server.home, "timestamp"))
        assert made.certificates == sorted(each.public_bytes(Encoding.DER) for each in (made.signer, ca))
        made.signer.verify_directly_issued_by(ca)
        for unit in ("tsa", "tsa-p256"):
            assert load(certificate(server.home, unit)).public_key() != made.signer.public_key()

    def test_of_two_requests_only_the_time_differs(self, server: Server) -> None:
        """RSA with PKCS #1 v1.5 has no randomness, and the protocol no serial."""
        made = {countersign(server, body).body for body in SHAPES.values()}
        times = [open_countersignature(each).signing_time for each in made]
        assert len(set(times)) == len(made)
        assert max(times) - min(times) < timedelta(seconds=10)

    @pytest.mark.interop("openssl")
    def test_satisfies_openssl(self, server: Server, tmp_path: Path) -> None:
        reply, content = tmp_path / "reply.pem", tmp_path / "content"
        text = countersign(server, SHAPES["lines"]).body
        reply.write_bytes(b"-----BEGIN PKCS7-----\n" + text + b"-----END PKCS7-----\n")
        run(
            "openssl", "cms", "-verify", "-inform", "PEM", "-in", reply, "-out", content, "-binary",
            "-purpose", "timestampsign", "-CAfile", certificate(server.home, "root"),
        )  # fmt: skip
        assert content.read_bytes() == SIGNATURE

    @pytest.mark.parametrize(("body", "sentence"), BROKEN.values(), ids=BROKEN)
    def test_that_is_broken_is_400_and_one_sentence(self, server: Server, body: bytes, sentence: str) -> None:
        answer = countersign(server, body)
        check_refused(answer, 400)
        assert sentence in answer.body.decode()
        assert "Traceback" not in server.log.read_text()

    def test_and_rfc_3161_share_a_connection(self, server: Server) -> None:
        """ClickOnce tries one after the other."""
        with Wire(server) as wire:
            for nonce in NONCES[:5]:
                check_granted(wire.ask(post(query(nonce=nonce), "/tsa", QUERY)), nonce)
                assert open_countersignature(wire.ask(post(SHAPES["lines"])).body).content == SIGNATURE


@pytest.mark.interop("osslsigncode")
@pytest.mark.parametrize("option", ["-ts", "-t"])
def test_osslsigncode_stamps_by_both_protocols_at_one_address(server: Server, tmp_path: Path, option: str) -> None:
    """A real program; each countersignature is verified with the CRLs that its certificates point at."""
    home, chain, signed = server.home, tmp_path / "chain.pem", tmp_path / "signed.exe"
    chain.write_bytes(
        certificate(home, "demo-code-signer").read_bytes() + certificate(home, "code-signing").read_bytes()
    )
    run(
        "osslsigncode", "sign", "-certs", chain, "-key", home / "keys" / "demo-code-signer.key", "-h", "sha256",
        option, f"{server.url}/tsa", "-in", PROGRAM, "-out", signed,
    )  # fmt: skip
    root, other = certificate(home, "root"), certificate(home, "server-rsa")
    verified = attempt("osslsigncode", "verify", "-CAfile", root, "-TSA-CAfile", root, "-in", signed)
    assert verified.status == 0, verified.output
    assert "Number of verified signatures: 1" in verified.output
    assert "Timestamp Server Signature verification: ok" in verified.output, verified.output
    doubted = outcome("osslsigncode", "verify", "-CAfile", root, "-TSA-CAfile", other, "-in", signed)
    assert "Timestamp Server Signature verification: failed" in doubted.stdout + doubted.stderr


def test_every_answer_is_counted_once(server: Server) -> None:
    names = {
        'responders_timestamps_total{outcome="granted"}': post(F1),
        'responders_timestamps_total{outcome="badDataFormat"}': post(b"0\0"),
        'responders_timestamps_total{outcome="unacceptedPolicy"}': post(query(policy="1.2.3")),
        'responders_countersignatures_total{outcome="granted"}': post(SHAPES["lines"]),
        'responders_countersignatures_total{outcome="malformed"}': post(BROKEN["another OID"][0]),
        'responders_http_refusals_total{status="404"}': post(F1, "/tsa/nobody"),
        'responders_http_refusals_total{status="405"}': get("/tsa", method="PUT"),
        'responders_documents_total{kind="unit"}': get("/tsa"),
    }
    before = {name: server.metric(name) for name in names}
    refused = server.metric('responders_http_refusals_total{status="400"}')
    for octets in names.values():
        for _ in range(7):
            exchange(server, octets)
    assert {name: server.metric(name) - before[name] for name in names} == dict.fromkeys(names, 7)
    assert server.metric('responders_http_refusals_total{status="400"}') - refused == 7


def test_no_client_makes_a_metric(server: Server) -> None:
    """GHSA-9c54-x2g4-v92j: labels from paths and methods filled a memory."""

    def labels() -> set[str]:
        samples = server.admin("/metrics")[1].splitlines()
        # The self-check adds what it has looked at when it has finished; no client does.
        return {line.rpartition(" ")[0] for line in samples if not re.match("#|responders_(selfcheck|signer)_", line)}

    before = labels()
    for number in range(60):
        exchange(server, get(f"/tsa/{number}"))
        exchange(server, get(f"/{number}/tsa?{number}", method=f"METHOD{number}"))
        exchange(server, post(F1, f"/tsa/{number}", f"Content-Type: a/{number}", f"User-Agent: b/{number}"))
        exchange(server, post(query(policy=f"1.2.{number}"), "/tsa"))
    assert labels() == before
