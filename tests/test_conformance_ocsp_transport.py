"""What carries OCSP: methods, media types, framing, errors and caps, on a running server (RFC 6960 §A, RFC 9919 §6)."""

from __future__ import annotations

import os
import socket
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ocsp_wire import MALFORMED, UNAUTHORIZED, cert_id, post, request, send, sequence, serial_of, singles, tlv
from strangers import certificate

if TYPE_CHECKING:
    from running_server import Server


@pytest.fixture(scope="module")
def issuer(server: Server) -> Path:
    return certificate(server.home, "server-rsa")


@pytest.fixture(scope="module")
def good(server: Server, issuer: Path) -> bytes:
    return cert_id(issuer, serial_of(certificate(server.home, "demo-good")))


def raw(server: Server, octets: bytes) -> bytes:
    """Everything that comes back before the server closes."""
    with server.connect() as connection:
        connection.sendall(octets)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


STRAY = [
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /ocsp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1",
    b"\x00" * 300,
    b"SSH-2.0-probe\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"G" * 20_000,
    b"\r\n\r\n\r\n",
    b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\nConnection: close\r\n\r\n",
    b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcdef",
]


def test_browsers_and_port_scanners_harm_nobody(server: Server, good: bytes) -> None:
    """B14: after each of them the same workers answer the next request."""
    workers = server.worker_pids()
    for octets in STRAY:
        with server.connect() as connection:
            connection.sendall(octets)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(20)
            while connection.recv(65536):
                pass
        assert singles(post(server, request(good)))[0][1] == "good"
    with server.connect():
        pass  # connects and leaves
    assert server.worker_pids() == workers


def test_a_half_open_connection_ends_and_costs_nothing(server: Server, good: bytes) -> None:
    """B14: a client that sends half a header holds up no other, and is not waited for."""
    waiting = [server.connect() for _ in range(20)]
    try:
        for connection in waiting:
            connection.sendall(b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-")
        before = cpu_seconds(server)
        assert singles(post(server, request(good)))[0][1] == "good"
        time.sleep(1)
        # A worker that spins would have burned the whole second.
        assert cpu_seconds(server) - before < 0.5
    finally:
        for connection in waiting:
            connection.close()


def cpu_seconds(server: Server) -> float:
    """User and system time of the workers."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in server.worker_pids()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("target", ["/", "/ocsp", "/ocsp/"])
def test_post_is_taken_at_every_address_that_clients_write(server: Server, good: bytes, target: str) -> None:
    """B15."""
    assert singles(post(server, request(good), target)) == [(good, "good")]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/ocsp-request",
        "application/ocsp-request; charset=utf-8",
        "APPLICATION/OCSP-Request",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/html",
        "",
        None,
    ],
)
def test_the_body_decides_and_not_the_media_type(server: Server, good: bytes, media_type: str | None) -> None:
    """B16."""
    fields = {} if media_type is None else {"content_type": media_type}
    for target in ("/ocsp", "/"):
        reply = send(server, "POST", target, request(good), **fields)
        assert (reply.status, reply.fields["Content-Type"]) == (200, "application/ocsp-response")
        assert singles(reply.body) == [(good, "good")]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_request_is_answered_with_a_length(server: Server, good: bytes, size: int) -> None:
    """B17: Java's client fails without Content-Length."""
    body = request(good)
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part) for part in (body[i : i + size] for i in range(0, len(body), size))
    )
    head = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    received = raw(server, head + chunks + b"0\r\n\r\n")
    fields, _, answer = received.partition(b"\r\n\r\n")
    assert fields.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Length: %d\r\n" % len(answer) in fields
    assert b"transfer-encoding" not in fields.lower()
    assert singles(answer) == [(good, "good")]


ERRORS = {
    "malformed": ("/ocsp", b"nonsense", MALFORMED),
    "empty": ("/ocsp", b"", MALFORMED),
    "one octet": ("/ocsp", b"0", MALFORMED),
    "unknown issuer": ("/ocsp", None, UNAUTHORIZED),
}


