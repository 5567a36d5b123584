"""Java's own tools and path validation against a running server."""

from __future__ import annotations

import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from strangers import SUB_CAS, ask, attempt, certificate, issue, load, revoke, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from running_server import Server
    from strangers import Outcome

PATH_CHECK = Path(__file__).with_name("interop") / "PathCheck.java"
PASSWORD = "changeit"  # noqa: S105 - of throw-away key stores
JARSIGNER = ("jarsigner", "-J-XX:TieredStopAtLevel=1")
JAR = {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\n\r\n", "hello.txt": b"hello"}
"""What an archive holds before it is signed."""


def java(*arguments: str | Path) -> str:
    return run("java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", PATH_CHECK, *arguments)


@contextmanager
def relay(url: str) -> Iterator[tuple[str, list[str]]]:
    """Hand requests on to ``url`` and note the method of each: where it listens, and the notes."""
    methods: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            methods.append(self.command)
            length = int(self.headers.get("Content-Length", "0"))
            reply = ask(url + self.path, self.rfile.read(length) if self.command == "POST" else None)
            self.send_response(reply.status)
            self.send_header("Content-Type", str(reply.content_type))
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = pass_on  # noqa: N815 - the names that it looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}/ocsp", methods
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.interop("java")
@pytest.mark.parametrize(
    ("nonce", "method"), [(0, "GET"), (32, "GET"), (100, "POST")], ids=["no nonce", "nonce", "long nonce"]
)
def test_good_and_revoked_differ(server: Server, nonce: int, method: str) -> None:
    """The JDK sends GET while the URL has at most 255 octets. It asks about the leaf and about the CA above it."""
    issuer = certificate(server.home, "server-rsa")
    pairs = [part for label in ("demo-good", "demo-revoked") for part in (certificate(server.home, label), issuer)]
    with relay(server.url) as (responder, methods):
        output = java(certificate(server.home, "root"), responder, str(nonce), *pairs)
    good, revoked = output.splitlines()
    assert good == "good"
    assert revoked.startswith("revoked ")
    assert set(methods) == {method}
    assert len(methods) == 4


@pytest.mark.interop("java")
def test_every_path_of_the_home_is_checked_where_its_certificates_point(server: Server, tmp_path: Path) -> None:
    """A path below each CA, then one whose leaf was revoked for a reason."""
    superseded = issue(server.home, tmp_path, "server-rsa", "server")
    revoke(server.home, superseded, "superseded")
    leaves = {
        "server-rsa": certificate(server.home, "demo-good"),
        "server-ecc": issue(server.home, tmp_path, "server-ecc", "server").certificate,
        "client": issue(server.home, tmp_path, "client", "smime").certificate,
        "code-signing": certificate(server.home, "demo-code-signer"),
        "timestamp": certificate(server.home, "tsa"),
    }
    assert set(leaves) == set(SUB_CAS)
    pairs = [part for issuer, leaf in leaves.items() for part in (leaf, certificate(server.home, issuer))]
    pairs += [superseded.certificate, certificate(server.home, "server-rsa")]
    output = java(certificate(server.home, "root"), "-", "0", *pairs)
    assert output.splitlines() == ["good"] * len(leaves) + ["revoked SUPERSEDED"]


class KeyStores:
    """PKCS#12 files made by openssl (the signer's) and by keytool (the root alone)."""

    def __init__(self, folder: Path, home: Path, leaf: Path, key: Path) -> None:
        self.signer, self.trust, chain = folder / "signer.p12", folder / "trust.p12", folder / "chain.pem"
        # jarsigner's strict check wants a certificate that came with the signature among the trusted ones: the root.
        chain.write_bytes(b"".join(certificate(home, label).read_bytes() for label in ("code-signing", "root")))
        run(
            "openssl", "pkcs12", "-export", "-inkey", key, "-in", leaf, "-certfile", chain, "-name", "signer",
            "-passout", f"pass:{PASSWORD}", "-out", self.signer,
        )  # fmt: skip
        run(
            "keytool", "-importcert", "-noprompt", "-alias", "root", "-file", certificate(home, "root"),
            "-storetype", "PKCS12", "-keystore", self.trust, "-storepass", PASSWORD,
        )  # fmt: skip

    def sign(self, archive: Path, url: str, content: Mapping[str, bytes] = JAR) -> str:
        with zipfile.ZipFile(archive, "w") as jar:
            for name, octets in content.items():
                jar.writestr(name, octets)
        return run(*JARSIGNER, "-keystore", self.signer, "-storepass", PASSWORD, "-tsa", url, archive, "signer")

    def verify(self, archive: Path, *options: str) -> Outcome:
        return attempt(
            *JARSIGNER, "-verify", "-strict", *options, "-keystore", self.trust, "-storepass", PASSWORD, archive
        )


@pytest.mark.interop("jarsigner", "openssl")
@pytest.mark.parametrize(("path", "unit"), [("/tsa", "tsa"), ("/tsa/p256", "tsa-p256")])
def test_a_signed_jar_verifies_strictly(server: Server, tmp_path: Path, path: str, unit: str) -> None:
    key = server.home / "keys" / "demo-code-signer.key"
    stores = KeyStores(tmp_path, server.home, certificate(server.home, "demo-code-signer"), key)
    archive = tmp_path / "signed.jar"
    assert "jar signed." in stores.sign(archive, server.url + path)
    outcome = stores.verify(archive, "-verbose", "-certs")
    assert outcome.status == 0, outcome.output
    assert "jar verified." in outcome.output
    (stamped_by,) = [line for line in outcome.output.splitlines() if "Timestamped by " in line]
    common_name = load(certificate(server.home, unit)).subject.rfc4514_string().split(",", 1)[0]
    assert common_name in stamped_by


@pytest.mark.interop("jarsigner", "openssl")
def test_a_time_stamp_outlives_a_later_revocation_and_no_earlier_one(server: Server, tmp_path: Path) -> None:
    """With -revCheck jarsigner asks OCSP about the signer, the time-stamping unit and the CAs above them, and holds the
    revocation time against the time-stamp.
    """
    issued = issue(server.home, tmp_path, "code-signing", "code-signing")
    stores, archive = KeyStores(tmp_path, server.home, issued.certificate, issued.key), tmp_path / "signed.jar"
    stores.sign(archive, f"{server.url}/tsa")
    revoke(server.home, issued)
    later = stores.verify(archive, "-revCheck")
    assert later.status == 0, later.output
    assert later.output.count(f"Contacting OCSP server at {server.url}/ocsp") == 4
    revoke(server.home, issued, at=load(issued.certificate).not_valid_before_utc)
    earlier = stores.verify(archive, "-revCheck")
    assert earlier.status != 0
    assert "revoked" in earlier.output
