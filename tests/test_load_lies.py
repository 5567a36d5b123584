"""Whatever a server says that is not so is found, counted under its name, and told from failures."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from liar import Forger, http, liar, refusal
from ports import free_port

from ca_store.clock import SystemClock
from ca_store.types import HashAlgorithm
from responders.load.generator import ClosedLoop, OpenLoop
from responders.load.ocsp_questions import OCSPAsker
from responders.load.plan import Checking, OCSPMix, Pace, Population, Target, TSAMix
from responders.load.tally import Interval, Tally, Totals
from responders.load.tsa_questions import TSAAsker
from responders.relying_party import load_certificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from liar import Say

    from responders.load.verdict import Asker

FORGER = Forger()
GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED
SERIAL = 0x1234


@pytest.fixture(scope="module")
def issuer(demo_home: Path) -> bytes:
    return (demo_home / "certs" / "server-rsa.pem").read_bytes()


def asker(issuer: bytes, port: int, state: str = "good", *, nonce: float = 1, verified: float = 0) -> OCSPAsker:
    encoded = x509.load_pem_x509_certificate(issuer).public_bytes(Encoding.DER)
    mix = OCSPMix(
        population=Population([encoded], {state: [(0, SERIAL)]}),
        get=0.5,
        nonce=nonce,
        revoked=float(state == "revoked"),
        unassigned=float(state == "unassigned"),
        hot=1,
        hot_serials=10,
        algorithm=HashAlgorithm.SHA1,
    )
    return OCSPAsker(mix, Checking(verified, 5), target(port), seed=1)


def target(port: int) -> Target:
    return Target("127.0.0.1", port, "/ocsp")


async def load(
    asks: Asker,
    port: int,
    *,
    rate: float | None = None,
    seconds: float = 0.2,
    patience: float = 5.0,
    connections: int = 2,
) -> Interval:
    """What one process counts."""
    tally, clock = Tally(1.0), SystemClock()
    pace = Pace(rate, connections, seconds, patience, 1.0)
    made = (ClosedLoop if rate is None else OpenLoop)(asks, target(port), pace, tally, clock)
    await asyncio.wait_for(made.run(time.monotonic() + 0.05), 20)
    return tally.cut(0)


async def told(say: Say, issuer: bytes, state: str = "good", *, verified: float = 0) -> Interval:
    async with liar(say) as port:
        return await load(asker(issuer, port, state, verified=verified), port)


async def test_answers_of_the_right_form_are_right_while_no_signature_is_verified(issuer: bytes) -> None:
    async def say(request: bytes) -> bytes:
        return http(FORGER.answer(request))

    counts = (await told(say, issuer)).counts
    assert counts.right == counts.sent > 2
    assert (counts.wrong, counts.failed, counts.verified) == ({}, {}, 0)


async def test_the_same_answers_are_wrong_when_signatures_are_verified(issuer: bytes) -> None:
    async def say(request: bytes) -> bytes:
        return http(FORGER.answer(request))

    interval = await told(say, issuer, verified=1)
    assert (interval.counts.right, set(interval.counts.wrong)) == (0, {"untrusted responder"})
    assert interval.examples == {"untrusted responder": "the responder CN=liar was not certified by the issuer itself"}


LIES: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "another nonce": (lambda request: http(FORGER.answer(request, nonce=b"x" * 32)), "good", "nonce"),
    "stale": (lambda request: http(FORGER.answer(request, age=timedelta(hours=2))), "good", "not current"),
    "from the future": (lambda request: http(FORGER.answer(request, age=timedelta(hours=-2))), "good", "not current"),
    "another serial": (lambda request: http(FORGER.answer(request, serial=5)), "good", "other certificate"),
    "good, but is revoked": (lambda request: http(FORGER.answer(request)), "revoked", "good instead of revoked"),
    "revoked, but is good": (
        lambda request: http(FORGER.answer(request, status=REVOKED)), "good", "revoked instead of good",
    ),
    "good, but has no one": (lambda request: http(FORGER.answer(request)), "unassigned", "good instead of unassigned"),
    "revoked, but has no one": (
        lambda request: http(FORGER.answer(request, status=REVOKED)), "unassigned", "untrusted responder",
    ),
    "garbage": (lambda _: http(b"no DER"), "good", "not an OCSP response"),
    "nothing": (lambda _: http(b""), "good", "not an OCSP response"),
    "a page": (lambda _: http(b"<html>", "text/html"), "good", "content type"),
    "not HTTP": (lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "good", "not HTTP"),
    "more than one": (lambda request: 2 * http(FORGER.answer(request)), "good", "not HTTP"),
    "not found": (lambda _: http(b"", "text/plain", "404 Not Found"), "good", "HTTP 404"),
    "not mine": (
        lambda _: http(refusal(ocsp.OCSPResponseStatus.UNAUTHORIZED)), "good", "unauthorized",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_counted_as_wrong(lie: str, issuer: bytes) -> None:
    make, state, label = LIES[lie]

    async def say(request: bytes) -> bytes:
        return make(request)

    counts = (await told(say, issuer, state)).counts
    assert set(counts.wrong) == {label}
    assert counts.wrong[label] == counts.sent
    assert (counts.right, counts.failed) == (0, {})


FAILURES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an error of the server": (lambda _: http(b"", "text/plain", "500 Internal Server Error"), "HTTP 500"),
    "busy": (lambda _: http(b"", "text/plain", "503 Service Unavailable"), "HTTP 503"),
    "limited": (lambda _: http(b"", "text/plain", "429 Too Many Requests"), "HTTP 429"),
    "later": (lambda _: http(refusal(ocsp.OCSPResponseStatus.TRY_LATER)), "tryLater"),
    "closed": (lambda _: b"", "connection lost"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_is_counted_apart(failure: str, issuer: bytes) -> None:
    make, label = FAILURES[failure]

    async def say(request: bytes) -> bytes:
        return make(request)

    counts = (await told(say, issuer)).counts
    assert set(counts.failed) == {label}
    assert counts.failed[label] == counts.sent
    assert (counts.right, counts.wrong) == (0, {})


@pytest.mark.parametrize("rate", [None, 200.0])
async def test_a_server_that_hangs_does_not_make_the_run_hang(rate: float | None, issuer: bytes) -> None:
    async def say(_: bytes) -> bytes:
        await asyncio.sleep(20)
        return b""

    async with liar(say) as port:
        interval = await load(asker(issuer, port), port, rate=rate, patience=0.3)
    counts = interval.counts
    assert set(counts.failed) == {"timeout"}
    assert interval.examples == {"timeout": "no answer within 0.3 s"}
    if rate is None:
        assert counts.failed.total() == counts.sent >= 2
    else:
        # Also those that never got a connection: they were due.
        assert counts.failed.total() == 40


@pytest.mark.parametrize("rate", [None, 200.0])
async def test_nobody_listens(rate: float | None, issuer: bytes) -> None:
    port = free_port()
    interval = await load(asker(issuer, port), port, rate=rate)
    assert set(interval.counts.failed) == {"no connection"}
    assert interval.examples == {"no connection": "Connection refused"}
    assert interval.counts.failed.total() == (40 if rate else pytest.approx(6, abs=4))


class Staller:
    """Answers at once, except for half a second: what is asked then is answered when it is over."""

    def __init__(self) -> None:
        self._start = time.monotonic() + 0.35

    async def say(self, request: bytes) -> bytes:
        since = time.monotonic() - self._start
        if 0 <= since < 0.5:
            await asyncio.sleep(0.5 - since)
        return http(FORGER.answer(request))


async def test_an_open_loop_shows_what_a_closed_one_hides(issuer: bytes) -> None:
    """Coordinated omission: a closed loop asks nothing while the server stands still, and so sees one slow answer."""
    slow = {}
    for rate in (None, 200.0):
        async with liar(Staller().say) as port:
            interval = await load(asker(issuer, port), port, rate=rate, seconds=1.2, connections=1)
        assert interval.counts.right > 100
        totals = Totals(1)
        totals.add(interval)
        slow[rate] = sum(
            totals.histogram.get_count_at_value(each.value_iterated_to)
            for each in totals.histogram.get_recorded_iterator()
            if each.value_iterated_to > 250_000
        )
    assert slow[None] <= 2
    # Of the hundred that were due meanwhile, half waited for longer than half the time.
    assert slow[200.0] >= 25


async def test_a_server_that_closes_after_each_answer_is_not_a_failure(issuer: bytes) -> None:
    async def say(request: bytes) -> bytes:
        return http(FORGER.answer(request)).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)

    for rate in (None, 100.0):
        async with liar(say) as port:
            counts = (await load(asker(issuer, port), port, rate=rate)).counts
        assert counts.right == counts.sent > 2


async def test_lies_about_time_stamps(demo_home: Path) -> None:
    said = {
        b"no DER": "not a time-stamp reply",
        bytes.fromhex("30053003020102"): "status 2",
        bytes.fromhex("30093007020102030206c0"): "not a time-stamp reply",
    }
    anchors = load_certificates(demo_home / "certs" / "root.pem")
    mix = TSAMix([each.public_bytes(Encoding.DER) for each in anchors], [], ["sha256"], [], 1, 1, 0)
    for body, label in said.items():

        async def say(_: bytes, body: bytes = body) -> bytes:
            return http(body, "application/timestamp-reply")

        async with liar(say) as port:
            counts = (await load(TSAAsker(mix, Checking(0, 5), target(port), 1), port)).counts
        assert set(counts.wrong) == {label}
        assert counts.wrong.total() == counts.sent
