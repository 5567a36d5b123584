"""GET as clients really spell it, asked of a running server (RFC 6960 §A.1, RFC 9919 §6)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ocsp_wire import MALFORMED, UNAUTHORIZED, cert_id, post, request, send, serial_of, singles
from strangers import certificate

if TYPE_CHECKING:
    from running_server import Server

DOUBLE_SLASH = (
    "MFQwUjBQME4wTDAJBgUrDgMCGgUABBQ55F6w46hhx%2Fo6OXOHa%2BYfe32YhgQU%2B3hPEvlgFYMsnxd%2FNBmzLjbqQYkCEwD6Wh0MaVKu9gJ3By9D"
    "I%2F%2Fxsd4%3D"
)
PROBE = "MEQwQjBAMD4wPDAJBgUrDgMCGgUABBQAAAAAAAAAAAAAAAAAAAAAAAAAAAQUAAAAAAAAAAAAAAAAAAAAAAAAAAACAwP//A=="
PREFIXES = ("/ocsp/", "/ocsp//", "/", "//")


@pytest.fixture(scope="module")
def asked(server: Server) -> tuple[str, bytes]:
    """A request whose base64 has a slash, a plus sign and padding, and the answer that a POST of it gets."""
    issuer = certificate(server.home, "server-rsa")
    serial = serial_of(certificate(server.home, "demo-good"))
    for octets in range(128):
        # requestorName is taken as if it were absent; it is here for the octets that it adds.
        name = bytes([0x82, 1, octets])  # a dNSName
        text = b64encode(request(cert_id(issuer, serial), requestor=name)).decode()
        if "/" in text and "+" in text and text.endswith("="):
            break
    else:
        raise AssertionError("no such spelling")
    answer = post(server, request(cert_id(issuer, serial), requestor=name))
    assert [status for _, status in singles(answer)] == ["good"]
    return text, answer


def get(server: Server, target: str) -> bytes:
    reply = send(server, "GET", target)
    assert (reply.status, reply.fields["Content-Type"]) == (200, "application/ocsp-response")
    assert reply.body
    return reply.body


@pytest.mark.parametrize("prefix", PREFIXES)
def test_inner_double_slashes_survive(server: Server, prefix: str) -> None:
    """B01, B02: the reported path; leading slashes are the joint of two URLs, inner ones are base64."""
    assert get(server, prefix + DOUBLE_SLASH) == UNAUTHORIZED
    assert get(server, prefix + DOUBLE_SLASH.replace("%2F", "/")) == UNAUTHORIZED


def test_nothing_is_redirected(server: Server, asked: tuple[str, bytes]) -> None:
    """B02: a redirect would be followed by nobody."""
    for prefix in PREFIXES:
        assert send(server, "GET", prefix + asked[0]).status == 200


@pytest.mark.parametrize("spelling", [PROBE, quote(PROBE, safe=""), PROBE.replace("//", "%2F%2F"), PROBE.rstrip("=")])
def test_the_probe_of_crt_sh_is_unauthorized_in_every_spelling(server: Server, spelling: str) -> None:
    """B03."""
    assert get(server, f"/ocsp/{spelling}") == UNAUTHORIZED


ESCAPED = {"+": ("+", "%2B", "%2b", "-", "%20"), "/": ("/", "%2F", "%2f", "_"), "=": ("=", "%3D", "%3d", "")}


@st.composite
def spellings(draw: st.DrawFn, text: str) -> str:
    """Any way to write base64 into a URL that some client uses: each character by itself."""
    padding = draw(st.booleans())
    written = []
    for character in text if padding else text.rstrip("="):
        options = ESCAPED.get(character, (character, f"%{ord(character):02X}", f"%{ord(character):02x}"))
        # Padding is there in whole or not at all.
        written.append(draw(st.sampled_from([each for each in options if each])))
    return draw(st.sampled_from(PREFIXES)) + "".join(written)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_spelling_of_one_request_gets_one_answer(
    server: Server, asked: tuple[str, bytes], data: st.DataObject
) -> None:
    """B05, B06, B07, B10, B11, B12: raw, escaped in part or whole, URL-safe, without padding, no slash or more."""
    target = data.draw(spellings(asked[0]))
    assert get(server, target) == asked[1], target


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: text + "/",
        lambda text: text[:-1] + "/=",
        lambda text: text[:40] + "%0A" + text[40:],
        lambda text: text[:40] + "*" + text[40:],
        lambda text: text[:40] + "%00" + text[40:],
        lambda text: text[:40] + "=" + text[40:],
        lambda text: text[:-4],
        lambda text: text[:-5],
        lambda text: text + "AAAA",
        lambda text: text.rstrip("=") + "====",
        lambda text: "A" + text,
        lambda text: text[:40] + "%" + text[40:],
        lambda text: text[:40] + "%zz" + text[40:],
        lambda text: text[:40] + "%C3%A9" + text[40:],
        lambda text: text[:40],
    ],
    ids=[
        "escaped twice", "slash behind", "slash before the padding", "line break", "asterisk", "zero octet",
        "padding inside", "cut by four", "cut by five", "more behind", "too much padding", "shifted", "lone percent",
        "no hexadecimal", "no ASCII", "a fragment",
    ],
)  # fmt: skip
def test_nothing_else_gets_that_answer(server: Server, asked: tuple[str, bytes], broken: object) -> None:
    """B08: what does not decode to these octets is malformedRequest, and never repaired into another request."""
    assert callable(broken)
    assert get(server, f"/ocsp/{broken(asked[0])}") == MALFORMED


def test_the_space_of_a_decoded_plus_sign_is_understood(server: Server, asked: tuple[str, bytes]) -> None:
    """B05: a proxy that unescapes a path as if it were a query."""
    assert get(server, f"/ocsp/{asked[0].replace('+', '%20')}") == asked[1]


def test_the_spelling_of_java(server: Server, asked: tuple[str, bytes]) -> None:
    """B11: %2B, %2F and %3D."""
    assert get(server, f"/ocsp/{quote(asked[0], safe='')}") == asked[1]


def test_get_works_wherever_post_does(server: Server, asked: tuple[str, bytes]) -> None:
    """B12, BR §4.9.10: GET is compulsory."""
    body = b64decode(asked[0])
    for target in ("/ocsp", "/ocsp/", "/"):
        assert post(server, body, target) == asked[1]
        assert get(server, f"{target.rstrip('/')}/{quote(asked[0], safe='')}") == asked[1]
