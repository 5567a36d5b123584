"""Homes, signing requests and the real command for tests of the issuance core."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fakes import ManualClock

from ca_store.database import migrate, open_issuance_store
from ca_store.keys import KeyStore
from ca_store.signing import KeyType
from issuance.authority import Plan, create
from issuance.cli import main
from issuance.core import Core
from issuance.csr import decode_request
from issuance.demo import INSTITUTION
from issuance.profile import SERVER
from issuance.settings import Settings
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ca_store.clock import Clock
    from ca_store.types import Issuer

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

# Runs a command in a process that kills itself, as kill -9 would, when a function is called for the nth time.
_DYING = """
import importlib, os, signal, sys
module, name, countdown = sys.argv[1], sys.argv[2], int(sys.argv[3])
owner = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
real = getattr(owner, name)
def dying(*arguments, **named):
    global countdown
    countdown -= 1
    if not countdown:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)
setattr(owner, name, dying)
from issuance.cli import main
sys.exit(main(sys.argv[4:]))
"""


def issuance(*arguments: str | Path, home: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the real command and hold it to its promises: the exit status, and one sentence or none on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "issuance", *map(str, arguments), "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert len(sentences(done.stderr)) == (1 if status else 0), done.stderr
    assert "Traceback" not in done.stderr
    return done


def sentences(said: str) -> list[str]:
    """What a command says on standard error besides the rules that it goes by."""
    return [line for line in said.splitlines() if not line.startswith("issuance: rules of ")]


def refused(*arguments: str | Path, home: Path, status: int = 1) -> str:
    """The one sentence that a command is refused with; in this process, since a table of them starts many."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            ended: int | str | None = main([*map(str, arguments), "--home", str(home)])
        except SystemExit as leaving:
            ended = leaving.code
    assert ended == status, said.getvalue()
    (sentence,) = sentences(said.getvalue())
    return sentence


def listed(*arguments: str, home: Path) -> Any:
    """What a command says with ``--json``."""
    return json.loads(issuance(*arguments, "--json", home=home).stdout)


def killed_at(function: str, call: int, *arguments: str | Path, home: Path) -> None:
    """Run a command that dies without a chance to clean up when ``module:function`` is called for the nth time."""
    module, name = function.split(":")
    command = [sys.executable, "-c", _DYING, module, name, str(call), *map(str, arguments), "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == -9, f"{function} was not called {call} times: {done.stderr}"


def without_dns(home: Path) -> None:
    """Switch CAA off in a home's configuration: there is no DNS in tests but where they bring their own."""
    configuration = home / "responders.toml"
    text = configuration.read_text()
    assert "caa = true\n" in text
    configuration.write_text(text.replace("caa = true\n", "caa = false\n"))


def copy_home(home: Path, into: Path) -> Path:
    """A home of one's own. The database is copied by SQLite, since a server may have it open."""
    copy = into / "home"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("ca.db*"))
    with closing(sqlite3.connect(home / "ca.db")) as source, closing(sqlite3.connect(copy / "ca.db")) as target:
        source.backup(target)
    return copy


def without_logs(home: Path) -> None:
    """Turn Certificate Transparency off in a home's configuration."""
    file = home / "responders.toml"
    text = file.read_text()
    assert "[ct]\nenabled = true" in text
    file.write_text(text.replace("[ct]\nenabled = true", "[ct]\nenabled = false"))


def read_certificate(path: Path) -> x509.Certificate:
    """One PEM file."""
    return x509.load_pem_x509_certificate(path.read_bytes())


@functools.cache
def private_key(kind: str) -> PrivateKey:
    """One key of each kind in a test run: ``rsa-1024`` to ``rsa-4096``, ``p256``, ``p384``, ``ed25519``."""
    match kind.partition("-"):
        case ("rsa", _, bits):
            return rsa.generate_private_key(65537, int(bits))
        case ("p256", _, _):
            return ec.generate_private_key(ec.SECP256R1())
        case ("p384", _, _):
            return ec.generate_private_key(ec.SECP384R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def make_csr(
    key: PrivateKey | str = "rsa-2048",
    *,
    common_name: str | None = None,
    organization: str | None = None,
    names: Sequence[x509.GeneralName] = (),
    extensions: Sequence[x509.ExtensionType] = (),
) -> bytes:
    """A signed request, PEM."""
    signer = private_key(key) if isinstance(key, str) else key
    attributes = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)]
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes if value is not None])
    builder = x509.CertificateSigningRequestBuilder(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, digest).public_bytes(Encoding.PEM)


def dns(*names: str) -> list[x509.GeneralName]:
    """dNSNames, checked by no one."""
    return [x509.DNSName(name) for name in names]


def small_core(home: Path, clock: Clock) -> Core:
    """The core of an empty SQLite store with the demo's institution. Its ``store`` is the caller's to close."""
    url = f"sqlite:///{home / 'ca.db'}"
    migrate(url)
    store = open_issuance_store(url)
    store.add_institution(INSTITUTION)
    return Core(store, KeyStore(home, b"a passphrase"), Settings(caa=False), clock)


def advance(core: Core, seconds: int) -> None:
    """Time passes on a core's turned clock."""
    clock = core.clock
    assert isinstance(clock, ManualClock)
    clock.advance(seconds)


def issue_one(core: Core, issuer: Issuer, host: str = "a.example.ac.jp") -> int:
    """The serial of a new server certificate of the ECC CA."""
    return issue_from_request(core, issuer, SERVER, decode_request(make_csr("p384", common_name=host)))[0]


def add_ca(core: Core, label: str, purpose: str, parent: str | None = None, key: KeyType | None = None) -> Issuer:
    """A CA, of P-384 unless its purpose forbids it."""
    rsa_only = purpose in ("code-signing", "timestamp")
    return create(
        core,
        Plan(
            label=label,
            purpose=purpose,
            parent=parent,
            key_type=key or (KeyType.RSA_3072 if rsa_only else KeyType.P384),
            common_name=f"Test {label}",
            organization="Example University" if parent is None else None,
            country="JP" if parent is None else None,
        ),
    )
