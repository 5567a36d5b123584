"""Certificate Transparency by the real commands: where they die, what applications make of it, and what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from application_world import desk as opened_desk
from application_world import furnish, server_row
from cryptography import x509
from ct_log import CTLog, make_logs, running_logs
from ct_world import logging_home
from issuance_world import issuance, killed_at, listed, make_csr, read_certificate, refused

from issuance.ct_http import HTTPSubmitter
from issuance.ct_log import Transparency

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from application_world import Desk

SCTS = x509.PrecertificateSignedCertificateTimestamps
CA = ("--ca", "server-ecc")


class TestCommand:
    @pytest.fixture
    def world(self, pristine_home: Path, tmp_path: Path) -> Iterator[tuple[Path, list[CTLog]]]:
        (tmp_path / "a.csr").write_bytes(make_csr("p384", common_name="a.example.ac.jp"))
        with logging_home(pristine_home, tmp_path) as (home, logs):
            yield home, logs

    def issue(self, folder: Path) -> tuple[str | Path, ...]:
        return ("cert", "issue", *CA, "--profile", "server", "--csr", folder / "a.csr", "--out", folder / "a.pem")

    @pytest.mark.parametrize(
        ("function", "state", "precertificate"),
        [
            ("issuance.issuer:assemble", "reserved", False),
            ("ca_store.database:SQLIssuanceStore.record", "reserved", False),
            ("issuance.ct_http:HTTPSubmitter.submit", "good", True),
            ("issuance.ct_completion:embed", "good", True),
            ("ca_store.database:SQLIssuanceStore.complete", "good", True),
            ("ca_store.database:SQLIssuanceStore.put_sct_list", "good", False),
        ],
        ids=[
            "before the precertificate is signed",
            "before it is recorded",
            "before logs hear of it",
            "before the certificate is signed",
            "before it is recorded in its place",
            "before its own SCTs are kept",
        ],
    )
    def test_killed_in_the_middle(
        self, world: tuple[Path, list[CTLog]], tmp_path: Path, function: str, state: str, precertificate: bool
    ) -> None:
        home, logs = world
        killed_at(function, 1, *self.issue(tmp_path), home=home)
        assert not (tmp_path / "a.pem").exists()
        (row,) = listed("cert", "list", *CA, "--profile", "server", home=home)
        assert (row["state"], row["precertificate"]) == (state, precertificate)
        told = function.partition(":")[2] in ("embed", "SQLIssuanceStore.complete", "SQLIssuanceStore.put_sct_list")
        assert all(log.asked[:1] == (["add-pre-chain"] if told else []) for log in logs)
        named = (*CA, "--serial", row["serial"])
        if precertificate:
            sentence = refused("cert", "show", *named, "--out", tmp_path / "a.pem", home=home)
            assert sentence == f"issuance: the serial {row['serial']} has a precertificate only"
            assert not (tmp_path / "a.pem").exists()
        issuance("cert", "revoke", *named, "--reason", "cessationOfOperation", home=home)
        assert listed("cert", "show", *named, home=home)["state"] == "revoked"

    def test_it_says_whether_it_is_on(self, world: tuple[Path, list[CTLog]], tmp_path: Path) -> None:
        home, _ = world
        done = issuance(*self.issue(tmp_path), home=home)
        assert "; CAA is off; CT is on\n" in done.stderr
        certificate = read_certificate(tmp_path / "a.pem")
        assert len(certificate.extensions.get_extension_for_class(SCTS).value) == 3
        shown = listed("cert", "show", *CA, "--serial", done.stdout.strip(), home=home)
        assert (shown["state"], shown["precertificate"]) == ("good", False)

    def test_a_log_that_is_away_is_one_sentence(self, world: tuple[Path, list[CTLog]], tmp_path: Path) -> None:
        home, logs = world
        logs[2].refuse = lambda _method, _count: 404
        sentence = refused(*self.issue(tmp_path), home=home)
        assert f"{logs[2].url}: it answered HTTP 404" in sentence
        assert "has a precertificate and no certificate yet" in sentence
        assert not (tmp_path / "a.pem").exists()


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    furnish(folder)
    return folder


class TestApplications:
    @pytest.fixture
    def world(self, furnished: Path, tmp_path: Path) -> Iterator[tuple[Desk, list[CTLog]]]:
        with opened_desk(furnished, tmp_path) as desk:
            logs = make_logs(desk.core.clock.now)
            root = x509.load_der_x509_certificate(desk.core.store.issuer("root").certificate)
            for log in logs:
                log.roots.append(root)
            with running_logs(*logs):
                told = Transparency(tuple(log.described() for log in logs), HTTPSubmitter(5, 0.5))
                desk.core = replace(desk.core, transparency=told)
                yield desk, logs

    def test_every_row_has_its_scts(self, world: tuple[Desk, list[CTLog]]) -> None:
        desk, _ = world
        for outcome in desk.apply(server_row("a.example.ac.jp"), server_row("b.example.ac.jp")):
            assert outcome.code == "0"
            found = desk.certificate(outcome.serial).extensions.get_extension_for_class(SCTS).value
            assert len(found) == 3

    def test_the_same_row_goes_on_where_logs_left_it(self, world: tuple[Desk, list[CTLog]]) -> None:
        desk, logs = world
        row = server_row("www.example.ac.jp")
        logs[2].refuse = lambda _method, _count: 404
        first = desk.one(row)
        assert first.code == "911"
        assert f"{logs[2].url}: it answered HTTP 404" in first.english
        before = {each.serial for each in desk.core.store.certificates()}
        assert desk.one(row).code == "911"
        assert not list(desk.out.iterdir()), "no precertificate is delivered"
        assert desk.apply(row, dry_run=True)[0].code == "0"
        logs[2].refuse = None
        second = desk.one(row)
        assert second.code == "0"
        assert {each.serial for each in desk.core.store.certificates()} == before
        assert second.serial in before
        delivered = read_certificate(desk.out / f"{second.serial:x}.pem")
        assert delivered == desk.certificate(second.serial)
        assert len(delivered.extensions.get_extension_for_class(SCTS).value) == 3

    def test_a_dry_run_says_that_logs_are_too_few_and_tells_none(self, world: tuple[Desk, list[CTLog]]) -> None:
        desk, logs = world
        assert desk.apply(server_row(), dry_run=True)[0].code == "0"
        assert not any(log.asked for log in logs)
        assert desk.core.transparency is not None
        desk.core = replace(desk.core, transparency=replace(desk.core.transparency, logs=()))
        outcome = desk.apply(server_row(), dry_run=True)[0]
        assert outcome.code == "906"
        assert "the logs of [ct] that are in force are too few" in outcome.english
