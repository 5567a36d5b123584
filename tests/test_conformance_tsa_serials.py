"""Serials of running servers: each once for a TSA name, whatever happens, and of one form (RFC 3161 §2.4.2)."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from asn1crypto import x509 as asn1_x509
from issuance_world import add_ca, copy_home
from ports import free_port
from postgres_server import postgres_server
from running_server import running_server, until
from strangers import SEEN_SECONDS, issuance, run
from tsa_load import Load, load
from tsa_reader import open_reply
from tsa_server import Client, query

from ca_store import der
from ca_store.clock import SystemClock
from ca_store.signing import KeyType
from ca_store.types import CredentialKind
from issuance.home import Wish, make_home, open_core
from issuance.issuer import issue, new_serial, prepare
from issuance.profile import TSA_UNIT
from issuance.signer_renewal import renew_unit, tenures

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from running_server import Server

SIZE = 13
PREFIX = 9
"""Octets that one block's serials share."""
SMALL_BLOCKS = "\n[tsa]\nserial_block = 40\n"
UNIT = '\n[tsa.units.{}]\npolicy = "2.999.3161.1"\n'


def serial_of(reply: bytes) -> bytes:
    """The contents octets of a granted token's serial, which must be as they always are."""
    opened = open_reply(reply)
    assert opened.status == 0, opened.text
    field = opened.tst_info["serial_number"]
    contents: bytes = field.contents
    assert field.dump() == der.integer(field.native)
    assert field.native > 0
    assert len(contents) == SIZE
    return contents


def serials(made: Load) -> list[bytes]:
    """Of all tokens; nothing else was answered."""
    assert {each.status for each in made.answered} == {200}
    return [serial_of(each.body) for each in made.answered]


def check_unique(found: Iterable[bytes], least: int) -> None:
    listed = list(found)
    assert len(listed) >= least
    assert len(set(listed)) == len(listed)


@pytest.fixture
def home(demo_home: Path, tmp_path: Path) -> Path:
    """Its blocks of serials are so small that every worker needs many."""
    made = copy_home(demo_home, tmp_path)
    run("rm", "-rf", made / "log")
    file = made / "responders.toml"
    file.write_text(file.read_text().replace("[tsa]\n", SMALL_BLOCKS, 1))
    return made


def some(server: Server, least: int = 200) -> list[bytes]:
    """Tokens of every worker."""
    with load(server, ["/tsa/p256"]) as made:
        answers(made, least)
    assert not made.broken
    return serials(made)


def answers(made: Load, more: int) -> None:
    """Wait for so many more."""
    enough = len(made.answered) + more
    until(lambda: len(made.answered) >= enough, "nobody answers")


def kill_workers(server: Server) -> None:
    """By a signal that nobody can catch; returns when none of them is left."""
    pids = server.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not {*pids} & {*server.worker_pids()}, "they live")


def test_workers_never_share_one_over_many_blocks(home: Path) -> None:
    with running_server(home, workers=2) as server, load(server, ["/tsa/p256", "/tsa"], 8) as made:
        answers(made, 800)
    assert not made.broken
    found = serials(made)
    check_unique(found, 800)
    assert len({each[:PREFIX] for each in found}) > 20


def test_a_kill_in_the_middle_of_load_repeats_none(home: Path) -> None:
    """Of every worker, twice; whoever replaces it begins a block of its own."""
    with running_server(home, workers=2) as server:
        with load(server, ["/tsa/p256"]) as made:
            answers(made, 120)
            for _ in range(2):
                kill_workers(server)
                answers(made, 120)
        assert server.metric("responders_worker_restarts_total") >= 4
    assert made.broken
    check_unique(serials(made), 360)


def test_a_restored_database_repeats_none(home: Path, tmp_path: Path) -> None:
    """The database forgets which blocks it gave out after the backup; their prefixes are random."""
    kept = tmp_path / "kept"
    found: list[bytes] = []
    for restored in (False, True, True):
        if restored:
            run("cp", kept, home / "ca.db")
            for rest in ("ca.db-wal", "ca.db-shm"):
                (home / rest).unlink(missing_ok=True)
        with running_server(home, workers=1) as server:
            found += some(server)
        if not kept.exists():
            run("cp", home / "ca.db", kept)
            assert not (home / "ca.db-wal").exists() or (home / "ca.db-wal").stat().st_size == 0
    check_unique(found, 600)


