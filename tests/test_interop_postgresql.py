"""The whole service on a PostgreSQL of its own: made by command, asked by strangers, and robbed of its connections."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from cryptography.x509 import ocsp as x509_ocsp
from ports import free_port
from postgres_server import postgres_server
from running_server import Server, running_server
from strangers import TIMESTAMP_QUERY, ask, attempt, certificate, issuance, issue, ocsp_request, revoke, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.interop("openssl")

GOOD, REVOKED = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("postgresql") / "home"
    base_url = f"http://127.0.0.1:{free_port()}"
    issuance(home, "init", "--demo", "--database", database, "--base-url", base_url)
    assert not (home / "ca.db").exists()
    with running_server(home, 2) as running:
        yield running


def status(server: Server, leaf: Path, issuer: Path) -> x509_ocsp.OCSPCertStatus:
    return x509_ocsp.load_der_ocsp_response(
        ask(f"{server.url}/ocsp", ocsp_request(leaf, issuer)).body
    ).certificate_status


def test_openssl_is_told_good_and_revoked(server: Server) -> None:
    root, issuer = (certificate(server.home, label) for label in ("root", "server-rsa"))
    ask_openssl = ("openssl", "ocsp", "-issuer", issuer, "-CAfile", root, "-url", f"{server.url}/ocsp", "-cert")
    assert "demo-good.pem: good" in run(*ask_openssl, certificate(server.home, "demo-good"))
    assert "demo-revoked.pem: revoked" in run(*ask_openssl, certificate(server.home, "demo-revoked"))


def test_openssl_verifies_tokens(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"data")
    query, reply = tmp_path / "query.tsq", tmp_path / "reply.tsr"
    run("openssl", "ts", "-query", "-data", tmp_path / "data", "-sha256", "-cert", "-out", query)
    serials = set()
    for unit in ("rsa", "p256") * 8:
        reply.write_bytes(ask(f"{server.url}/tsa/{unit}", query.read_bytes(), TIMESTAMP_QUERY).body)
        verified = run(
            *("openssl", "ts", "-verify", "-in", reply, "-queryfile", query),
            *("-CAfile", certificate(server.home, "root")),
        )
        assert "Verification: OK" in verified
        text = run("openssl", "ts", "-reply", "-in", reply, "-text")
        serials.add(next(line for line in text.splitlines() if line.startswith("Serial number")))
    assert len(serials) == 16


def test_a_revocation_reaches_every_worker(server: Server, tmp_path: Path) -> None:
    issued = issue(server.home, tmp_path, "server-rsa", "server")
    issuer = certificate(server.home, issued.ca)
    assert {status(server, issued.certificate, issuer) for _ in range(16)} == {GOOD}
    revoke(server.home, issued)
    assert {status(server, issued.certificate, issuer) for _ in range(16)} == {REVOKED}


@contextmanager
def connections_refused(database: str) -> Iterator[None]:
    """End every connection of the server's and let no new one in, as a restart of the database would."""
    with psycopg.connect(database.rpartition("/")[0] + "/template1", autocommit=True) as connection:
        connection.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
        try:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'")
            yield
        finally:
            connection.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS true")


def test_without_its_database_it_says_try_later_and_heals_by_itself(
    server: Server, database: str, tmp_path: Path
) -> None:
    issued = issue(server.home, tmp_path, "server-rsa", "server")
    issuer = certificate(server.home, issued.ca)
    assert status(server, issued.certificate, issuer) is GOOD
    with connections_refused(database):
        time.sleep(1.5)  # past the bound up to which cached answers are trusted without the feed
        said = attempt(
            *("openssl", "ocsp", "-issuer", issuer, "-cert", issued.certificate, "-url", f"{server.url}/ocsp"),
            *("-CAfile", certificate(server.home, "root")),
        )
        assert "Responder Error: trylater (3)" in said.output
        deadline = time.monotonic() + 30
        while server.ready():
            assert time.monotonic() < deadline, "nobody is told that the database is away"
            time.sleep(0.1)
    revoke(server.home, issued)
    server.wait_ready()
    assert {status(server, issued.certificate, issuer) for _ in range(16)} == {REVOKED}
    assert server.process.poll() is None
