"""Words that several processes share."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

from prometheus_client import generate_latest

from ca_store.clock import SystemClock
from responders.admin import Readiness
from responders.counters import (
    BUCKETS,
    CACHE_OCTETS,
    CONNECTIONS,
    COUNTERS,
    ISSUANCE_LAG,
    REVOCATION_LAG,
    counter_index,
)
from responders.metrics import make_registry
from responders.shared_state import SharedState

GOOD = counter_index("ocsp_answers", "good", "POST", "sha1")


def test_another_process_sees_and_moves_the_epoch() -> None:
    state = SharedState.create(2)
    state.epoch.advance()
    before = state.epoch.read()
    script = (
        "import sys; from responders.shared_state import SharedState; s = SharedState(int(sys.argv[1]), 2);"
        " print(s.epoch.read()); s.epoch.advance(); s.row(1).count(0)"
    )
    seen = subprocess.run(
        [sys.executable, "-c", script, str(state.descriptor)],
        pass_fds=[state.descriptor],
        capture_output=True,
        check=True,
        text=True,
    )
    assert int(seen.stdout) == before
    assert state.epoch.read() > before
    assert [row.counter(0) for row in state.rows()] == [0, 1]
    os.close(state.descriptor)


def test_the_epoch_never_repeats() -> None:
    state = SharedState.create(1)
    seen = set()
    for _ in range(1000):
        seen.add(state.epoch.read())
        state.epoch.advance()
    assert len(seen) == 1000
    # Also not where the clock of this machine starts again below the word.
    state.epoch._word[0] = time.monotonic_ns() + 10**15
    ahead = state.epoch.read()
    state.epoch.advance()
    assert state.epoch.read() > ahead
    os.close(state.descriptor)


def test_a_replaced_worker_keeps_its_counters_and_nothing_else() -> None:
    state = SharedState.create(2)
    row = state.row(1)
    row.count(GOOD)
    row.ready = True
    row.beat(5.0, 4.0)
    row.store_answered = 3.0
    row.set_gauge(CACHE_OCTETS, 77)
    row.forget()
    assert row.counter(GOOD) == 1
    assert (row.ready, row.heartbeat, row.confirmed, row.store_answered) == (False, 0, 0, 0)
    assert row.gauge(CACHE_OCTETS) == 0
    os.close(state.descriptor)


def test_rows_and_counters_do_not_overlap() -> None:
    state = SharedState.create(3)
    for row in state.rows():
        for at in range(len(COUNTERS)):
            row.count(at)
        row.set_gauge(CACHE_OCTETS, 9)
        row.observe(REVOCATION_LAG, 7200.0)
        row.observe(ISSUANCE_LAG, 0.0)
        row.beat(1.0, 1.0)
        row.signers = 3
    assert all(row.gauge(CONNECTIONS) == 0 and row.gauge(CACHE_OCTETS) == 9 for row in state.rows())
    assert all(row.histogram(REVOCATION_LAG) == ([0] * len(BUCKETS) + [1], 7200.0) for row in state.rows())
    assert all(row.histogram(ISSUANCE_LAG) == ([1] + [0] * len(BUCKETS), 0.0) for row in state.rows())
    assert state.epoch.read() == 0
    assert {row.counter(at) for row in state.rows() for at in range(len(COUNTERS))} == {1}
    os.close(state.descriptor)


def test_readiness_names_what_is_missing() -> None:
    state = SharedState.create(4)
    clock = SystemClock()
    readiness = Readiness(state, clock, 1.0)
    now = clock.monotonic()
    good, silent_store, lost_feed, _ = state.rows()
    for row in (good, silent_store, lost_feed):
        row.ready = True
        row.store_answered = now
        row.beat(now, now)
    assert list(readiness.faults()) == ["worker 3 is not ready"]
    silent_store.store_answered = now - 60
    lost_feed.beat(now, now - 60)
    readiness.stopping = True
    assert list(readiness.faults()) == [
        "the server is stopping",
        "worker 1: the database does not answer",
        "worker 2: the change feed is lost",
        "worker 3 is not ready",
    ]
    os.close(state.descriptor)


def test_metrics_are_the_sum_of_the_workers_with_all_labels_from_the_start() -> None:
    state = SharedState.create(2)
    state.row(0).count(GOOD)
    state.row(1).count(GOOD)
    state.row(0).set_gauge(CACHE_OCTETS, 5)
    text = generate_latest(make_registry(state, SystemClock(), lambda: 3)).decode()
    assert 'responders_ocsp_answers_total{cert_id_hash="sha1",method="POST",outcome="good"} 2.0' in text
    assert 'responders_timestamps_total{outcome="badAlg"} 0.0' in text
    assert "responders_ocsp_cache_octets 5.0" in text
    assert "responders_worker_restarts_total 3.0" in text
    assert len(re.findall(r"^responders_(?!worker_restarts)\w+_total\b", text, re.MULTILINE)) == len(COUNTERS)
    os.close(state.descriptor)


def test_a_histogram_is_summed_over_the_workers_and_counts_upwards() -> None:
    state = SharedState.create(2)
    for row, seconds in ((state.row(0), 0.02), (state.row(1), 900.0), (state.row(1), 901.0), (state.row(0), 9000.5)):
        row.observe(REVOCATION_LAG, seconds)
    text = generate_latest(make_registry(state, SystemClock(), lambda: 0)).decode()
    for line in (
        'responders_ocsp_revocation_lag_seconds_bucket{le="0.01"} 0.0',
        'responders_ocsp_revocation_lag_seconds_bucket{le="0.025"} 1.0',
        'responders_ocsp_revocation_lag_seconds_bucket{le="900.0"} 2.0',
        'responders_ocsp_revocation_lag_seconds_bucket{le="3600.0"} 3.0',
        'responders_ocsp_revocation_lag_seconds_bucket{le="+Inf"} 4.0',
        "responders_ocsp_revocation_lag_seconds_count 4.0",
        "responders_ocsp_revocation_lag_seconds_sum 10801.52",
        "responders_ocsp_issuance_lag_seconds_count 0.0",
    ):
        assert f"{line}\n" in text
    os.close(state.descriptor)
