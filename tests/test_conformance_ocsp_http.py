"""What HTTP caches are told, and what nonces may cost, on a running server (RFC 9919 §6, §7 and §8; RFC 9110 §13)."""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from ocsp_wire import MALFORMED, TRY_LATER, UNAUTHORIZED, cert_id, data, nonce, request, send, serial_of
from running_server import running_server, until
from strangers import certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocsp_wire import Reply
    from running_server import Server

CACHED = ("ETag", "Expires", "Last-Modified", "Cache-Control", "Content-Length", "Content-Type", "Date")


def about(home: Path, name: str = "demo-good", ca: str = "server-rsa") -> bytes:
    return cert_id(certificate(home, ca), serial_of(certificate(home, name)))


@pytest.fixture(scope="module")
def good(server: Server) -> bytes:
    return about(server.home)


def target(asked: bytes) -> str:
    return "/ocsp/" + quote(b64encode(asked), safe="")


@contextmanager
def serving(home: Path, folder: Path, settings: str) -> Iterator[Server]:
    file = folder / "other.toml"
    file.write_text(settings)
    with running_server(home, 1, arguments=("--config", str(file))) as server:
        yield server


def seconds(date: str) -> float:
    """An IMF-fixdate and nothing else."""
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date), date
    return parsedate_to_datetime(date).timestamp()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_whole_header_on_every_method(server: Server, good: bytes, method: str) -> None:
    """RFC 9919 §6, §7.2; B44, B60."""
    asked = request(good)
    body = asked if method == "POST" else None
    reply = send(server, method, "/ocsp" if body else target(asked), body)
    whole = send(server, "GET", target(asked)).body
    fields = reply.fields
    assert fields.keys() >= set(CACHED)
    assert reply.body == (b"" if method == "HEAD" else whole)
    assert fields["ETag"] == f'"{hashlib.sha256(whole).hexdigest()}"'
    assert fields["Content-Length"] == str(len(whole))
    found = re.fullmatch(r"max-age=(\d+), public, no-transform, must-revalidate", fields["Cache-Control"])
    assert found is not None
    single = data(whole)["responses"][0]
    this_update, next_update = single["this_update"].native, single["next_update"].native
    assert seconds(fields["Expires"]) == next_update.timestamp()
    assert seconds(fields["Last-Modified"]) == this_update.timestamp()
    assert data(whole)["produced_at"].native == this_update
    # Between thisUpdate and nextUpdate, strictly, and no longer than to the next publication.
    now = seconds(fields["Date"])
    assert this_update.timestamp() <= now <= now + int(found[1]) <= this_update.timestamp() + 3900
    assert "Pragma" not in fields


def conditional(server: Server, asked: bytes, **fields: str) -> Reply:
    return send(server, "GET", target(asked), None, **fields)


def test_a_client_that_has_the_answer_is_told_so(server: Server, good: bytes) -> None:
    """RFC 9110 §13.1.2: lists, weak tags, ``*``, several spaces; the tag decides where there is a date too."""
    asked = request(good)
    first = send(server, "GET", target(asked))
    tag, when = first.fields["ETag"], first.fields["Last-Modified"]
    for value in (tag, f"W/{tag}", f'"x", {tag}', f'"x",W/{tag} , "y"', "*", f'"a,b", {tag}'):
        reply = conditional(server, asked, if_none_match=value)
        assert (reply.status, reply.body) == (304, b""), value
        assert {"ETag", "Cache-Control", "Expires", "Last-Modified", "Date"} <= reply.fields.keys()
    for value in ('"x"', tag.strip('"'), 'W/"x"', ""):
        assert conditional(server, asked, if_none_match=value).status == (304 if value == tag else 200), value
    assert conditional(server, asked, if_none_match='"x"', if_modified_since=when).status == 200
    assert send(server, "HEAD", target(asked), if_none_match=tag).status == 304


def test_a_date_is_a_condition_where_there_is_no_tag(server: Server, good: bytes) -> None:
    """RFC 9110 §13.1.3."""
    asked = request(good)
    when = send(server, "GET", target(asked)).fields["Last-Modified"]
    changed = seconds(when)
    for date, status in (
        (when, 304),
        (formatdate(changed + 60, usegmt=True), 304),
        (formatdate(changed - 1, usegmt=True), 200),
        ("yesterday", 200),
        ("Thu, 99 Jan 2026 00:00:00 GMT", 200),
        ("", 200),
    ):
        assert conditional(server, asked, if_modified_since=date).status == status, date


def test_a_post_has_no_condition(server: Server, good: bytes) -> None:
    """RFC 9110 §13.1.2 would have it answer 412; a client that posts wants the answer."""
    asked = request(good)
    assert send(server, "POST", "/ocsp", asked, if_none_match="*").status == 200


def with_nonce(good: bytes, octets: bytes | None = None) -> bytes:
    return request(good, extensions=(nonce(octets or secrets.token_bytes(32)),))


def asked_from(server: Server, asked: bytes, address: str = "192.0.2.254") -> Reply:
    return send(server, "POST", "/ocsp", asked, x_forwarded_for=address)


