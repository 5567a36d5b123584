"""Which key and certificate a running server stamps with: revocation, succession, and what it does not start with.

RFC 3161 §2.3, §4; CSBR §6.3.2.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from countersignatures import open_countersignature
from cryptography import x509
from cryptography.x509 import ocsp as x509_ocsp
from fakes import DAY, ManualClock
from http_wire import exchange, get, post
from issuance_world import copy_home, refused
from ports import free_port
from running_server import running_server, until
from signers_world import command, core_of
from strangers import SEEN_SECONDS, ask, certificate, issuance, load, ocsp_request, run
from tsa_lives import OLDER, SOME, SYSTEM_FAILURE, UNIT, configure, grants, refusals, small_home
from tsa_load import load as asking

from ca_store.types import CredentialKind
from issuance.home import open_core
from issuance.signer_renewal import LEAD, renew_unit, tenures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server

    from issuance.core import Core


@pytest.fixture(scope="class")
def two_cas(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two CAs: ``timestamp`` has rsa, p256, mate and authenticode, ``timestamp-2`` has other."""
    home = copy_home(demo_home, tmp_path_factory.mktemp("revocation"))
    run("rm", "-rf", home / "log")
    for arguments in (
        ("signer", "renew", "--unit", "mate", "--key", "p256"),
        ("ca", "rekey", "timestamp"),
        ("signer", "renew", "--unit", "other", "--key", "p256"),
    ):
        issuance(home, *arguments)
    configure(home, UNIT.format("mate") + UNIT.format("other"))
    with running_server(home, workers=2) as running:
        yield running


class TestRevocation:
    """RFC 3161 §4: who answers under a revoked certificate says systemFailure, whoever else could."""

    @staticmethod
    def revoke(server: Server, unit: str) -> None:
        serial = serial_of(server, unit)
        command(server, "cert", "revoke", "--ca", "timestamp", "--serial", serial, "--reason", "superseded")

    @pytest.mark.parametrize("reason", [(), ("--reason", "unspecified"), ("--reason", "privilegeWithdrawn")])
    def test_needs_a_reason_that_leaves_old_tokens_believed(self, two_cas: Server, reason: tuple[str, ...]) -> None:
        arguments = ("cert", "revoke", "--ca", "timestamp", "--serial", serial_of(two_cas, "mate"), *reason)
        if reason:
            assert "a tsa-unit certificate is revoked for one of" in refused(*arguments, home=two_cas.home)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "issuance", *arguments, "--home", str(two_cas.home)],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 2
            assert "--reason" in done.stderr
        time.sleep(SEEN_SECONDS)
        grants(two_cas, "/tsa/mate")

    def test_of_one_unit_silences_it_alone(self, two_cas: Server) -> None:
        grants(two_cas, "/tsa/mate")
        self.revoke(two_cas, "mate")
        assert refusals(two_cas, "/tsa/mate", SYSTEM_FAILURE) == {"The certificate of unit mate is revoked."}
        grants(two_cas, "/tsa", "/tsa/rsa", "/tsa/p256", "/tsa/other")
        assert exchange(two_cas, post(OLDER)).status == 200
        assert exchange(two_cas, get("/tsa/mate")).status == 200
        assert two_cas.ready()

    def test_of_the_default_unit_lets_no_other_answer_for_it(self, two_cas: Server) -> None:
        self.revoke(two_cas, "rsa")
        for target in ("/tsa", "/tsa/rsa", "/"):
            assert refusals(two_cas, target, SYSTEM_FAILURE) == {"The certificate of unit rsa is revoked."}
        grants(two_cas, "/tsa/p256", "/tsa/other")

    def test_of_the_older_protocols_unit_is_503(self, two_cas: Server) -> None:
        assert exchange(two_cas, post(OLDER)).status == 200
        self.revoke(two_cas, "authenticode")
        for _ in range(SOME):
            answer = exchange(two_cas, post(OLDER))
            assert (answer.status, answer.field("Retry-After").isdigit()) == (503, True)
            assert "The certificate of unit authenticode is revoked." in answer.body.decode()
        grants(two_cas, "/tsa/p256", "/tsa/other")

    def test_of_a_unit_ends_when_a_successor_is_made(self, two_cas: Server) -> None:
        command(two_cas, "signer", "renew", "--unit", "mate")
        grants(two_cas, "/tsa/mate")
        command(two_cas, "signer", "renew", "--unit", "authenticode")
        signer = open_countersignature(exchange(two_cas, post(OLDER)).body).signer
        assert signer == load(certificate(two_cas.home, "tsa-authenticode"))

    def test_of_a_ca_silences_its_units_and_no_others(self, two_cas: Server) -> None:
        grants(two_cas, "/tsa/p256", "/tsa/other")
        command(two_cas, "ca", "revoke", "timestamp", "--reason", "superseded")
        assert refusals(two_cas, "/tsa/p256", SYSTEM_FAILURE) == {"The certificate of CA timestamp is revoked."}
        grants(two_cas, "/tsa/other")
        refusals(two_cas, "/tsa", SYSTEM_FAILURE)

    def test_of_every_ca_is_survived_by_ocsp(self, two_cas: Server) -> None:
        command(two_cas, "ca", "revoke", "timestamp-2", "--reason", "superseded")
        assert refusals(two_cas, "/tsa/other", SYSTEM_FAILURE) == {"The certificate of CA timestamp-2 is revoked."}
        ca, root = certificate(two_cas.home, "timestamp-2"), certificate(two_cas.home, "root")
        answer = x509_ocsp.load_der_ocsp_response(ask(f"{two_cas.url}/ocsp", ocsp_request(ca, root)).body)
        assert answer.revocation_reason is x509.ReasonFlags.superseded
        assert two_cas.ready()


