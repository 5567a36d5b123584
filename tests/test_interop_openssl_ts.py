"""`openssl ts` makes the queries, verifies the tokens of a running server and reads its refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from strangers import TIMESTAMP_QUERY, ask, attempt, certificate, run

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server
    from strangers import Outcome

pytestmark = pytest.mark.interop("openssl")

UNITS = pytest.mark.parametrize(("path", "unit"), [("/tsa", "tsa"), ("/tsa/rsa", "tsa"), ("/tsa/p256", "tsa-p256")])
DIGESTS = pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])


class Exchange:
    """One query about one file, and the reply to it."""

    def __init__(self, folder: Path, url: str, *options: str, content: bytes = b"what was there at that time") -> None:
        self.data, self.query, self.reply = (folder / name for name in ("data", "query.tsq", "reply.tsr"))
        self.data.write_bytes(content)
        run("openssl", "ts", "-query", "-data", self.data, *options, "-out", self.query)
        answer = ask(url, self.query.read_bytes(), TIMESTAMP_QUERY)
        assert (answer.status, answer.content_type) == (200, "application/timestamp-reply")
        self.reply.write_bytes(answer.body)

    def verify(self, *options: str | Path) -> Outcome:
        return attempt("openssl", "ts", "-verify", "-in", self.reply, *options)

    def text(self) -> str:
        return run("openssl", "ts", "-reply", "-in", self.reply, "-text")

    def token(self, folder: Path) -> Path:
        """The token alone, without the PKIStatusInfo before it."""
        token = folder / "token.p7"
        run("openssl", "ts", "-reply", "-in", self.reply, "-token_out", "-out", token)
        return token

    def certificates(self, folder: Path) -> int:
        """How many certificates the token carries."""
        token = self.token(folder)
        return run("openssl", "pkcs7", "-inform", "DER", "-in", token, "-print_certs").count("BEGIN CERTIFICATE")


@UNITS
@DIGESTS
def test_a_token_with_certificates_needs_only_the_root(
    server: Server, tmp_path: Path, path: str, unit: str, digest: str
) -> None:
    exchange = Exchange(tmp_path, server.url + path, f"-{digest}", "-cert")
    root = certificate(server.home, "root")
    for about in (("-queryfile", exchange.query), ("-data", exchange.data)):
        outcome = exchange.verify(*about, "-CAfile", root)
        assert outcome.status == 0, outcome.output
        assert "Verification: OK" in outcome.output
    assert exchange.certificates(tmp_path) == 2, f"the certificate of {unit} and its issuer's"


@UNITS
@DIGESTS
def test_a_token_without_certificates_is_verified_with_the_published_ones(
    server: Server, tmp_path: Path, path: str, unit: str, digest: str
) -> None:
    """RFC 3161 §2.4.1: without certReq the token has no certificates."""
    exchange = Exchange(tmp_path, server.url + path, f"-{digest}")
    assert exchange.certificates(tmp_path) == 0
    others = tmp_path / "others.pem"
    others.write_bytes(b"".join(certificate(server.home, label).read_bytes() for label in ("timestamp", unit)))
    outcome = exchange.verify(
        "-queryfile", exchange.query, "-untrusted", others, "-CAfile", certificate(server.home, "root")
    )
    assert outcome.status == 0, outcome.output
    assert "Verification: OK" in outcome.output


@UNITS
def test_the_token_says_what_was_asked(server: Server, tmp_path: Path, path: str, unit: str) -> None:
    policy = "2.999.3161.2" if unit == "tsa-p256" else "2.999.3161.1"
    exchange = Exchange(tmp_path, server.url + path, "-sha512", "-no_nonce", "-tspolicy", policy)
    text = exchange.text()
    assert "Status: Granted." in text
    assert f"Policy OID: {policy}\n" in text
    assert "Hash Algorithm: sha512\n" in text
    assert "Accuracy: 0x02 seconds, unspecified millis, unspecified micros\n" in text
    assert "Ordering: no\n" in text
    assert "Nonce: unspecified\n" in text


def test_tokens_differ_in_their_serials(server: Server, tmp_path: Path) -> None:
    texts = [Exchange(tmp_path, f"{server.url}/tsa", "-sha256").text() for _ in range(20)]
    serials = {line for text in texts for line in text.splitlines() if line.startswith("Serial number: ")}
    assert len(serials) == len(texts)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("-sha1",), "unrecognized or unsupported algorithm identifier"),
        (("-sha256", "-tspolicy", "1.2.3.4.99"), "the requested TSA policy is not supported by the TSA"),
    ],
    ids=["SHA-1", "policy"],
)
def test_a_refusal_is_read_and_its_reason_with_it(
    server: Server, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    exchange = Exchange(tmp_path, f"{server.url}/tsa", *options)
    text = exchange.text()
    assert "Status: Rejected." in text
    assert f"Failure info: {reason}" in text
    outcome = exchange.verify("-queryfile", exchange.query, "-CAfile", certificate(server.home, "root"))
    assert outcome.status != 0


def test_other_data_and_another_root_are_not_believed(server: Server, tmp_path: Path) -> None:
    """That the tests above verify something shows in this one."""
    exchange, root = Exchange(tmp_path, f"{server.url}/tsa", "-sha256", "-cert"), certificate(server.home, "root")
    other = tmp_path / "other"
    other.write_bytes(b"something else")
    assert "message imprint mismatch" in exchange.verify("-data", other, "-CAfile", root).output
    wrong = exchange.verify("-data", exchange.data, "-CAfile", certificate(server.home, "server-rsa"))
    assert "certificate verify error" in wrong.output
