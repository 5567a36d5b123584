"""The guard between the clock and genTime: steps, leaps, drift, and what sources say."""

from __future__ import annotations

import pytest
from tsa_world import NOW, HandClock

from ca_store.errors import SigningOverload
from tsa.clock import ClockFault, ClockGuard, Measurement
from tsa.errors import TimeNotAvailable
from tsa.settings import ClockSettings

SLACK = 1.0
MIDNIGHT = NOW - NOW % 86_400 + 86_400
MEASURED = ClockSettings(source="kernel")


def fault(guard: ClockGuard, slack: float = SLACK) -> ClockFault | None:
    """What a request would meet; the check of the background agrees."""
    found = guard.check(slack)
    if found is None:
        guard.read(slack)
    else:
        with pytest.raises(TimeNotAvailable):
            guard.read(slack)
    return found


@pytest.mark.parametrize("step", [2.0, -2.0, 0.11, -0.11, 86_400.0, -86_400.0])
def test_after_a_step_nothing_is_given_out_until_the_clock_has_settled(step: float) -> None:
    clock = HandClock()
    guard = ClockGuard(clock, ClockSettings(settle_seconds=10))
    assert fault(guard) is None
    clock.time += step
    stopped = fault(guard)
    assert stopped is (ClockFault.STEP if step > 0 else ClockFault.BACKWARD)
    clock.step(9.9)
    assert fault(guard) is not None
    clock.step(max(0.2, -step))
    assert fault(guard) is None
    assert sum(guard.faults.values()) == (1 if step > 0 or step < -10 else len({stopped, ClockFault.STEP}))


class DrowsyClock(HandClock):
    """Whoever reads it may be put to sleep before a reading."""

    naps: tuple[float, ...] = ()

    def now(self) -> float:
        self._nap()
        return super().now()

    def monotonic(self) -> float:
        self._nap()
        return super().monotonic()

    def _nap(self) -> None:
        nap, *rest = self.naps or (0.0,)
        self.naps = tuple(rest)
        self.step(nap)


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("nap", [0.2, 30.0])
def test_a_pause_between_two_readings_is_no_step(at: int, nap: float) -> None:
    """Of a busy host or of a virtual machine; the log of a real server showed -0.102 s and then +0.102 s."""
    clock = DrowsyClock()
    guard = ClockGuard(clock, ClockSettings())
    for _ in range(3):
        clock.naps = (0.0,) * at + (nap,)
        assert fault(guard) is None
    guard.check_covers(guard.read(SLACK), 2.0)
    clock.naps = (0.0,) * at + (nap,)
    assert fault(ClockGuard(clock, ClockSettings())) is None
    assert not any(guard.faults.values())


def test_a_second_step_begins_the_waiting_anew() -> None:
    clock = HandClock()
    guard = ClockGuard(clock, ClockSettings(settle_seconds=10))
    clock.time += 5
    assert fault(guard) is ClockFault.STEP
    clock.step(9)
    clock.time -= 5
    assert fault(guard) is ClockFault.STEP
    clock.step(9)
    assert fault(guard) is ClockFault.STEP
    clock.step(1.1)
    assert fault(guard) is None


def test_small_steps_that_add_up_are_drift() -> None:
    clock = HandClock()
    guard = ClockGuard(clock, ClockSettings())
    found = []
    for _ in range(12):
        clock.step(60)
        clock.time += 0.01
        found.append(fault(guard))
    assert found == [None] * 10 + [ClockFault.STEP, None]


def test_time_never_goes_back() -> None:
    clock = HandClock()
    guard = ClockGuard(clock, ClockSettings(settle_seconds=0))
    first = guard.read(SLACK)
    clock.time -= 0.09
    assert guard.read(SLACK) == first
    clock.time -= 0.02
    assert fault(guard) is ClockFault.BACKWARD
    clock.step(0.2)
    assert guard.read(SLACK) > first


