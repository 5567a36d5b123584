"""What is brought to the clock's guard: NTP by hand-made packets and by a real chronyd, the kernel, chronyc."""

from __future__ import annotations

import asyncio
import shutil
import stat
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from ports import free_port
from running_server import until
from tsa_world import NOW, HandClock

from ca_store.clock import SystemClock
from responders.clock_monitor import ClockMonitor, decode_tracking
from responders.kernel_clock import ClockEstimate, read_clock_estimate
from responders.ntp import NTPError, Sample, agree, decode_answer, encode_query, query, split_address
from tsa.clock import ClockFault, ClockGuard
from tsa.settings import ClockSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EPOCH = 2_208_988_800
COOKIE = 0x0123456789ABCDEF
TRACKING = "A9FEA97B,169.254.169.123,4,1785000000.1,-0.0000021,0.0,0.0,0.0,0.0,0.0,0.0005,0.0002,16.0,Normal\n"


def stamp(seconds: float) -> int:
    return (int((seconds + EPOCH) * (1 << 32))) & ((1 << 64) - 1)


def packet(
    arrived: float, left: float, *, first: int = 0x24, stratum: int = 2, origin: int = COOKIE, delay: float = 0.0
) -> bytes:
    return struct.pack(
        "!BBbbII4sQQQQ", first, stratum, 0, -20, int(delay * 65536), 0, bytes(4), 0, origin, stamp(arrived), stamp(left)
    )


def test_offset_and_error_are_those_of_rfc_5905() -> None:
    sample = decode_answer(packet(NOW + 0.5, NOW + 0.6, delay=0.02), COOKIE, NOW, NOW + 0.3)
    assert sample.offset == pytest.approx(0.4, abs=1e-4)
    assert sample.error == pytest.approx(0.1 + 0.01, abs=1e-4)
    assert not sample.leap_due


def test_the_era_after_2036_is_understood() -> None:
    moment = 2_085_978_496 + 1_000_000  # the first era ended a million seconds before
    sample = decode_answer(packet(moment + 1, moment + 1), COOKIE, moment, moment)
    assert sample.offset == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (packet(NOW, NOW)[:47], "47 octets"),
        (packet(NOW, NOW, origin=1), "not to what was asked"),
        (packet(NOW, NOW, first=0x23), "not to what was asked"),
        (packet(NOW, NOW, first=0xE4), "not synchronised"),
        (packet(NOW, NOW, stratum=0), "not synchronised"),
        (packet(NOW, NOW, stratum=16), "not synchronised"),
    ],
)
def test_an_answer_that_is_none_is_refused(answer: bytes, sentence: str) -> None:
    with pytest.raises(NTPError, match=sentence):
        decode_answer(answer, COOKIE, NOW, NOW)


def test_most_servers_overrule_a_liar_and_no_majority_is_no_answer() -> None:
    near, other, liar = Sample(0.01, 0.02, False), Sample(0.02, 0.02, False), Sample(30.0, 0.02, False)
    found = agree([near, liar, other], 3)
    assert found.error_bound == pytest.approx(0.03)
    for samples in ([near, liar], [near], []):
        with pytest.raises(NTPError, match="agree"):
            agree(samples, 3 if len(samples) < 2 else 2)


def test_a_leap_second_is_due_when_most_say_so() -> None:
    assert agree([Sample(0.0, 0.1, True), Sample(0.0, 0.1, True), Sample(0.0, 0.1, False)], 3).leap_due
    assert not agree([Sample(0.0, 0.1, True), Sample(0.0, 0.1, False)], 2).leap_due


@contextmanager
def chronyd(folder: Path) -> Iterator[tuple[int, Path]]:
    """A time server that leaves the clock alone: its port, and a ``chronyc`` that asks it."""
    port, commands = free_port(), free_port()
    configuration = folder / "chrony.conf"
    configuration.write_text(
        f"local stratum 4\nallow 127.0.0.1\nport {port}\nbindaddress 127.0.0.1\ncmdport {commands}\n"
        f"bindcmdaddress 127.0.0.1\npidfile {folder}/chronyd.pid\nuser root\n"
    )
    process = subprocess.Popen(["chronyd", "-x", "-d", "-f", str(configuration)], stderr=subprocess.DEVNULL)
    real = shutil.which("chronyc")
    program = folder / "bin" / "chronyc"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {real} -h 127.0.0.1 -p {commands} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    try:
        until(
            lambda: subprocess.run([program, "tracking"], capture_output=True, check=False).returncode == 0,
            "no chronyd",
        )
        yield port, program
    finally:
        process.terminate()
        process.wait(10)