def test_over_its_share_an_address_is_told_to_come_back(demo_home: Path, tmp_path: Path) -> None:
    """RFC 9919 §8: and everyone else is answered, as is that address without a nonce."""
    good = about(demo_home)
    settings = '[ocsp]\nnonce_rate = 0.01\nnonce_burst = 2\n[server]\nproxies = ["127.0.0.0/8"]\n'
    with serving(demo_home, tmp_path, settings) as server:
        for address in ("192.0.2.1", "2001:db8:0:1::7", "::ffff:192.0.2.9", "localhost"):
            for _ in range(2):
                sent = secrets.token_bytes(32)
                assert sent in asked_from(server, with_nonce(good, sent), address).body
            refused = asked_from(server, with_nonce(good), address)
            assert (refused.status, refused.body) == (200, TRY_LATER)
            assert 1 <= int(refused.fields["Retry-After"]) <= 100
            assert refused.fields["Cache-Control"] == "no-store"
            assert asked_from(server, request(good), address).body != TRY_LATER
        # One site of IPv6 is one client, and so is an IPv4 address however it is written or forged.
        for same in ("2001:db8:0:1:ffff::1", "192.0.2.9", "198.51.100.77, 192.0.2.1", "192.0.2.1, 127.0.0.3"):
            assert asked_from(server, with_nonce(good), same).body == TRY_LATER, same
        until(lambda: server.metric("responders_ocsp_nonces_over_budget_total") == 8, "it is not counted")


def test_nobody_is_believed_about_another_address(demo_home: Path, tmp_path: Path) -> None:
    good = about(demo_home)
    with serving(demo_home, tmp_path, "[ocsp]\nnonce_rate = 0.01\nnonce_burst = 1\n") as server:
        assert asked_from(server, with_nonce(good), "192.0.2.1").body != TRY_LATER
        assert asked_from(server, with_nonce(good), "192.0.2.2").body == TRY_LATER


def test_the_fallback_answers_from_the_cache(demo_home: Path, tmp_path: Path) -> None:
    """B43, RFC 9919 §3.2.1: a whole answer without the nonce, by choice of the operator."""
    good = about(demo_home)
    settings = "[ocsp]\nnonce_rate = 0.01\nnonce_burst = 1\nnonce_fallback = true\n"
    with serving(demo_home, tmp_path, settings) as server:
        plain = asked_from(server, request(good)).body
        assert asked_from(server, with_nonce(good)).body != plain
        fallen = asked_from(server, with_nonce(good))
        assert fallen.body == plain
        assert fallen.fields["Cache-Control"].startswith("max-age=")
        fetched = send(server, "GET", target(with_nonce(good)))
        assert fetched.body == plain


def test_nonces_cannot_slow_down_the_rest(demo_home: Path, tmp_path: Path) -> None:
    """B70: slow signatures for nonces fill a queue of their own; what is for everyone is signed before them."""
    settings = "[signing]\nin_flight = 1\nwaiters = 4\ndeadline = 2.0\n"
    known = about(demo_home, "demo-code-signer", "code-signing")
    with serving(demo_home, tmp_path, settings) as server, ThreadPoolExecutor(24) as clients:

        def flood() -> list[bytes]:
            return [asked_from(server, with_nonce(known)).body for _ in range(20)]

        floods = [clients.submit(flood) for _ in range(20)]
        # Each is new to the cache, so that each needs a signature.
        shared = [asked_from(server, request(*[known] * times)).body for times in range(1, 17)]
        flooded = [body for each in floods for body in each.result()]
    assert TRY_LATER not in shared
    assert TRY_LATER in flooded
    assert len(set(flooded)) > 50


def test_rfc_8954_is_a_choice(demo_home: Path, tmp_path: Path) -> None:
    """Its limit of 32 octets, for who must keep to it."""
    good = about(demo_home)
    with serving(demo_home, tmp_path, "[ocsp]\nnonce_limit_8954 = true\n") as server:
        assert bytes(32) in asked_from(server, with_nonce(good, bytes(32))).body
        assert asked_from(server, with_nonce(good, bytes(33))).body == MALFORMED


def test_a_signed_unknown_is_authoritative_for_a_short_time(demo_home: Path, tmp_path: Path) -> None:
    """RFC 9919 §7.1: not no-store; the certificate may be issued at any moment, so not for long either."""
    asked = request(cert_id(certificate(demo_home, "server-rsa"), 0x7E57))
    with serving(demo_home, tmp_path, "[ocsp]\nsigned_unknown = true\n") as server:
        reply = asked_from(server, asked)
        (single,) = data(reply.body)["responses"]
        assert single["cert_status"].name == "unknown"
        assert single["next_update"].native is not None
        found = re.fullmatch(r"max-age=(\d+), public, no-transform, must-revalidate", reply.fields["Cache-Control"])
        assert found is not None
        assert 0 <= int(found[1]) <= 300
        foreign = request(cert_id(certificate(demo_home, "server-rsa"), 7, key_of=certificate(demo_home, "root")))
        assert asked_from(server, foreign).body == UNAUTHORIZED
