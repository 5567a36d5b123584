"""What is said about an answer beside its octets: RFC 9919 §6 and §7, RFC 3161 §3.4, RFC 9110."""

from __future__ import annotations

import base64
import hashlib
import sys
from dataclasses import replace

import pytest
from listener_world import GOOD, MALFORMED, NOW, TRY_LATER, body, fields, listening

from ca_store.errors import SigningOverload
from ocsp.types import Answer
from responders.cache_keys import TagHeader
from responders.config import Server as Settings
from responders.counters import OCSP_ANSWERS, REFUSALS, TIMESTAMPS, counter_index
from responders.ocsp_http import PreparedAnswer

REQUEST = b"0\x03\x02\x01\x01" + bytes(75)
GET = b"GET /ocsp/%b HTTP/1.0\r\n" % base64.urlsafe_b64encode(REQUEST)
NONCE = Answer(b"0nonce", "good", this_update=NOW, next_update=NOW + 600, nonce=True)
ETAG = f'"{hashlib.sha256(GOOD.der).hexdigest()}"'


async def test_an_authoritative_answer_says_how_long_it_holds() -> None:
    async with listening() as world:
        world.responder.answers[REQUEST] = GOOD
        assert fields(await world.ask(GET + b"\r\n")) == {
            "Content-Length": "201",
            "Date": "Sat, 25 Jul 2026 17:20:00 GMT",
            "Content-Type": "application/ocsp-response",
            "Last-Modified": "Sat, 25 Jul 2026 17:15:00 GMT",
            "ETag": ETAG,
            "Expires": "Sat, 01 Aug 2026 16:00:00 GMT",
            "Cache-Control": "max-age=3000, public, no-transform, must-revalidate",
            "Connection": "close",
        }


async def test_max_age_shrinks_and_date_moves_when_the_second_changes() -> None:
    async with listening() as world:
        world.responder.kept[REQUEST] = GOOD
        ages = []
        for seconds in (0, 0.4, 1, 2999, 3000, 3001):
            world.clock.seconds = NOW + seconds
            world.second.tick()
            said = fields(await world.ask(GET + b"\r\n"))
            ages.append((said["Cache-Control"].split(",")[0], said["Date"][20:25]))
        assert ages == [
            ("max-age=3000", "20:00"),
            ("max-age=3000", "20:00"),
            ("max-age=2999", "20:01"),
            ("max-age=1", "09:59"),
            ("max-age=0", "10:00"),
            ("max-age=0", "10:01"),
        ]


@pytest.mark.parametrize("answer", [MALFORMED, TRY_LATER])
async def test_an_unsigned_error_is_http_200_and_never_stored(answer: Answer) -> None:
    async with listening() as world:
        world.responder.answers[REQUEST] = answer
        response = await world.ask(GET + b"\r\n")
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        said = fields(response)
        assert said["Cache-Control"] == "no-store"
        assert said.keys().isdisjoint({"ETag", "Expires", "Last-Modified"})
        assert said.get("Retry-After") == (None if answer.retry_after is None else str(answer.retry_after))


async def test_last_modified_is_never_later_than_date() -> None:
    """RFC 9110 §8.8.2.1: an answer that was made in the first moment of a second."""
    async with listening() as world:
        world.clock.seconds = NOW + 1
        answer = Answer(b"0nonce", "good", this_update=NOW + 1, next_update=NOW + 600, nonce=True)
        world.responder.answers[REQUEST] = answer
        said = fields(await world.ask(GET + b"\r\n"))
        assert said["Date"] == said["Last-Modified"]


