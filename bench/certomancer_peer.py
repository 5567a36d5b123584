"""A certomancer home to measure beside: P-256 keys, one CA, an OCSP responder and a TSA.

certomancer answers both protocols on aiohttp with asn1crypto; it is made for tests of other software, so it is the
peer in kind, not a rival.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG = """\
external-url-prefix: "http://127.0.0.1"
keysets:
  bench:
    path-prefix: keys
    keys:
      root: {path: root.pem}
      ocsp: {path: ocsp.pem}
      tsa: {path: tsa.pem}
      leaf: {path: leaf.pem}
pki-architectures:
  bench:
    keyset: bench
    entity-defaults: {country-name: JP, organization-name: Example University}
    entities:
      root: {common-name: Root}
      ocsp: {common-name: Responder}
      tsa: {common-name: Time-stamp unit}
      leaf: {common-name: Leaf}
    certs:
      root:
        subject: root
        subject-key: root
        issuer: root
        authority-key: root
        validity: {valid-from: "2020-01-01T00:00:00+0000", valid-to: "2100-01-01T00:00:00+0000"}
        profiles: [{id: simple-ca, params: {}}]
      ocsp:
        issuer: root
        validity: {valid-from: "2020-01-01T00:00:00+0000", valid-to: "2100-01-01T00:00:00+0000"}
        profiles: [ocsp-responder]
      tsa:
        issuer: root
        validity: {valid-from: "2020-01-01T00:00:00+0000", valid-to: "2100-01-01T00:00:00+0000"}
        extensions:
          - {id: key_usage, critical: true, smart-value: {schema: key-usage, params: [digital_signature]}}
          - {id: extended_key_usage, critical: true, value: [time_stamping]}
      leaf:
        issuer: root
        validity: {valid-from: "2020-01-01T00:00:00+0000", valid-to: "2100-01-01T00:00:00+0000"}
        profiles: [digsig-commitment]
    services:
      ocsp:
        ocsp: {for-issuer: root, responder-cert: ocsp}
      time-stamping:
        tsa: {signing-cert: tsa}
"""


@dataclass(frozen=True)
class Peer:
    """A certomancer that can be started, and where it answers."""

    command: tuple[str, ...]
    issuer: Path
    leaf: Path
    ocsp_path: str = "/bench/ocsp/ocsp"
    tsa_path: str = "/bench/tsa/tsa"


def make_peer(folder: Path, port: int) -> Peer:
    """Write keys and configuration below ``folder``."""
    keys = folder / "keys"
    keys.mkdir(parents=True)
    for name in ("root", "ocsp", "tsa", "leaf"):
        (keys / f"{name}.pem").write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    config = folder / "certomancer.yml"
    config.write_text(_CONFIG)
    certomancer = (sys.executable, "-m", "certomancer", "--config", str(config))
    certificates = folder / "certs"
    subprocess.run([*certomancer, "mass-summon", "bench", str(certificates)], check=True, capture_output=True)
    found = {path.name.split(".")[0]: path for path in certificates.rglob("*.pem")}
    return Peer(
        command=(*certomancer, "animate", "--aiohttp", "--no-web-ui", "--port", str(port)),
        issuer=found["root"],
        leaf=found["leaf"],
    )
