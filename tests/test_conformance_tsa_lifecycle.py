"""When a running server must not issue, and that it goes on where it may: the clock, and the ends of periods.

RFC 3161 §2.1 item 1; EN 319 421 §7.7.2; CSBR §6.3.2, §6.8.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.x509 import ocsp as x509_ocsp
from faked_time import FakedTime
from fakes import DAY
from http_wire import exchange, post
from issuance_world import copy_home
from running_server import running_server, until
from strangers import SEEN_SECONDS, ask, certificate, ocsp_request, run
from tsa_lives import NO_LOG, OLDER, SYSTEM_FAILURE, TIME_NOT_AVAILABLE, configure, grants, refusals, small_home
from tsa_load import load as asking
from tsa_server import query

from responders.kernel_clock import read_clock_estimate
from tsa.clock import SENTENCES, ClockFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server
    from tsa_reader import Opened


SETTLE: Final = 4


def configure_clock(home: Path, text: str) -> None:
    file = home / "responders.toml"
    whole = file.read_text()
    assert whole.count('source = "host"') == 1
    file.write_text(whole.replace('source = "host"', text))


def until_good(server: Server) -> None:
    """Wait until every worker issues. What they show may be as old as the beat at which they do, and then it tells of
    the time before the clock was set.
    """
    time.sleep(SEEN_SECONDS)
    until(lambda: server.metric("responders_tsa_clock_good") == 1, "the clock is not good")


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
        until_good(server)
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
        until_good(server)
        clock.step(0.3)
        refusals(server, "/tsa", TIME_NOT_AVAILABLE)
        answer = x509_ocsp.load_der_ocsp_response(ask(f"{server.url}/ocsp", ocsp_request(leaf, issuer)).body)
        assert answer.certificate_status is x509_ocsp.OCSPCertStatus.GOOD

    def test_that_was_set_is_counted_as_such(self, faked: tuple[Server, FakedTime]) -> None:
        server, clock = faked
        until_good(server)
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
                until_good(server)
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
