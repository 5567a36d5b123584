"""A home that was made and served three years ago: what was stamped then, and the signers that it has today."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes import ManualClock
from issuance_world import add_ca, private_key, without_logs
from ports import free_port
from running_server import running_server
from signers_world import AGE, issue_code
from strangers import run
from test_interop_formats import Signed, key_stores
from test_interop_osslsigncode import PROGRAM

from ca_store.signing import KeyType
from issuance.demo import INSTITUTION
from issuance.files import publish
from issuance.home import Wish, make_home, open_core
from issuance.signer_renewal import renew_unit
from issuance.timers import Timers

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server
    from test_interop_java import KeyStores

    from issuance.core import Core

STAMPED_AFTER = 60
"""Seconds between the making of the home and its first stamp."""


@dataclass(frozen=True)
class Heirloom:
    """What is left of those days. Every subscriber's certificate has ended since."""

    stamped: Signed
    bare: Signed
    archive: Path
    stores: KeyStores
    code: bytes
    """Another certificate of the code-signing CA."""


def make(folder: Path) -> tuple[Path, Heirloom]:
    """The home and what was signed below it. Needs faketime, osslsigncode, jarsigner, keytool and openssl.

    Only the server lives in the past: what signs knows no time but the stamp's.
    """
    home, then = folder / "home", ManualClock(int(time.time()) - AGE)
    make_home(home, Wish(base_url=f"http://127.0.0.1:{free_port()}"), then)
    without_logs(home)
    with (home / "responders.toml").open("a") as settings:
        settings.write('\n[tsa.units.p256]\npolicy = "2.999.3161.2"\n')
    with open_core(home, then) as core:
        code = _furnish(core, home)
    archive, stores = folder / "hello.jar", key_stores(home, folder)
    with ExitStack() as running:
        server = _serve_in_the_past(home, running)
        stores.sign(archive, f"{server.url}/tsa")
        heirloom = Heirloom(
            stamped=Signed(home, folder, PROGRAM, f"{server.url}/tsa"),
            bare=Signed(home, folder, PROGRAM, None),
            archive=archive,
            stores=stores,
            code=code,
        )
    # Two hours ago, so that every window of now began after it.
    for ago in (7200, 0):
        with open_core(home, ManualClock(int(time.time()) - ago)) as core:
            Timers(core, lambda _: None, lambda _: None).look()
    return home, heirloom


def _furnish(core: Core, home: Path) -> bytes:
    """As little of a demo home as signing takes, under its names, and another certificate of the code signer."""
    core.store.add_institution(INSTITUTION)
    add_ca(core, "root", "root")
    add_ca(core, "timestamp", "timestamp", "root")
    renew_unit(core, "p256", key_type=KeyType.P256)
    issuer = add_ca(core, "code-signing", "code-signing", "root")
    signer, other = (core.store.certificate(issuer.id, issue_code(core, issuer)).der for _ in range(2))
    assert signer is not None
    assert other is not None
    for made in core.store.issuers():
        publish(home, made.label, made.certificate)
    publish(home, "demo-code-signer", signer)
    pem = private_key("rsa-3072").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (home / "keys" / "demo-code-signer.key").write_bytes(pem)
    return other


def _serve_in_the_past(home: Path, running: ExitStack) -> Server:
    """The real command, whose clock is set back; its monotonic one is not."""
    environment = {
        "LD_PRELOAD": run("faketime", "-f", "+0s", "printenv", "LD_PRELOAD").strip(),
        "FAKETIME": f"-{AGE - STAMPED_AFTER}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return running.enter_context(running_server(home, workers=1, environment=environment))
