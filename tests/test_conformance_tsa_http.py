"""What carries time-stamps: methods, media types, framing, and both protocols at one address, on a running server.

RFC 3161 §3.4, and what clients insist on: an exact media type, a length, HTTP 200, one answer to one request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asn1crypto import core
from countersignatures import SIGNATURE, lines, open_countersignature, request
from http_wire import Wire, exchange, get, post
from test_tsa_requests import F1
from tsa_http_answers import NONCES, OCTETS, QUERY, check_granted, check_refused, check_reply
from tsa_reader import open_reply
from tsa_server import query

if TYPE_CHECKING:
    from running_server import Server


@pytest.fixture(name="server")
def own_server(tsa_server: Server) -> Server:
    """Not the demo home's."""
    return tsa_server


class TestReply:
    @pytest.mark.parametrize(
        "body",
        [query(), query(certificates=True), query(policy="1.2.3"), b"0\0", b""],
        ids=["granted", "with certificates", "another policy", "an empty SEQUENCE", "nothing"],
    )
    def test_has_exactly_one_type_and_one_length_and_is_200(self, server: Server, body: bytes) -> None:
        """Whether granted or refused; no redirect, no challenge, no encoding, no cookie."""
        check_reply(exchange(server, post(body, "/tsa", QUERY)))

    @pytest.mark.parametrize(
        "accept",
        [
            "application/timestamp-query",
            "application/timestamp-response",
            "application/timestamp-reply; q=0",
            "application/json",
            "text/html, image/gif, image/jpeg, */*; q=0.2",
            "*/*;q=0",
            "",
        ],
    )
    def test_does_not_depend_on_what_the_client_accepts(self, server: Server, accept: str) -> None:
        fields = (QUERY, f"Accept: {accept}", "Accept-Encoding: gzip, deflate, br", "TE: trailers")
        check_granted(exchange(server, post(query(nonce=NONCES[0]), "/tsa", *fields)), NONCES[0])

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/timestamp-query; charset=utf-8",
            "APPLICATION/Timestamp-Query",
            "application/timestamp-request",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
            "text/xml",
            "",
            None,
        ],
    )
    @pytest.mark.parametrize("target", ["/tsa", "/tsa/p256", "/"])
    def test_does_not_depend_on_the_media_type_of_the_request(
        self, server: Server, target: str, media_type: str | None
    ) -> None:
        fields = () if media_type is None else (f"Content-Type: {media_type}",)
        check_granted(exchange(server, post(query(nonce=NONCES[1]), target, *fields)), NONCES[1])

    @pytest.mark.parametrize(
        "fields",
        [
            ("Authorization: Basic dHNhOnNlY3JldA==",),
            ("Cookie: a=b",),
            ("Range: bytes=0-9", "If-None-Match: *", "If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT"),
            ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
            ("Origin: https://example.com", "Sec-Fetch-Mode: cors"),
            ("X-Forwarded-Proto: https", "Upgrade-Insecure-Requests: 1"),
        ],
        ids=lambda fields: fields[0].partition(":")[0],
    )
    def test_is_whole_whatever_else_the_request_carries(self, server: Server, fields: tuple[str, ...]) -> None:
        check_granted(exchange(server, post(query(nonce=NONCES[2]), "/tsa", QUERY, *fields)), NONCES[2])


