"""The parts that load is made of."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Console
from store_world import NOW, make_issuer

from ca_store.census import list_serials
from ca_store.types import CertificateState, HashAlgorithm, Reason
from ocsp.client import QuestionTemplate, build_request
from responders.load.connection import Garbled, ResponseReader
from responders.load.live import live_table
from responders.load.metronome import Metronome
from responders.load.ocsp_questions import OCSPAsker
from responders.load.plan import Checking, OCSPMix, Pace, Plan, Population, Target
from responders.load.sampling import Share
from responders.load.summary import remarks
from responders.load.tally import Counts, Interval, Tally, Totals, make_histogram
from responders.relying_party import load_certificates

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from ca_store.contracts import IssuanceStore
    from ca_store.types import IssuerID

pytest_plugins = ("store_fixtures",)

WIRE = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.0 200 OK\r\n\r\nhello"


@pytest.mark.parametrize("wire", [WIRE, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + WIRE])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_response_in_pieces_of_any_size(wire: bytes, size: int) -> None:
    reader = ResponseReader()
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    *before, last = [reader.feed(piece) for piece in pieces]
    assert before == [None] * len(before)
    assert last is not None
    assert (last.status, last.body, last.closes) == (200, b"hello", False)


def test_a_response_that_ends_with_its_connection() -> None:
    reader = ResponseReader()
    assert reader.feed(UNTIL_CLOSED) is None
    response = reader.end()
    assert response is not None
    assert (response.body, response.closes) == (b"hello", True)


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        WIRE + b"!",
        CHUNKED + b"!",
        CHUNKED.replace(b"3;x=y", b"x"),
        CHUNKED.replace(b"hel", b"help"),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + bytes(1 << 21),
    ],
)
def test_what_is_no_response(wire: bytes) -> None:
    with pytest.raises(Garbled):
        ResponseReader().feed(wire)


@pytest.mark.parametrize(("share", "taken"), [(0, 0), (0.01, 10), (0.25, 250), (1, 1000)])
def test_a_share_comes_out_even_and_begins_with_the_first(share: float, taken: int) -> None:
    shares = Share(share)
    took = [shares.take() for _ in range(1000)]
    assert took.count(True) == pytest.approx(taken, abs=1)
    assert took[0] is (share > 0)


@pytest.mark.parametrize("algorithm", HashAlgorithm)
@pytest.mark.parametrize("nonce", [None, b"n" * 32])
def test_a_question_from_the_template_is_the_one_that_is_built(
    demo_home: Path, algorithm: HashAlgorithm, nonce: bytes | None
) -> None:
    (issuer,) = load_certificates(demo_home / "certs" / "server-rsa.pem")
    (certificate,) = load_certificates(demo_home / "certs" / "demo-good.pem")
    made = QuestionTemplate(issuer, algorithm).question(certificate.serial_number, nonce)
    assert made == build_request(certificate, issuer, algorithm=algorithm, nonce=nonce)


def asker(issuer: x509.Certificate, number: int, of: int) -> OCSPAsker:
    subjects = {"good": [(0, serial) for serial in range(1, 101)]}
    mix = OCSPMix(
        population=Population([issuer.public_bytes(Encoding.DER)], subjects),
        get=0,
        nonce=0,
        revoked=0,
        unassigned=0,
        hot=0.5,
        hot_serials=20,
        algorithm=HashAlgorithm.SHA1,
    )
    return OCSPAsker(mix, Checking(0, 5), Target("h", 80, ""), 7, number, of)


def test_cold_serials_are_asked_about_once_by_one_process(demo_home: Path) -> None:
    (issuer,) = load_certificates(demo_home / "certs" / "server-rsa.pem")
    askers = [asker(issuer, number, 2) for number in range(2)]
    asked = [Counter(next(each).octets for _ in range(60)) for each in askers]
    hot = asked[0].keys() & asked[1].keys()
    assert len(hot) <= 20
    for counter in asked:
        assert all(count == 1 for octets, count in counter.items() if octets not in hot and count < 2)
        cold = sum(1 for octets in counter if octets not in hot)
        assert 15 <= cold <= 45


async def test_a_metronome_ticks_as_often_as_it_should() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    metronome = Metronome(asyncio.get_running_loop(), 0.01, tick)
    await asyncio.sleep(0.5)
    metronome.stop()
    stopped = ticks
    await asyncio.sleep(0.05)
    assert 5 <= stopped == ticks <= 51


def plan(rate: float | None) -> Plan:
    mix = OCSPMix(Population([], {}), 0, 0, 0, 0, 0, 1, HashAlgorithm.SHA1)
    return Plan(Target("h", 80, ""), Pace(rate, 4, 1, 1, 1), Checking(0, 5), mix, 1, 0)


OWN = "the generator may have been the bottleneck: "


@pytest.mark.parametrize(
    ("counts", "lag", "sentence"),
    [
        (Counts(due=100, sent=100, cpu=0.5, wall=1.0), 0.01, None),
        (Counts(due=100, sent=100, cpu=0.97, wall=1.0), 0.01, f"{OWN}its processes used 97% of a core each"),
        (Counts(due=100, sent=100, late=5, wall=1.0), 0.01, f"{OWN}5.0% of the questions were sent more than 10 ms"),
        (Counts(due=100, sent=100, wall=1.0), 0.5, f"{OWN}a process of its own stood still for 500 ms"),
        (Counts(due=100, sent=20, waited=90, wall=1.0), 0.01, "90% of the questions had to wait for one of the 4 "),
    ],
)
def test_it_says_when_it_was_the_bottleneck_itself(counts: Counts, lag: float, sentence: str | None) -> None:
    totals = Totals(1)
    totals.add(Interval(0, counts, make_histogram().encode(), lag, {}))
    said = list(remarks(plan(100.0), totals))
    assert [each.startswith(sentence or "") for each in said] == [True] * (sentence is not None)


def test_the_table_is_live_on_a_terminal_and_nowhere_else() -> None:
    tally, totals = Tally(0.001), Totals(1)
    tally.right(0.25, verified=True)
    tally.wrong(0.01, "nonce", "x")
    totals.add(tally.cut(0))
    terminal = Console(force_terminal=True, width=100, record=True)
    with terminal.capture() as shown, live_table(plan(100.0), terminal) as watch:
        watch(totals, 1.0)
    assert "h:80: 100/s due, 1 of 1 s" in shown.get()
    assert "250" in shown.get()
    pipe = Console(force_terminal=False)
    with pipe.capture() as shown, live_table(plan(100.0), pipe) as watch:
        watch(totals, 1.0)
    assert shown.get() == ""


class TestSerialsOfADatabase:
    """On both dialects."""

    def test_by_state_in_order_unexpired_and_no_more_than_wanted(
        self, store: IssuanceStore, root: IssuerID, url: str
    ) -> None:
        other = store.add_issuer(make_issuer("other"), "file:keys/other.key", NOW)
        for serial, issuer, ends in ((5, root, 9), (3, root, 9), (4, root, 9), (6, root, 0), (7, other, 9)):
            store.reserve(issuer, serial, "server", NOW + ends, NOW)
            store.record(issuer, serial, b"der", "CN=x", NOW, NOW + ends, NOW)
        store.revoke(root, 4, Reason.superseded, NOW, NOW)
        good, revoked = CertificateState.GOOD, CertificateState.REVOKED
        own = list_serials(url, root, good, after=NOW + 10, limit=100)
        assert not {3, 4, 5, 6, 7} & set(own)
        found = [each for each in list_serials(url, root, good, after=NOW, limit=100) if each not in own]
        assert found == [3, 5]
        assert list_serials(url, root, revoked, after=NOW, limit=100) == [4]
        assert len(list_serials(url, root, good, after=NOW, limit=1)) == 1
