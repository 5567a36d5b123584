"""Where time-stamps are to be had: the addresses of units, and what ``GET /tsa`` says of them, on a running server."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from http_wire import Wire, exchange, get, post
from strangers import certificate, load
from test_tsa_requests import F1
from tsa_http_answers import QUERY, check_granted, check_refused
from tsa_reader import open_reply
from tsa_server import query

if TYPE_CHECKING:
    from running_server import Server


@pytest.fixture(name="server")
def own_server(tsa_server: Server) -> Server:
    """Not the demo home's."""
    return tsa_server


class TestAddress:
    @pytest.mark.parametrize(
        ("target", "policy"),
        [
            ("/tsa", "2.999.3161.1"),
            ("/tsa/", "2.999.3161.1"),
            ("/tsa?", "2.999.3161.1"),
            ("/tsa?td=sha256", "2.999.3161.1"),
            ("/", "2.999.3161.1"),
            ("http://tsa.example.ac.jp/tsa", "2.999.3161.1"),
            ("/tsa/rsa", "2.999.3161.1"),
            ("/tsa/p256", "2.999.3161.2"),
            ("/tsa/p256/", "2.999.3161.2"),
            ("/tsa/p256?x", "2.999.3161.2"),
        ],
    )
    def test_of_a_unit_is_taken_as_clients_write_it(self, server: Server, target: str, policy: str) -> None:
        answer = exchange(server, post(query(), target, QUERY))
        check_granted(answer)
        assert open_reply(answer.body).tst_info["policy"].dotted == policy

    @pytest.mark.parametrize(
        "target",
        ["/tsa/nobody", "/tsa/P256", "/tsa/p256/rsa", "/tsa/../tsa", "/tsa/%72sa", "/tsa/rsa%00", "/TSA", "/tsax"],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
    def test_of_no_unit_is_404_and_no_other_units(self, server: Server, target: str, method: str) -> None:
        octets = post(F1, target, QUERY) if method == "POST" else get(target, method=method)
        with Wire(server) as wire:
            wire.send(octets)
            answer = wire.read(bodiless=method == "HEAD")
        check_refused(answer, 404)

    def test_of_the_unit_for_the_older_protocol_answers_no_rfc_3161(self, server: Server) -> None:
        """RFC 3161 §2.3: a key is for one of them."""
        check_refused(exchange(server, post(F1, "/tsa/authenticode", QUERY)), 404)
        check_refused(exchange(server, get("/tsa/authenticode")), 404)
        assert "authenticode" not in json.loads(exchange(server, get("/tsa")).body)["units"]

    @pytest.mark.parametrize("target", ["/tsa", "/tsa/", "/tsa/p256"])
    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
    def test_says_which_methods_it_has(self, server: Server, method: str, target: str) -> None:
        answer = exchange(server, get(target, method=method))
        check_refused(answer, 405)
        assert set(answer.field("Allow").split(", ")) == {"GET", "HEAD", "POST"}


BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

HOSTILE = (
    'Host: "><script>alert(1)</script>',
    "Host: tsa.example.ac.jp/<img src=x onerror=alert(1)>",
    "Host: a.example'onmouseover='alert(1)",
    "Host: a.example:80:80",
    "Host: {0.__class__}",
)


class TestDescription:
    @pytest.mark.parametrize(
        ("accept", "media_type"),
        [
            (None, "application/json"),
            ("Accept: */*", "application/json"),
            ("Accept: application/json", "application/json"),
            ("Accept: application/json, text/html", "application/json"),
            (BROWSER, "text/html; charset=utf-8"),
            ("Accept: TEXT/HTML", "text/html; charset=utf-8"),
        ],
    )
    @pytest.mark.parametrize("target", ["/tsa", "/tsa/p256"])
    def test_is_json_for_programs_and_a_page_for_people(
        self, server: Server, target: str, accept: str | None, media_type: str
    ) -> None:
        fields = () if accept is None else (accept,)
        with Wire(server) as wire:
            answer = wire.ask(get(target, *fields))
            assert (answer.status, answer.field("Content-Type")) == (200, media_type)
            assert answer.field("Vary") == "Accept"
            wire.send(get(target, *fields, method="HEAD"))
            head = wire.read(bodiless=True)
            assert {*head.fields} - {*answer.fields} <= {("Date", head.field("Date"))}
            check_granted(wire.ask(post(F1)))
        unit = target.removeprefix("/tsa/") if "/tsa/" in target else "rsa"
        if media_type == "application/json":
            described = json.loads(answer.body)
            assert described["unit"] == unit
            assert described["authenticode"] is True
            leaf = load(certificate(server.home, "tsa" if unit == "rsa" else f"tsa-{unit}"))
            assert described["certificates"][0] == leaf.public_bytes(Encoding.PEM).decode()
        else:
            assert f"<h2>{unit}</h2>" in answer.body.decode()

    @pytest.mark.parametrize("host", HOSTILE)
    def test_never_repeats_a_hostile_host(self, server: Server, host: str) -> None:
        answer = exchange(server, get("/tsa", BROWSER, host))
        if answer.status == 400:
            check_refused(answer, 400)
            return
        assert answer.status == 200
        page = answer.body.decode()
        assert "http://127.0.0.1:8080/tsa" in page
        assert host.removeprefix("Host: ") not in page
        assert not re.search(r"<script|onerror|onmouseover|__class__|:80:80", page)
        assert answer.field("Content-Security-Policy").startswith("default-src 'none'")
        assert answer.field("X-Content-Type-Options") == "nosniff"

    def test_says_the_address_that_the_client_used(self, server: Server) -> None:
        page = exchange(server, get("/tsa/p256", BROWSER, "Host: tsa.example.ac.jp:8080")).body.decode()
        assert "http://tsa.example.ac.jp:8080/tsa/p256" in page
