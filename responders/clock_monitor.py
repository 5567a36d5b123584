"""What the sources say of the host's clock, brought to the guard: kernel, chrony, NTP servers (``[clock] source``)."""

from __future__ import annotations

import asyncio
import logging
import shutil
from typing import TYPE_CHECKING, Final

from responders.kernel_clock import read_clock_estimate
from responders.ntp import NTPError, agree, query
from tsa.clock import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca_store.clock import Clock
    from responders.kernel_clock import ClockEstimate
    from tsa.clock import ClockGuard
    from tsa.settings import ClockSettings

_KERNEL_SECONDS: Final = 1.0
_CHRONY_SECONDS: Final = 15.0
_CHRONY_TIMEOUT: Final = 2.0
_TRACKING: Final = ("-c", "-n", "tracking")
_FIELDS: Final = 14
_SYSTEM_TIME, _ROOT_DELAY, _ROOT_DISPERSION, _LEAP_STATUS = 4, 10, 11, 13

_logger: Final = logging.getLogger(__name__)


class ClockMonitor:
    """Measures for ever. Where the source falls silent the guard draws its own conclusion."""

    def __init__(
        self,
        guard: ClockGuard,
        settings: ClockSettings,
        clock: Clock,
        kernel: Callable[[], ClockEstimate | None] = read_clock_estimate,
    ) -> None:
        self._guard = guard
        self._settings = settings
        self._clock = clock
        self._kernel = kernel
        self._chrony: Measurement | None = None
        self._chrony_asked = -_CHRONY_SECONDS
        self._told = ""

    async def run(self) -> None:
        """Measure until cancelled; the source ``host`` has nothing to measure."""
        while self._settings.source != "host":
            await self.measure()
            await asyncio.sleep(_KERNEL_SECONDS if self._settings.source == "kernel" else self._settings.interval)

    async def measure(self) -> None:
        """Bring the guard one measurement, where there is one to be had. Takes a few seconds at most."""
        match self._settings.source:
            case "kernel":
                measurement = await self.measure_kernel()
            case "ntp":
                measurement = await self.measure_servers()
            case "host":
                return
        if measurement is not None:
            self._guard.report(measurement)

    async def measure_kernel(self) -> Measurement | None:
        """The worse of what the kernel and chrony say."""
        now = self._clock.monotonic()
        if now - self._chrony_asked >= _CHRONY_SECONDS:
            self._chrony_asked = now
            self._chrony = await self.measure_chrony()
        estimate = self._kernel()
        if estimate is None:
            self._tell("the kernel does not tell how wrong the clock may be")
            return None
        self._tell("")
        measured = Measurement(now, estimate.synchronised, estimate.maximum_error, estimate.leap_due)
        chrony = self._chrony
        if chrony is None:
            return measured
        return Measurement(
            now,
            measured.synchronised and chrony.synchronised,
            max(measured.error_bound, chrony.error_bound),
            measured.leap_due or chrony.leap_due,
        )

    async def measure_chrony(self) -> Measurement | None:
        """What chronyd says; None where none runs."""
        program = shutil.which("chronyc")
        if program is None:
            return None
        try:
            process = await asyncio.create_subprocess_exec(
                program, *_TRACKING, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            self._tell(f"chronyc cannot be run: {error.strerror}")
            return None
        try:
            async with asyncio.timeout(_CHRONY_TIMEOUT):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return None
        if process.returncode:
            return None
        try:
            return decode_tracking(output.decode(), self._clock.monotonic())
        except ValueError:
            self._tell("chronyc says what is not understood here")
            return None

    async def measure_servers(self) -> Measurement | None:
        """What more than half of the NTP servers say; None when no such part answers and agrees."""
        servers = self._settings.servers
        now = self._clock.monotonic()
        answers = await asyncio.gather(*(query(each, self._clock) for each in servers), return_exceptions=True)
        samples = []
        failures = []
        for answer in answers:
            if isinstance(answer, NTPError):
                failures.append(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                samples.append(answer)
        try:
            found = agree(samples, len(servers))
        except NTPError as error:
            self._tell("; ".join((str(error), *failures)))
            return None
        self._tell("")
        return Measurement(now, True, found.error_bound, found.leap_due)

    def _tell(self, fault: str) -> None:
        """Log what has changed and nothing else."""
        if fault != self._told:
            self._told = fault
            if fault:
                _logger.error("the clock cannot be measured: %s", fault)
            else:
                _logger.warning("the clock can be measured again")


def decode_tracking(line: str, at: float) -> Measurement:
    """Read ``chronyc -c tracking``. The bound is the one of chrony's manual: the offset that is being slewed away, the
    root dispersion and half of the root delay. Raises ValueError.
    """
    fields = line.strip().split(",")
    if len(fields) != _FIELDS:
        raise ValueError(f"{len(fields)} fields, not {_FIELDS}")
    leap = fields[_LEAP_STATUS]
    bound = abs(float(fields[_SYSTEM_TIME])) + float(fields[_ROOT_DISPERSION]) + float(fields[_ROOT_DELAY]) / 2
    return Measurement(at, leap != "Not synchronised", bound, leap in ("Insert second", "Delete second"))
