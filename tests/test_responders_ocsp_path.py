"""The request in a GET's path: every spelling that real clients send decodes to the same octets (RFC 6960 §A.1)."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from listener_world import GOOD, MALFORMED, body, fields, listening

from responders.ocsp_http import decode_path

# CertID with SHA-1 hashes whose base64 has a double slash, slashes, plus signs and padding.
SLASHES = (
    "MFQwUjBQME4wTDAJBgUrDgMCGgUABBQ55F6w46hhx/o6OXOHa+Yfe32YhgQU+3hPEvlgFYMsnxd/NBmzLjbqQYkCEwD6Wh0MaVKu9gJ3By9DI//"
    "xsd4="
)
ZERO_HASHES = "MEQwQjBAMD4wPDAJBgUrDgMCGgUABBQAAAAAAAAAAAAAAAAAAAAAAAAAAAQUAAAAAAAAAAAAAAAAAAAAAAAAAAACAwP//A=="
DER = base64.b64decode(SLASHES)

SPELLINGS = {
    "B01 escaped by the client": quote(SLASHES, safe="/"),
    "B01 as it was reported": SLASHES.replace("x/o", "x%2Fo").replace("+", "%2B").replace("=", "%3D"),
    "B02 a slash of the URL and one of the client": "/" + SLASHES,
    "B02 three of them": "///" + SLASHES,
    "B05 everything escaped": quote(SLASHES, safe=""),
    "B06 nothing escaped": SLASHES,
    "B07 URL-safe alphabet": SLASHES.replace("+", "-").replace("/", "_"),
    "B07 no padding": SLASHES.rstrip("="),
    "B07 URL-safe alphabet, no padding": SLASHES.replace("+", "-").replace("/", "_").rstrip("="),
    "B08 a plus sign that became a space": quote(SLASHES.replace("+", " "), safe="/"),
    "B11 lower-case escapes": quote(SLASHES, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
}
GARBAGE = {
    "empty": "",
    "only slashes": "//",
    "other characters": "favicon.ico",
    "B08 a line break that a careless decoder drops": SLASHES[:20] + "%0A" + SLASHES[20:],
    "B08 a character that a careless decoder drops": SLASHES[:20] + "*" + SLASHES[20:],
    "B08 four line breaks": SLASHES[:20] + 4 * "%0A" + SLASHES[20:],
    "B08 four characters": SLASHES[:20] + "****" + SLASHES[20:],
    "padding in the middle": "MFQw=" + SLASHES,
    "one character too many": SLASHES.rstrip("=") + "AA",
    "escaped twice": quote(quote(SLASHES, safe=""), safe=""),
    "not ASCII": "M%C3%A9",
}


@pytest.mark.parametrize("path", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_decode_to_one_request(path: str) -> None:
    assert decode_path(path) == DER


@pytest.mark.parametrize("path", [path for name, path in GARBAGE.items() if name not in ("empty", "only slashes")])
def test_what_is_not_base64_is_refused_rather_than_repaired(path: str) -> None:
    try:
        decoded = decode_path(path)
    except ValueError:
        return
    assert decoded not in (DER, b"")


@pytest.mark.parametrize("prefix", ["/ocsp/", "/ocsp//", "/", "//"])
async def test_spellings_get_one_answer_wherever_they_are_sent(prefix: str) -> None:
    async with listening() as world:
        world.responder.answers[DER] = GOOD
        for path in SPELLINGS.values():
            response = await world.ask(f"GET {prefix}{path} HTTP/1.0\r\n\r\n".encode())
            assert body(response) == GOOD.der, path
        assert set(world.responder.asked) == {DER}


@pytest.mark.parametrize("path", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_malformed_request_with_http_200(path: str) -> None:
    """RFC 6960 §2.3; a client that gets another HTTP status takes it for a fault of the network."""
    async with listening() as world:
        response = await world.ask(f"GET /ocsp/{path} HTTP/1.0\r\n\r\n".encode())
        assert response.startswith(b"HTTP/1.1 200 ")
        assert body(response) == MALFORMED.der
        assert fields(response)["Content-Type"] == "application/ocsp-response"
        assert DER not in world.responder.asked


@pytest.mark.parametrize("spelling", [ZERO_HASHES, quote(ZERO_HASHES, safe="")])
async def test_the_probe_of_crt_sh_is_one_request(spelling: str) -> None:
    """B03."""
    async with listening() as world:
        await world.ask(f"GET /ocsp/{spelling} HTTP/1.0\r\n\r\n".encode())
        assert world.responder.asked == [base64.b64decode(ZERO_HASHES)]


@pytest.mark.parametrize("path", ["/favicon.ico", "/robots.txt", "/wp-login.php", "/" + "A" * 60, "/MFQw"])
async def test_other_paths_are_not_found(path: str) -> None:
    async with listening() as world:
        response = await world.ask(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert response.startswith(b"HTTP/1.1 404 ")
        assert world.responder.asked == []


async def test_the_absolute_form_of_a_proxy_is_understood() -> None:
    async with listening() as world:
        world.responder.answers[DER] = GOOD
        for target in (f"http://ocsp.example/ocsp/{quote(SLASHES, safe='')}", f"http://ocsp.example/{SLASHES}"):
            response = await world.ask(f"GET {target} HTTP/1.0\r\n\r\n".encode())
            assert body(response) == GOOD.der