async def test_an_answer_with_a_nonce_is_private_without_freshness() -> None:
    async with listening() as world:
        world.responder.answers[REQUEST] = NONCE
        said = fields(await world.ask(GET + b"\r\n"))
        assert said["Cache-Control"] == "private"
        assert said.keys().isdisjoint({"ETag", "Expires"})


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        pytest.param(f"If-None-Match: {ETAG}", 304, id="the tag"),
        pytest.param(f'If-None-Match: "other", W/{ETAG}', 304, id="in a list, weak"),
        pytest.param("If-None-Match: *", 304, id="any"),
        pytest.param('If-None-Match: "other"', 200, id="another"),
        pytest.param("If-Modified-Since: Sat, 25 Jul 2026 17:15:00 GMT", 304, id="since then"),
        pytest.param("If-Modified-Since: Sat, 25 Jul 2026 17:14:59 GMT", 200, id="modified since"),
        pytest.param("If-Modified-Since: yesterday", 200, id="not a date"),
        pytest.param("If-Modified-Since: Mon, 01 Jan 2024 99999999999999:00:00 GMT", 200, id="an hour no clock has"),
        pytest.param("If-Modified-Since: Mon, 01 Jan 2024 00:00:00 +99999999999999999", 200, id="a zone none has"),
        pytest.param("If-Modified-Since: Mon, 01 Jan 0001 00:00:00 -0000", 200, id="before any zone"),
        pytest.param('If-None-Match: "other"\r\nIf-None-Match: *', 304, id="in a second line"),
        pytest.param(
            'If-None-Match: "other"\r\nIf-Modified-Since: Sat, 25 Jul 2026 17:15:00 GMT', 200, id="the tag decides"
        ),
    ],
)
async def test_conditional_get(condition: str, status: int) -> None:
    async with listening() as world:
        world.responder.answers[REQUEST] = GOOD
        response = await world.ask(GET + condition.encode() + b"\r\n\r\n")
        assert response.startswith(b"HTTP/1.1 %d " % status)
        assert body(response) == (b"" if status == 304 else GOOD.der)
        assert fields(response)["ETag"] == ETAG
        assert fields(response)["Cache-Control"].startswith("max-age=3000")
        assert world.row.counter(counter_index(OCSP_ANSWERS, "notModified", "GET", "none")) == (status == 304)


@pytest.mark.parametrize("media_type", [b"application/ocsp-request; charset=utf-8", b"TEXT/plain", b"", None])
async def test_the_media_type_of_a_request_does_not_matter(media_type: bytes | None) -> None:
    async with listening() as world:
        world.responder.answers[REQUEST] = GOOD
        header = b"" if media_type is None else b"Content-Type: %b\r\n" % media_type
        response = await world.ask(b"POST /ocsp/ HTTP/1.0\r\n%bContent-Length: 80\r\n\r\n" % header + REQUEST)
        assert body(response) == GOOD.der


async def test_a_cached_answer_is_counted_without_asking_again() -> None:
    async with listening() as world:
        world.responder.kept[REQUEST] = GOOD
        for _ in range(3):
            await world.ask(GET + b"\r\n")
        assert world.responder.asked == []
        assert world.row.counter(counter_index(OCSP_ANSWERS, "good", "GET", "none")) == 3


async def test_a_time_stamp_reply_has_the_exact_type_and_length() -> None:
    """OpenJDK and pyHanko compare the whole header; OpenSSL does not read chunks."""
    async with listening() as world:
        response = await world.ask(
            b"POST /tsa HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nContent-Length: 1\r\nConnection: close\r\n\r\n0"
        )
        assert fields(response) == {
            "Content-Length": "7",
            "Date": "Sat, 25 Jul 2026 17:20:00 GMT",
            "Content-Type": "application/timestamp-reply",
            "Connection": "close",
        }
        assert world.row.counter(counter_index(TIMESTAMPS, "granted")) == 1


async def test_too_many_signatures_are_503_with_a_time_to_come_back() -> None:
    async with listening() as world:
        world.authority.failure = SigningOverload("busy")
        response = await world.ask(b"POST /tsa HTTP/1.0\r\nContent-Length: 1\r\n\r\n0")
        assert response.startswith(b"HTTP/1.1 503 ")
        assert fields(response)["Retry-After"] == "2"
        assert world.row.counter(counter_index(TIMESTAMPS, "overload")) == 1


@pytest.mark.parametrize(
    ("path", "unit"),
    [("/tsa", None), ("/tsa/", None), ("/tsa/rsa", "rsa"), ("/tsa/p256", "p256"), ("/tsa/p256/", "p256")],
)
async def test_a_unit_is_named_by_its_path(path: str, unit: str | None) -> None:
    async with listening() as world:
        await world.ask(f"POST {path} HTTP/1.0\r\nContent-Length: 1\r\n\r\n0".encode())
        assert world.authority.asked == [(b"0", unit)]


