"""Making a home: complete or not a home at all, whatever interrupts it."""

from __future__ import annotations

import fcntl
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fakes import DAY, ManualClock
from issuance_world import (
    add_ca,
    advance,
    issuance,
    killed_at,
    listed,
    make_csr,
    read_certificate,
    refused,
    small_core,
    without_dns,
    without_logs,
)

from ca_store.database import open_issuance_store
from ca_store.home import Home
from ca_store.types import CertificateState
from issuance.errors import SetupRefused
from issuance.settings import Settings, read_settings

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("store_fixtures",)

CERTIFICATES = {
    "root",
    "server-rsa",
    "server-ecc",
    "client",
    "code-signing",
    "timestamp",
    "tsa",
    "tsa-p256",
    "demo-good",
    "demo-revoked",
    "demo-code-signer",
}


def check_demo_home(home: Path) -> None:
    """Everything that a demo home promises."""
    assert {file.name for file in (home / "certs").iterdir()} >= {f"{name}.pem" for name in CERTIFICATES}
    assert not (home / ".init").exists()
    opened = Home.open(home)
    keys = opened.keys()
    with closing(open_issuance_store(opened.database_url)) as store:
        issuers = {issuer.label: issuer for issuer in store.issuers()}
        assert set(issuers) == {"root", "server-rsa", "server-ecc", "client", "code-signing", "timestamp"}
        for label, issuer in issuers.items():
            assert store.latest_crl(issuer.id).number >= 1
            assert read_certificate(home / "certs" / f"{label}.pem").serial_number == issuer.serial
            assert keys.load(store.issuer_key(issuer.id)).public_key in issuer.certificate
        speaking = {(credential.kind.value, credential.name) for credential in store.credentials()}
        assert speaking == {("ocsp", label) for label in issuers} | {
            ("tsa", name) for name in ("rsa", "p256", "authenticode")
        }
        for name, label, state in (
            ("demo-good", "server-rsa", CertificateState.GOOD),
            ("demo-revoked", "server-rsa", CertificateState.REVOKED),
            ("demo-code-signer", "code-signing", CertificateState.GOOD),
            ("tsa", "timestamp", CertificateState.GOOD),
        ):
            serial = read_certificate(home / "certs" / f"{name}.pem").serial_number
            assert store.certificate(issuers[label].id, serial).status.state is state
    plain = load_pem_private_key((home / "keys" / "demo-code-signer.key").read_bytes(), None)
    assert isinstance(plain, rsa.RSAPrivateKey)
    assert plain.public_key() == read_certificate(home / "certs" / "demo-code-signer.pem").public_key()


