"""A core with CAs, and logs on loopback."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from ct_log import CTLog, make_logs, running_logs
from fakes import ManualClock
from issuance_world import add_ca, small_core

from ca_store.signing import KeyType
from issuance.ct_http import HTTPSubmitter
from issuance.ct_log import Transparency

if TYPE_CHECKING:
    from collections.abc import Iterator

    from issuance.core import Core


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, clock: ManualClock) -> Iterator[tuple[Core, list[CTLog]]]:
    """A core with CAs of both kinds of key, and three logs that accept its root."""
    home = tmp_path_factory.mktemp("home")
    (home / "keys").mkdir(mode=0o700)
    core = small_core(home, clock)
    root = add_ca(core, "root", "root", key=KeyType.RSA_3072)
    add_ca(core, "ecc", "server", "root")
    add_ca(core, "rsa", "server", "root", KeyType.RSA_3072)
    add_ca(core, "client", "client", "root", KeyType.RSA_3072)
    logs = make_logs(clock.now)
    for log in logs:
        log.roots.append(x509.load_der_x509_certificate(root.certificate))
    with running_logs(*logs):
        yield core, logs
    core.store.close()


@pytest.fixture
def logs(world: tuple[Core, list[CTLog]]) -> list[CTLog]:
    for log in world[1]:
        log.reset()
    return world[1]


@pytest.fixture
def core(world: tuple[Core, list[CTLog]], logs: list[CTLog]) -> Core:
    described = tuple(log.described() for log in logs)
    return replace(world[0], transparency=Transparency(described, HTTPSubmitter(2, 0.3)))
