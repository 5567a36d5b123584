"""The time-stamp authority: bytes in, bytes out (RFC 3161)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ca_store.contracts import SerialBlockStore, StatusStore
from ca_store.errors import SigningOverload, StoreUnavailable
from tsa.authenticode import NotAuthenticode
from tsa.authenticode import decode_request as decode_authenticode
from tsa.clock import ClockGuard
from tsa.codec import decode_request, encode_rejection
from tsa.errors import SystemFailure, TSAError, UnknownUnit
from tsa.serials import SerialAllocator
from tsa.settings import ClockSettings
from tsa.standing import Standing
from tsa.unit import describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ca_store.clock import Clock
    from ca_store.gate import SigningGate
    from tsa.clock import ClockFault
    from tsa.codec import TimeStampRequest
    from tsa.settings import Settings
    from tsa.token_log import TokenLog
    from tsa.unit import AuthenticodeUnit, SigningUnit, Unit, UnitDescription

log = logging.getLogger(__name__)

GRANTED = "granted"
_MILLI: Final = 1000
_INTERNAL: Final = "The authority has an internal fault."


class Store(StatusStore, SerialBlockStore, Protocol):
    """What the authority needs of the CA database."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One TimeStampResp."""

    der: bytes
    outcome: str
    """``granted`` or the name of the failInfo bit: a small fixed set, fit for a metric label."""


@dataclass(slots=True, eq=False)
class _Desk:
    """A unit at work: its serials, and why it must not issue."""

    unit: Unit
    serials: SerialAllocator
    known: bool = False
    fault: str | None = None


