"""A home with time-stamping units of every kind, and what tests ask a running server."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from strangers import TIMESTAMP_QUERY, run
from tsa_reader import Opened, open_reply

from ca_store import der
from tsa.settings import KNOWN_DIGESTS

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server

POLICY: Final = "2.999.3161.9"
ETSI_POLICY: Final = "0.4.0.2023.1.1"


@dataclass(frozen=True)
class Kind:
    """One unit: its key, what stands in the configuration, and what signs its tokens."""

    key: str
    settings: str
    digest: str
    signature: str
    path: str = ""


UNITS: Final = {
    "rsa": Kind("rsa-3072", "", "sha256", "sha256WithRSAEncryption", "/tsa"),
    "p256": Kind("p256", "", "sha256", "ecdsa-with-SHA256"),
    "p384": Kind("p384", "", "sha384", "ecdsa-with-SHA384"),
    "ed25519": Kind("ed25519", "", "sha512", "Ed25519"),
    "ml-dsa": Kind("ml-dsa-65", "", "sha512", "ML-DSA-65"),
    "leaf": Kind("p256", 'certificates = "leaf"', "sha256", "ecdsa-with-SHA256"),
    "root": Kind("p256", 'certificates = "root"', "sha256", "ecdsa-with-SHA256"),
    "v1": Kind("rsa-3072", "ess_cert_id_v1 = true", "sha256", "sha256WithRSAEncryption"),
    "etsi": Kind(
        "p256",
        f'gen_time = "millisecond"\naccuracy_seconds = 1\npolicies = ["{ETSI_POLICY}"]',
        "sha256",
        "ecdsa-with-SHA256",
    ),
    "sha3": Kind("p256", f"digests = {sorted(KNOWN_DIGESTS)}".replace("'", '"'), "sha256", "ecdsa-with-SHA256"),
}
NEW: Final = [name for name in UNITS if name not in ("rsa", "p256")]


def furnish(demo_home: Path, home: Path) -> Path:
    """Copy the demo home and give it the units."""
    run("cp", "-r", demo_home, home)
    run("rm", "-rf", home / "log")
    for name in NEW:
        issuance(home, "signer", "renew", "--unit", name, "--key", UNITS[name].key)
    with (home / "responders.toml").open("a") as file:
        for name in NEW:
            file.write(f'\n[tsa.units.{name}]\npolicy = "{POLICY}"\n{UNITS[name].settings}\n')
    return home


def issuance(home: Path, *arguments: str) -> str:
    """An ``issuance`` command that must succeed."""
    return run(sys.executable, "-m", "issuance", *arguments, "--home", home)


def path(unit: str) -> str:
    return "/tsa" if unit == "rsa" else f"/tsa/{unit}"


def query(
    imprint: str = "sha256",
    *,
    seed: bytes = b"",
    parameters: bytes = b"",
    policy: str | None = None,
    nonce: bytes = b"",
    certificates: bool = False,
) -> bytes:
    """A TimeStampReq; ``nonce`` is a whole INTEGER."""
    algorithm = der.sequence(der.oid(KNOWN_DIGESTS[imprint]), parameters)
    return der.sequence(
        der.integer(1),
        der.sequence(algorithm, der.octet_string(hashlib.new(imprint, seed).digest())),
        b"" if policy is None else der.oid(policy),
        nonce,
        der.TRUE if certificates else b"",
    )


class Client:
    """One connection that is kept; the whole header of the last answer is at hand."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        self.status = 0
        self.headers: http.client.HTTPMessage = http.client.HTTPMessage()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, body: bytes, where: str = "/tsa", content_type: str = TIMESTAMP_QUERY) -> bytes:
        """The body of the answer, whatever it is."""
        self._connection.request("POST", where, body, {"Content-Type": content_type})
        answer = self._connection.getresponse()
        self.status, self.headers = answer.status, answer.headers
        return answer.read()

    def token(self, body: bytes, where: str = "/tsa") -> Opened:
        """A granted reply, taken apart."""
        reply = self.post(body, where)
        assert self.status == 200, reply
        opened = open_reply(reply)
        assert opened.status == 0, opened.text
        return opened

    def refusal(self, body: bytes, where: str = "/tsa") -> Opened:
        """A rejection, taken apart."""
        reply = self.post(body, where)
        assert self.status == 200, reply
        opened = open_reply(reply)
        assert (opened.status, opened.token) == (2, None)
        return opened


def openssl_verify(reply: Path, request: Path, home: Path) -> str:
    """What ``openssl ts -verify`` says of a reply; it must verify."""
    root, issuer = (home / "certs" / f"{name}.pem" for name in ("root", "timestamp"))
    return run(
        *("openssl", "ts", "-verify", "-queryfile", request, "-in", reply, "-CAfile", root, "-untrusted", issuer)
    )


def outcome(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """A program that may fail."""
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