def test_a_source_that_was_never_heard_or_fell_silent_stops_it() -> None:
    clock = HandClock()
    guard = ClockGuard(clock, MEASURED)
    assert fault(guard) is ClockFault.SOURCE_LOST
    guard.report(Measurement(clock.monotonic(), True, 0.01))
    assert fault(guard) is None
    clock.step(4.1)
    assert fault(guard) is ClockFault.SOURCE_LOST
    guard.report(Measurement(clock.monotonic(), True, 0.01))
    assert fault(guard) is None
    guard.report(Measurement(clock.monotonic(), False, 0.01))
    assert fault(guard) is ClockFault.UNSYNCHRONISED


def test_the_error_must_fit_into_what_the_accuracy_leaves_unit_by_unit() -> None:
    clock = HandClock()
    guard = ClockGuard(clock, MEASURED)
    guard.report(Measurement(clock.monotonic(), True, 0.5))
    assert fault(guard, 1.0) is None
    assert fault(guard, 0.2) is ClockFault.ERROR_BOUND
    guard.report(Measurement(clock.monotonic(), True, 1.01))
    assert fault(guard, 1.0) is ClockFault.ERROR_BOUND


def test_the_error_grows_between_two_measurements() -> None:
    clock = HandClock()
    guard = ClockGuard(clock, ClockSettings(source="ntp", servers=("192.0.2.1",), interval=3600, drift_ppm=100))
    guard.report(Measurement(clock.monotonic(), True, 0.5))
    clock.step(3600)
    assert guard.error_bound == pytest.approx(0.86)
    assert fault(guard, 0.8) is ClockFault.ERROR_BOUND
    assert fault(guard, 0.9) is None


@pytest.mark.parametrize("kernel_steps", [True, False])
def test_around_a_leap_second_nothing_is_given_out_and_then_at_once(kernel_steps: bool) -> None:
    clock = HandClock(time=MIDNIGHT - 2.5)
    guard = ClockGuard(clock, MEASURED)

    def measure(*, due: bool = True) -> ClockFault | None:
        guard.report(Measurement(clock.monotonic(), True, 0.01, leap_due=due))
        return fault(guard)

    assert measure() is None
    clock.step(0.6)
    assert measure() is ClockFault.LEAP_SECOND
    clock.step(1.9)
    assert measure() is ClockFault.LEAP_SECOND
    if kernel_steps:
        clock.time -= 1.0
        assert measure() is ClockFault.LEAP_SECOND
    clock.step(3.1)
    assert measure(due=False) is None
    assert guard.faults[ClockFault.STEP] == 0


def test_no_leap_second_is_no_reason_to_stop_at_midnight() -> None:
    clock = HandClock(time=MIDNIGHT - 0.5)
    guard = ClockGuard(clock, MEASURED)
    guard.report(Measurement(clock.monotonic(), True, 0.01))
    assert fault(guard) is None


def test_a_token_must_hold_the_moment_of_its_signature_with_the_clocks_error() -> None:
    clock = HandClock()
    guard = ClockGuard(clock, MEASURED)
    guard.report(Measurement(clock.monotonic(), True, 0.3))
    gen_time = guard.read(SLACK)
    clock.step(0.69)
    guard.check_covers(gen_time, 1.0)
    clock.step(0.02)
    with pytest.raises(SigningOverload):
        guard.check_covers(gen_time, 1.0)
    clock.time -= 3
    with pytest.raises(TimeNotAvailable):
        guard.check_covers(gen_time, 1.0)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"source": "ntp"}, "servers"),
        ({"servers": ("192.0.2.1",)}, "servers"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"tolerance": 1.1}, "tolerance"),
        ({"settle_seconds": -1}, "settle_seconds"),
        ({"drift_ppm": 1001}, "drift_ppm"),
        ({"interval": 0}, "interval"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        ClockSettings(**wrong)  # type: ignore[arg-type]  # that is the point
