"""pkilint reads everything the demo home has issued, the CRLs, and the answers of a running server."""

from __future__ import annotations

import io
import json
import secrets
import tempfile
import warnings
from collections import defaultdict
from contextlib import closing, redirect_stdout
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from pkilint.bin import (
    lint_cabf_serverauth_cert,
    lint_cabf_smime_cert,
    lint_crl,
    lint_ocsp_response,
    lint_pkix_cert,
)
from strangers import SHA1, SHA256, SUB_CAS, ask, certificate, issue, ocsp_request

from ca_store.database import open_issuance_store
from ca_store.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.hashes import HashAlgorithm
    from running_server import Server

    from ca_store.types import Certificate


class Finding(NamedTuple):
    """What pkilint calls wrong, or not recommended."""

    severity: str
    code: str
    message: str
    place: str


class Explanation(NamedTuple):
    """A finding that is meant, and why."""

    code: str
    message: str
    """A part of it."""
    reason: str

    def covers(self, finding: Finding) -> bool:
        return self.code == finding.code and self.message in finding.message


EXPLAINED: Final = (
    Explanation(
        "cabf.internal_domain_name",
        '"127.0.0.1"',
        "the demo home is served on this machine, and the pointers in its certificates say so",
    ),
    Explanation(
        "cabf.serverauth.ov.common_name_attribute_present",
        "",
        "old clients and people look for a common name; BR §7.1.2.7.4 allows one that repeats a dNSName",
    ),
    Explanation(
        "cabf.serverauth.subscriber.subject_key_identifier_extension_present",
        "",
        "RFC 5280 §4.2.1.2 says that it SHOULD be there, the BR that it should not",
    ),
)


def lint(command: Any, encoded: bytes, *options: str) -> list[Finding]:
    """Run one of pkilint's own commands, in this process."""
    printed = io.StringIO()
    with tempfile.NamedTemporaryFile() as file, warnings.catch_warnings(), redirect_stdout(printed):
        warnings.simplefilter("ignore", ResourceWarning)  # the commands do not close what they read
        file.write(encoded)
        file.flush()
        command.main(["lint", *options, "-s", "WARNING", "-f", "JSON", file.name])
    return [
        Finding(found["severity"], found["code"], found.get("message") or "", result["node_path"])
        for result in json.loads(printed.getvalue())["results"]
        for found in result["finding_descriptions"]
    ]


def unexplained(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if not any(each.covers(finding) for each in EXPLAINED)]


PROFILES: Final = ("ca", "sub-ca", "server", "client", "smime", "code-signing", "ocsp-delegate", "tsa-unit")


def linters(row: Certificate) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """RFC 5280's for every certificate, and the CA/Browser Forum's where pkilint has one."""
    yield lint_pkix_cert, ()
    kinds = {"ca": "ROOT-CA", "ocsp-delegate": "OCSP-RESPONDER", "server": "OV-FINAL-CERTIFICATE"}
    if row.profile == "sub-ca":
        tls = row.subject.startswith("CN=Example University Server CA")
        yield lint_cabf_serverauth_cert, ("-t", "INTERNAL-UNCONSTRAINED-TLS-CA" if tls else "NON-TLS-CA")
    elif row.profile in kinds:
        yield lint_cabf_serverauth_cert, ("-t", kinds[row.profile])
    elif row.profile == "smime":
        yield lint_cabf_smime_cert, ("-d",)


@pytest.fixture(scope="module")
def findings(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """By profile, about everything the home has issued, and the profiles that the demo itself has no example of."""
    folder, found = tmp_path_factory.mktemp("lint"), defaultdict[str, list[Finding]](list)
    for ca, profile in (("server-ecc", "server"), ("client", "client"), ("client", "smime")):
        issue(demo_home, folder, ca, profile)
    with closing(open_issuance_store(Home.open(demo_home).database_url)) as store:
        for row in store.certificates():
            assert row.der is not None
            for command, options in linters(row):
                found[row.profile] += lint(command, row.der, *options)
    return found


def test_no_profile_is_left_out(findings: dict[str, list[Finding]]) -> None:
    assert set(findings) == set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_certificates(findings: dict[str, list[Finding]], profile: str) -> None:
    assert unexplained(findings[profile]) == []


def test_every_explanation_is_needed(findings: dict[str, list[Finding]]) -> None:
    everything = [finding for each in findings.values() for finding in each]
    for explanation in EXPLAINED:
        assert any(explanation.covers(finding) for finding in everything), explanation


@pytest.mark.parametrize("label", ["root", *SUB_CAS])
def test_crls(server: Server, label: str) -> None:
    reply = ask(f"{server.url}/crl/{label}.crl")
    assert reply.status == 200
    kind = "ARL" if label == "root" else "CRL"
    for profile in ("PKIX", "BR"):
        assert lint(lint_crl, reply.body, "-t", kind, "-p", profile) == []


def question(home: Path, label: str, **options: Any) -> bytes:
    return ocsp_request(certificate(home, label), certificate(home, "server-rsa"), **options)


@pytest.mark.parametrize("label", ["demo-good", "demo-revoked"])
@pytest.mark.parametrize("nonce", [secrets.token_bytes(32), None], ids=["nonce", "no nonce"])
@pytest.mark.parametrize("digest", [SHA1, SHA256], ids=["SHA-1", "SHA-256"])
def test_signed_answers(server: Server, label: str, nonce: bytes | None, digest: HashAlgorithm) -> None:
    reply = ask(f"{server.url}/ocsp", question(server.home, label, nonce=nonce, digest=digest))
    assert b"\x0a\x01\x00" in reply.body[:8], "successful"
    assert lint(lint_ocsp_response, reply.body) == []


def test_refusals(server: Server) -> None:
    unknown = question(server.home, "demo-good", serial=secrets.randbits(126))
    for request, status in ((unknown, 6), (b"0", 1)):
        reply = ask(f"{server.url}/ocsp", request)
        assert reply.body == bytes((0x30, 3, 0x0A, 1, status))
        assert lint(lint_ocsp_response, reply.body) == []


def test_the_linter_finds_what_is_wrong(server: Server) -> None:
    """That the tests above can fail shows in this one: an error that carries a body (RFC 6960 §2.3)."""
    reply = ask(f"{server.url}/ocsp", question(server.home, "demo-good"))
    spoilt = reply.body.replace(b"\x0a\x01\x00", b"\x0a\x01\x06", 1)
    assert [finding.severity for finding in lint(lint_ocsp_response, spoilt)] == ["ERROR"]