def test_a_real_time_server_is_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    with chronyd(tmp_path) as (port, program):
        sample = asyncio.run(query(f"127.0.0.1:{port}", clock))
        assert abs(sample.offset) < sample.error < 1
        settings = ClockSettings(source="ntp", servers=(f"127.0.0.1:{port}",) * 2 + (f"127.0.0.1:{free_port()}",))
        guard = ClockGuard(clock, settings)
        measured = asyncio.run(ClockMonitor(guard, settings, clock).measure_servers())
        assert measured is not None
        assert measured.error_bound < 1
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        told = asyncio.run(ClockMonitor(guard, settings, clock).measure_chrony())
        assert told is not None
        assert told.synchronised
        assert told.error_bound < 1
    assert asyncio.run(ClockMonitor(guard, settings, clock).measure_servers()) is None
    assert asyncio.run(ClockMonitor(guard, settings, clock).measure_chrony()) is None


async def _measured(kernel: Callable[[], ClockEstimate | None], clock: HandClock) -> ClockFault | None:
    settings = ClockSettings(source="kernel")
    guard = ClockGuard(clock, settings)
    task = asyncio.create_task(ClockMonitor(guard, settings, clock, kernel).run())
    await asyncio.sleep(0.1)
    task.cancel()
    return guard.check(1.0)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (ClockEstimate(True, 0.001, 0.02), None),
        (ClockEstimate(False, 0.001, 0.02), ClockFault.UNSYNCHRONISED),
        (ClockEstimate(True, 0.001, 1.02), ClockFault.ERROR_BOUND),
        (None, ClockFault.SOURCE_LOST),
    ],
)
def test_the_kernels_estimate_decides(
    estimate: ClockEstimate | None, expected: ClockFault | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # no chrony takes part
    assert asyncio.run(_measured(lambda: estimate, HandClock())) is expected


def test_the_kernel_answers() -> None:
    estimate = read_clock_estimate()
    assert estimate is None or estimate.maximum_error >= 0


@pytest.mark.parametrize(
    ("line", "synchronised", "leap"),
    [
        (TRACKING, True, False),
        (TRACKING.replace("Normal", "Insert second"), True, True),
        (TRACKING.replace("Normal", "Delete second"), True, True),
        (TRACKING.replace("Normal", "Not synchronised"), False, False),
    ],
)
def test_chronys_tracking_is_read(line: str, synchronised: bool, leap: bool) -> None:
    measured = decode_tracking(line, 5.0)
    assert measured.error_bound == pytest.approx(0.0000021 + 0.0002 + 0.00025)
    assert (measured.at, measured.synchronised, measured.leap_due) == (5.0, synchronised, leap)
    with pytest.raises(ValueError, match="fields"):
        decode_tracking("506 Cannot talk to daemon", 5.0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ntp.example.ac.jp", ("ntp.example.ac.jp", 123)),
        ("127.0.0.1:11123", ("127.0.0.1", 11123)),
        ("[::1]:11123", ("::1", 11123)),
        ("[::1]", ("::1", 123)),
        ("2001:db8::1", ("2001:db8::1", 123)),
    ],
)
def test_servers_are_named_as_people_write_them(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


@pytest.mark.parametrize("name", ["a..b", "x" * 300, "nowhere.invalid", ""])
def test_a_server_that_nobody_can_be_is_a_failure_and_no_fault(name: str) -> None:
    with pytest.raises(NTPError, match="cannot be asked"):
        asyncio.run(query(f"{name}:123", SystemClock()))


def test_a_chronyc_that_cannot_be_run_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "chronyc"
    program.write_bytes(b"\x7fELF no program")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    clock, settings = HandClock(), ClockSettings(source="kernel")
    monitor = ClockMonitor(ClockGuard(clock, settings), settings, clock, lambda: ClockEstimate(True, 0.001, 0.02))
    assert asyncio.run(monitor.measure_chrony()) is None
    assert asyncio.run(monitor.measure_kernel()) is not None


def test_a_query_says_nothing_of_the_host() -> None:
    assert encode_query(COOKIE) == b"\x23" + bytes(39) + COOKIE.to_bytes(8, "big")