def serial_of(server: Server, unit: str) -> str:
    with core_of(server) as core:
        return f"{tenures(core, CredentialKind.TSA, unit)[-1].credential.serial:x}"


@pytest.fixture(scope="class")
def due(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its unit was made eleven months ago and is due."""
    home = tmp_path_factory.mktemp("succession") / "home"
    small_home(home, int(time.time()) - 335 * DAY)
    with running_server(home, workers=2) as running:
        yield running


class TestSuccession:
    @staticmethod
    @contextmanager
    def core_then(server: Server, ago: float) -> Iterator[Core]:
        with open_core(server.home, ManualClock(int(time.time() - ago))) as core:
            yield core

    def test_prepared_an_hour_before_refuses_nobody_when_its_time_comes(self, due: Server) -> None:
        """Every worker changes over in the second that stands in the database, under load, without a restart."""
        workers = due.worker_pids()
        with asking(due, ["/tsa"], pause=0.002) as made:
            time.sleep(0.5)
            with self.core_then(due, LEAD - 3) as core:
                successor = renew_unit(core, "one")
                assert successor is not None
                assert len(tenures(core, CredentialKind.TSA, "one")) == 2
            assert time.time() < successor.active_from - 1
            until(lambda: time.time() > successor.active_from + 1.5, "time stands still")
        assert not made.broken
        assert due.worker_pids() == workers
        times: dict[bool, list[int]] = {True: [], False: []}
        for each in made.answered[:: max(1, len(made.answered) // 1000)]:
            at, signer = each.token()
            times[signer.serial_number == successor.serial].append(at)
        assert max(times[False]) <= successor.active_from
        assert min(times[True]) == successor.active_from
        assert min(map(len, times.values())) > 50

    def test_forced_takes_over_at_once_and_refuses_nobody(self, due: Server) -> None:
        workers = due.worker_pids()
        with asking(due, ["/tsa", "/tsa/one"], pause=0.002) as made:
            time.sleep(0.5)
            printed = run(
                sys.executable, "-m", "issuance", "signer", "renew", "--unit", "one", "--force", "--home", due.home
            )
            time.sleep(SEEN_SECONDS)
            seen = time.monotonic()
            time.sleep(0.5)
        assert not made.broken
        assert due.worker_pids() == workers
        wanted = int(printed.split()[-1], 16)
        signers: dict[int, list[bool]] = {client: [] for client in range(4)}
        for each in made.answered[:: max(1, len(made.answered) // 1000)]:
            taken_over = each.token()[1].serial_number == wanted
            signers[each.client].append(taken_over)
            assert taken_over or each.sent < seen
        for each_client in signers.values():
            assert each_client == sorted(each_client), "the one before came back"
            assert set(each_client) == {False, True}


class TestStart:
    @staticmethod
    def sentence(home: Path) -> str:
        """What ``responders serve`` says when it does not start."""
        ports = ("--listen", f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}")
        done = subprocess.run(
            [sys.executable, "-m", "responders", "serve", "--home", str(home), "--workers", "2", *ports],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def test_is_refused_with_a_unit_that_has_no_certificate(self, demo_home: Path, tmp_path: Path) -> None:
        home = copy_home(demo_home, tmp_path)
        configure(home, UNIT.format("ghost"))
        assert "time-stamping unit ghost has no certificate: see `issuance signer list`" in self.sentence(home)

    def test_is_refused_with_a_unit_whose_key_is_missing(self, demo_home: Path, tmp_path: Path) -> None:
        home = copy_home(demo_home, tmp_path)
        (key,) = (home / "keys").glob("tsa-p256-*.key")
        key.unlink()
        assert key.name in self.sentence(home)

    def test_is_refused_after_the_end_of_a_units_key(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        small_home(home, int(time.time()) - 470 * DAY)
        said = self.sentence(home)
        assert "the certificate of time-stamping unit one: validity or privateKeyUsagePeriod is over" in said
