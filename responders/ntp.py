"""A client of NTP (RFC 5905), to compare the host's clock with: it asks, and never sets anything."""

from __future__ import annotations

import asyncio
import secrets
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca_store.clock import Clock

PORT: Final = 123
_TIMEOUT: Final = 2.0
_PACKET: Final = struct.Struct("!BBbb II 4s Q Q Q Q")
_CLIENT: Final = 0x23  # no leap, version 4, mode 3
_SERVER_MODE: Final = 4
_UNSYNCHRONISED: Final = 3
_MAX_STRATUM: Final = 15
_SHORT: Final = 1 << 16
_FRACTION: Final = 1 << 32
_ERA: Final = 1 << 32
_EPOCH: Final = 2_208_988_800
"""Seconds from 1900 to 1970."""


class NTPError(Exception):
    """A server gave no usable answer; the sentence says why."""


class Sample(NamedTuple):
    """One server's opinion. Seconds."""

    offset: float
    """What is to be added to the host's clock."""
    error: float
    """By how much ``offset`` may be wrong: half of the way there and back, and what the server says of itself."""
    leap_due: bool


class Agreement(NamedTuple):
    """What more than half of the servers say. Seconds."""

    error_bound: float
    """By which the host's clock is wrong at most."""
    leap_due: bool


def encode_query(cookie: int) -> bytes:
    """A client's packet. ``cookie`` (64 bits) stands where the transmit time would; nobody else knows it."""
    return _PACKET.pack(_CLIENT, 0, 0, 0, 0, 0, bytes(4), 0, 0, 0, cookie)


def decode_answer(packet: bytes, cookie: int, sent: float, received: float) -> Sample:
    """Read a server's packet; ``sent`` and ``received`` are POSIX seconds of the host's clock. Raises NTPError."""
    if len(packet) < _PACKET.size:
        raise NTPError(f"the answer has {len(packet)} octets, not {_PACKET.size} or more")
    first, stratum, _, _, delay, dispersion, _, _, origin, arrived, left = _PACKET.unpack_from(packet)
    leap, mode = first >> 6, first & 7
    if mode != _SERVER_MODE or origin != cookie:
        raise NTPError("the answer is not to what was asked")
    if leap == _UNSYNCHRONISED or not 1 <= stratum <= _MAX_STRATUM or not left:
        raise NTPError("the server is not synchronised")
    there, back = _seconds(arrived, sent), _seconds(left, received)
    way = max(0.0, (received - sent) - (back - there))
    return Sample(
        offset=((there - sent) + (back - received)) / 2,
        error=way / 2 + (dispersion + delay / 2) / _SHORT,
        leap_due=leap in (1, 2),
    )


def agree(samples: Sequence[Sample], servers: int) -> Agreement:
    """The span in which most of the samples can be right (Marzullo). Raises NTPError when those are not more than half
    of ``servers``.
    """
    edges = sorted(edge for each in samples for edge in ((each.offset - each.error, -1), (each.offset + each.error, 1)))
    best = depth = 0
    low = high = 0.0
    for at, (offset, kind) in enumerate(edges):
        depth -= kind
        if depth > best:
            best, low, high = depth, offset, edges[at + 1][0]
    if 2 * best <= servers:
        raise NTPError(f"{best} of {servers} servers agree")
    leaps = sum(each.leap_due for each in samples)
    return Agreement(max(abs(low), abs(high)), 2 * leaps > len(samples))


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT`` or a bare IPv6 address."""
    bare, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or (":" in bare and not bare.endswith("]")):
        bare, port = address, str(PORT)
    return bare.removeprefix("[").removesuffix("]"), int(port)


async def query(address: str, clock: Clock) -> Sample:
    """Ask one server, ``HOST`` or ``HOST:PORT``. Raises NTPError."""
    host, port = split_address(address)
    cookie = secrets.randbits(64)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_TIMEOUT):
            transport, exchange = await loop.create_datagram_endpoint(
                lambda: _Exchange(loop.create_future(), clock),
                remote_addr=(host, port),
            )
            try:
                sent = clock.now()
                transport.sendto(encode_query(cookie))
                packet, received = await exchange.answer
            finally:
                transport.close()
    except TimeoutError:
        raise NTPError(f"{address} does not answer") from None
    except (OSError, UnicodeError) as error:  # no host can have such a name
        reason = getattr(error, "strerror", None) or error
        raise NTPError(f"{address} cannot be asked: {reason}") from None
    return decode_answer(packet, cookie, sent, received)


class _Exchange(asyncio.DatagramProtocol):
    """Waits for one datagram."""

    def __init__(self, answer: asyncio.Future[tuple[bytes, float]], clock: Clock) -> None:
        self.answer = answer
        self._clock = clock

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - the socket is connected
        """Take the first one."""
        if not self.answer.done():
            self.answer.set_result((data, self._clock.now()))

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there."""
        if not self.answer.done():
            self.answer.set_exception(exc)


def _seconds(stamp: int, near: float) -> float:
    """POSIX seconds of an NTP timestamp, in the era that puts it next to ``near`` (the first one ends in 2036)."""
    seconds = stamp / _FRACTION - _EPOCH
    return seconds + round((near - seconds) / _ERA) * _ERA
