"""More requests at once than a key can sign: whoever is not served is told so in a word, and nobody waits for nothing.

AzureSignTool#123: HTML with status 200 from a busy server broke 969 of 1,220 signatures; #249: 404 under load.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest
from countersignatures import lines, open_countersignature, request
from cryptography.x509 import ocsp as x509_ocsp
from http_wire import Wire, post
from issuance_world import copy_home
from running_server import running_server
from strangers import certificate, load, ocsp_request, run
from tsa_reader import open_reply, signer_of
from tsa_server import Client, query

from ca_store import der

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from http_wire import Answer
    from running_server import Server

CLIENTS: Final = 200
SECONDS: Final = 4.0
WAITERS, DEADLINE = 8, 0.5
PATIENCE: Final = 5.0
"""Of pyHanko; no answer may take longer."""
OLDER: Final = post(lines(request()))


@pytest.fixture(scope="module")
def server(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = copy_home(demo_home, tmp_path_factory.mktemp("load"))
    run("rm", "-rf", home / "log")
    with (home / "responders.toml").open("a") as file:
        file.write(f"\n[signing]\nwaiters = {WAITERS}\ndeadline = {DEADLINE}\n")
    with running_server(home, workers=2) as running:
        yield running


class Crowd:
    """Clients that sign files one after another, and some that ask about certificates meanwhile."""

    def __init__(self, server: Server) -> None:
        self._server = server
        issuer, leaf = (certificate(server.home, label) for label in ("server-rsa", "demo-good"))
        self._status = post(ocsp_request(leaf, issuer), "/ocsp", "Content-Type: application/ocsp-request")
        self._end = 0.0
        self.tokens: list[tuple[int, float, Answer]] = []
        """Number of the nonce, seconds, answer."""
        self.older: list[tuple[float, Answer]] = []
        self.statuses: list[tuple[float, Answer]] = []
        self.faults: list[BaseException] = []

    def gather(self) -> None:
        """All at once, for some seconds."""
        self._end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=self._be, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + 60)
        assert not any(thread.is_alive() for thread in threads), "a request hangs"

    def _be(self, number: int) -> None:
        try:
            with Wire(self._server) as wire:
                turn = 0
                while time.monotonic() < self._end:
                    turn += 1
                    self._ask(wire, number, turn)
        except BaseException as fault:  # noqa: BLE001 - the test looks at them
            self.faults.append(fault)

    def _ask(self, wire: Wire, number: int, turn: int) -> None:
        nonce, began = number << 32 | turn, time.monotonic()
        match number % 20:
            case 0:
                answer = wire.ask(self._status)
                self.statuses.append((time.monotonic() - began, answer))
                time.sleep(0.02)
            case 1:
                answer = wire.ask(OLDER)
                self.older.append((time.monotonic() - began, answer))
            case _:
                answer = wire.ask(post(query(nonce=der.integer(nonce), certificates=True)))
                self.tokens.append((nonce, time.monotonic() - began, answer))
        if answer.status == 503:
            time.sleep(0.1)  # less than it was told, but no spinning


@pytest.fixture(scope="module")
def crowd(server: Server) -> Crowd:
    made = Crowd(server)
    made.gather()
    # At once: whatever waited is done or given up within the deadline, and the next client finds nobody before it.
    with Client(server) as client:
        for _ in range(20):
            client.token(query(), "/tsa")
    return made


def check_overload(answer: Answer) -> None:
    assert answer.line == "HTTP/1.1 503 Service Unavailable"
    assert 1 <= int(answer.field("Retry-After")) <= 60
    assert answer.field("Content-Type") == "text/plain; charset=utf-8"
    assert answer.field("Cache-Control") == "no-store"
    assert 0 < len(answer.body) < 200
    assert b"<" not in answer.body


def test_every_answer_is_a_token_or_503(crowd: Crowd) -> None:
    assert not crowd.faults
    assert {answer.status for _, _, answer in crowd.tokens} == {200, 503}
    granted = 0
    for nonce, _, answer in crowd.tokens:
        if answer.status != 200:
            check_overload(answer)
            continue
        assert answer.field("Content-Type") == "application/timestamp-reply"
        opened = open_reply(answer.body)
        assert opened.status == 0, opened.text
        assert opened.tst_info["nonce"].native == nonce
        granted += 1
    assert granted > 200


def test_the_tokens_are_good(server: Server, crowd: Crowd) -> None:
    unit = load(certificate(server.home, "tsa"))
    replies = [answer.body for _, _, answer in crowd.tokens if answer.status == 200]
    opened = [open_reply(reply) for reply in replies[:: max(1, len(replies) // 100)]]
    assert {signer_of(each) for each in opened} == {unit}
    serials = [open_reply(reply).tst_info["serial_number"].native for reply in replies]
    assert len(set(serials)) == len(serials)


def test_who_is_served_is_served_soon_and_who_is_not_learns_it_sooner(crowd: Crowd) -> None:
    """What waits is bounded, by number and by time; a queue without bounds would make everybody wait for all."""
    served = [seconds for _, seconds, answer in crowd.tokens if answer.status == 200]
    told = [seconds for _, seconds, answer in crowd.tokens if answer.status == 503]
    assert statistics.median(served) < 3 * DEADLINE
    assert statistics.median(told) < 3 * DEADLINE
    assert max(served + told) < PATIENCE


def test_the_older_protocol_is_bounded_alike(crowd: Crowd) -> None:
    assert {answer.status for _, answer in crowd.older} <= {200, 503}
    for seconds, answer in crowd.older:
        assert seconds < PATIENCE
        if answer.status == 200:
            open_countersignature(answer.body)
        else:
            check_overload(answer)


def test_answers_from_memory_keep_coming(crowd: Crowd) -> None:
    """OCSP does not queue behind the signatures."""
    assert len(crowd.statuses) > 50
    for _, answer in crowd.statuses:
        assert answer.status == 200
        assert x509_ocsp.load_der_ocsp_response(answer.body).certificate_status is x509_ocsp.OCSPCertStatus.GOOD
    assert statistics.median(seconds for seconds, _ in crowd.statuses) < 2 * DEADLINE
    assert max(seconds for seconds, _ in crowd.statuses) < PATIENCE


def test_overload_is_counted_and_no_fault(server: Server, crowd: Crowd) -> None:
    told = sum(answer.status == 503 for _, _, answer in crowd.tokens)
    assert server.metric('responders_timestamps_total{outcome="overload"}') == told
    older = sum(answer.status == 503 for _, answer in crowd.older)
    assert server.metric('responders_countersignatures_total{outcome="overload"}') == older
    assert server.ready()
    assert server.metric("responders_worker_restarts_total") == 0
    assert "Traceback" not in server.log.read_text()
