"""The time algebra of answers, read from their octets, over whatever may happen to rows, signers and clocks.

Two nodes whose clocks differ share a database. Certificates are issued and revoked by an issuance clock that differs
from both, back in time and ahead of it; delegates roll over, orderly and by force; and time passes.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.x509 import ocsp as x509_ocsp
from fakes import DAY, NOW, TINY, ManualClock, ManualFeed, MemoryEpoch, MemoryStore, TinyCA, good, p256_signer
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from ocsp_world import SERIAL, read, request_for

from ca_store import der
from ca_store.gate import SigningGate
from ca_store.types import CertificateState, Reason, Status
from ocsp.directory import Directory
from ocsp.responder import Responder
from ocsp.settings import MAX_VALIDITY, MIN_VALIDITY, Settings

if TYPE_CHECKING:
    from datetime import datetime

    from ocsp.delegate import Delegate

HOUR = 3600
CA = TinyCA(not_after=NOW + 60 * DAY)
ANY = CA.delegate(p256_signer())
GATE = SigningGate(1, 1, 1)
PLAIN, WITH_NONCE = request_for(CA), request_for(CA, nonce=b"n" * 32)

gaps = st.one_of(st.integers(0, 2 * HOUR), st.integers(0, 20 * DAY))
events = st.one_of(
    st.tuples(st.just("time"), gaps, st.just(0)),
    st.tuples(st.just("revoke"), st.integers(0, 400 * DAY), st.integers(-HOUR, HOUR)),
    st.tuples(st.just("renew"), st.integers(0, 60 * DAY), st.sampled_from([0, 60, HOUR])),
    st.tuples(st.just("withdraw"), st.just(0), st.just(0)),
)


class Node:
    """One responder with a clock of its own."""

    def __init__(self, store: MemoryStore, clock: ManualClock, feed: ManualFeed) -> None:
        self.clock = clock
        self.feed = feed
        self.responder = Responder(
            store=store,
            feed=feed,
            gate=GATE,
            clock=clock,
            settings=Settings(),
            directory=Directory([CA.issuer], []),
            epoch=MemoryEpoch(),
        )
        feed.connect(self.responder.changed, self.responder.reset)

    def ask(self, request: bytes) -> x509_ocsp.OCSPResponse:
        answer = self.responder.cached(request) or asyncio.run(self.responder.answer(request))
        return read(answer.der)


class Place:
    """The database, its delegates and the nodes; the true time is ``clock``'s."""

    def __init__(self, skews: tuple[int, int], issued_at: int) -> None:
        clocks = [ManualClock(NOW + skew) for skew in skews]
        feeds = [ManualFeed(clock) for clock in clocks]
        self.store = MemoryStore(*feeds)
        self.nodes = [Node(self.store, clock, feed) for clock, feed in zip(clocks, feeds, strict=True)]
        self.clock = ManualClock()
        self.delegates: list[Delegate] = []
        self.renew(90 * DAY, 0)
        self.store.commit(TINY, SERIAL, good(issued_at))
        self.issued_at = self.changed_at = issued_at
        self.revoked = False

    def happen(self, event: str, amount: int, other: int) -> None:
        now = int(self.clock.now())
        match event:
            case "time":
                for clock in (self.clock, *(node.clock for node in self.nodes)):
                    clock.advance(amount)
            case "revoke":
                # The store lets no change go back behind the one before.
                state, changed_at = CertificateState.REVOKED, max(now + other, self.changed_at)
                revoked_at = changed_at - amount
                self.store.commit(TINY, SERIAL, Status(state, changed_at, NOW, revoked_at, Reason.superseded))
                self.revoked, self.changed_at = True, changed_at
            case "renew":
                self.renew(amount, other)
            case _:
                self.delegates = self.delegates[:-1]
        for node in self.nodes:
            node.feed.deliver()
            node.responder.use(Directory([CA.issuer], self.delegates))

    def renew(self, life: int, lead: int) -> None:
        now = int(self.clock.now())
        serial = len(self.delegates) + 1
        self.delegates = [
            *self.delegates,
            replace(
                ANY,
                serial=serial,
                not_before=now - lead,
                not_after=min(now + life, CA.not_after),
                active_from=now + lead,
                responder_id=der.context(2, der.octet_string(key_hash(serial))),
            ),
        ]

    def signer(self, response: x509_ocsp.OCSPResponse) -> Delegate:
        (found,) = [each for each in self.delegates if key_hash(each.serial) == response.responder_key_hash]
        return found


def key_hash(serial: int) -> bytes:
    return hashlib.sha256(serial.to_bytes(8, "big")).digest()[:20]


def seconds(time: datetime | None) -> int:
    assert time is not None
    return int(time.timestamp())


def check(place: Place, node: Node, response: x509_ocsp.OCSPResponse) -> None:
    if response.response_status is x509_ocsp.OCSPResponseStatus.UNAUTHORIZED:
        now = node.clock.now()
        assert not any(each.speaks(int(now), int(now)) for each in place.delegates), "somebody could have spoken"
        return
    now, signer = int(node.clock.now()), place.signer(response)
    this_update, produced_at = seconds(response.this_update_utc), seconds(response.produced_at_utc)
    next_update = seconds(response.next_update_utc)
    assert this_update <= produced_at <= now < next_update <= signer.not_after <= CA.not_after
    assert produced_at >= signer.not_before
    assert MIN_VALIDITY <= next_update - this_update <= MAX_VALIDITY
    # An issuance clock that is ahead is not followed into the future.
    assert this_update >= min(place.issued_at, now)
    assert (response.certificate_status is x509_ocsp.OCSPCertStatus.REVOKED) is place.revoked
    if place.revoked:
        assert seconds(response.revocation_time_utc) <= this_update


@effort(deadline=None)
@given(
    skews=st.tuples(st.integers(-HOUR, HOUR), st.integers(-HOUR, HOUR)),
    issued_at=st.integers(NOW - DAY, NOW + HOUR),
    happening=st.lists(events, max_size=8),
)
def test_every_answer_of_every_node_keeps_the_time_algebra(
    skews: tuple[int, int], issued_at: int, happening: list[tuple[str, int, int]]
) -> None:
    place = Place(skews, issued_at)
    for event in [("time", 0, 0), *happening]:
        place.happen(*event)
        for node in place.nodes:
            for request in (PLAIN, PLAIN, WITH_NONCE):
                check(place, node, node.ask(request))


@pytest.mark.parametrize("left", [MIN_VALIDITY - 1, MIN_VALIDITY])
def test_a_delegate_falls_silent_before_the_clamp_would_cut_below_eight_hours(left: int) -> None:
    """With a nonce, where the window is the moment itself."""
    place = Place((0, 0), NOW - DAY)
    place.delegates = []
    place.renew(left, 0)
    place.happen("time", 0, 0)
    response = place.nodes[0].ask(WITH_NONCE)
    assert (response.response_status is x509_ocsp.OCSPResponseStatus.SUCCESSFUL) is (left == MIN_VALIDITY)