def twin(home: Path) -> None:
    """Another unit, ``twin``, whose certificate bears the name of unit ``one``."""
    with open_core(home, SystemClock()) as core:
        model = tenures(core, CredentialKind.TSA, "one")[-1].credential
        issuer = next(each for each in core.store.issuers() if each.id == model.issuer)
        reference = "file:keys/twin.key"
        core.keys.generate(reference, KeyType.P256)
        signer, serial = core.key(reference), new_serial(core)
        subject = asn1_x509.Certificate.load(model.certificate).subject.dump()
        draft = prepare(core, issuer, TSA_UNIT, subject=subject, public_key=signer.public_key, serial=serial)
        certificate = issue(core, draft, signer.algorithm.digest)
        made = replace(model, id=0, name="twin", serial=serial, certificate=certificate, key_reference=reference)
        core.store.add_credential(made, core.now())


def test_units_of_one_name_share_one_space(tmp_path: Path) -> None:
    """A unit, its successor and a unit that bears the same subject count on together; one of another name does not."""
    home = tmp_path / "home"
    make_home(home, Wish(base_url=f"http://127.0.0.1:{free_port()}"), SystemClock())
    with open_core(home, SystemClock()) as core:
        add_ca(core, "root", "root")
        add_ca(core, "timestamp", "timestamp", "root")
        renew_unit(core, "one", key_type=KeyType.P256)
        renew_unit(core, "other", key_type=KeyType.P256)
    twin(home)
    with (home / "responders.toml").open("a") as file:
        file.write('\n[tsa]\ndefault_unit = "one"\n' + "".join(map(UNIT.format, ("one", "twin", "other"))))
    with running_server(home, workers=1) as server, Client(server) as client:

        def take(unit: str) -> tuple[bytes, int, bytes]:
            opened = client.token(query(), f"/tsa/{unit}")
            contents: bytes = opened.tst_info["serial_number"].contents
            assert len(contents) == SIZE
            sid = opened.signer_info["sid"].chosen["serial_number"].native
            return contents[:PREFIX], int.from_bytes(contents[PREFIX:], "big"), der.integer(sid)

        taken = [take(unit) for unit in ("one", "twin", "one", "twin")]
        issuance(home, "signer", "renew", "--unit", "one", "--force")
        time.sleep(SEEN_SECONDS)
        taken += [take(unit) for unit in ("twin", "one")]
        assert len({signer for *_, signer in taken}) == 3
        (prefix,) = {prefix for prefix, *_ in taken}
        first = taken[0][1]
        assert [number for _, number, _ in taken] == list(range(first, first + 6))
        assert take("other")[0] != prefix


def test_nodes_on_one_database_never_share_one(tmp_path: Path) -> None:
    """Two homes with the same keys, each with its own server, and nothing between them but PostgreSQL."""
    first, second = tmp_path / "first", tmp_path / "second"
    with postgres_server() as database, ExitStack() as running:
        wish = Wish(database=database, base_url=f"http://127.0.0.1:{free_port()}")
        make_home(first, wish, SystemClock())
        with open_core(first, SystemClock()) as core:
            add_ca(core, "root", "root")
            add_ca(core, "timestamp", "timestamp", "root")
            renew_unit(core, "one", key_type=KeyType.P256)
        with (first / "responders.toml").open("a") as file:
            file.write(SMALL_BLOCKS + UNIT.format("one"))
        run("cp", "-r", first, second)
        nodes = [running.enter_context(running_server(home, workers=2)) for home in (first, second)]
        with load(nodes[0], ["/tsa"]) as one, load(nodes[1], ["/tsa"]) as other:
            answers(one, 400)
            answers(other, 0 if len(other.answered) > 400 else 400)
    assert not one.broken
    assert not other.broken
    found = serials(one), serials(other)
    check_unique([*found[0], *found[1]], 800)
    assert not {each[:PREFIX] for each in found[0]} & {each[:PREFIX] for each in found[1]}
