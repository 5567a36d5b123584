"""When a running server must not issue, and that it goes on where it may: clock, periods, revocation, succession.

RFC 3161 §2.1 item 1, §2.3, §4; EN 319 421 §7.7.2; CSBR §6.3.2, §6.8.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest
from countersignatures import lines, open_countersignature, request
from cryptography import x509
from cryptography.x509 import ocsp as x509_ocsp
from faked_time import FakedTime
from fakes import DAY, ManualClock
from http_wire import exchange, get, post
from issuance_world import add_ca, copy_home, refused
from ports import free_port
from running_server import running_server, until
from signers_world import command, core_of
from strangers import SEEN_SECONDS, ask, certificate, issuance, load, ocsp_request, run
from tsa_load import load as asking
from tsa_server import Client, query

from ca_store.signing import KeyType
from ca_store.types import CredentialKind
from issuance.home import Wish, make_home, open_core
from issuance.signer_renewal import LEAD, renew_unit, tenures
from responders.kernel_clock import read_clock_estimate
from tsa.clock import SENTENCES, ClockFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server
    from tsa_reader import Opened

    from ca_store.types import Issuer
    from issuance.core import Core

TIME_NOT_AVAILABLE, SYSTEM_FAILURE = "0303010002", "03050600000040"
SETTLE: Final = 4
UNIT = '\n[tsa.units.{}]\npolicy = "2.999.3161.1"\n'
NO_LOG = "\n[log]\nenabled = false\n"
"""libfaketime has a thread's sleep fail when time is set meanwhile, which no kernel does."""
OLDER = lines(request())
SOME = 16
"""So many fresh connections reach every worker."""


def configure(home: Path, text: str) -> None:
    with (home / "responders.toml").open("a") as file:
        file.write(text)


def configure_clock(home: Path, text: str) -> None:
    file = home / "responders.toml"
    whole = file.read_text()
    assert whole.count('source = "host"') == 1
    file.write_text(whole.replace('source = "host"', text))


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


def gen_time(opened: Opened) -> float:
    found: datetime = opened.tst_info["gen_time"].native
    return found.timestamp()


@pytest.fixture(scope="class")
def faked(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, FakedTime]]:
    folder = tmp_path_factory.mktemp("clock")
    home, clock = copy_home(demo_home, folder), FakedTime(folder)
    configure_clock(home, f'source = "host"\nsettle_seconds = {SETTLE}')
    configure(home, NO_LOG)
    with running_server(home, workers=2, environment=clock.environment) as server:
        yield server, clock


