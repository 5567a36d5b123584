"""``responders status`` and ``timestamp`` against a running server, and against what they must not believe."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from ports import free_port

from responders.relying_party import responder_url, system_anchors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from running_server import Server

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def responders(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "responders", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_good_certificate_is_good_at_the_responder_it_names(server: Server) -> None:
    certificate = server.home / "certs" / "demo-good.pem"
    done = responders("status", certificate, "--home", server.home, "--url", f"{server.url}/ocsp")
    assert done.stdout.startswith(f"{certificate}: good\n")
    assert "warning" not in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_the_responder_is_the_one_that_the_certificate_names(server: Server) -> None:
    certificate = server.home / "certs" / "demo-good.pem"
    named = x509.load_pem_x509_certificate(certificate.read_bytes())
    assert f"{server.url}/ocsp" in responder_url(named)
    done = responders("status", certificate, "--home", server.home)
    assert done.stdout.startswith(f"{certificate}: good\n"), done.stderr


def test_the_issuer_is_fetched_from_where_the_certificate_says(server: Server, tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    shutil.copy(server.home / "certs" / "root.pem", tmp_path / "certs")
    done = responders("status", server.home / "certs" / "demo-good.pem", "--home", tmp_path)
    assert "demo-good.pem: good\n" in done.stdout, done.stderr


def test_the_authority_is_that_of_the_home(server: Server, tmp_path: Path) -> None:
    shutil.copytree(server.home / "certs", tmp_path / "certs")
    (tmp_path / "responders.toml").write_text(f'[server]\nlisten = "0.0.0.0:{server.port}"\n')
    file = tmp_path / "file"
    file.write_bytes(b"some octets")
    done = responders("timestamp", file, "--home", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = responders("timestamp", file, "--home", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.endswith("(run `issuance init`); give --url\n")


def test_a_certificate_without_pointers_needs_them_said(server: Server, tmp_path: Path) -> None:
    root = server.home / "certs" / "root.pem"
    done = responders("status", root, "--home", server.home)
    assert done.stderr == "responders status: the certificate names no OCSP responder: give --url\n"
    self_signed = tmp_path / "own.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(tmp_path / "key"), "-out", str(self_signed), "-subj", "/CN=own"),
        ],
        check=True,
        capture_output=True,
    )
    done = responders("status", self_signed, "--home", server.home, "--issuer", root, "--url", f"{server.url}/ocsp")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_written_is_one_sentence(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"some octets")
    out = tmp_path / "none" / "file.tsr"
    done = responders(*("timestamp", file, "--home", server.home, "--url", f"{server.url}/tsa", "--out", out))
    assert (done.returncode, done.stderr) == (
        2,
        f"responders timestamp: {out} cannot be written: No such file or directory\n",
    )


def test_a_revoked_certificate_is_status_1_with_time_and_reason(server: Server) -> None:
    done = responders(
        *("status", server.home / "certs" / "demo-revoked.pem", "--home", server.home),
        *("--url", f"{server.url}/ocsp", "--issuer", server.home / "certs" / "server-rsa.pem"),
    )
    assert done.returncode == 1
    assert "demo-revoked.pem: revoked\n" in done.stdout
    assert "reason        keyCompromise\n" in done.stdout


def test_an_issuer_of_another_key_is_refused(server: Server) -> None:
    """The CertID then names a certificate that does not exist."""
    done = responders(
        *("status", server.home / "certs" / "demo-good.pem", "--home", server.home),
        *("--url", f"{server.url}/ocsp", "--issuer", server.home / "certs" / "client.pem"),
    )
    assert done.returncode == 1
    assert done.stderr == "responders status: not verified: the responder refused to answer: unauthorized\n"


def test_without_the_home_there_is_no_one_to_trust(server: Server, tmp_path: Path) -> None:
    done = responders(
        *("status", server.home / "certs" / "demo-good.pem", "--home", tmp_path),
        *("--url", f"{server.url}/ocsp", "--issuer", server.home / "certs" / "server-rsa.pem"),
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("responders status: not trusted: ")


@pytest.mark.parametrize("unit", ["", "/p256"])
def test_a_file_gets_a_token_that_openssl_verifies(server: Server, tmp_path: Path, unit: str) -> None:
    file, out = tmp_path / "file", tmp_path / "file.tsr"
    file.write_bytes(b"some octets")
    out.write_bytes(b"is replaced")
    done = responders(
        *("timestamp", file, "--home", server.home, "--url", f"{server.url}/tsa{unit}", "--out", out),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy      2 s\n" in done.stdout
    certificates = server.home / "certs"
    checked = subprocess.run(
        [
            *("openssl", "ts", "-verify", "-data", str(file), "-in", str(out)),
            *("-CAfile", str(certificates / "root.pem"), "-untrusted", str(certificates / "timestamp.pem")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_token_of_strangers_is_not_trusted(server: Server, tmp_path: Path) -> None:
    file, out = tmp_path / "file", tmp_path / "file.tsr"
    file.write_bytes(b"some octets")
    done = responders("timestamp", file, "--home", tmp_path, "--url", f"{server.url}/tsa", "--out", out)
    assert done.returncode == 1
    assert done.stderr.startswith("responders timestamp: not verified: ")
    assert not out.exists()


def test_an_answer_that_is_no_time_stamp_is_one_sentence(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    done = responders("timestamp", file, "--home", server.home, "--url", f"{server.url}/ocsp")
    assert done.returncode == 1
    assert done.stderr.startswith("responders timestamp: not verified: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "status", "sentence"),
    [
        ("http://127.0.0.1:{port}/tsa", 1, "http://127.0.0.1:{port}/tsa cannot be reached: Connection refused"),
        ("{server}/nothing", 1, "{server}/nothing answered HTTP 404 Not Found"),
        ("ftp://127.0.0.1/", 2, "'ftp://127.0.0.1/' is not an HTTP URL"),
        ("nonsense", 2, "'nonsense' is not an HTTP URL"),
    ],
)
def test_a_url_that_does_not_answer_is_one_sentence(
    server: Server, tmp_path: Path, url: str, status: int, sentence: str
) -> None:
    names = {"port": free_port(), "server": server.url}
    file = tmp_path / "file"
    file.write_bytes(b"")
    done = responders("timestamp", file, "--home", server.home, "--url", url.format(**names))
    assert (done.returncode, done.stderr) == (status, f"responders timestamp: {sentence.format(**names)}\n")


def test_what_is_no_certificate_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.write_text("hello")
    done = responders("status", file)
    assert (done.returncode, done.stderr) == (2, f"responders status: {file} is not a certificate in PEM or DER\n")


def test_the_operating_systems_anchors_are_found() -> None:
    there = BUNDLE.read_text().count("-----BEGIN CERTIFICATE-----") if BUNDLE.exists() else 0
    assert len(system_anchors()) >= there / 2


@contextmanager
def dripping(target: str) -> Iterator[str]:
    """The URL of a proxy that passes on what ``target`` answers, its first octets long before the rest."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = urllib.request.Request(target, body, {"Content-Type": self.headers["Content-Type"]})  # noqa: S310 - loopback
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - loopback
                answer = response.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer[:600])
            self.wfile.flush()
            time.sleep(0.3)
            self.wfile.write(answer[600:])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def test_an_answer_that_comes_in_pieces_is_read_whole(server: Server, tmp_path: Path) -> None:
    certificate, file = server.home / "certs" / "demo-good.pem", tmp_path / "file"
    file.write_bytes(b"some octets")
    with dripping(f"{server.url}/ocsp") as url:
        done = responders("status", certificate, "--home", server.home, "--url", url)
    assert (done.returncode, done.stderr) == (0, "")
    with dripping(f"{server.url}/tsa") as url:
        done = responders("timestamp", file, "--home", server.home, "--url", url)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http://\udcff/", "ldap://127.0.0.1/x", "http://", "x"])