class Authority:
    """Answers requests for one or more units; ``default`` names the unit of requests that name none.

    Units with one subject name share one space of serials (RFC 3161 §2.4.2). A unit issues only while the
    rows of its certificate and of the CAs above it are known to be good. Call ``check_revocation`` at every change of
    status; a request reads them itself when that has not been done for ``revocation_max_age`` seconds.
    """

    def __init__(
        self,
        *,
        units: Mapping[str, Unit],
        default: str,
        authenticode: AuthenticodeUnit | None = None,
        store: Store,
        gate: SigningGate,
        clock: Clock,
        settings: Settings,
        clock_settings: ClockSettings | None = None,
        token_log: TokenLog | None = None,
    ) -> None:
        self._default = default
        self._store = store
        self._gate = gate
        self.token_log = token_log
        self._clock = clock
        self._settings = settings
        self.clock_guard = ClockGuard(clock, clock_settings or ClockSettings())
        self._standing = Standing(store, clock, settings.revocation_max_age, settings.retry_pause)
        self._allocators: dict[bytes, SerialAllocator] = {}
        self._desks: dict[str, _Desk] = {}
        self._authenticode: AuthenticodeUnit | None = None
        self.use(units, authenticode)

    @property
    def default(self) -> str:
        """The name of the unit of requests that name none."""
        return self._default

    @property
    def names(self) -> Sequence[str]:
        """Every unit that answers RFC 3161, the default first."""
        return [self._default, *(name for name in self._desks if name != self._default)]

    @property
    def countersigns(self) -> bool:
        """Whether a unit answers Authenticode's own protocol."""
        return self._authenticode is not None

    def use(self, units: Mapping[str, Unit], authenticode: AuthenticodeUnit | None = None) -> None:
        """Replace the units. Raises UnknownUnit when the default is not among them."""
        if self._default not in units:
            raise UnknownUnit(f"there is no time-stamping unit {self._default!r}, which is to be the default")
        self._desks = {name: _Desk(unit, self._allocator(unit.tsa_name)) for name, unit in units.items()}
        self._authenticode = authenticode
        self._judge()

    async def check_revocation(self) -> None:
        """Read the rows of every unit's certificate and of the CAs above it. A unit with one that is not good answers
        systemFailure until it is good again. Raises StoreUnavailable, and then goes by what was known before.
        """
        await self._standing.refresh(self._units())
        self._judge()

    def check_clock(self) -> ClockFault | None:
        """What is wrong with the clock, for the most demanding unit."""
        return self.clock_guard.check(min(unit.slack for unit in self._units()))

    def describe(self, unit: str | None = None) -> UnitDescription:
        """What clients are told about a unit. Raises UnknownUnit."""
        return describe(self._desk(unit).unit)

    async def answer(self, request: bytes, unit: str | None = None) -> Reply:
        """The TimeStampResp to one request: a token, or a rejection that says why. Raises UnknownUnit, and
        SigningOverload when the client should come back later; nothing else.
        """
        desk = self._desk(unit)
        try:
            return Reply(await self._issue(desk, decode_request(request)), GRANTED)
        except TSAError as refusal:
            return _rejection(refusal)
        except SigningOverload:
            raise
        except StoreUnavailable:
            return _rejection(SystemFailure("The authority's database cannot be reached."))
        except Exception:
            log.exception("a time-stamp request failed")
            return _rejection(SystemFailure(_INTERNAL))

    async def countersign(self, body: bytes) -> bytes:
        """The reply to a request of Authenticode's own protocol, as its HTTP body. Raises UnknownUnit where no unit is
        for it, NotAuthenticode, SigningOverload, and TSAError or StoreUnavailable when none can be made at present.
        """
        try:
            return await self._countersign(body)
        except (UnknownUnit, NotAuthenticode, SigningOverload, TSAError, StoreUnavailable):
            raise
        except Exception:
            log.exception("a request for a countersignature failed")
            raise SystemFailure(_INTERNAL) from None

    async def _countersign(self, body: bytes) -> bytes:
        unit = self._authenticode
        if unit is None:
            raise UnknownUnit("no unit answers Authenticode's own time-stamp protocol")
        content = decode_authenticode(body)
        if self._standing.stale or not self._standing.known(unit):
            await self._standing.ensure(self._units())
            self._judge()
        fault = self._standing.fault(unit)
        if fault is not None:
            raise SystemFailure(fault)
        if self.token_log is not None:
            self.token_log.check()
        signing_time = self._time(unit)
        prepared = unit.template.prepare(content, signing_time // _MILLI)
        signature = await self._gate.sign(unit.signer, prepared.attributes)
        self.clock_guard.check_covers(signing_time / _MILLI, unit.settings.accuracy_seconds)
        if self.token_log is not None:
            await self.token_log.committed(self.token_log.append(prepared.attributes))
        return unit.template.reply(prepared, signature)

    async def close(self) -> None:
        """Stop what runs in the background."""
        for allocator in self._allocators.values():
            await allocator.close()

    async def _issue(self, desk: _Desk, request: TimeStampRequest) -> bytes:
        """The reply with a token. A serial is taken only once the request is known to be in order."""
        unit = desk.unit
        policy, imprint = unit.policy.check(request)
        if self._standing.stale or not desk.known:
            await self._standing.ensure(self._units())
            self._judge()
        if desk.fault is not None:
            raise SystemFailure(desk.fault)
        token_log = self.token_log
        if token_log is not None:
            token_log.check()
        serial = await desk.serials.take()
        # RFC 3161 §2.4.2: genTime is the time of creation, so the clock is read after all that may wait but the key.
        gen_time = self._time(unit)
        template = unit.template
        unsigned = template.prepare(policy, imprint, serial, gen_time, request.nonce)
        message = template.to_be_signed(unsigned)
        signer = unit.signer
        signature = await self._gate.sign(signer, message)
        self.clock_guard.check_covers(gen_time / _MILLI, unit.settings.accuracy_seconds)
        if token_log is not None:
            await token_log.committed(token_log.append(unsigned.tst_info))
        return template.reply(unsigned, signature, certificates=request.certificates)

    def _time(self, unit: SigningUnit) -> int:
        """POSIX milliseconds. Raises TimeNotAvailable and SystemFailure."""
        time = unit.cut(self.clock_guard.read(unit.slack))
        if not unit.begins <= time < unit.ends:
            raise SystemFailure("The certificate or the key of this unit is outside its period of use.")
        return time

    def _units(self) -> list[SigningUnit]:
        units: list[SigningUnit] = [desk.unit for desk in self._desks.values()]
        return units if self._authenticode is None else [*units, self._authenticode]

    def _desk(self, unit: str | None) -> _Desk:
        name = self._default if unit is None else unit
        desk = self._desks.get(name)
        if desk is None:
            raise UnknownUnit(f"there is no time-stamping unit {name!r}")
        return desk

    def _allocator(self, tsa_name: bytes) -> SerialAllocator:
        allocator = self._allocators.get(tsa_name)
        if allocator is None:
            settings = self._settings
            allocator = SerialAllocator(self._store, tsa_name, self._clock, settings.serial_block, settings.retry_pause)
            self._allocators[tsa_name] = allocator
        return allocator

    def _judge(self) -> None:
        for desk in self._desks.values():
            desk.known = self._standing.known(desk.unit)
            desk.fault = self._standing.fault(desk.unit)


def _rejection(refusal: TSAError) -> Reply:
    return Reply(encode_rejection(refusal), refusal.fail_info.name)