@pytest.mark.interop("faketime")
class TestClock:
    @pytest.mark.parametrize("step", [2.0, -2.0])
    def test_that_was_set_stops_all_time_stamps_until_it_has_run_evenly(
        self, faked: tuple[Server, FakedTime], step: float
    ) -> None:
        """A step of either sign, seen by every worker before the next token, told to operators, and over by itself."""
        server, clock = faked
        until(lambda: server.metric("responders_tsa_clock_good") == 1, "the clock is not good")
        faults, workers = server.metric("responders_tsa_clock_faults_total"), server.worker_pids()
        with asking(server, ["/tsa", "/tsa/p256"], pause=0.005) as made:
            until(lambda: len(made.answered) > 50, "nothing is answered")
            asked = time.monotonic()
            clock.step(step)
            began = time.monotonic()
            said = refusals(server, "/tsa", TIME_NOT_AVAILABLE)
            assert all("the clock was set" in each.lower() for each in said), said
            older = exchange(server, post(OLDER))
            assert (older.status, older.field("Content-Type")) == (503, "text/plain; charset=utf-8")
            assert older.field("Retry-After").isdigit()
            assert "the clock was set" in older.body.decode().lower()
            until(lambda: server.metric("responders_tsa_clock_good") == 0, "no metric says so")
            status, text = server.admin("/readyz")
            assert status == 200
            assert "no time-stamps: the clock was set" in text
            until(
                lambda: server.metric("responders_tsa_clock_faults_total") >= faults + 2, "not every worker has seen it"
            )
            until(lambda: server.metric("responders_tsa_clock_good") == 1, "it does not issue again")
            recovered = time.monotonic()
            grants(server, "/tsa", "/tsa/p256")
            enough = len(made.answered) + 50
            until(lambda: len(made.answered) > enough, "nothing is answered")
        assert "no time-stamps" not in server.admin("/readyz")[1]
        assert exchange(server, post(OLDER)).status == 200
        assert server.worker_pids() == workers
        assert not made.broken
        before = [each for each in made.answered if each.received < asked]
        within = [each for each in made.answered if began < each.sent and each.received < began + SETTLE]
        after = [each for each in made.answered if each.sent > recovered]
        assert min(map(len, (before, within, after))) > 5
        assert {each.opened.fail_info for each in within} == {TIME_NOT_AVAILABLE}
        for client in range(4):
            times = [each.token()[0] for each in (*before, *after) if each.client == client]
            assert times == sorted(times), "time went back"

    def test_that_was_set_leaves_ocsp_alone(self, faked: tuple[Server, FakedTime]) -> None:
        server, clock = faked
        issuer, leaf = certificate(server.home, "server-rsa"), certificate(server.home, "demo-good")
        until(lambda: server.metric("responders_tsa_clock_good") == 1, "the clock is not good")
        clock.step(0.3)
        refusals(server, "/tsa", TIME_NOT_AVAILABLE)
        answer = x509_ocsp.load_der_ocsp_response(ask(f"{server.url}/ocsp", ocsp_request(leaf, issuer)).body)
        assert answer.certificate_status is x509_ocsp.OCSPCertStatus.GOOD

    def test_that_was_set_is_counted_as_such(self, faked: tuple[Server, FakedTime]) -> None:
        server, clock = faked
        until(lambda: server.metric("responders_tsa_clock_good") == 1, "the clock is not good")
        names = (
            'responders_timestamps_total{outcome="timeNotAvailable"}',
            'responders_countersignatures_total{outcome="unavailable"}',
            'responders_tsa_clock_faults_total{fault="step"}',
        )
        before = [server.metric(name) for name in names]
        clock.step(86_400)
        for _ in range(5):
            exchange(server, post(query()))
            exchange(server, post(OLDER))
        until(lambda: server.metric(names[2]) - before[2] == 2, "not every worker has seen it")
        assert [server.metric(name) for name in names[:2]] == [before[0] + 5, before[1] + 5]


SHIM = """
#include <sys/timex.h>
#include <stdio.h>
int adjtimex(struct timex *timex) {
    int state = 5, status = 64; long error = 16000000;
    FILE *file = fopen(getenv("KERNEL_CLOCK"), "r");
    if (!file) return -1;
    fscanf(file, "%d %d %ld", &state, &status, &error);
    fclose(file);
    timex->status = status; timex->esterror = timex->maxerror = error;
    return state;
}
"""