def test_a_replica_is_named_from_the_start_where_there_can_be_one(tmp_path: Path, postgres_url: str) -> None:
    replica = "postgresql://replica.example/ca"
    arguments = ("--database", postgres_url, "--read-url", replica)
    issuance("init", *arguments, home=tmp_path / "home")
    assert Home.open(tmp_path / "home").read_url == replica.replace("postgresql:", "postgresql+psycopg:")
    for urls in (("--read-url", replica), ("--database", postgres_url, "--read-url", "sqlite:///ca.db")):
        assert "only PostgreSQL has replicas" in refused("init", *urls, home=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_demo_home_has_what_it_promises(demo_home: Path) -> None:
    check_demo_home(demo_home)
    for file in (demo_home / "keys").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        encrypted = b"ENCRYPTED PRIVATE KEY" in file.read_bytes()
        assert encrypted is (file.name not in ("passphrase", "demo-code-signer.key"))
    assert stat.S_IMODE((demo_home / "keys").stat().st_mode) == 0o700
    document = Home.open(demo_home).document
    assert document["tsa"]["default_unit"] == "rsa"
    assert document["tsa"]["units"] == {
        "rsa": {"policy": "2.999.3161.1", "accuracy_seconds": 2},
        "p256": {"policy": "2.999.3161.2", "accuracy_seconds": 2},
        "authenticode": {"protocol": "authenticode"},
    }


def test_an_init_killed_again_and_again_is_completed_by_the_next(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = ("init", "--demo", "--base-url", "http://pki.example.ac.jp")
    for function, call in (
        ("ca_store.database:SQLIssuanceStore.add_institution", 1),
        ("issuance.authority:sign_crl", 1),  # a CA without CRL and delegate
        ("issuance.authority:assemble", 2),  # a key and a reserved serial without a CA
        ("ca_store.database:SQLIssuanceStore.add_credential", 2),  # a certified delegate that no one knows
        ("issuance.demo:revoke", 1),  # a certificate that was to be revoked
        ("issuance.home:replace_file", 1),  # all but the configuration
    ):
        killed_at(function, call, *command, home=home)
        assert not (home / "responders.toml").exists()
    assert "is not a home" in refused("ca", "list", home=home)
    assert "had other options" in refused("init", "--demo", home=home)
    assert issuance(*command, home=home).stdout == ""
    check_demo_home(home)
    assert "is a home already" in refused(*command, home=home)
    check_demo_home(home)


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_the_same_on_postgresql_where_rows_outlive_the_folder(empty_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = ("init", "--demo", "--database", empty_url)
    killed_at("issuance.authority:assemble", 3, *command, home=home)
    killed_at("issuance.demo:revoke", 1, *command, home=home)
    issuance(*command, home=home)
    check_demo_home(home)
    # A second machine shares the database, but has no CA key.
    issuance("init", "--database", empty_url, home=tmp_path / "second")
    assert listed("ca", "list", home=tmp_path / "second") == listed("ca", "list", home=home)
    assert "root.key does not exist" in refused("signer", "renew", "--force", home=tmp_path / "second")
    assert "leave out --demo to share a database" in refused(
        "init", "--demo", "--database", empty_url, home=tmp_path / "third"
    )


def test_a_home_made_before_is_brought_up_to_date_by_one_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    issuance("init", home=home)
    with closing(sqlite3.connect(home / "ca.db")) as old:
        for index in ("certificate_subject", "certificate_status_without_scts"):
            old.execute(f"DROP INDEX ix_{index}")
        old.execute("ALTER TABLE certificate_status DROP COLUMN sct_list")
        for table in ("application", "officer", "audit", "caa_check"):
            old.execute(f"DROP TABLE {table}")
        old.execute("UPDATE alembic_version SET version_num = '0001'")
        old.commit()
    assert "has schema 0001 and this program needs 0004: run `issuance migrate`" in refused("ca", "list", home=home)
    assert issuance("migrate", home=home).stdout == "the database had schema 0001 and has 0004 now\n"
    assert issuance("migrate", home=home).stdout == "the database has schema 0004 already: nothing to do\n"
    assert issuance("ca", "list", home=home)
    (home / "ca.db").unlink()
    assert "does not exist: run `issuance init`" in refused("migrate", home=home)
    assert not (home / "ca.db").exists()


def test_two_inits_do_not_share_a_folder(tmp_path: Path) -> None:
    with (tmp_path / ".init").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another init is at work" in refused("init", home=tmp_path)
    issuance("init", home=tmp_path)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert "is not empty" in refused("init", "--demo", home=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--database", "mysql://localhost/ca"), "mysql is not supported"),
        (("--database", "ca.db"), "not a database URL"),
        (("--base-url", "https://pki.example.ac.jp"), "base_url must be an http:// URL"),
        (("--base-url", "http://pki.example.ac.jp/"), "without a slash at its end"),
        (("--database", "postgresql://host:port/ca"), "not a database URL"),
        (("--database", "postgresql://host:99999999/ca"), "port"),
        (("--database", "sqlite:///ca.db?mode=ro"), "takes no parameters"),
        (("--database", "sqlite://"), "needs a file"),
        *(
            (("--base-url", url), "base_url must be an http:// URL")
            for url in (
                "pki.example.ac.jp",
                "HTTP://pki.example.ac.jp",
                "http://",
                "http://[::1",
                "http://[pki]",
                "http://pki.example.ac.jp:port",
                "http://pki.example.ac.jp:99999",
                "http://pki.example.ac.jp:0",
                "http://pki.example.ac.jp:",
                "http://user@pki.example.ac.jp",
                "http://pki.example.ac.jp/a b",
                "http://pki.example.ac.jp/a?b",
                "http://pki.example.ac.jp#",
                "http://大学.example.ac.jp",
                "http://pki..example.ac.jp",
                "http://-pki.example.ac.jp",
            )
        ),
    ],
)
def test_wrong_urls_make_no_folder(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused("init", *arguments, home=tmp_path / "home", status=2)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "url", ["http://[::1]:8080", "http://127.0.0.1", "http://PKI.example.ac.jp/a/b%20c", "http://localhost:65535"]
)
def test_urls_that_pointers_can_begin_with(url: str) -> None:
    assert Settings(base_url=url).pointers("a").ocsp == f"{url}/ocsp"


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"base_ur1": "http://a.jp"}, "base_ur1 is not a setting"),
        ({"base_url": 8080}, "base_url must be"),
        ({"client_policy": "anything"}, "client_policy must be an object identifier"),
        ({"client_policy": 1}, "client_policy must be an object identifier"),
        ("http://a.jp", "must be a table"),
    ],
)
def test_wrong_settings_are_named(section: object, sentence: str) -> None:
    with pytest.raises(SetupRefused, match=sentence):
        read_settings({"issuance": section})
    assert read_settings({}) == Settings()


