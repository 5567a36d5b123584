"""Clients that poll while a certificate is revoked by command, with two workers and a fresh connection each time."""

from __future__ import annotations

import secrets
import sys
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from cryptography.x509 import ocsp as x509_ocsp
from strangers import SEEN_SECONDS, SHA1, SHA256, ask, certificate, issue, ocsp_request, revoke, run

from ca_store.database import open_issuance_store
from ca_store.home import Home
from ca_store.types import CertificateState, parse_serial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.hashes import HashAlgorithm
    from running_server import Server
    from strangers import Issued, Reply

GOOD, REVOKED = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED


@dataclass(frozen=True)
class Poll:
    """One answer, with the monotonic times between which it was asked for and arrived."""

    started: float
    ended: float
    status: x509_ocsp.OCSPCertStatus


class Clients:
    """Ways to ask about one certificate: from the cache by POST and by GET, under either hash, and with a nonce."""

    def __init__(self, server: Server, issued: Issued) -> None:
        self._url = f"{server.url}/ocsp"
        self._about = (issued.certificate, certificate(server.home, issued.ca))
        self.stop = threading.Event()

    def ways(self) -> list[Callable[[], Reply]]:
        def post(digest: HashAlgorithm) -> Reply:
            return ask(self._url, ocsp_request(*self._about, digest=digest))

        def get() -> Reply:
            return ask(f"{self._url}/{quote(b64encode(ocsp_request(*self._about)), safe='')}")

        def fresh() -> Reply:
            return ask(self._url, ocsp_request(*self._about, nonce=secrets.token_bytes(32)))

        return [lambda: post(SHA1), lambda: post(SHA256), get, fresh]

    def poll(self, way: Callable[[], Reply]) -> list[Poll]:
        polls: list[Poll] = []
        while not self.stop.is_set():
            started = time.monotonic()
            response = x509_ocsp.load_der_ocsp_response(way().body)
            polls.append(Poll(started, time.monotonic(), response.certificate_status))
        return polls


def committed(home: Path, issued: Issued) -> float:
    """Wait until a revocation is committed; a monotonic time that is never before the commit."""
    with closing(open_issuance_store(Home.open(home).database_url)) as store:
        issuer = store.issuer(issued.ca).id
        while store.certificate(issuer, parse_serial(issued.serial)).status.state is not CertificateState.REVOKED:
            time.sleep(0.005)
        return time.monotonic()


def test_good_then_revoked_and_never_the_other_way_round(server: Server, tmp_path: Path) -> None:
    assert len(server.worker_pids()) == 2
    issued = issue(server.home, tmp_path, "server-rsa", "server")
    clients = Clients(server, issued)
    with ThreadPoolExecutor() as threads:
        polling = [threads.submit(clients.poll, way) for way in clients.ways()]
        try:
            commit = threads.submit(committed, server.home, issued)
            time.sleep(0.5)
            run(
                sys.executable, "-m", "issuance", "cert", "revoke", "--home", server.home,
                "--ca", issued.ca, "--serial", issued.serial, "--reason", "keyCompromise",
            )  # fmt: skip
            commit_time = commit.result(timeout=30)
            time.sleep(max(0.0, commit_time + SEEN_SECONDS + 0.5 - time.monotonic()))
        finally:
            clients.stop.set()
        by_client = [each.result() for each in polling]
    for polls in by_client:
        assert {poll.status for poll in polls} == {GOOD, REVOKED}
        assert polls[0].status is GOOD
    polls = [poll for each in by_client for poll in each]
    assert all(poll.status is REVOKED for poll in polls if poll.started >= commit_time + SEEN_SECONDS)
    first_revoked = min(poll.ended for poll in polls if poll.status is REVOKED)
    late = [poll for poll in polls if poll.status is GOOD and poll.started >= first_revoked]
    assert not late, "a client was told good after a client had been told revoked"


def test_a_revocation_is_seen_by_who_asks_only_later(server: Server, tmp_path: Path) -> None:
    """Every worker has a good answer in its cache, and nobody asks again until the bound has passed."""
    issued = issue(server.home, tmp_path, "server-rsa", "server")
    clients = Clients(server, issued)

    def statuses() -> set[x509_ocsp.OCSPCertStatus]:
        bodies = {way().body for way in clients.ways() for _ in range(16)}
        return {x509_ocsp.load_der_ocsp_response(body).certificate_status for body in bodies}

    assert statuses() == {GOOD}
    revoke(server.home, issued)
    assert statuses() == {REVOKED}
