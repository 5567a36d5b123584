"""``responders doctor`` on homes that are spoilt one way each, and on one that is not."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fakes import DAY, NOW, TinyCA
from strangers import issuance

from ca_store.types import format_serial
from ocsp.selfcheck import Finding as AnswerFinding
from ocsp.selfcheck import Severity, SignerReport
from responders.diagnosis import examine_inspection
from responders.inspection import Inspection
from responders.kernel_clock import read_clock_estimate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from running_server import Server


@pytest.fixture
def home(demo_home: Path, tmp_path: Path) -> Path:
    """A copy of the demo home that a test may spoil, whose admin listener is nobody's."""
    home = tmp_path / "home"
    with closing(sqlite3.connect(demo_home / "ca.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(demo_home, home)
    edit(home, '"127.0.0.1:8081"', '"127.0.0.1:9"')
    return home


def edit(home: Path, old: str, new: str) -> None:
    file = home / "responders.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def execute(home: Path, *statements: str) -> None:
    with closing(sqlite3.connect(home / "ca.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def doctor(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "responders", "doctor", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def faults(home: Path) -> list[str]:
    """Of a home that must have some."""
    done = doctor(home, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert not report["healthy"]
    return [f"{each['area']}: {each['sentence']}" for each in report["findings"] if each["level"] == "fault"]


def test_a_demo_home_is_well_and_is_told_what_it_leaves_out(home: Path) -> None:
    done = doctor(home)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("no faults, ")
    assert "note     issuance: this is the demo home: CAA look-ups and CT submission are off" in lines
    assert "note     server: no server answers on 127.0.0.1:9: only the home was looked at" in lines
    assert sum(line.startswith("ok       answers: ") and "linted by pkilint" in line for line in lines) == 6
    assert sum(line.startswith("ok       crl: ") for line in lines) == 6
    assert any(" clock: the kernel" in line for line in lines)


def test_whether_caa_is_looked_up(home: Path) -> None:
    edit(home, "caa = false", "caa = true")
    assert "ok       issuance: CAA is looked up before certificates are issued" in doctor(home).stdout
    edit(home, "caa = true", "caa = false")
    (home / "certs" / "demo-good.pem").unlink()
    assert "warning  issuance: [issuance] caa is off: certificates are issued whatever CAA says" in doctor(home).stdout


def test_whether_there_are_logs_to_submit_to(home: Path) -> None:
    assert "note     issuance: this is the demo home: CAA look-ups and CT submission are off" in doctor(home).stdout
    edit(home, "caa = false", "caa = true")
    assert "note     issuance: this is the demo home: CT submission is off" in doctor(home).stdout
    edit(home, "[ct]\nenabled = false", "[ct]\nenabled = true")
    assert faults(home) == ["issuance: [ct] names logs of 0 operators: too few for any server certificate to be issued"]
    with (home / "responders.toml").open("a") as file:
        for operator in ("A", "B"):
            file.write(f'[[ct.logs]]\nurl = "http://127.0.0.1:9/"\noperator = "{operator}"\nkey = ""\n')
    assert "ok       issuance: server certificates are submitted to 2 CT logs" in doctor(home).stdout
    edit(home, "[ct]\nenabled = true", "[ct]\nenabled = false")
    (home / "certs" / "demo-good.pem").unlink()
    assert "warning  issuance: [ct] is off: browsers refuse server certificates without SCTs" in doctor(home).stdout


def test_a_running_server_is_asked_how_it_is(server: Server) -> None:
    done = doctor(server.home, "--admin", f"{server.host}:{server.admin_port}")
    assert done.returncode == 0, done.stdout
    assert f"ok       server: the server on {server.host}:{server.admin_port} is ready" in done.stdout


def test_another_program_on_the_admin_port_is_not_taken_for_the_server(home: Path, server: Server) -> None:
    done = doctor(home, "--admin", f"{server.host}:{server.port}")
    assert f"what answers on {server.host}:{server.port} is another program" in done.stdout


def test_a_listener_that_says_nothing_is_given_up(home: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        done = doctor(home, "--admin", f"127.0.0.1:{silent.getsockname()[1]}")
    assert done.returncode == 0
    assert "no server answers" in done.stdout


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "a key that others can read": (
        lambda home: next((home / "keys").glob("ocsp-client-*.key")).chmod(0o640),
        "home: {home}/keys/ocsp-client-",
    ),
    "a passphrase that others can read": (
        lambda home: (home / "keys" / "passphrase").chmod(0o644),
        "delegates: no key can be opened: {home}/keys/passphrase can be read by others",
    ),
    "a home that others can write": (lambda home: home.chmod(0o777), "home: {home} can be written by others"),
    "a setting out of its bounds": (
        lambda home: edit(home, "[server]", "[ocsp]\nvalidity = 1\n[server]"),
        "home: {home}/responders.toml: [ocsp] validity is 1",
    ),
    "no database": (lambda home: (home / "ca.db").unlink(), "database: the database {home}/ca.db does not exist"),
    "another schema": (
        lambda home: execute(home, "UPDATE alembic_version SET version_num = '9999'"),
        "database: the database has schema 9999",
    ),
    "a table that is gone": (lambda home: execute(home, "DROP TABLE crl"), "database: the database says: "),
    "a CRL that is missing": (
        lambda home: execute(home, "DELETE FROM crl WHERE issuer_id = 1"),
        "crl: root has no CRL",
    ),
    "a CRL that has expired": (
        lambda home: execute(home, "UPDATE crl SET next_update = 1000"),
        "crl: the CRL of server-ecc has expired, 1970-01-01T00:16:40Z",
    ),
    "a delegate's key that is gone": (
        lambda home: next((home / "keys").glob("ocsp-root-*.key")).unlink(),
        "delegates: nobody speaks OCSP for root",
    ),
    "a delegate's certificate that is damaged": (
        lambda home: execute(home, "UPDATE credential SET certificate = x'3000' WHERE kind = 'ocsp' AND name = 'root'"),
        "delegates: the certificate of OCSP delegate ",
    ),
    "a unit's key that is gone": (
        lambda home: next((home / "keys").glob("tsa-p256-*.key")).unlink(),
        "time-stamping: {home}/keys/tsa-p256-",
    ),
    "hashes that are not the CA's": (
        lambda home: execute(home, "UPDATE issuer_hash SET name_hash = x'00' WHERE issuer_id = 2"),
        "answers: the certificate of OCSP delegate ",
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_would_make_the_service_wrong_is_named_and_the_exit_status_is_1(
    home: Path, spoil: tuple[Callable[[Path], object], str]
) -> None:
    act, sentence = spoil
    act(home)
    found = faults(home)
    assert any(each.startswith(sentence.format(home=home)) for each in found), found


def test_a_revoked_unit_issues_nothing(home: Path) -> None:
    [row] = json.loads(issuance(home, "signer", "list", "--json"))[-1:]
    assert row["kind"] == "tsa", row
    issuance(home, "cert", "revoke", "--ca", "timestamp", "--serial", row["serial"], "--reason", "superseded")
    assert f"time-stamping: unit {row['name']} issues nothing: unit {row['name']} is revoked" in faults(home)


def test_pointers_to_this_machine_are_a_fault_where_it_is_no_demo(home: Path) -> None:
    (home / "certs" / "demo-good.pem").unlink()
    [fault] = faults(home)
    assert fault.startswith("issuance: [issuance] base_url points to 'http://127.0.0.1:")
    text = (home / "responders.toml").read_text()
    before, _, rest = text.partition('base_url = "')
    (home / "responders.toml").write_text(f'{before}base_url = "http://pki.example.ac.jp{rest[rest.index(chr(34)) :]}')
    assert doctor(home).returncode == 0


def test_no_home_is_a_fault_in_a_sentence(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert done.stdout == (
        f"fault    home: {tmp_path} is not a home: there is no responders.toml in it (run `issuance init`)\n"
        "1 fault, no warnings\n"
    )


CA = TinyCA()
REPORT = SignerReport(CA.label, format_serial(0xD1), NOW - 30 * DAY, NOW - 30 * DAY, NOW + 60 * DAY, ("good",), ())


def terms(*signers: SignerReport) -> list[tuple[str, str]]:
    """What is said about the delegates, without the name that begins it."""
    found = Inspection(signers, (), (), "", "pkilint is not installed")
    return [
        (each.level.value, each.sentence.removeprefix(f"{REPORT.name} "))
        for each in examine_inspection(found, [CA.issuer], NOW)
        if each.area == "delegates"
    ]


def test_a_delegate_needs_a_successor_in_its_last_third_and_eight_hours_in_any_case() -> None:
    assert terms(REPORT) == [("ok", "is good until 2027-03-16T08:00:00Z")]
    late = replace(REPORT, not_before=NOW - 61 * DAY, not_after=NOW + 29 * DAY)
    [(level, sentence)] = terms(late)
    assert level == "fault"
    assert "has no successor" in sentence
    successor = replace(REPORT, active_from=NOW + 3600)
    assert terms(late, successor) == [("ok", "is good until 2027-03-16T08:00:00Z, speaks from 2027-01-15T09:00:00Z")]
    [(level, sentence)] = terms(replace(REPORT, not_after=NOW + 8 * 3600 - 1))
    assert level == "fault"
    assert "cannot hold for eight hours" in sentence


def test_findings_about_answers_are_faults_or_warnings_and_a_missing_linter_is_said() -> None:
    wrong = replace(REPORT, findings=(AnswerFinding(Severity.FAILURE, "signature", "it was not made by the key"),))
    frowned = replace(REPORT, findings=(AnswerFinding(Severity.ERROR, "pkix.rule", "see the rule"),))
    found = Inspection((wrong, frowned), (), (), "", "pkilint is not installed")
    said = {
        (each.level.value, each.sentence.removeprefix(REPORT.name))
        for each in examine_inspection(found, [], NOW)
        if each.area == "answers"
    }
    assert said == {
        ("fault", ": signature: it was not made by the key"),
        ("warning", ": error: pkix.rule: see the rule"),
        ("ok", ": right about good certificates, 1 findings, not linted: pkilint is not installed"),
    }


def test_the_kernel_tells_how_good_its_clock_is() -> None:
    estimate = read_clock_estimate()
    if estimate is not None:
        assert 0 <= estimate.estimated_error <= 1000
        assert estimate.maximum_error >= 0
