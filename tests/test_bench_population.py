"""The benches' generator: what it leaves in a database reads as if it had been issued and revoked."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from issuance_world import add_ca
from population import Population, PopulationError, populate

from ca_store.clock import SystemClock
from ca_store.engine import connect_sqlite
from ca_store.errors import NotFound
from ca_store.keys import KeyStore
from ca_store.types import CertificateState
from issuance.core import Core
from issuance.crl import is_due, sign_crl
from issuance.demo import INSTITUTION
from issuance.profile import SERVER
from issuance.settings import Settings

if TYPE_CHECKING:
    from ca_store.contracts import IssuanceStore, ReadStore
    from ca_store.types import Issuer

pytest_plugins = ("store_fixtures",)

GENERATOR = Path(__file__).parents[1] / "bench" / "population.py"
POPULATION = Population("web", 3000, 61)


@pytest.fixture
def home(tmp_path: Path, url: str) -> Path:
    (tmp_path / "responders.toml").write_text(f'[database]\nurl = "{url}"\n')
    return tmp_path


@pytest.fixture
def core(home: Path, store: IssuanceStore) -> Core:
    store.add_institution(INSTITUTION)
    core = Core(store, KeyStore(home, b"a passphrase"), Settings(caa=False), SystemClock())
    add_ca(core, "root", "root")
    add_ca(core, "web", "server", "root")
    return core


@pytest.fixture
def web(core: Core, home: Path) -> Issuer:
    populate(home, POPULATION)
    return core.store.issuer("web")


def refusal(*arguments: str | Path, status: int = 1) -> str:
    done = subprocess.run([sys.executable, GENERATOR, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


async def test_every_serial_is_good_or_revoked_as_the_population_says(
    web: Issuer, core: Core, reader: ReadStore
) -> None:
    now = time.time()
    states = []
    for number in range(POPULATION.count):
        status = await reader.status(web.id, POPULATION.serial(number))
        states.append(status.state)
        assert (status.state is CertificateState.REVOKED) == POPULATION.is_revoked(number)
        assert status.changed_at <= now < status.not_after
        if status.revoked_at is not None:
            assert status.reason in SERVER.reasons
            assert status.changed_at == status.revoked_at
            assert core.store.certificate(web.id, POPULATION.serial(number)).not_before < status.revoked_at
    assert states.count(CertificateState.REVOKED) == 61
    with pytest.raises(NotFound):
        await reader.status(web.id, POPULATION.serial(POPULATION.count))
    assert len(core.store.certificates(issuer=web.id, profile="server", limit=9999)) == 3000


async def test_the_crl_lists_the_revoked(web: Issuer, core: Core, reader: ReadStore) -> None:
    sign_crl(core, web)
    listed = {each.serial_number for each in x509.load_der_x509_crl((await reader.crl("web")).der)}
    numbers = range(POPULATION.count)
    assert listed == {POPULATION.serial(number) for number in numbers if POPULATION.is_revoked(number)}
    assert not is_due(core, web)


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
def test_an_sqlite_file_is_left_whole(web: Issuer, home: Path, url: str) -> None:
    assert not (home / "ca.db-wal").exists() or (home / "ca.db-wal").stat().st_size == 0
    with closing(connect_sqlite(url, 1)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_serials_are_the_same_each_time_and_look_like_real_ones() -> None:
    assert Population("server-rsa", 5).serial(3) == 0x6E4D8458C2F407841645476C7ED7A95FEA32C5E3
    serials = [
        Population(label, 9, seed=seed).serial(number)
        for label in ("server-rsa", "client")
        for seed in ("bench", "other")
        for number in range(9)
    ]
    assert len(set(serials)) == len(serials)
    assert {serial.bit_length() for serial in serials} == {159}


def test_what_is_there_already_is_refused(web: Issuer, core: Core, home: Path) -> None:
    for population in (POPULATION, Population("web", 1), Population("web", 2999)):
        with pytest.raises(PopulationError, match="serials of the seed 'bench' are there already under web"):
            populate(home, population)
    populate(home, Population("web", 10, seed="another"))
    assert len(core.store.certificates(issuer=web.id, profile="server", limit=9999)) == 3010


def test_what_cannot_be_done_is_refused_in_a_sentence(core: Core, home: Path) -> None:
    asked = ("--home", home, "--count", "5", "--label")
    assert refusal(*asked, "wrong") == "population: there is no CA labelled 'wrong'"
    assert refusal(*asked, "root") == "population: the CA root issues to no subscribers: take another one"
    assert "is not a home" in refusal("--home", home / "none", "--count", "5", "--label", "web")
    for count in ("0", "-1", "100000001", "many"):
        assert f"{count} is out of range" in refusal("--home", home, "--label", "web", "--count", count, status=2)
    for share in ("-0.1", "1.1", "some", "nan"):
        assert f"{share} is not a share" in refusal(*asked, "web", f"--revoked={share}", status=2)
    for wrong in (Population("web", 0), Population("web", 5, 6), Population("web", 5, -1)):
        with pytest.raises(PopulationError):
            populate(home, wrong)
    assert core.store.certificates(issuer=core.store.issuer("web").id, profile="server") == []
