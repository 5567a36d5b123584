"""A thousand questions, the same octets from every worker of two nodes, and the same HTTP caching; directly and behind
the deployed nginx.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from cryptography.x509 import ocsp as x509_ocsp
from faked_time import FakedTime
from http_caches import nginx
from ocsp_wire import UNAUTHORIZED, cert_id, request
from ports import free_port
from running_server import running_server, until
from strangers import SUB_CAS, certificate, run
from worker_connections import Connection, Told, connections

from ca_store.database import open_issuance_store
from ca_store.home import Home
from ca_store.types import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server

DIGESTS: Final = ("sha1", "sha256", "sha384", "sha512")
REASONS: Final = (Reason.keyCompromise, Reason.superseded, Reason.unspecified, Reason.cessationOfOperation)
DAY: Final = 86_400
FIRST: Final = 0x5A << 152
"""20 octets, as real serials have."""
SERIALS: Final = range(FIRST, FIRST + 25 * 7919, 7919)
"""So far apart that their windows do not end in one second after the other."""
GOOD, REVOKED, UNASSIGNED = SERIALS[:10], SERIALS[10:20], SERIALS[20:]
TURNED: Final = 20
"""At most so many certificates may begin a new window while all are asked."""


class Question(NamedTuple):
    """One OCSP request, by GET or POST, and what is true."""

    request: bytes
    method: str
    truth: str

    def ask(self, connection: Connection) -> Told:
        return connection.get(self.request) if self.method == "GET" else connection.post(self.request)


@dataclass(frozen=True)
class Nodes:
    """Two servers that share nothing but equal homes, and a connection to each worker of both."""

    servers: tuple[Server, Server]
    workers: tuple[tuple[Connection, ...], tuple[Connection, ...]]
    questions: tuple[Question, ...]


def furnish(home: Path) -> None:
    """Good, revoked and unassigned serials under every CA, some changed long ago and some just now."""
    now = int(time.time())
    store = open_issuance_store(Home.open(home).database_url)
    for label in SUB_CAS:
        issuer = store.issuer(label).id
        for number, serial in enumerate((*GOOD, *REVOKED)):
            at = now - number * DAY // 3
            store.reserve(issuer, serial, "server", now + 90 * DAY, at)
            store.record(issuer, serial, b"certificate", "CN=www.example.ac.jp", at, now + 90 * DAY, at)
            if serial in REVOKED:
                store.revoke(issuer, serial, REASONS[number % len(REASONS)], at, at)
    store.close()


def thousand(home: Path) -> tuple[Question, ...]:
    truths = {
        serial: name for name, serials in (("GOOD", GOOD), ("REVOKED", REVOKED), ("", UNASSIGNED)) for serial in serials
    }
    made = tuple(
        Question(request(cert_id(certificate(home, label), serial, digest)), method, truth)
        for label in SUB_CAS
        for serial, truth in truths.items()
        for digest in DIGESTS
        for method in ("GET", "POST")
    )
    assert len(set(made)) == 1000
    return made


@pytest.fixture(scope="module")
def nodes(pristine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("octets")
    first, second = folder / "first", folder / "second"
    run("cp", "-r", pristine_home, first)
    furnish(first)
    run("cp", "-r", first, second)
    asked = thousand(first)
    with ExitStack() as running:
        servers = tuple(running.enter_context(running_server(home, workers=2)) for home in (first, second))
        reached = tuple(
            running.enter_context(connections(server.port, server.worker_pids(), asked[0].request))
            for server in servers
        )
        assert [len(each) for each in reached] == [2, 2]
        yield Nodes((servers[0], servers[1]), (reached[0], reached[1]), asked)


def fresh_until(told: Told) -> float | None:
    """POSIX seconds at which a cache forgets it; None when it keeps nothing."""
    directives = told.fields["cache-control"]
    if directives == "no-store":
        return None
    found = re.fullmatch(r"max-age=(\d+), public, no-transform, must-revalidate", directives)
    assert found is not None, directives
    return parsedate_to_datetime(told.fields["date"]).timestamp() + int(found[1])


def semantics(told: Told) -> tuple[object, ...]:
    """All that must be the same for everybody: octets, validators, and until when it is fresh."""
    names = ("content-type", "content-length", "etag", "last-modified", "expires")
    return (told.status, told.body, fresh_until(told), *(told.fields.get(name) for name in names))


def status_of(told: Told) -> str:
    """Empty for a serial that was never assigned."""
    if told.body == UNAUTHORIZED:
        return ""
    return x509_ocsp.load_der_ocsp_response(told.body).certificate_status.name


def test_a_thousand_questions_have_the_same_answers_from_every_worker_of_both_nodes(nodes: Nodes) -> None:
    workers = [each for of_node in nodes.workers for each in of_node]
    turned = 0
    for question in nodes.questions:
        told = [question.ask(worker) for worker in workers]
        if len(set(map(semantics, told))) > 1:  # between two of them a window has ended, which cannot be so again
            turned += 1
            told = [question.ask(worker) for worker in workers]
        assert len(set(map(semantics, told))) == 1, question
        assert status_of(told[0]) == question.truth
        assert bool(told[0].fields.get("etag")) is bool(told[0].fields.get("last-modified")) is bool(question.truth)
    assert turned <= TURNED


def test_what_one_node_has_said_the_other_one_knows_by_its_etag_and_its_date(nodes: Nodes) -> None:
    """Whoever asks with a condition may reach any worker of any node, and is told 304."""
    signed = [each for each in nodes.questions if each.truth and each.method == "GET"]
    turned = 0
    for question in signed[::4]:
        for own, other in (nodes.workers, nodes.workers[::-1]):
            told = question.ask(own[0])
            etag, date = told.fields["etag"], told.fields["last-modified"]
            again = [
                other[0].get(question.request, if_none_match=etag),
                other[1].get(question.request, if_modified_since=date),
            ]
            turned += {each.status for each in again} != {304}
            assert all(each.body == b"" and each.fields["etag"] == etag for each in again if each.status == 304)
    assert turned <= TURNED


@pytest.mark.interop("nginx")
def test_behind_nginx_both_nodes_are_one(nodes: Nodes, tmp_path: Path) -> None:
    """Two caches, each with one node behind it, as when the other one is away: what a client has from one of them the
    other one knows, so that a revalidation gives 304, by GET as by POST the same octets.
    """
    ports = [free_port(), free_port()]
    with ExitStack() as running:
        for number, server in enumerate(nodes.servers):
            folder = tmp_path / str(number)
            folder.mkdir()
            running.enter_context(nginx(folder, ports[number], server.port))
        first, second = (running.enter_context(closing(Connection(port))) for port in ports)
        turned = 0
        for question in nodes.questions[:: len(nodes.questions) // 200]:
            told = [question.ask(each) for each in (first, second)]
            turned += len({(each.body, each.fields.get("etag"), each.fields.get("last-modified")) for each in told}) > 1
            assert {each.fields["x-cache"] for each in told} <= {"MISS", "HIT"}
            if not question.truth:
                continue
            etag = told[0].fields["etag"]
            again = second.get(question.request, if_none_match=etag)
            turned += again.status != 304
            assert again.status in {200, 304}
        assert turned <= TURNED


@pytest.mark.interop("nginx", "faketime")
def test_nginx_itself_revalidates_with_the_other_node(nodes: Nodes, tmp_path: Path) -> None:
    """An entry of a node whose clock is ahead ends while the window still lasts by the other one's clock: nginx asks
    that one with the entry's ETag, hears 304 and goes on with what it has.
    """
    port, window = free_port(), 6
    question = next(each for each in nodes.questions if each.truth)
    settings = tmp_path / "other.toml"
    settings.write_text(f"[ocsp]\nwindow = {window}\nskew = 0\nunknown_window = 1\n")
    seen: list[tuple[str, str]] = []
    with ExitStack() as running:
        behind, ahead = (
            running.enter_context(
                running_server(node.home, 1, arguments=("--config", str(settings)), environment=environment)
            )
            for node, environment in zip(nodes.servers, (FakedTime(tmp_path, -2).environment, {}), strict=True)
        )
        running.enter_context(nginx(tmp_path, port, ahead.port, behind.port))
        client = running.enter_context(closing(Connection(port)))

        def revalidated() -> bool:
            told = client.get(question.request)
            assert status_of(told) == question.truth
            seen.append((told.fields["etag"], told.fields["x-cache"]))
            return seen[-1][1] == "REVALIDATED"

        until(revalidated, "nginx always fetches the whole answer")
    etag = seen[-1][0]
    assert etag in {before for before, _ in seen[:-1]}