def test_a_ca_that_could_not_be_of_use_leaves_no_key(tmp_path: Path) -> None:
    core = small_core(tmp_path, ManualClock())
    with closing(core.store):
        add_ca(core, "root", "root")
        add_ca(core, "ecc", "server", "root")
        with pytest.raises(SetupRefused, match="name a root as the parent"):
            add_ca(core, "below", "server", "ecc")
        advance(core, 14 * 365 * DAY)
        with pytest.raises(SetupRefused, match="has to answer ten years after its certificates, until 2052"):
            add_ca(core, "signing", "code-signing", "root")
        assert not {"below.key", "signing.key"} & {file.name for file in (tmp_path / "keys").iterdir()}


def test_a_home_of_ones_own_from_nothing(tmp_path: Path) -> None:
    """Without --demo: what an operator types to get to a first certificate."""
    home = tmp_path / "home"
    issuance("init", "--base-url", "http://pki.other.ac.jp", home=home)
    without_dns(home)
    without_logs(home)
    root = ("ca", "create", "root", "--purpose", "root", "--key", "p384", "--common-name", "Other Root")
    issuance(*root, "--organization", "Other College", "--country", "JP", home=home)
    issuance(
        *("ca", "create", "servers", "--purpose", "server", "--parent", "root", "--key", "p384"),
        *("--common-name", "Other Servers"),
        home=home,
    )
    assert "there is a CA labelled root already" in refused(*root, "--organization", "X", "--country", "JP", home=home)
    issuance(
        *("institution", "add", "Other College", "--country", "JP", "--state", "Kyoto", "--locality", "Kyoto-shi"),
        *("--domain", "other.ac.jp"),
        home=home,
    )
    (tmp_path / "a.csr").write_bytes(make_csr("p384", common_name="www.other.ac.jp"))
    issue = ("cert", "issue", "--ca", "servers", "--profile", "server", "--csr", tmp_path / "a.csr")
    serial = issuance(*issue, "--out", tmp_path / "a.pem", home=home).stdout
    certificate = read_certificate(tmp_path / "a.pem")
    assert serial == f"{certificate.serial_number:x}\n"
    certificate.verify_directly_issued_by(read_certificate(home / "certs" / "servers.pem"))
    assert [row["label"] for row in listed("ca", "list", home=home)] == ["root", "servers"]
    assert listed("institution", "list", home=home) == [
        {
            "name": "Other College",
            "country": "JP",
            "state": "Kyoto",
            "locality": "Kyoto-shi",
            "domains": ["other.ac.jp"],
        }
    ]
