"""Programs that ask about the certificates of others: NSS, dirmngr for gpgsm, GnuTLS before OpenLDAP, Tomcat."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ports import free_port
from running_server import running_server
from strangers import SHA1, Outcome, attempt, certificate, issuance, issue, load, revoke, run
from tls_servers import HOST, Site, slapd, tomcat

from issuance.cli import main as issuance_main

if TYPE_CHECKING:
    from running_server import Server


def der_of(pem: Path, folder: Path) -> Path:
    out = folder / f"{pem.stem}.der"
    run("openssl", "x509", "-in", pem, "-outform", "DER", "-out", out)
    return out


@pytest.mark.interop("vfychain", "certutil")
def test_nss(server: Server, tmp_path: Path) -> None:
    """``failIfNoInfo``: no answer is no answer, so *good* means that NSS has one that it believes."""
    store = f"sql:{tmp_path}"
    run("certutil", "-N", "-d", store, "--empty-password")
    run("certutil", "-A", "-d", store, "-n", "root", "-t", "C,C,C", "-i", certificate(server.home, "root"))
    issuer = der_of(certificate(server.home, "server-rsa"), tmp_path)

    def verify(label: str) -> Outcome:
        leaf = der_of(certificate(server.home, label), tmp_path)
        # 12 is IPsec: the usage for which a digitalSignature is enough.
        usage = ("-pp", "-u", "12", "-g", "leaf", "-m", "ocsp", "-s", "failIfNoInfo")
        return attempt("vfychain", "-d", store, *usage, leaf, issuer)

    good, revoked = verify("demo-good"), verify("demo-revoked")
    assert (good.status, "Chain is good" in good.output) == (0, True), good.output
    assert (revoked.status, "has been revoked" in revoked.output) == (1, True), revoked.output


@pytest.mark.interop("slapd", "gnutls-cli")
def test_gnutls_before_openldap(server: Server, tmp_path: Path) -> None:
    """The client asks about the whole chain before it speaks LDAP."""
    site = Site(server.home, tmp_path, free_port(), issue(server.home, tmp_path, "server-rsa", "server"))
    command = (
        "gnutls-cli", "--ocsp", "--x509cafile", certificate(server.home, "root"), "--verify-hostname", HOST,
        "--port", str(site.port), "127.0.0.1",
    )  # fmt: skip
    with slapd(site):
        good = attempt(*command)
        assert (good.status, "OCSP: verified 2 certificate(s)" in good.output) == (0, True), good.output
        revoke(server.home, site.issued)
        revoked = attempt(*command)
        assert revoked.status != 0
        assert "Certificate was revoked at" in revoked.output, revoked.output


@pytest.mark.interop("java", "keytool", "curl")
@pytest.mark.skipif(not Path("/usr/share/tomcat10").exists(), reason="tomcat10 is not installed")
def test_tomcat_asks_about_its_clients(server: Server, tmp_path: Path) -> None:
    issued, client = (issue(server.home, tmp_path, *each) for each in (("server-rsa", "server"), ("client", "client")))
    site = Site(server.home, tmp_path, free_port(), issued)
    chain = tmp_path / "client-chain.pem"
    chain.write_bytes(client.certificate.read_bytes() + certificate(server.home, "client").read_bytes())
    command = (
        "curl", "--silent", "--show-error", "--output", tmp_path / "page", "--write-out", "%{http_code}",
        "--cacert", certificate(server.home, "root"), "--cert", chain, "--key", client.key,
        "--resolve", f"{HOST}:{site.port}:127.0.0.1", f"https://{HOST}:{site.port}/",
    )  # fmt: skip
    with tomcat(site):
        # There is no application: 404 is said to who has come in.
        welcome = attempt(*command)
        assert welcome == Outcome(0, "404")
        revoke(server.home, client)
        refused = attempt(*command)
    assert refused.status != 0
    assert "alert" in refused.output, refused.output


@pytest.mark.interop("gpgsm", "dirmngr", "gpg-agent", "gpgconf")
def test_dirmngr_for_gpgsm(tmp_path: Path, demo_home: Path) -> None:
    """dirmngr 2.2 verifies answers that are signed with RSA: a delegate of RSA takes over where the default is gone."""
    home = tmp_path / "home"
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    assert issuance_main(["init", "--demo", "--home", str(home), "--base-url", base_url]) == 0
    for ca in ("root", "server-rsa"):
        listed = issuance(home, "signer", "list")
        (default,) = (line.split()[2] for line in listed.splitlines() if line.split()[:2] == ["ocsp", ca])
        issuance(home, "signer", "renew", "--ca", ca, "--key", "rsa-3072")
        issuance(home, "cert", "revoke", "--ca", ca, "--serial", default, "--reason", "superseded")
    folder = tmp_path / "gnupg"
    folder.mkdir(mode=0o700)
    (folder / "dirmngr.conf").write_text("allow-ocsp\n")
    fingerprint = load(certificate(home, "root")).fingerprint(SHA1).hex().upper()
    (folder / "trustlist.txt").write_text(f"{fingerprint} S relax\n")
    environment = os.environ | {"GNUPGHOME": str(folder)}

    def gpgsm(*arguments: str | Path) -> str:
        done = subprocess.run(
            ["gpgsm", "--batch", *map(str, arguments)], check=False, capture_output=True, env=environment, timeout=60
        )
        return (done.stdout + done.stderr).decode()

    def validated(label: str) -> str:
        fingerprint = load(certificate(home, label)).fingerprint(SHA1).hex().upper()
        return gpgsm("--enable-ocsp", "--with-validation", "--list-keys", fingerprint)

    try:
        with running_server(home, 1):
            for label in ("root", "server-rsa", "demo-good", "demo-revoked"):
                assert "imported: 1" in gpgsm("--import", der_of(certificate(home, label), tmp_path))
            assert "[certificate is good]" in validated("demo-good")
            assert "[certificate is bad: Certificate revoked]" in validated("demo-revoked")
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=True, env=environment, timeout=60)
