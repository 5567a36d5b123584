"""GnuTLS's `ocsptool` asks a running server. It looks for the issuer among the trust anchors, not for a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from strangers import attempt, certificate

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server
    from strangers import Outcome

pytestmark = pytest.mark.interop("ocsptool")

NONCES = pytest.mark.parametrize("nonce", ["--nonce", "--no-nonce"])


def ocsptool(home: Path, issuer: str, label: str, *options: str, url: str) -> Outcome:
    return attempt(
        "ocsptool", f"--ask={url}/ocsp", *options, "--load-issuer", certificate(home, issuer),
        "--load-cert", certificate(home, label),
    )  # fmt: skip


@NONCES
@pytest.mark.parametrize(
    ("issuer", "label", "status"),
    [
        ("server-rsa", "demo-good", "good"),
        ("server-rsa", "demo-revoked", "revoked"),
        ("code-signing", "demo-code-signer", "good"),
        ("root", "server-ecc", "good"),
    ],
)
def test_status(server: Server, nonce: str, issuer: str, label: str, status: str) -> None:
    outcome = ocsptool(server.home, issuer, label, nonce, url=server.url)
    assert f"Certificate Status: {status}" in outcome.output
    assert "Verifying OCSP Response: Success." in outcome.output
    assert ("Nonce: " in outcome.output) == (nonce == "--nonce")
    assert outcome.status == 0, "ocsptool tells by its exit status whether the answer verifies, not what it says"


def test_another_issuer_is_not_believed(server: Server) -> None:
    """That the tests above verify something shows in this one."""
    outcome = attempt(
        "ocsptool", f"--ask={server.url}/ocsp", "--load-issuer", certificate(server.home, "server-rsa"),
        "--load-cert", certificate(server.home, "demo-good"), "--load-trust", certificate(server.home, "client"),
    )  # fmt: skip
    assert "Verifying OCSP Response: Failure, " in outcome.output
    assert outcome.status == 1
