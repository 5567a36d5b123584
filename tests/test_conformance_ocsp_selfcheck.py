"""The server judges its own answers: beside the answering, and whenever the keys that sign them change."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from running_server import running_server, until
from strangers import SUB_CAS, issuance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server

"""How long a process at idle priority may take where others are busy."""


def checks(server: Server) -> list[str]:
    """What was tried, a line for each signer."""
    return [line for line in server.admin("/readyz?verbose")[1].splitlines() if "OCSP delegate" in line]


def until_checked(server: Server, after: float = 0) -> None:
    until(lambda: server.metric("responders_selfcheck_timestamp_seconds") > after, server.log.read_text())


@pytest.fixture
def own_home(demo_home: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    home = tmp_path / "home"
    with closing(sqlite3.connect(demo_home / "ca.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(demo_home, home)
    return home


@pytest.fixture
def own_server(own_home: Path) -> Iterator[Server]:
    with running_server(own_home, 2) as server:
        yield server


def test_every_signer_is_asked_about_a_good_and_a_revoked_certificate_and_linted(server: Server) -> None:
    until_checked(server)
    lines = checks(server)
    assert sorted(line.split()[8].rstrip(":") for line in lines) == sorted(["root", *SUB_CAS])
    assert all("answers as the database says" in line and "0 findings" in line for line in lines)
    assert all("linted by pkilint" in line for line in lines)
    [rsa] = [line for line in lines if " of server-rsa:" in line]
    assert "good, revoked" in rsa
    assert server.metric("responders_selfcheck_linted") == 1


def test_what_was_found_is_shown_by_readyz_and_metrics(server: Server) -> None:
    until_checked(server)
    assert server.admin("/readyz") == (200, "ready\n")
    text = server.admin("/metrics")[1]
    for severity in ("failure", "error", "warning"):
        lines = [line for line in text.splitlines() if f'severity="{severity}"' in line]
        assert len(lines) == len(SUB_CAS) + 1
        assert all(line.startswith("responders_selfcheck_findings{") and line.endswith(" 0.0") for line in lines)
    assert text.count("responders_signer_not_after_seconds{") == len(SUB_CAS) + 1


def test_it_runs_at_idle_priority_in_one_process_that_readiness_does_not_wait_for(own_home: Path) -> None:
    """The server is ready before the process has even started, and several workers have one such process."""
    with running_server(own_home, 2) as server:
        until(lambda: bool(server.selfcheck_pids()), server.log.read_text())
        [pid] = server.selfcheck_pids()
        until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 19, "it takes time from those who answer")
        assert server.ready()
        until_checked(server)
        assert server.selfcheck_pids() == []


def test_it_ends_with_the_server(own_home: Path) -> None:
    with running_server(own_home, 1) as server:
        until(lambda: bool(server.selfcheck_pids()), server.log.read_text())
        [pid] = server.selfcheck_pids()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_runs_again_when_the_signers_change(own_server: Server) -> None:
    until_checked(own_server)
    before, at = checks(own_server), own_server.metric("responders_selfcheck_timestamp_seconds")
    issuance(own_server.home, "signer", "renew", "--force")
    until(lambda: len(checks(own_server)) > len(before), own_server.log.read_text())
    assert own_server.metric("responders_selfcheck_timestamp_seconds") > at
    assert all("0 findings" in line for line in checks(own_server))


def test_an_answer_that_contradicts_the_database_makes_the_server_unready(own_home: Path) -> None:
    """Hashes that are not those of the CA: every client is refused, and the first to notice is the server."""
    with closing(sqlite3.connect(own_home / "ca.db")) as database, database:
        [[issuer]] = database.execute("SELECT id FROM issuer WHERE label = 'server-ecc'").fetchall()
        database.execute("UPDATE issuer_hash SET key_hash = x'00' WHERE issuer_id = ?", [issuer])
    with running_server(own_home, 1) as server:
        until(lambda: not server.ready(), server.log.read_text())
        status, text = server.admin("/readyz")
        log = server.log.read_text()
    assert status == 503
    for where in (text, log):
        assert "of server-ecc: responseStatus: the answer about good serial" in where
    assert "of server-rsa: responseStatus" not in text
    assert "Traceback" not in log


def test_a_signer_that_is_revoked_is_named_and_the_server_stays_ready(own_server: Server) -> None:
    until_checked(own_server)
    [line] = [each for each in checks(own_server) if " of client:" in each]
    serial = line.split()[6]
    issuance(own_server.home, "cert", "revoke", "--ca", "client", "--serial", serial, "--reason", "superseded")
    sentence = f"self-check: the certificate of OCSP delegate {serial} of client is revoked\n"
    until(lambda: sentence in own_server.admin("/readyz")[1], own_server.log.read_text())
    assert "nobody speaks OCSP for client" in own_server.admin("/readyz")[1]
    assert own_server.ready()
    assert own_server.metric("responders_selfcheck_refused") == 1
    assert own_server.metric("responders_selfcheck_silent") == 1


def test_without_a_linter_it_says_so_and_goes_on(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "path" / "pkilint"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('it is not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with running_server(own_home, 1) as server:
        until_checked(server)
        assert all("not linted: pkilint cannot be loaded: it is not here" in line for line in checks(server))
        assert server.metric("responders_selfcheck_linted") == 0
        assert server.ready()