@pytest.mark.parametrize("path", ["/tsa/other", "/tsa/rsa/more", "/nothing", "/ocspx"])
async def test_what_does_not_exist_is_404(path: str) -> None:
    async with listening() as world:
        response = await world.ask(f"POST {path} HTTP/1.0\r\nContent-Length: 1\r\n\r\n0".encode())
        assert response.startswith(b"HTTP/1.1 404 ")
        assert world.row.counter(counter_index(REFUSALS, "404")) == 1


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("OPTIONS", "/ocsp", "GET, HEAD, POST"),
        ("PUT", "/ocsp", "GET, HEAD, POST"),
        ("DELETE", "/tsa", "GET, HEAD, POST"),
        ("POST", "/ocsp/AAAA", "GET, HEAD"),
        ("POST", "/crl/root.crl", "GET, HEAD"),
        ("POST", "/ca/root.cer", "GET, HEAD"),
        ("OPTIONS", "/", "GET, HEAD, POST"),
    ],
)
async def test_another_method_is_405_and_says_what_is_allowed(method: str, path: str, allow: str) -> None:
    async with listening() as world:
        response = await world.ask(f"{method} {path} HTTP/1.0\r\n\r\n".encode())
        assert response.startswith(b"HTTP/1.1 405 ")
        assert fields(response)["Allow"] == allow


@pytest.mark.parametrize(
    ("octets", "core"),
    [
        pytest.param(bytes.fromhex("3008 3006 3004 3002 3000"), "ocsp", id="OCSPRequest"),
        pytest.param(bytes.fromhex("308105 3003 020101"), "ocsp", id="OCSPRequest, long length"),
        pytest.param(bytes.fromhex("3005 020101 3000"), "tsa", id="TimeStampReq"),
        pytest.param(bytes.fromhex("308205dc 020101"), "tsa", id="TimeStampReq, longer length"),
        pytest.param(b"hello", "tsa", id="neither"),
        pytest.param(b"0", "tsa", id="cut short"),
        pytest.param(b"", "tsa", id="empty"),
        pytest.param(b"0\xff\x02\x01", "tsa", id="impossible length"),
    ],
)
async def test_the_root_tells_the_protocols_apart_by_the_body(octets: bytes, core: str) -> None:
    async with listening() as world:
        await world.ask(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(octets) + octets)
        assert (len(world.responder.asked), len(world.authority.asked)) == ((1, 0) if core == "ocsp" else (0, 1))


async def test_without_units_there_is_no_time_stamping() -> None:
    async with listening(tsa=False) as world:
        for request in (b"POST /tsa HTTP/1.0\r\n\r\n", b"GET /tsa HTTP/1.0\r\n\r\n"):
            assert (await world.ask(request)).startswith(b"HTTP/1.1 404 ")
        response = await world.ask(b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nMIIB")
        assert body(response) == MALFORMED.der


async def test_the_root_has_a_page_for_people() -> None:
    async with listening() as world:
        response = await world.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert response.startswith(b"HTTP/1.1 200 ")
        assert fields(response)["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "octets",
    [
        GET + b"\r\n",
        GET.replace(b"GET", b"HEAD") + b"\r\n",
        GET + f"If-None-Match: {ETAG}\r\n\r\n".encode(),
        b"POST /ocsp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 80\r\n\r\n" + REQUEST,
        b"POST /ocsp HTTP/1.0\r\nContent-Length: 20000\r\n\r\n",
        b"POST /tsa HTTP/1.0\r\nContent-Length: 1\r\n\r\n0",
        b"OPTIONS /tsa HTTP/1.0\r\n\r\n",
        b"GET /nothing HTTP/1.0\r\n\r\n",
    ],
)
async def test_responses_made_of_documented_parts_say_the_same(octets: bytes) -> None:
    said = []
    for prepared in (True, False):
        async with listening(Settings(prepared_responses=prepared)) as world:
            world.responder.answers[REQUEST] = GOOD
            response = await world.ask(octets)
            header = {name: value for name, value in fields(response).items() if name not in ("Server", "Date")}
            header.pop("Connection", None)
            if response[9:12] == b"304":
                header.pop("Content-Length", None)  # optional there (RFC 9110 §8.6)
            said.append((response[9:12], header, body(response)))
    assert said[0] == said[1]


def test_an_answer_and_its_head_do_not_keep_each_other_alive() -> None:
    """What leaves the cache, and each answer to a nonce, is freed at once, not when the collector comes."""
    answer = replace(GOOD)
    holders = sys.getrefcount(answer)
    answer.prepared = PreparedAnswer(answer, TagHeader())
    assert sys.getrefcount(answer) == holders