@pytest.fixture(scope="class")
def kernel_home(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = copy_home(demo_home, tmp_path_factory.mktemp("kernel"))
    configure_clock(home, f'source = "kernel"\nsettle_seconds = {SETTLE}')
    return home


class TestKernelsClock:
    """``[clock] source = "kernel"``."""

    def test_of_this_machine_decides(self, kernel_home: Path) -> None:
        estimate = read_clock_estimate()
        with running_server(kernel_home, workers=1) as server:
            good = estimate is not None and estimate.synchronised and estimate.maximum_error < 0.9
            assert server.ready()
            if good:
                grants(server, "/tsa", "/tsa/p256")
                return
            assert len(refusals(server, "/tsa", TIME_NOT_AVAILABLE)) == 1
            assert exchange(server, post(OLDER)).status == 503
            assert server.metric("responders_tsa_clock_good") == 0
            assert "no time-stamps: " in server.admin("/readyz")[1]

    @pytest.mark.interop("cc")
    def test_is_asked_all_the_time(self, kernel_home: Path, tmp_path: Path) -> None:
        """What the kernel says is made up here; the server asks it by the system's own function."""
        source, library, said = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "said"
        source.write_text("#include <stdlib.h>\n" + SHIM)
        run("cc", "-shared", "-fPIC", "-o", library, source)

        def say(text: str) -> None:
            (tmp_path / "new").write_text(text)
            (tmp_path / "new").replace(said)

        say("0 0 2000")
        environment = {"LD_PRELOAD": str(library), "KERNEL_CLOCK": str(said)}
        with running_server(kernel_home, workers=2, environment=environment) as server:
            # A worker asks before it answers: what it has not asked about yet is no fault.
            assert server.metric("responders_tsa_clock_faults_total") == 0
            for text, fault in (
                ("5 64 16000000", ClockFault.UNSYNCHRONISED),
                ("0 0 1100000", ClockFault.ERROR_BOUND),
                (None, ClockFault.SOURCE_LOST),
            ):
                until(lambda: server.metric("responders_tsa_clock_good") == 1, "the clock is not good")
                grants(server, "/tsa")
                if text is None:
                    said.unlink()
                else:
                    say(text)
                until(lambda: "(2 of 2 workers)" in server.admin("/readyz")[1], "nobody has noticed")
                sentence = SENTENCES[fault]
                assert {each.lower() for each in refusals(server, "/tsa", TIME_NOT_AVAILABLE)} == {f"{sentence}."}
                assert sentence in server.admin("/readyz")[1]
                assert server.metric(f'responders_tsa_clock_faults_total{{fault="{fault}"}}') == 2
                say("0 0 2000")


def end_of(der: bytes) -> tuple[int, int]:
    """The last seconds of a certificate's private-key usage period and of its validity."""
    made = x509.load_der_x509_certificate(der)
    (usage,) = [each.value for each in made.extensions if isinstance(each.value, x509.PrivateKeyUsagePeriod)]
    assert usage.not_after is not None
    return int(usage.not_after.replace(tzinfo=UTC).timestamp()), int(made.not_valid_after_utc.timestamp())


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


@pytest.mark.interop("faketime")
class TestLastSecond:
    """CSBR §6.3.2: a key is used for 15 months; RFC 5280 §4.1.2.5: notAfter belongs to the validity."""

    @pytest.mark.parametrize("age", [0, 19 * 365 * DAY + 200 * DAY], ids=["of the key", "of the certificate"])
    def test_is_granted_and_the_next_is_not(self, tmp_path: Path, age: int) -> None:
        made = int(time.time())
        issuer, unit = small_home(tmp_path / "home", made, age=age)
        key_end, certificate_end = end_of(unit)
        if age:
            assert certificate_end == issuer.not_after == key_end
        else:
            assert 450 * DAY < key_end - made < 460 * DAY
            assert certificate_end > key_end + 9 * 365 * DAY
        clock = FakedTime(tmp_path, key_end - 600 - time.time())
        configure(tmp_path / "home", f"\n[clock]\nsettle_seconds = 0\n{NO_LOG}")
        with running_server(tmp_path / "home", workers=1, environment=clock.environment) as server:
            grants(server, "/tsa", "/tsa/one")
            clock.set(key_end - 1.5 - time.time())
            with asking(server, ["/tsa", "/tsa/one"], clients=2, pause=0.01) as made_then:
                until(lambda: time.time() + clock.offset > key_end + 1.8, "time stands still")
            assert refusals(server, "/tsa", SYSTEM_FAILURE) == {
                "The certificate or the key of this unit is outside its period of use."
            }
        assert not made_then.broken
        outcomes = [each.opened for each in made_then.answered]
        granted = [gen_time(each) for each in outcomes if each.status == 0]
        assert max(granted) == key_end
        assert min(granted) < key_end
        refused_ones = [each for each in outcomes if each.status != 0]
        assert {(each.status, each.fail_info) for each in refused_ones} == {(2, SYSTEM_FAILURE)}
        states = [each.opened.status for each in made_then.answered if each.client == 0]
        assert states == sorted(states), "it came back to life"


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
