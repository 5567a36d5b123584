"""Applications carried out: one code and one sentence a line, nothing twice, nothing by halves."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from application_world import (
    OTHERS,
    OWN,
    client_row,
    csr_column,
    desk,
    encode,
    furnish,
    revocation_row,
    server_row,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from issuance_world import add_ca, copy_home, dns, issuance, killed_at, listed, make_csr, refused

from ca_store.types import CertificateState, Reason
from issuance.application import Delivery
from issuance.application_columns import Action
from issuance.profile import PROFILES, PURPOSES
from issuance.rule_set import RULE_SETS
from issuance.settings import PROFILE_IDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from application_world import Desk

BY_NAME = {rules.name: rules for rules in RULE_SETS}
JULY = BY_NAME["2018-07"]
DN = f"CN=www.example.ac.jp,{OWN}"


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    furnish(folder)
    return folder


@pytest.fixture
def at(furnished: Path, tmp_path: Path) -> Iterator[Desk]:
    with desk(furnished, tmp_path) as opened:
        yield opened


def counted(at: Desk) -> dict[str, int]:
    """Rows of every table."""
    with closing(sqlite3.connect(at.out.parent / "ca.db")) as database:
        tables = [
            name
            for (name,) in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        ]
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608 - its own names


class TestServers:
    def test_a_row_becomes_a_certificate(self, at: Desk) -> None:
        outcome = at.one(server_row(names="dNSName=b.example.ac.jp,c.example.ac.jp"))
        assert (outcome.line, outcome.code, outcome.japanese, outcome.english) == (1, "0", "発行しました。", "issued")
        certificate = at.certificate(outcome.serial)
        assert certificate.subject.rfc4514_string() == DN
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"{each}.example.ac.jp" for each in ("www", "b", "c")]
        written = x509.load_pem_x509_certificate((at.out / f"{outcome.serial:x}.pem").read_bytes())
        assert written == certificate

    @pytest.mark.parametrize(
        ("row", "code", "sentence"),
        [
            (server_row("-a.example.ac.jp", csr="AAAA"), "206", "'-a' is no label"),
            (server_row("a--b.example.ac.jp", csr="AAAA"), "206", "two symbols follow each other"),
            (server_row(names="b--c.example.ac.jp"), "907", "two symbols follow each other"),
            (server_row(names="b.example.com"), "206", "not under a domain that Example University"),
            (server_row("www.example.com"), "206", "not under a domain"),
            (server_row("www.other.ac.jp", OTHERS), "206", "O=Other College is not the institution's own"),
            (server_row(fqdn="b.example.ac.jp"), "907", "is not the CN"),
            (server_row(dn="CN=www.example.ac.jp"), "206", "must be CN, OU, O, L, ST, C"),
            (server_row(dn=f"CN=www.example.ac.jp,{OWN[:-5]}"), "206", "must be CN, OU"),
            (server_row(dn=DN.replace("Chiyoda-ku", "Academe")), "206", "Academe is no longer accepted"),
            (server_row(dn=DN.replace("Tokyo", r"Tokyo\, C=JP")), "206", "another attribute"),
            (server_row(dn=f"{DN},emailAddress=a@example.ac.jp", csr="AAAA"), "206", "emailAddress is no attribute"),
            (server_row(csr="AAAA"), "906", "not a certificate signing request"),
            (server_row(csr="not base64!"), "906", "not a certificate signing request"),
            (server_row(csr=csr_column(DN, "p256")), "906", "not on secp384r1"),
            (server_row(csr=csr_column(DN, "rsa-2048")), "906", "EC keys only"),
            (server_row(csr=csr_column(f"CN=a.example.ac.jp,{OWN}")), "906", "not that of column 1"),
            (server_row(csr=csr_column(DN, names=dns("evil.example.com"))), "906", "names evil.example.com"),
            (server_row(profile="3"), "911", "no CA in force for server certificates of this kind"),
        ],
        ids=lambda each: each if isinstance(each, str) else "",
    )
    def test_a_refused_row_takes_no_serial(self, at: Desk, row: list[str], code: str, sentence: str) -> None:
        before = counted(at)
        outcome = at.one(row)
        assert (outcome.code, outcome.serial) == (code, None)
        assert sentence in outcome.english
        assert counted(at) == before | {"audit": 1}

    def test_a_bad_row_stops_no_good_one(self, at: Desk) -> None:
        rows = [server_row("a.example.ac.jp"), ["nonsense"], server_row("b.example.com"), server_row("b.example.ac.jp")]
        assert [each.code for each in at.apply(*rows)] == ["0", "902", "206", "0"]

    def test_the_same_file_twice_issues_once(self, at: Desk) -> None:
        rows = [server_row("a.example.ac.jp"), server_row("b.example.ac.jp"), client_row()]
        first = at.apply(*rows)
        before = counted(at)
        again = at.apply(*rows, *rows)
        assert [each.serial for each in again] == [each.serial for each in first] * 2
        assert {(each.code, each.english) for each in again} == {("0", "was carried out before")}
        assert counted(at) == before | {"audit": before["audit"] + 6}

    def test_a_subject_of_the_same_file_or_of_an_earlier_one_must_be_renewed(self, at: Desk) -> None:
        other = server_row(csr=csr_column(DN, ec.generate_private_key(ec.SECP384R1())))
        assert [each.code for each in at.apply(server_row(), other)] == ["0", "212"]
        assert at.one(other).code == "212"
        assert at.apply(other, dry_run=True)[0].code == "212"
        assert "renewal" in at.one(other).english

    def test_who_had_the_name_is_asked_by_cn_and_ou_since_2020(self, at: Desk) -> None:
        key = ec.generate_private_key(ec.SECP384R1())
        dn = "CN=www.example.ac.jp,O=Example University,L=Chiyoda-ku,C=JP"
        assert at.one(server_row(), rules=JULY).code == "0"
        assert at.one(server_row(dn=dn, csr=csr_column(dn, key)), rules=BY_NAME["2020-07"]).code == "212"
        assert at.one(server_row(dn=dn, csr=csr_column(dn, key)), rules=JULY).code == "0"

    def test_with_units(self, at: Desk) -> None:
        dn = f"CN=www.example.ac.jp,OU=Library,OU=Annex 2,{OWN}"
        outcome = at.one(server_row(dn=dn), rules=JULY)
        assert at.certificate(outcome.serial).subject.rfc4514_string() == dn
        assert "OU is no longer certified" in at.one(server_row(dn=dn)).english


class TestRenewals:
    def test_needs_a_new_key_and_the_old_serial_in_either_spelling(self, at: Desk) -> None:
        first = at.one(server_row())
        for spelling in (str(first.serial), f"{first.serial:#x}"):
            same = at.one(server_row(serial=spelling), Action.RENEW)
            assert (same.code, same.english) == ("906", "a renewed certificate needs a new key")
            fresh = csr_column(DN, ec.generate_private_key(ec.SECP384R1()))
            renewed = at.one(server_row(serial=spelling, csr=fresh), Action.RENEW)
            assert (renewed.code, renewed.english) == ("0", "renewed")
            assert renewed.serial != first.serial

    def test_only_of_what_was_issued_for_this_name(self, at: Desk) -> None:
        first = at.one(server_row("a.example.ac.jp"))
        for serial, code in (
            (str(first.serial), "908"),
            ("12", "908"),
            ("xyz", "204"),
            ("0", "204"),
            ("9" * 50, "204"),
        ):
            assert at.one(server_row(serial=serial), Action.RENEW).code == code

    def test_a_name_of_before_july_2018_cannot_be_renewed_but_applied_for_anew(self, at: Desk) -> None:
        old = "CN=www.example.ac.jp,O=Example University,L=Academe,C=JP"
        first = at.one(server_row(dn=old), rules=BY_NAME["2018-03"])
        assert first.code == "0"
        fresh = csr_column(old, ec.generate_private_key(ec.SECP384R1()))
        renewal = server_row(dn=old, serial=str(first.serial), csr=fresh)
        assert at.one(renewal, Action.RENEW, BY_NAME["2018-03"]).code == "0"
        assert at.one([*renewal[:8], "x", *renewal[9:]], Action.RENEW, JULY).code == "206"
        assert at.one(server_row(), rules=JULY).code == "0"


class TestRevocations:
    def test_a_row_revokes_and_the_next_crl_has_it(self, at: Desk) -> None:
        first, second = at.apply(server_row("a.example.ac.jp"), server_row("b.example.ac.jp"))
        rows = [
            revocation_row(f"CN=a.example.ac.jp,{OWN}", first.serial or 0, "1"),
            revocation_row(f"CN=b.example.ac.jp,{OWN}", f"{second.serial:#x}", "0", "機器を撤去したため"),
        ]
        assert [each.code for each in at.apply(*rows, action=Action.REVOKE)] == ["0", "0"]
        issuer = at.core.store.issuer("server")
        reasons = {serial: status.reason for serial, status in at.core.store.revoked(issuer.id)}
        assert reasons == {first.serial: Reason.keyCompromise, second.serial: Reason.unspecified}
        crl = x509.load_der_x509_crl(at.core.store.latest_crl(issuer.id).der)
        assert {entry.serial_number for entry in crl} == set(reasons)

    def test_a_revocation_is_committed_though_no_crl_can_be_signed(self, at: Desk) -> None:
        serial = at.one(server_row()).serial or 0
        (at.out.parent / "keys" / "server.key").rename(at.out.parent / "keys" / "away")
        at.core._opened.clear()
        assert at.one(revocation_row(DN, serial), Action.REVOKE).code == "0"
        assert "no new CRL of server was signed" in at.reported[0]
        status = at.core.store.certificate(at.core.store.issuer("server").id, serial).status
        assert status.state is CertificateState.REVOKED

    def test_a_repeated_revocation_is_corrected_to_key_compromise_only(self, at: Desk) -> None:
        serial = at.one(server_row()).serial or 0
        for reason, sentence, kept in (
            ("4", "revoked", Reason.superseded),
            ("5", "was carried out before", Reason.superseded),
            ("1", "revoked", Reason.keyCompromise),
            ("4", "was carried out before", Reason.keyCompromise),
        ):
            assert at.one(revocation_row(DN, serial, reason), Action.REVOKE).english == sentence
            assert at.core.store.certificate(at.core.store.issuer("server").id, serial).status.reason is kept

    @pytest.mark.parametrize(
        ("dn", "reason", "comment", "code"),
        [
            (DN, "0", "", "201"),
            (DN, "2", "", "909"),
            (DN, "6", "", "909"),
            (DN, "8", "", "909"),
            (DN, "9", "", "909"),
            (DN, "77", "", "909"),
            (DN.replace("www", "xxx"), "4", "", "908"),
            (DN.replace("Example", "Other"), "4", "", "908"),
        ],
    )
    def test_refusals(self, at: Desk, dn: str, reason: str, comment: str, code: str) -> None:
        serial = at.one(server_row()).serial or 0
        assert at.one(revocation_row(dn, serial, reason, comment), Action.REVOKE).code == code
        issuer = at.core.store.issuer("server").id
        assert at.core.store.certificate(issuer, serial).status.state is CertificateState.GOOD

    def test_nobody_revokes_for_another_institution_or_as_another_kind(self, at: Desk) -> None:
        serial = at.one(server_row()).serial or 0
        (stranger,) = at.apply(revocation_row(DN, serial), action=Action.REVOKE, officer=at.core.store.officers()[1])
        assert stranger.code == "908"
        assert at.one(revocation_row(DN, serial, profile="5"), Action.REVOKE).code == "908"


class TestClients:
    def test_each_pkcs12_opens_with_its_own_pin(self, at: Desk) -> None:
        rows = [
            client_row("Taro", file="taro", pin="taros-own-PIN"),
            client_row("Jiro", file="jiro", pin=""),
            client_row("Saburo", file="", pin="Saburo1"),
        ]
        outcomes = at.apply(*rows)
        assert [each.code for each in outcomes] == ["0", "0", "0"]
        files = {
            stem: at.out / f"{stem}-{each.serial:x}.p12"
            for stem, each in zip(("taro", "jiro", "certificate"), outcomes, strict=True)
        }
        (pin,) = at.pins.iterdir()
        assert pin.name == files["jiro"].with_suffix(".pin").name
        pins = {"taro": "taros-own-PIN", "jiro": pin.read_text().strip(), "certificate": "Saburo1"}
        for outcome, (stem, file) in zip(outcomes, files.items(), strict=True):
            assert file.stat().st_mode & 0o777 == 0o600
            opened = pkcs12.load_pkcs12(file.read_bytes(), pins[stem].encode())
            assert opened.cert is not None
            assert opened.cert.certificate == at.certificate(outcome.serial)
            assert [each.certificate.subject for each in opened.additional_certs] == [
                x509.load_der_x509_certificate(at.core.store.issuer(label).certificate).subject
                for label in ("client", "root")
            ]
            for other in set(pins) - {stem}:
                with pytest.raises(ValueError, match="password"):
                    pkcs12.load_pkcs12(file.read_bytes(), pins[other].encode())

    @pytest.mark.interop("openssl")
    @pytest.mark.parametrize(("rules", "cipher"), [("2018-07", "3-KeyTripleDES"), ("2025-03", "AES-256-CBC")])
    def test_openssl_opens_the_files_of_both_eras(self, at: Desk, rules: str, cipher: str) -> None:
        at.one(client_row(), rules=BY_NAME[rules])
        (file,) = at.out.glob("*.p12")
        done = subprocess.run(
            ["openssl", "pkcs12", "-in", file, "-info", "-nodes", "-legacy", "-passin", "pass:s3cret-PIN"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert cipher in done.stderr
        assert done.stdout.count("BEGIN CERTIFICATE") == 3
        assert "BEGIN PRIVATE KEY" in done.stdout

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"download": "3"}, "910"),
            ({"download": "4"}, "206"),
            ({"file": "../taro"}, "206"),
            ({"file": "a/b"}, "206"),
            ({"pin": "short"}, "206"),
            ({"pin": "a space in it"}, "206"),
            ({"pin": "秘密の番号です"}, "206"),
            ({"dn": f"CN=山田,{OWN}"}, "206"),
            ({"dn": f"CN=-Taro,{OWN}"}, "206"),
            ({"serial": "5"}, "904"),
        ],
    )
    def test_refusals(self, at: Desk, changed: dict[str, str], code: str) -> None:
        assert at.one(client_row(**changed)).code == code
        assert not [*at.out.iterdir(), *at.pins.iterdir()]

    def test_no_key_is_made_that_could_not_be_handed_over(self, at: Desk) -> None:
        for delivery, row in ((Delivery(None, at.pins), client_row()), (Delivery(at.out, None), client_row(pin=""))):
            assert at.apply(row, delivery=delivery)[0].code == "910"

    def test_the_pin_is_on_record_nowhere(self, at: Desk) -> None:
        at.one(client_row(pin="never-write-this"))
        for file in at.out.parent.glob("ca.db*"):
            assert b"never-write-this" not in file.read_bytes()

    def test_mail(self, at: Desk) -> None:
        for rules, subject in ((JULY, f"CN=Taro Yamada,{OWN}"), (RULE_SETS[-1], "CN=taro@example.ac.jp")):
            outcome = at.one(client_row(profile="7", unit=rules.name), rules=rules)
            certificate = at.certificate(outcome.serial)
            assert certificate.subject.rfc4514_string() == subject
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.RFC822Name) == ["taro@example.ac.jp"]
            row = revocation_row(f"CN=Taro Yamada,{OWN}", outcome.serial or 0, profile="7")
            assert at.one(row, Action.REVOKE).english == "revoked"
        assert at.one(client_row(profile="7", user_mail="taro@example.com")).code == "206"


def test_code_signing(at: Desk) -> None:
    add_ca(at.core, "code-signing", "code-signing", "root")
    dn = f"CN=Example University,{OWN}"
    row = server_row(dn=dn, profile="8", fqdn="", csr=csr_column(dn, "rsa-3072"))
    outcome = at.one(row)
    assert outcome.code == "0"
    assert at.certificate(outcome.serial).subject.rfc4514_string() == dn
    person = f"CN=Taro,{OWN}"
    outcome = at.one(server_row(dn=person, profile="8", fqdn="", csr=csr_column(person, "rsa-3072")))
    assert "is 'Example University'" in outcome.english


def test_a_dry_run_checks_everything_and_writes_nothing(at: Desk) -> None:
    before = counted(at)
    rows = [server_row(), client_row(), server_row("b.example.com"), ["x"]]
    assert [each.code for each in at.apply(*rows, dry_run=True)] == ["0", "0", "206", "902"]
    assert counted(at) == before
    assert not [*at.out.iterdir(), *at.pins.iterdir()]
    assert [each.code for each in at.apply(*rows)] == ["0", "0", "206", "902"]


def test_what_was_decided_stays_on_record(at: Desk) -> None:
    at.apply(server_row("b.example.com"), server_row())
    first, second = (record for _, record in at.core.store.audits())
    assert (first.event, second.event) == ("issue refused", "issue accepted")
    assert first.actor.startswith("Hanako (")
    assert json.loads(first.detail)["code"] == "206"
    assert json.loads(second.detail)["rules"] == RULE_SETS[-1].name
    serial = int(json.loads(second.detail)["serial"], 16)
    issuer = at.core.store.issuer("server").id
    assert at.core.store.certificate(issuer, serial).status.state is CertificateState.GOOD


class TestCommand:
    @pytest.fixture
    def home(self, pristine_home: Path, tmp_path: Path) -> Path:
        home = copy_home(pristine_home, tmp_path)
        (tmp_path / "h.csr").write_bytes(make_csr(common_name="Hanako"))
        issue = ("cert", "issue", "--ca", "client", "--profile", "client", "--csr", tmp_path / "h.csr")
        issuance(*issue, "--out", tmp_path / "h.pem", home=home)
        add = ("officer", "add", "佐藤花子", "--institution", "Example University", "--mail", "h@example.ac.jp")
        issuance(*add, "--certificate", tmp_path / "h.pem", home=home)
        return home

    def test_a_file_of_windows_from_end_to_end(self, home: Path, tmp_path: Path) -> None:
        for name in ("out", "pins"):
            (tmp_path / name).mkdir()
        dn = f"CN=r.example.ac.jp,{OWN}"
        rows = [
            server_row("a.example.ac.jp"),
            server_row("r.example.ac.jp", profile="3", csr=csr_column(dn, "rsa-2048")),
            server_row("b.example.com"),
            client_row(),
        ]
        (tmp_path / "a.tsv").write_bytes(encode(*rows))
        apply = ("tsv", "apply", tmp_path / "a.tsv", "--officer", tmp_path / "h.pem")
        folders = ("--out", tmp_path / "out", "--pins", tmp_path / "pins", "--result", tmp_path / "r.tsv")
        tried = issuance(*apply, *folders[:4], "--dry-run", home=home, status=1)
        assert [line.split("\t")[1] for line in tried.stdout.splitlines()] == ["code", "0", "0", "206", "0"]
        done = issuance(*apply, *folders, home=home, status=1)
        assert "rules of 2025-03, in force since" in done.stderr
        assert done.stderr.endswith("1 of 4 applications were refused\n")
        assert (tmp_path / "r.tsv").read_bytes().decode("cp932").replace("\r\n", "\n") == done.stdout
        table = [line.split("\t") for line in done.stdout.splitlines()]
        assert [row[:2] for row in table[1:]] == [["1", "0"], ["2", "0"], ["3", "206"], ["4", "0"]]
        assert table[3][4:] == [
            "主体者DNの形式が正しくありません。",
            "'b.example.com' is not under a domain that Example University has registered",
        ]
        shown = listed("cert", "show", "--ca", "server-ecc", "--serial", table[1][2], home=home)
        assert (shown["state"], int(shown["serial"], 16)) == ("good", int(table[1][3]))
        assert listed("cert", "show", "--ca", "server-rsa", "--serial", table[2][2], home=home)["state"] == "good"
        (tmp_path / "v.txt").write_bytes(encode(revocation_row(f"CN=a.example.ac.jp,{OWN}", table[1][3])))
        revoke = ("tsv", "apply", tmp_path / "v.txt", "--officer", tmp_path / "h.pem", "--action", "revoke")
        issuance(*revoke, home=home)
        shown = listed("cert", "show", "--ca", "server-ecc", "--serial", table[1][2], home=home)
        assert (shown["state"], shown["reason"]) == ("revoked", "superseded")

    @pytest.mark.parametrize(
        "function",
        [
            "ca_store.database:SQLIssuanceStore.reserve_for",
            "issuance.issuer:assemble",
            "ca_store.database:SQLIssuanceStore.record",
            "ca_store.database:SQLIssuanceStore.add_audit",
        ],
    )
    def test_killed_at_any_step_it_is_issued_once(self, home: Path, tmp_path: Path, function: str) -> None:
        (tmp_path / "a.tsv").write_bytes(encode(server_row("a.example.ac.jp"), server_row("b.example.ac.jp")))
        apply = ("tsv", "apply", tmp_path / "a.tsv", "--officer", tmp_path / "h.pem")
        killed_at(function, 2, *apply, home=home)
        issuance(*apply, home=home)
        issuance(*apply, home=home)
        rows = listed("cert", "list", "--ca", "server-ecc", "--profile", "server", home=home)
        good = [row["subject"].partition(",")[0] for row in rows if row["state"] == "good"]
        assert sorted(good) == ["CN=a.example.ac.jp", "CN=b.example.ac.jp"]
        assert {row["state"] for row in rows} <= {"good", "revoked"}

    @pytest.mark.parametrize(
        ("name", "officer", "status", "sentence"),
        [
            ("a.csv", "h.pem", 1, "209: a.csv must end in .tsv or .txt"),
            ("none.tsv", "h.pem", 1, "208: there is no file"),
            ("a.tsv", "h.csr", 1, "no certificate that can be read"),
            ("a.tsv", "home/certs/demo-good.pem", 1, "is a server certificate"),
            ("a.tsv", "home/certs/client.pem", 1, "is a sub-ca certificate"),
            ("a.tsv", "none", 2, "No such file"),
        ],
    )
    def test_refusals(self, home: Path, tmp_path: Path, name: str, officer: str, status: int, sentence: str) -> None:
        for each in ("a.csv", "a.tsv"):
            (tmp_path / each).write_bytes(encode(server_row()))
        assert sentence in refused(
            "tsv", "apply", tmp_path / name, "--officer", tmp_path / officer, home=home, status=status
        )

    def test_key_and_pin_go_to_different_folders(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_bytes(encode(client_row()))
        apply = ("tsv", "apply", tmp_path / "a.tsv", "--officer", tmp_path / "h.pem")
        assert "different folders" in refused(*apply, "--out", tmp_path, "--pins", f"{tmp_path}/.", home=home)

    def test_a_bar_is_drawn_on_a_terminal_only(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_bytes(encode(server_row("a.example.ac.jp"), server_row("b.example.ac.jp")))
        apply = ("tsv", "apply", str(tmp_path / "a.tsv"), "--officer", str(tmp_path / "h.pem"), "--dry-run")
        assert "#" not in issuance(*apply, home=home).stderr
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "issuance", *apply, "--home", str(home)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True)
        os.close(theirs)
        drawn = os.read(ours, 10_000).decode()
        os.close(ours)
        assert "] 1/2" in drawn
        assert b"#" not in done.stdout

    def test_a_template_of_each_kind(self, demo_home: Path, tmp_path: Path) -> None:
        out = tmp_path / "t.tsv"
        issuance("tsv", "template", "--profile", "client", "--out", out, home=demo_home)
        assert "アクセスPIN" in out.read_bytes().decode("cp932")
        issuance("tsv", "template", "--profile", "client", "--as-of", "2018-07-08", "--out", out, home=demo_home)
        assert "アクセスPIN" not in out.read_bytes().decode("cp932")


def test_every_profile_id_is_of_a_profile() -> None:
    assert {each.partition(":")[0] for each in PROFILE_IDS.values()} == {"server", "client", "smime", "code-signing"}


def test_no_profile_is_extended_validation() -> None:
    """It is bought elsewhere."""
    policies = {policy for profile in PROFILES.values() for policy in profile.policies}
    policies |= {policy for purpose in PURPOSES.values() for policy in purpose.policies}
    assert "2.23.140.1.2.2" in policies
    assert "2.23.140.1.1" not in policies