class TestFraming:
    def test_of_http_1_0_ends_the_connection_unless_it_is_to_be_kept(self, server: Server) -> None:
        """Old JDKs behind proxies, and osslsigncode."""
        with Wire(server) as wire:
            answer = wire.ask(post(query(nonce=NONCES[3]), "/tsa", QUERY, version="1.0"))
            check_granted(answer, NONCES[3])
            assert answer.field("Connection") == "close"
            assert wire.ended()
        with Wire(server) as wire:
            for nonce in NONCES[:3]:
                answer = wire.ask(post(query(nonce=nonce), "/tsa", QUERY, "Connection: keep-alive", version="1.0"))
                check_granted(answer, nonce)
                assert answer.field("Connection") == "keep-alive"

    def test_connection_close_is_kept_to(self, server: Server) -> None:
        with Wire(server) as wire:
            answer = wire.ask(post(query(nonce=NONCES[3]), "/tsa", QUERY, "Connection: close"))
            check_granted(answer, NONCES[3])
            assert wire.ended()

    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_in_chunks_is_put_together_and_answered_with_a_length(self, server: Server, size: int) -> None:
        """OpenSSL's client never looks at Transfer-Encoding: the first octet of the body must be 0x30."""
        body = query(nonce=NONCES[4])
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
        head = post(b"", "/tsa", QUERY, "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
        with Wire(server) as wire:
            for _ in range(2):
                check_granted(wire.ask(head + chunks + b"0\r\n\r\n"), NONCES[4])

    def test_that_expects_100_gets_it_before_the_body_is_sent(self, server: Server) -> None:
        """.NET, curl."""
        whole = post(query(nonce=NONCES[5]), "/tsa", QUERY, "Expect: 100-continue")
        head, end, body = whole.partition(b"\r\n\r\n")
        with Wire(server) as wire:
            for _ in range(3):
                wire.send(head + end)
                assert (wire.line(), wire.line()) == ("HTTP/1.1 100 Continue", "")
                check_granted(wire.ask(body), NONCES[5])

    def test_that_expects_100_and_does_not_wait_is_answered_once(self, server: Server) -> None:
        expecting = post(query(nonce=NONCES[6]), "/tsa", QUERY, "Expect: 100-Continue")
        with Wire(server) as wire:
            for _ in range(3):
                wire.send(expecting)
                answer = wire.read_final()
                check_granted(answer, NONCES[6])

    def test_of_http_1_0_gets_no_100(self, server: Server) -> None:
        expecting = post(query(nonce=NONCES[7]), "/tsa", QUERY, "Expect: 100-continue", version="1.0")
        check_granted(exchange(server, expecting), NONCES[7])

    def test_too_long_is_413_before_it_is_sent(self, server: Server) -> None:
        with Wire(server) as wire:
            head = post(b"", "/tsa", QUERY, "Expect: 100-continue")
            check_refused(wire.ask(head.replace(b"Content-Length: 0", b"Content-Length: 1073741824")), 413)

    def test_octet_by_octet_is_answered(self, server: Server) -> None:
        with Wire(server) as wire:
            for octet in post(query(nonce=NONCES[8]), "/tsa", QUERY):
                wire.send(bytes([octet]))
            check_granted(wire.read(), NONCES[8])

    def test_a_connection_is_good_after_every_refusal(self, server: Server) -> None:
        """Programs that sign many files keep theirs."""
        with Wire(server) as wire:
            for refused, status in (
                (post(b"0\0", "/tsa", QUERY), 200),
                (post(query(policy="1.2.3"), "/tsa", QUERY), 200),
                (post(F1, "/tsa/nobody", QUERY), 404),
                (get("/tsa", method="PUT"), 405),
                (get("/nothing"), 404),
            ):
                assert wire.ask(refused).status == status
                check_granted(wire.ask(post(query(nonce=NONCES[9]), "/tsa", QUERY)), NONCES[9])

    def test_pipelined_is_answered_in_order(self, server: Server) -> None:
        """Slow and quick signatures, rejections and descriptions, none of which overtakes another."""
        targets = ("/tsa", "/tsa/p256", "/tsa/ml-dsa")
        with Wire(server) as wire:
            asked = b""
            for at, nonce in enumerate(NONCES):
                asked += post(query(nonce=nonce), targets[at % 3], QUERY) + post(b"0\0", "/tsa") + get("/tsa")
            wire.send(asked)
            for nonce in NONCES:
                check_granted(wire.read(), nonce)
                assert open_reply(wire.read().body).status == 2
                assert wire.read().field("Content-Type") == "application/json"


CRYPT32 = bytes.fromhex(
    "30430201013031300d060960864801650304020105000420"
    "98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4"
    "02081fba2cacd759120c0101ff"
)

JDK_17 = bytes.fromhex(
    "30430201013031300d060960864801650304020105000420"
    "daaaa8f5047774acc49d18b2d145f4df86d332e9354d7641629291851a655e77"
    "02082248b02a68deb1fc0101ff"
)

JDK_21 = bytes.fromhex(
    "3051020101303f300b0609608648016503040202"
    "0430000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
    "02082248b02a68deb1fc0101ff"
)
"""SHA-384 without parameters."""

OSSLSIGNCODE = bytes.fromhex(
    "30440201013031300d060960864801650304020105000420"
    "1f6f6e37b7b47d28a3ac29dd55628ad396bfd5214bbb17330a86add298fe5841"
    "02090094c532a6cad6ae490101ff"
)

PYHANKO = bytes.fromhex(
    "30430201013031300d060960864801650304020105000420"
    "daaaa8f5047774acc49d18b2d145f4df86d332e9354d7641629291851a655e77"
    "020801ffffffffffff000101ff"
)

JAVA_ACCEPT = "Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"

CLIENTS = {
    "jarsigner of OpenJDK 17": (
        "POST /tsa HTTP/1.1",
        (
            QUERY,
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            "User-Agent: Java/17.0.21.1",
            "Host: 127.0.0.1:18080",
            "Accept: text/html, image/gif, image/jpeg, */*; q=0.2",
            "Connection: keep-alive",
        ),
        JDK_17,
    ),
    "jarsigner of OpenJDK 21": (
        "POST /tsa HTTP/1.1",
        (QUERY, "User-Agent: Java/21.0.2", "Host: 127.0.0.1:18080", "Accept: */*", "Connection: keep-alive"),
        JDK_21,
    ),
    "adt on Java 8": (
        "POST /tsa HTTP/1.1",
        (
            QUERY,
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            "User-Agent: Java/1.8.0_392",
            "Host: timestamp.example.ac.jp",
            JAVA_ACCEPT,
            "Connection: keep-alive",
        ),
        JDK_17,
    ),
    "Java behind a proxy of HTTP/1.0": (
        "POST http://tsa.example.ac.jp/tsa HTTP/1.0",
        (QUERY, "User-Agent: Java/1.6.0_45", "Host: tsa.example.ac.jp", JAVA_ACCEPT, "Proxy-Connection: keep-alive"),
        JDK_17,
    ),
    "signtool /tr": (
        "POST /tsa HTTP/1.1",
        ("Connection: Keep-Alive", QUERY, "User-Agent: Transport", "Host: 127.0.0.1:18080"),
        CRYPT32,
    ),
    ".NET Framework": (
        "POST /tsa HTTP/1.1",
        (QUERY, "Host: 127.0.0.1:18080", "Expect: 100-continue", "Connection: Keep-Alive"),
        CRYPT32,
    ),
    ".NET": ("POST /tsa HTTP/1.1", ("Host: 127.0.0.1:18080", QUERY), CRYPT32),
    "jsign": (
        "POST /tsa HTTP/1.1",
        (
            "Content-type: application/timestamp-query",
            "Accept: application/timestamp-query",
            "User-Agent: Transport",
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            "Host: 127.0.0.1:18080",
            "Connection: keep-alive",
        ),
        JDK_17,
    ),
    "osslsigncode -ts": (
        "POST /tsa HTTP/1.0",
        ("Host: 127.0.0.1", "Connection: keep-alive", QUERY),
        OSSLSIGNCODE,
    ),
    "osslsigncode -ts on libcurl": (
        "POST /tsa HTTP/1.1",
        ("Host: 127.0.0.1:18080", "User-Agent: Transport", QUERY, "Accept: application/timestamp-reply"),
        OSSLSIGNCODE,
    ),
    "pyHanko": (
        "POST /tsa HTTP/1.1",
        (
            "Host: 127.0.0.1:18080",
            "User-Agent: python-requests/2.31.0",
            "Accept-Encoding: gzip, deflate",
            "Accept: */*",
            "Connection: keep-alive",
            QUERY,
        ),
        PYHANKO,
    ),
    "osslsigncode -t": (
        "POST /tsa HTTP/1.0",
        ("Host: 127.0.0.1", "Connection: keep-alive", "Content-Type: application/octet-stream"),
        lines(request()),
    ),
    "signtool /t": (
        "POST /tsa HTTP/1.1",
        (
            "Connection: Keep-Alive",
            "Content-Type: application/octet-stream",
            "Accept: application/octet-stream",
            "User-Agent: Transport",
            "Host: 127.0.0.1:18080",
        ),
        lines(request(), b"\r\n") + b"\0",
    ),
    "jsign, the older protocol": (
        "POST /tsa HTTP/1.1",
        (
            "Content-type: application/octet-stream",
            "Accept: application/octet-stream",
            "User-Agent: Transport",
            "Cache-Control: no-cache",
            "Pragma: no-cache",
            "Host: 127.0.0.1:18080",
            "Connection: keep-alive",
        ),
        lines(request()).replace(b"\n", b""),
    ),
}


@pytest.mark.parametrize(("line", "fields", "body"), CLIENTS.values(), ids=CLIENTS)
def test_what_real_clients_send_is_granted_twice_over_one_connection(
    server: Server, line: str, fields: tuple[str, ...], body: bytes
) -> None:
    octets = "".join(f"{each}\r\n" for each in (line, *fields, f"Content-Length: {len(body)}", "")).encode() + body
    with Wire(server) as wire:
        for _ in range(1 if "1.0" in line and "Connection: keep-alive" not in fields else 2):
            wire.send(octets)
            answer = wire.read_final()
            if body[:1] == b"M":
                assert (answer.status, answer.field("Content-Type")) == (200, OCTETS)
                assert open_countersignature(answer.body).content == SIGNATURE
                continue
            check_reply(answer)
            opened = open_reply(answer.body)
            assert opened.status == 0, opened.text
            assert opened.tst_info["message_imprint"].dump() in body
            nonce = core.Sequence.load(body)[2].dump()
            assert opened.tst_info["nonce"].dump() == nonce
            assert opened.certificates
