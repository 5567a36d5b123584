"""What the kernel thinks of its own clock: adjtimex(2), which anyone may read."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

_STA_UNSYNC: Final = 0x40
_LEAP_STATES: Final = (1, 2, 3)  # TIME_INS, TIME_DEL, TIME_OOP
_MICRO: Final = 1e-6


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """Seconds."""

    synchronised: bool
    """Whether a program that knows the time disciplines the clock."""
    estimated_error: float
    maximum_error: float
    leap_due: bool = False
    """Whether a leap second ends this UTC day, or is under way."""


class _Timex(ctypes.Structure):
    """``struct timex`` of Linux, up to what is read here; the kernel writes more."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def read_clock_estimate() -> ClockEstimate | None:
    """The kernel's estimate; None where it does not tell."""
    timex = _Timex()  # modes 0: nothing is changed
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    return ClockEstimate(
        synchronised=not timex.status & _STA_UNSYNC,
        estimated_error=timex.esterror * _MICRO,
        maximum_error=timex.maxerror * _MICRO,
        leap_due=state in _LEAP_STATES,
    )
