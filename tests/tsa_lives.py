"""What tests of a running server's time-stamping units share: their homes, and what every worker says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from countersignatures import lines, request
from fakes import ManualClock
from issuance_world import add_ca
from ports import free_port
from tsa_server import Client, query

from ca_store.signing import KeyType
from issuance.home import Wish, make_home, open_core
from issuance.signer_renewal import renew_unit

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server

    from ca_store.types import Issuer

TIME_NOT_AVAILABLE, SYSTEM_FAILURE = "0303010002", "03050600000040"
UNIT = '\n[tsa.units.{}]\npolicy = "2.999.3161.1"\n'
NO_LOG = "\n[log]\nenabled = false\n"
"""libfaketime has a thread's sleep fail when time is set meanwhile, which no kernel does."""
OLDER = lines(request())
SOME = 16
"""So many fresh connections reach every worker."""


def configure(home: Path, text: str) -> None:
    with (home / "responders.toml").open("a") as file:
        file.write(text)


def refusals(server: Server, target: str, fail_info: str) -> set[str]:
    """What every worker says; none of them issues."""
    said = set()
    for _ in range(SOME):
        with Client(server) as client:
            opened = client.refusal(query(), target)
            assert opened.fail_info == fail_info
            said.add(opened.text)
    return said


def grants(server: Server, *targets: str) -> None:
    """Every worker issues."""
    for target in targets:
        for _ in range(SOME):
            with Client(server) as client:
                client.token(query(), target)


def small_home(home: Path, made: int, *, age: int = 0) -> tuple[Issuer, bytes]:
    """A home with one unit of ``made`` (POSIX seconds), whose CA is ``age`` seconds older; the unit's certificate."""
    then = ManualClock(made - age)
    make_home(home, Wish(base_url=f"http://127.0.0.1:{free_port()}"), then)
    configure(home, UNIT.format("one"))
    with open_core(home, then) as core:
        add_ca(core, "root", "root")
        issuer = add_ca(core, "timestamp", "timestamp", "root")
    with open_core(home, ManualClock(made)) as core:
        unit = renew_unit(core, "one", key_type=KeyType.P256)
    assert unit is not None
    return issuer, unit.certificate
