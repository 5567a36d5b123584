"""A disk that is full: what cannot be kept is refused in a sentence, what is online goes on, and all of it heals."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.x509 import ocsp as x509_ocsp
from issuance_world import copy_home, make_csr, refused
from issuance_world import issuance as issuance_command
from ocsp_load import Question, asking
from running_server import running_server, until
from small_disk import small_disk
from strangers import ask, certificate, issuance, ocsp_request
from test_interop_log import log
from tsa_load import load
from tsa_reader import open_reply
from tsa_server import Client, query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from running_server import Server
    from small_disk import SmallDisk
    from tsa_load import Answered

SYSTEM_FAILURE: Final = "03050600000040"
BLOCK: Final = 40
TABLES: Final = ("certificate", "change", "crl")


def make_small_home(pristine_home: Path, disk: SmallDisk) -> Path:
    """A home on the small disk. Its blocks of serials last for a few requests, and it keeps no log."""
    home = copy_home(pristine_home, disk.folder)
    file = home / "responders.toml"
    text = file.read_text().replace("[tsa]\n", f"[tsa]\nserial_block = {BLOCK}\n", 1)
    file.write_text(f"{text}\n[log]\nenabled = false\n")
    return home


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 24) as made:
        yield made


def rows(home: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that issuance writes, and that the file is whole."""
    with closing(sqlite3.connect(home / "ca.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}  # noqa: S608 - ours


def fill(disk: SmallDisk, home: Path) -> None:
    """Without the room that SQLite's journal has from before."""
    with closing(sqlite3.connect(home / "ca.db", timeout=10)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    disk.fill()


def test_issuance_says_so_and_leaves_nothing_half_done(pristine_home: Path, disk: SmallDisk, tmp_path: Path) -> None:
    home = make_small_home(pristine_home, disk)
    request, out = tmp_path / "request.csr", tmp_path / "out.pem"
    request.write_bytes(make_csr("p384", common_name="full.example.ac.jp"))
    issuing = ("cert", "issue", "--ca", "server-ecc", "--profile", "server", "--csr", request, "--out", out)
    issuer, good = certificate(home, "server-rsa"), certificate(home, "demo-good")
    (serial,) = [
        each["serial"]
        for each in json.loads(issuance(home, "cert", "list", "--json"))
        if each["state"] == "good" and each["ca"] == "server-rsa" and each["profile"] == "server"
    ]
    revoking = ("cert", "revoke", "--ca", "server-rsa", "--serial", serial, "--reason", "superseded")
    with running_server(home, 2) as server:
        before = rows(home)
        with asking(server, [Question(good, issuer), Question(good, issuer, nonce=True)]) as made:
            fill(disk, home)
            for command in (issuing, revoking):
                assert "database or disk is full" in refused(*command, home=home)
            assert not out.exists()
            assert rows(home) == before
            disk.free()
            issuance(home, *issuing)
            issuance(home, *revoking)
            made.wait(lambda said: said.status is x509_ocsp.OCSPCertStatus.REVOKED)
        assert {each.status for each in made.said} == {x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED}
        assert out.exists()
        assert server.metric("responders_worker_restarts_total") == 0


def test_a_certificate_whose_file_finds_no_room_is_named_and_can_be_had_again(
    pristine_home: Path, disk: SmallDisk, tmp_path: Path
) -> None:
    """It was issued all the same: its serial is printed and its row is there."""
    home = copy_home(pristine_home, tmp_path)
    request, out = tmp_path / "request.csr", disk.folder / "out.pem"
    request.write_bytes(make_csr("p384", common_name="file.example.ac.jp"))
    with disk.full():
        issuing = ("cert", "issue", "--ca", "server-ecc", "--profile", "server", "--csr", request, "--out", out)
        done = issuance_command(*issuing, home=home, status=1)
        assert f"{out}: No space left on device" in done.stderr
        assert sorted(each.name for each in disk.folder.iterdir()) == ["ballast"]
    issuance(home, "cert", "show", "--ca", "server-ecc", "--serial", done.stdout.strip(), "--out", out)
    assert out.read_text().startswith("-----BEGIN CERTIFICATE-----")


def granted(answers: Sequence[Answered]) -> list[Answered]:
    return [each for each in answers if each.opened.status == 0]


def test_serials_that_cannot_be_reserved_end_in_a_refusal_and_come_back(pristine_home: Path, disk: SmallDisk) -> None:
    home = make_small_home(pristine_home, disk)
    issuer, leaf = certificate(home, "server-rsa"), certificate(home, "demo-good")
    with running_server(home, 2) as server, load(server, ["/tsa/p256"], pause=0.002) as made:
        until(lambda: len(made.answered) > 4 * BLOCK, "nothing is answered")
        fill(disk, home)
        until(lambda: refuses(made.answered), "serials do not end")
        answer = ask(f"{server.url}/ocsp", ocsp_request(leaf, issuer, nonce=bytes(16)))
        found = x509_ocsp.load_der_ocsp_response(answer.body)
        assert found.certificate_status is x509_ocsp.OCSPCertStatus.GOOD
        disk.free()
        freed = time.monotonic()
        issues_again(server)
        until(lambda: made.answered[-1].sent > freed, "nothing is answered")
        assert server.log.read_text().count("time-stamp serials cannot be reserved") >= 1
        assert server.metric("responders_worker_restarts_total") == 0
        assert "Traceback" not in server.log.read_text()
    assert not made.broken
    for each in made.answered:
        if each.opened.status:
            assert (each.opened.fail_info, each.opened.text) == (
                SYSTEM_FAILURE,
                "The authority's database cannot be reached.",
            )
    serials = [each.opened.tst_info["serial_number"].native for each in granted(made.answered)]
    assert len(set(serials)) == len(serials)


def refuses(answers: Sequence[Answered]) -> bool:
    return bool(answers) and answers[-1].opened.fail_info == SYSTEM_FAILURE


def issues_again(server: Server) -> None:
    """Every worker, within seconds."""

    def all_grant() -> bool:
        for _ in range(16):
            with Client(server) as client:
                if open_reply(client.post(query(), "/tsa/p256")).status:
                    return False
        return True

    until(all_grant, "no time-stamps although there is room")


@pytest.mark.parametrize("before_answer", [True, False])
def test_a_token_is_refused_while_its_log_has_no_room_and_none_is_missing_from_it(
    pristine_home: Path, disk: SmallDisk, tmp_path: Path, *, before_answer: bool
) -> None:
    home = copy_home(pristine_home, tmp_path)
    with (home / "responders.toml").open("a") as file:
        file.write(f'\n[log]\nfolder = "{disk.folder}/log"\ncommit_before_answer = {before_answer!s}\n'.lower())
    with running_server(home, 2) as server:
        with load(server, ["/tsa/p256"], pause=0.002) as made:
            until(lambda: len(made.answered) > 200, "nothing is answered")
            folders = len(list((disk.folder / "log").iterdir()))
            disk.fill()
            until(lambda: refuses(made.answered), "tokens are issued that the log cannot hold")
            time.sleep(3)  # some tries to go on
            assert refuses(made.answered)
            assert len(list((disk.folder / "log").iterdir())) <= folders + 2
            disk.free()
            issues_again(server)
            enough = len(made.answered) + 100
            until(lambda: len(made.answered) > enough, "nothing is answered")
        assert server.log.read_text().count("the log of tokens cannot be written") >= 1
        assert "Traceback" not in server.log.read_text()
        assert not made.broken
    tokens = granted(made.answered)
    refusals = [each for each in made.answered if each.opened.status]
    assert {each.opened.text for each in refusals} == {"The log of tokens cannot be written."}
    assert {each.opened.fail_info for each in refusals} == {SYSTEM_FAILURE}
    verified = log(home, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    logged = [json.loads(line)["serial"] for line in log(home, "find", "--json").stdout.splitlines()]
    assert len(set(logged)) == len(logged)
    assert {f"{each.opened.tst_info['serial_number'].native:x}" for each in tokens} <= set(logged)
