"""osslsigncode signs a real Windows program with an issued certificate, has it time-stamped, and verifies it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from strangers import attempt, certificate, issue, revoke, run

if TYPE_CHECKING:
    from running_server import Server
    from strangers import Outcome

pytestmark = pytest.mark.interop("osslsigncode")

PROGRAM = Path(str(getattr(find_spec("setuptools"), "origin", ""))).with_name("cli-64.exe")
"""A PE file that is there wherever the tests run: setuptools makes launchers of it."""


def sign(folder: Path, home: Path, leaf: Path, key: Path, stamp: str) -> Path:
    chain, signed = folder / "chain.pem", folder / "signed.exe"
    chain.write_bytes(leaf.read_bytes() + certificate(home, "code-signing").read_bytes())
    run(
        "osslsigncode", "sign", "-certs", chain, "-key", key, "-h", "sha256", "-ts", stamp,
        "-in", PROGRAM, "-out", signed,
    )  # fmt: skip
    return signed


def verify(signed: Path, root: Path, stamp_root: Path) -> Outcome:
    return attempt("osslsigncode", "verify", "-CAfile", root, "-TSA-CAfile", stamp_root, "-in", signed)


@pytest.mark.parametrize("path", ["/tsa", "/tsa/p256", "/"])
def test_a_signed_program_verifies(server: Server, tmp_path: Path, path: str) -> None:
    """osslsigncode fetches the CRL that each certificate points at and refuses the signature when it cannot."""
    leaf, key = certificate(server.home, "demo-code-signer"), server.home / "keys" / "demo-code-signer.key"
    signed = sign(tmp_path, server.home, leaf, key, server.url + path)
    root = certificate(server.home, "root")
    outcome = verify(signed, root, root)
    assert outcome.status == 0, outcome.output
    for line in (
        "Timestamp Server Signature CRL verification: ok",
        "Timestamp Server Signature verification: ok",
        "Signature CRL verification: ok",
        "Signature verification: ok",
        "Number of verified signatures: 1",
    ):
        assert line in outcome.output
    other = certificate(server.home, "server-rsa")
    # Without a time-stamp that it believes, osslsigncode goes by the present time and says so.
    assert "Timestamp Server Signature verification: failed" in verify(signed, root, other).output
    assert verify(signed, other, root).status != 0, "a signer of an unknown authority was believed"


def test_a_revoked_signer_is_refused(server: Server, tmp_path: Path) -> None:
    """The CRL is signed again at each revocation."""
    issued = issue(server.home, tmp_path, "code-signing", "code-signing")
    signed = sign(tmp_path, server.home, issued.certificate, issued.key, f"{server.url}/tsa")
    root = certificate(server.home, "root")
    assert verify(signed, root, root).status == 0
    revoke(server.home, issued)
    outcome = verify(signed, root, root)
    assert outcome.status != 0
    assert "certificate revoked" in outcome.output
