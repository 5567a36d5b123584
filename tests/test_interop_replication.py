"""The whole service on a real primary and its streaming replica, under load while either fails.

Whatever happens, no answer is wrong, none is older than ``feed_bound`` allows, and nobody has to repair anything.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from cryptography.x509 import ocsp as x509_ocsp
from ocsp_load import Load, Question, asking
from ports import free_port
from postgres_server import PostgresNode, PostgresPair, postgres_pair
from running_server import Server, running_server, until
from strangers import certificate, issuance, issue
from tsa_load import load

from responders.diagnosis import _examine_replica

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strangers import Issued

pytestmark = pytest.mark.interop("openssl")

GOOD, REVOKED = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED
BOUND = 3.0
"""``feed_bound`` of these tests."""
HEARD_SECONDS = 1.0
"""After its commit every worker must know of a revocation in this time, while the feed is well."""
SLACK = 0.5
SERIALS: set[int] = set()
"""Of every time-stamp in this module."""


@pytest.fixture(scope="module")
def pair() -> Iterator[PostgresPair]:
    with postgres_pair() as made:
        yield made


@pytest.fixture(scope="module")
def server(pair: PostgresPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """URLs without a user, so that everybody connects under a role of their own."""
    home = tmp_path_factory.mktemp("replication") / "home"
    base_url = f"http://127.0.0.1:{free_port()}"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PGUSER", "ca")
        issuance(home, "init", "--demo", "--database", pair.url.replace("ca@", ""), "--base-url", base_url)
        issuance(home, "roles", "--responders", "ca-responders", "--issuance", "ca-issuance")
        environment.setenv("PGUSER", "ca-issuance")
        configuration = home / "responders.toml"
        read_url = pair.replica.url.replace("ca@", "")
        text = configuration.read_text().replace("[database]\n", f'[database]\nread_url = "{read_url}"\n')
        configuration.write_text(f"{text}\n[ocsp]\nfeed_bound = {BOUND}\n")
        with running_server(home, 2, environment={"PGUSER": "ca-responders"}) as running:
            yield running


@pytest.fixture(autouse=True)
def well(server: Server) -> None:
    """What the test before has broken is whole again."""
    until(lambda: server.ready() and server.metric("responders_feed_age_seconds") < SLACK, "it does not heal")


def question(server: Server, label: str, *, nonce: bool = False) -> Question:
    return Question(certificate(server.home, label), certificate(server.home, "server-rsa"), nonce)


class Steady:
    """Questions whose answers never change: one that is ready-made, and two that need their rows each time."""

    def __init__(self, server: Server) -> None:
        self.ready_made = question(server, "demo-good")
        self.good = question(server, "demo-good", nonce=True)
        self.revoked = question(server, "demo-revoked", nonce=True)
        self.all = (self.ready_made, self.good, self.revoked)

    def check(self, said: Load) -> None:
        """Nothing that was said is wrong."""
        for asked, truth in ((self.ready_made, GOOD), (self.good, GOOD), (self.revoked, REVOKED)):
            assert {each.status for each in said.of(asked)} <= {truth, None}


@pytest.fixture
def steady(server: Server) -> Steady:
    return Steady(server)


@pytest.fixture
def issued(server: Server, pair: PostgresPair, tmp_path: Path) -> Issued:
    made = issue(server.home, tmp_path, "server-rsa", "server")
    if pair.replica.ask("SELECT pg_is_in_recovery()"):
        pair.catch_up()
    return made


def revoke(server: Server, issued: Issued) -> float:
    """When it was committed."""
    issuance(server.home, "cert", "revoke", "--ca", issued.ca, "--serial", issued.serial, "--reason", "keyCompromise")
    return time.monotonic()


@contextmanager
def stamping(server: Server) -> Iterator[None]:
    """Time-stamps without a pause: each is granted, and none has a serial that another one had."""
    with load(server, ["/tsa/p256"], 2, pause=0.02) as tokens:
        yield
    serials = [each.opened.tst_info["serial_number"].native for each in tokens.answered if each.token()]
    assert len(serials) > 10
    assert len(set(serials)) == len(serials)
    assert SERIALS.isdisjoint(serials)
    SERIALS.update(serials)
    assert tokens.broken == []


def never_back(said: Load, asked: Question, committed: float, within: float) -> None:
    """Once revoked for one is revoked for all; so it is for everybody who asks ``within`` seconds after the commit."""
    answers = [each for each in said.of(asked) if each.status is not None]
    first = min(each.received for each in answers if each.status is REVOKED)
    assert {each.status for each in answers if each.sent > min(first, committed + within)} == {REVOKED}


def test_a_revocation_while_the_replica_replays_nothing(
    server: Server, pair: PostgresPair, steady: Steady, issued: Issued
) -> None:
    issuer = certificate(server.home, issued.ca)
    targets = [Question(issued.certificate, issuer, nonce) for nonce in (False, True)]
    with asking(server, [*targets, *steady.all]) as said:
        said.wait(lambda each: each.question == targets[0] and each.status is GOOD)
        with pair.paused():
            committed = revoke(server, issued)
            said.wait(lambda each: each.question == targets[0] and each.status is REVOKED)
            time.sleep(HEARD_SECONDS + SLACK)
            assert pair.replica.ask("SELECT pg_get_wal_replay_pause_state()") == "paused"
        pair.catch_up()
        time.sleep(SLACK)
    for target in targets:
        never_back(said, target, committed, HEARD_SECONDS)
    steady.check(said)
    assert None not in {each.status for each in said.said}  # the primary was there to say


def test_a_certificate_that_was_just_issued_while_the_replica_replays_nothing(
    server: Server, pair: PostgresPair, tmp_path: Path
) -> None:
    """It is not on the replica at all, and must not be answered like one that was never issued."""
    with pair.paused():
        issued = issue(server.home, tmp_path, "server-rsa", "server")
        time.sleep(HEARD_SECONDS)
        asked = Question(issued.certificate, certificate(server.home, issued.ca))
        with asking(server, [asked]) as said:
            time.sleep(SLACK)
    assert {each.status for each in said.of(asked)} == {GOOD}


@pytest.mark.parametrize("fault", ["restarted", "hanging"])
def test_a_replica_that_fails_costs_no_answer(server: Server, pair: PostgresPair, steady: Steady, fault: str) -> None:
    with asking(server, steady.all) as said:
        said.wait(lambda each: each.question == steady.good)
        if fault == "hanging":
            with pair.replica.frozen():
                time.sleep(1.5)
        else:
            with stopped(pair.replica):
                time.sleep(1)
        time.sleep(SLACK)
    steady.check(said)
    assert None not in {each.status for each in said.said}


@contextmanager
def stopped(node: PostgresNode, mode: str = "immediate") -> Iterator[None]:
    """Away until the block ends, however it does."""
    node.stop(mode)
    try:
        yield
    finally:
        node.start()


def backends(node: PostgresNode, like: str = "%") -> list[int]:
    """The processes that serve connections whose last statement looks like that."""
    query = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND query LIKE %s"
    )
    with psycopg.connect(node.url, autocommit=True) as connection:
        return [pid for (pid,) in connection.execute(query, [like])]


def test_connections_that_are_lost(server: Server, pair: PostgresPair, steady: Steady, issued: Issued) -> None:
    target = Question(issued.certificate, certificate(server.home, issued.ca))
    with stamping(server), asking(server, [target, *steady.all]) as said:
        said.wait(lambda each: each.question == target and each.status is GOOD)
        for node in (pair.primary, pair.replica):
            for pid in backends(node):
                node.ask(f"SELECT pg_terminate_backend({pid})")
        committed = revoke(server, issued)  # perhaps while nobody listens
        said.wait(lambda each: each.question == target and each.status is REVOKED)
        server.wait_ready()
        said.wait(lambda each: each.question == steady.revoked and each.status is REVOKED)
        healed = time.monotonic()
        time.sleep(HEARD_SECONDS)
    never_back(said, target, committed, BOUND)
    steady.check(said)
    assert {each.status for each in said.of(steady.ready_made)} == {GOOD}
    assert None not in {each.status for each in said.said if each.sent > healed}


def test_a_feed_that_says_nothing(server: Server, pair: PostgresPair, steady: Steady, issued: Issued) -> None:
    """Its connection hangs, and a revocation is committed that is not heard of: after the bound it is answered all the
    same, also while the replica is behind.
    """
    target = Question(issued.certificate, certificate(server.home, issued.ca))
    with ExitStack() as undone, asking(server, [target, *steady.all]) as said:
        said.wait(lambda each: each.question == target and each.status is GOOD)
        undone.enter_context(pair.paused())
        feeds = backends(pair.primary, "%pg_walfile_name%")
        assert len(feeds) == 2
        for pid in feeds:
            os.kill(pid, signal.SIGSTOP)
        try:
            committed = revoke(server, issued)
            said.wait(lambda each: each.question == target and each.status is REVOKED)
            time.sleep(SLACK)
        finally:
            for pid in feeds:
                os.kill(pid, signal.SIGCONT)
    never_back(said, target, committed, BOUND + SLACK)
    steady.check(said)


def test_a_primary_that_is_restarted(server: Server, pair: PostgresPair, steady: Steady, issued: Issued) -> None:
    target = Question(issued.certificate, certificate(server.home, issued.ca))
    with stamping(server), asking(server, [target, *steady.all]) as said:
        said.wait(lambda each: each.question == target and each.status is GOOD)
        said.wait(lambda each: each.question == steady.ready_made and each.status is GOOD)
        going = time.monotonic()
        with stopped(pair.primary, "fast"):
            gone = time.monotonic()
            said.wait(lambda each: each.question == steady.ready_made and each.status is None)
            time.sleep(max(0, gone + BOUND + 2 * SLACK - time.monotonic()))
            coming = time.monotonic()
        committed = revoke(server, issued)  # perhaps before anybody listens again
        server.wait_ready()
        said.wait(lambda each: each.question == target and each.status is REVOKED)
        said.wait(lambda each: each.question == steady.revoked and each.status is REVOKED)
        healed = time.monotonic()
        time.sleep(SLACK)
    never_back(said, target, committed, BOUND)
    steady.check(said)
    # What is ready-made goes on up to the bound; past it nothing can be known.
    assert {each.status for each in said.of(steady.ready_made, until=going + BOUND - SLACK)} == {GOOD}
    assert {each.status for each in said.said if gone + BOUND + SLACK < each.sent and each.received < coming} == {None}
    assert None not in {each.status for each in said.said if each.sent > healed}


async def test_the_doctor_looks_at_the_replica(pair: PostgresPair, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [each.url.replace("postgresql://", "postgresql+psycopg://") for each in (pair.primary, pair.replica)]
    assert (await _examine_replica(*urls)).sentence == "it follows the primary"
    monkeypatch.setattr("responders.diagnosis._MOST_BEHIND", 0)
    with pair.paused():
        pair.primary.ask("SELECT pg_logical_emit_message(false, 'ca', 'something in the log')")
        assert "octets of the log behind the primary" in (await _examine_replica(*urls)).sentence
    nowhere = urls[0].replace(str(pair.primary.port), "1")
    assert "status rows are read from the primary" in (await _examine_replica(urls[0], nowhere)).sentence


def test_the_replica_takes_over(server: Server, pair: PostgresPair, steady: Steady, issued: Issued) -> None:
    """The last one here: the old primary does not come back. Issuance and the responders find the new one by the URL
    that names both.
    """
    target = Question(issued.certificate, certificate(server.home, issued.ca))
    with stamping(server), asking(server, [target, *steady.all]) as said:
        said.wait(lambda each: each.question == target and each.status is GOOD)
        going = time.monotonic()
        pair.primary.stop()
        pair.replica.promote()
        committed = revoke(server, issued)
        server.wait_ready()
        said.wait(lambda each: each.question == target and each.status is REVOKED)
        healed = time.monotonic()
        time.sleep(HEARD_SECONDS)
    never_back(said, target, committed, BOUND)
    steady.check(said)
    # What is ready-made goes on up to the bound, and all that is asked once the new primary is found has an answer.
    assert {each.status for each in said.of(steady.ready_made, until=going + BOUND - SLACK)} == {GOOD}
    assert {each.status for each in said.of(steady.ready_made, since=healed)} == {GOOD}
    assert {each.status for each in said.of(steady.good, since=healed)} == {GOOD}
    assert {each.status for each in said.of(steady.revoked, since=healed)} == {REVOKED}
    assert server.process.poll() is None
