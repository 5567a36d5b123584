"""pkilint on certificates with pointers to a public name: nothing at error level, and each warning known by name.

What the demo home itself issued is linted elsewhere, where its pointers to 127.0.0.1 are explained.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from issuance_world import add_ca, copy_home, dns, make_csr
from pkilint.bin import lint_cabf_serverauth_cert, lint_cabf_smime_cert, lint_pkix_cert

from ca_store.clock import SystemClock
from issuance.csr import decode_request
from issuance.home import open_core
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from issuance.core import Core

    Lint = Callable[..., set[str]]

# The PKIX linter's findings hold for all; these are what the Forum's own would rather see otherwise.
KNOWN = {
    # The CN is asked for by the institutions' naming rules.
    "cabf.serverauth.ov.common_name_attribute_present",
    # Key identifiers help every path builder, and every other profile has them.
    "cabf.serverauth.subscriber.subject_key_identifier_extension_present",
}


@pytest.fixture(scope="module")
def home(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo home with pointers to a public name."""
    home = copy_home(demo_home, tmp_path_factory.mktemp("lint"))
    configuration = home / "responders.toml"
    before, _, rest = configuration.read_text().partition('base_url = "')
    configuration.write_text(f'{before}base_url = "http://pki.example.ac.jp{rest[rest.index(chr(34)) :]}')
    return home


@pytest.fixture
def lint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lint:
    """Run one of pkilint's programs on DER; the codes of its findings from WARNING up, the known ones left out."""

    def run(program: Any, der: bytes, *arguments: str) -> set[str]:
        # On standard input, because the programs never close a file that they are given by name.
        file = tmp_path / "x.der"
        file.write_bytes(der)
        with file.open() as standard_input:
            monkeypatch.setattr("sys.stdin", standard_input)
            program.main(["lint", "-s", "WARNING", "-f", "JSON", "--document-format", "DER", *arguments, "-"])
        results = json.loads(capsys.readouterr().out)["results"]
        codes = {finding["code"] for result in results for finding in result["finding_descriptions"]}
        return codes - KNOWN

    return run


@pytest.fixture(scope="module")
def core(home: Path) -> Iterator[Core]:
    with open_core(home, SystemClock()) as core:
        yield core


def issued(core: Core, label: str, profile: str, csr: bytes) -> bytes:
    return issue_from_request(core, core.store.issuer(label), core.settings.profile(profile), decode_request(csr))[1]


@pytest.mark.parametrize(("label", "key"), [("server-rsa", "rsa-2048"), ("server-ecc", "p384")])
def test_server_certificates(core: Core, lint: Lint, label: str, key: str) -> None:
    names = dns("www.example.ac.jp", "*.lab.example.ac.jp")
    der = issued(core, label, "server", make_csr(key, common_name="www.example.ac.jp", names=names))
    assert lint(lint_cabf_serverauth_cert, der, "-t", "OV-FINAL-CERTIFICATE") == set()
    # RFC 5280 §4.2.1.6 leaves wildcards undefined, so the PKIX linter does not know them.
    assert lint(lint_pkix_cert, der) == {"pkix.invalid_domain_name_syntax"}


def test_smime_certificates(core: Core, lint: Lint) -> None:
    names = [x509.RFC822Name("taro@example.ac.jp")]
    der = issued(core, "client", "smime", make_csr(names=names))
    assert lint(lint_cabf_smime_cert, der, "-t", "MAILBOX-MULTIPURPOSE") == set()
    assert lint(lint_pkix_cert, der) == set()


@pytest.mark.parametrize(("purpose", "kind"), [("server", "INTERNAL-UNCONSTRAINED-TLS-CA"), ("client", "NON-TLS-CA")])
def test_ca_certificates(core: Core, lint: Lint, purpose: str, kind: str) -> None:
    der = add_ca(core, f"lint-{purpose}", purpose, "root").certificate
    assert lint(lint_cabf_serverauth_cert, der, "-t", kind) == set()
    assert lint(lint_pkix_cert, der) == set()


def test_the_linter_is_awake(core: Core, lint: Lint) -> None:
    der = issued(core, "client", "client", make_csr(common_name="Taro"))
    assert lint(lint_cabf_serverauth_cert, der, "-t", "OV-FINAL-CERTIFICATE") != set()