@pytest.mark.parametrize(("target", "body", "answer"), ERRORS.values(), ids=ERRORS)
def test_errors_are_five_octets_with_http_200_that_nobody_stores(
    server: Server, issuer: Path, target: str, body: bytes | None, answer: bytes
) -> None:
    """B18, B19, B56, B69: RFC 6960 §2.3, RFC 9919 §7.2."""
    if body is None:
        body = request(cert_id(issuer, 5, key_of=certificate(server.home, "root")))
    reply = send(server, "POST", target, body, content_type="application/ocsp-request")
    assert (reply.status, reply.body) == (200, answer)
    assert reply.fields["Content-Type"] == "application/ocsp-response"
    assert reply.fields["Cache-Control"] == "no-store"
    assert reply.fields.keys().isdisjoint({"ETag", "Expires", "Last-Modified"})


def test_an_unknown_serial_is_unauthorized_and_never_an_error_of_http(server: Server, issuer: Path) -> None:
    """B21, RFC 9919 §3.2.3."""
    for serial in (1, 77, 2**159 - 1):
        assert post(server, request(cert_id(issuer, serial))) == UNAUTHORIZED


@pytest.mark.parametrize("rest", [b"\0", b"\0" * 100, b"0\0", b"\r\n"])
def test_octets_behind_the_request_are_malformed(server: Server, good: bytes, rest: bytes) -> None:
    """B22: in a POST body and in a GET path."""
    assert post(server, request(good) + rest) == MALFORMED
    assert send(server, "GET", f"/ocsp/{urlsafe_b64encode(request(good) + rest).decode()}").body == MALFORMED


def test_large_requests_are_refused_before_they_cost_anything(server: Server, issuer: Path, good: bytes) -> None:
    """B23: the caps on a body and on its list."""

    def many(count: int) -> bytes:
        return request(*(cert_id(issuer, 1000 + each) for each in range(count - 1)), good)

    assert len(singles(post(server, many(32)))) == 32
    assert post(server, many(33)) == MALFORMED
    assert post(server, many(180)) == MALFORMED
    reply = send(server, "POST", "/ocsp", bytes(16 * 1024 + 1))
    assert reply.status == 413
    assert singles(post(server, request(good)))[0][1] == "good"


def test_signed_requests_and_several_certificates_get_a_whole_answer(server: Server, issuer: Path, good: bytes) -> None:
    """B24: all of them, or malformedRequest; never a part."""
    revoked = cert_id(issuer, serial_of(certificate(server.home, "demo-revoked")))
    signature = tlv(0xA0, sequence(sequence(bytes.fromhex("06092a864886f70d01010b0500")), tlv(0x03, bytes(257))))
    assert singles(post(server, request(good, revoked, signature=signature))) == [(good, "good"), (revoked, "revoked")]


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
@pytest.mark.parametrize("target", ["/ocsp", "/ocsp/", "/"])
def test_another_method_is_405_and_says_what_is_allowed(server: Server, method: str, target: str) -> None:
    """B26."""
    reply = send(server, method, target)
    assert reply.status == 405
    assert {"GET", "HEAD", "POST"} <= set(reply.fields["Allow"].split(", "))


BROKEN = {
    "empty requestList": request(),
    "optionalSignature with the tag of another": sequence(sequence(sequence()), tlv(0xA1, b"")),
    "a SET for a SEQUENCE": tlv(0x31, b""),
    "no CertID": sequence(sequence(sequence(sequence()))),
    "version 2": sequence(sequence(tlv(0xA0, bytes.fromhex("020101")), sequence(sequence()))),
    "indefinite length": bytes.fromhex("3080308030800000000000000000"),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_asn1_is_malformed(server: Server, body: bytes) -> None:
    """B27."""
    assert post(server, body) == MALFORMED


def test_every_cut_and_every_flipped_octet_gets_an_ocsp_response(server: Server, good: bytes) -> None:
    """B14, B27: no HTTP error, no traceback, no end of a worker."""
    whole = request(good)
    for position in range(0, len(whole), 3):
        assert post(server, whole[:position]) == MALFORMED
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        assert post(server, bytes(flipped))[:2] in (b"0\x03", b"0\x82")
    assert "Traceback" not in server.log.read_text()