def test_what_is_no_http_url(server: Server, url: str) -> None:
    done = responders("timestamp", __file__, "--home", server.home, "--url", url)
    assert done.returncode == 2
    assert done.stderr.endswith("is not an HTTP URL\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("out", [".", "/", "folder"])
def test_a_folder_is_no_place_for_a_reply(server: Server, tmp_path: Path, out: str) -> None:
    place = tmp_path if out == "folder" else out
    done = responders("timestamp", __file__, "--home", server.home, "--url", f"{server.url}/tsa", "--out", place)
    assert done.returncode == 2
    assert done.stderr == f"responders timestamp: {place} cannot be written: it is a folder\n"


def test_output_that_nobody_takes(server: Server) -> None:
    command = f"{sys.executable} -m responders status {server.home}/certs/demo-good.pem --home {server.home}"
    for sink, sentence in (("> /dev/full", "responders: [Errno 28] No space left on device\n"), ("| true", "")):
        done = subprocess.run(f"{command} {sink}", shell=True, capture_output=True, text=True, timeout=60, check=False)  # noqa: S602 - the test's own words
        assert done.stderr == sentence


def test_a_key_of_a_curve_that_is_not_supported_is_no_issuer(server: Server, tmp_path: Path) -> None:
    shutil.copytree(server.home / "certs", tmp_path / "certs")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp112r1", "-nodes"),
            *("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certs" / "aa.pem"), "-subj", "/CN=small"),
        ],
        check=True,
        capture_output=True,
    )
    done = responders("status", server.home / "certs" / "demo-good.pem", "--home", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = responders("timestamp", __file__, "--home", tmp_path, "--url", f"{server.url}/tsa")
    assert (done.returncode, done.stderr) == (0, "")


def test_pointers_that_are_not_http_are_for_others() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
            for url in ("ldap://x/y", "HTTP://ocsp.example/")
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(access, critical=False)
        .sign(key, hashes.SHA256())
    )
    assert responder_url(certificate) == "HTTP://ocsp.example/"
