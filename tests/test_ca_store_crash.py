"""A process that dies leaves whole rows: what it committed and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from store_world import make_issuer, prepared_url

from ca_store.database import open_issuance_store
from ca_store.errors import NotFound
from ca_store.types import CertificateState

NOW = 1_800_000_000

_DIES = """
import os, sys
from ca_store.database import open_issuance_store
from ca_store.statuses import make_good
store = open_issuance_store(sys.argv[1])
store.reserve(1, 5, "server", 1_900_000_000, 1_800_000_000)
store.reserve(1, 6, "server", 1_900_000_000, 1_800_000_000)
store.record(1, 6, b"der", "CN=six", 1_800_000_000, 1_900_000_000, 1_800_000_000)
with store._transaction() as connection:
    make_good(connection, 1, 5, b"der", "CN=five", 1_800_000_000, 1_900_000_000, 1_800_000_000)
    os.kill(os.getpid(), 9)
"""


def test_killed_between_reservation_and_certificate(tmp_path: Path) -> None:
    url = prepared_url(f"sqlite:///{tmp_path}/ca.db")
    store = open_issuance_store(url)
    root = store.add_issuer(make_issuer("root"), "file:keys/root.key", NOW)
    ended = subprocess.run([sys.executable, "-c", _DIES, url], cwd=Path(__file__).parents[1], check=False, timeout=60)
    assert ended.returncode == -9
    reserved, recorded = store.certificate(root, 5), store.certificate(root, 6)
    assert (reserved.status.state, reserved.der, reserved.subject) == (CertificateState.RESERVED, None, "")
    assert (recorded.status.state, recorded.der) == (CertificateState.GOOD, b"der")
    with pytest.raises(NotFound):
        store.certificate(root, 7)
    store.record(root, 5, b"again", "CN=five", NOW, NOW + 9, NOW)
    assert store.certificate(root, 5).status.state is CertificateState.GOOD
    store.close()
