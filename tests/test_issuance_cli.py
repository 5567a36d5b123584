"""The command line: what it prints, what it refuses in one sentence, and what is left when it dies."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from issuance_world import copy_home, issuance, killed_at, listed, make_csr, read_certificate, refused

if TYPE_CHECKING:
    from pathlib import Path


class TestIssue:
    @pytest.fixture
    def csr(self, tmp_path: Path) -> Path:
        file = tmp_path / "a.csr"
        file.write_bytes(make_csr(common_name="a.example.ac.jp"))
        return file

    def test_the_file_is_replaced(self, demo_home: Path, csr: Path, tmp_path: Path) -> None:
        out = tmp_path / "a.pem"
        out.write_text("something else")
        issue = ("cert", "issue", "--ca", "server-rsa", "--profile", "server", "--csr", csr, "--out", out)
        first = issuance(*issue, home=demo_home).stdout
        second = issuance(*issue, home=demo_home).stdout
        assert first != second
        assert second == f"{read_certificate(out).serial_number:x}\n"
        assert {file.name for file in tmp_path.iterdir()} == {"a.csr", "a.pem"}

    @pytest.mark.parametrize(
        ("function", "state"),
        [
            ("issuance.issuer:assemble", "reserved"),
            ("ca_store.database:SQLIssuanceStore.record", "reserved"),
            ("issuance.cli_cert:format_serial", "good"),
        ],
        ids=["before it is signed", "before it is recorded", "before it is told"],
    )
    def test_killed_in_the_middle(self, demo_home: Path, csr: Path, tmp_path: Path, function: str, state: str) -> None:
        home = copy_home(demo_home, tmp_path)
        before = {row["serial"] for row in listed("cert", "list", "--ca", "server-rsa", home=home)}
        issue = (
            "cert",
            "issue",
            "--ca",
            "server-rsa",
            "--profile",
            "server",
            "--csr",
            csr,
            "--out",
            tmp_path / "a.pem",
        )
        killed_at(function, 1, *issue, home=home)
        assert not (tmp_path / "a.pem").exists()
        rows = listed("cert", "list", "--ca", "server-rsa", home=home)
        assert [row["state"] for row in rows if row["serial"] not in before] == [state]
        serial = issuance(*issue, home=home).stdout
        assert serial == f"{read_certificate(tmp_path / 'a.pem').serial_number:x}\n"

    @pytest.mark.parametrize(
        ("arguments", "status", "sentence"),
        [
            (("--ca", "server-rsa", "--profile", "server"), 2, "--csr"),
            (("--ca", "server-rsa", "--profile", "sub-ca", "--csr", "CSR"), 2, "--profile"),
            (("--ca", "nowhere", "--profile", "server", "--csr", "CSR"), 1, "no CA labelled 'nowhere'"),
            (("--ca", "client", "--profile", "server", "--csr", "CSR"), 1, "client (client) does not issue server"),
            (("--ca", "root", "--profile", "server", "--csr", "CSR"), 1, "root (root) does not issue server"),
            (("--ca", "server-ecc", "--profile", "server", "--csr", "CSR"), 1, "certifies EC keys only"),
            (("--ca", "server-rsa", "--profile", "server", "--csr", "/nowhere/a"), 2, "/nowhere/a: No such file"),
            (("--ca", "server-rsa", "--profile", "server", "--csr", "/"), 2, "/: Is a directory"),
            (("--ca", "server-rsa", "--profile", "server", "--csr", "/dev/zero"), 2, "holds more than"),
            (("--ca", "\udcff", "--profile", "server", "--csr", "CSR"), 2, "ca is not text"),
            (("--ca", "server\nrsa", "--profile", "server", "--csr", "CSR"), 2, "ca is not text"),
            *(
                (("--ca", "server-rsa", "--profile", "server", "--csr", "CSR", "--out", out), 2, sentence)
                for out, sentence in (
                    ("/nowhere/a", "its folder does not exist"),
                    ("/", "not the name of a file"),
                    (".", "not the name of a file"),
                    ("", "not the name of a file"),
                )
            ),
        ],
    )
    def test_refusals(self, demo_home: Path, csr: Path, arguments: tuple[str, ...], status: int, sentence: str) -> None:
        filled = [str(csr) if argument == "CSR" else argument for argument in arguments]
        assert sentence in refused("cert", "issue", *filled, home=demo_home, status=status)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("frobnicate",), 2, "invalid choice"),
        (("ca",), 2, "COMMAND"),
        (("ca", "show", "nowhere"), 1, "no CA labelled 'nowhere'"),
        (("ca", "create", "Root!", "--purpose", "server", "--parent", "root", "--common-name", "X"), 1, "no label"),
        (("ca", "create", "x", "--purpose", "server", "--common-name", "X"), 1, "every other CA has one"),
        (("ca", "create", "x", "--purpose", "root", "--common-name", "X"), 1, "needs an organization"),
        (
            ("ca", "create", "x", "--purpose", "server", "--parent", "client", "--common-name", "X"),
            1,
            "name a root as the parent",
        ),
        (
            ("ca", "create", "x", "--purpose", "timestamp", "--parent", "root", "--key", "p384", "--common-name", "X"),
            1,
            "Windows accepts no EC",
        ),
        (("cert", "show", "--ca", "root", "--serial", "xyz"), 2, "not a hexadecimal serial"),
        (("cert", "show", "--ca", "root", "--serial", "0"), 2, "not a positive serial"),
        (("cert", "show", "--ca", "root", "--serial", "12"), 1, "root has no certificate with the serial 12"),
        (("institution", "add", "A", "--country", "JP", "--domain", "a.jp"), 1, "needs a state or a locality"),
        (("institution", "add", "A", "--country", "jp", "--state", "Tokyo", "--domain", "a.jp"), 1, "no country"),
        (("institution", "add", "A", "--country", "JP", "--state", "Tokyo", "--domain", "ac.jp"), 1, "public suffix"),
        (("institution", "add", "-.-", "--country", "JP", "--state", "Tokyo", "--domain", "a.jp"), 2, "required: NAME"),
        (
            ("institution", "add", "A", "--country", "JP", "--state", "Tokyo", "--domain", "cs.example.ac.jp"),
            1,
            "overlaps 'example.ac.jp'",
        ),
        (
            ("institution", "add", "Example University", "--country", "JP", "--state", "Tokyo", "--domain", "a.jp"),
            1,
            "Example University",
        ),
    ],
)
def test_wrong_arguments(demo_home: Path, arguments: tuple[str, ...], status: int, sentence: str) -> None:
    assert sentence in refused(*arguments, home=demo_home, status=status)


def test_a_listing_nobody_reads_to_the_end_is_no_traceback(demo_home: Path) -> None:
    command = f"{sys.executable} -m issuance cert list --home {demo_home} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
