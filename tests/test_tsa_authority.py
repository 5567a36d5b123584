"""When an authority issues and when it does not: standing, period, clock, store, key, load."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from countersignatures import lines, request
from test_tsa_requests import F1
from tsa_reader import open_reply
from tsa_world import NOW, POLICY, MemorySigner, Profile, World, issue, key

from ca_store.errors import KeyUnavailable, SigningOverload, StoreUnavailable
from ca_store.gate import SigningGate
from ca_store.types import CertificateState
from tsa.errors import SystemFailure, UnknownUnit
from tsa.settings import ClockSettings, Settings, UnitSettings
from tsa.unit import load_authenticode_unit

if TYPE_CHECKING:
    from ca_store.types import IssuerID, Status
    from tsa.authority import Authority, Reply
    from tsa.unit import Row


async def outcome(authority: Authority) -> str:
    reply = await authority.answer(F1)
    assert (open_reply(reply.der).token is not None) is (reply.outcome == "granted")
    return reply.outcome


def gen_time(reply: Reply) -> int:
    return int(open_reply(reply.der).tst_info["gen_time"].native.timestamp())


def set_state(world: World, row: Row, state: CertificateState) -> None:
    world.store.put(row.issuer, row.serial, state)


@pytest.mark.parametrize("position", [0, 1, 2], ids=["its own", "the CA's", "the root's"])
async def test_a_revoked_certificate_on_the_path_stops_the_unit_until_it_is_good(position: int) -> None:
    world = World()
    unit = world.unit()
    authority = world.authority(unit)
    assert await outcome(authority) == "granted"
    set_state(world, unit.rows[position], CertificateState.REVOKED)
    await authority.check_revocation()
    reply = await authority.answer(F1)
    assert reply.outcome == "systemFailure"
    assert open_reply(reply.der).text == f"The certificate of {unit.rows[position].name} is revoked."
    set_state(world, unit.rows[position], CertificateState.GOOD)
    await authority.check_revocation()
    assert await outcome(authority) == "granted"


async def test_a_revocation_does_not_move_requests_to_another_unit() -> None:
    world = World()
    first, second = world.unit("p256"), world.unit("p384", "sha384")
    authority = world.authority(first, second)
    set_state(world, first.rows[0], CertificateState.REVOKED)
    await authority.check_revocation()
    assert await outcome(authority) == "systemFailure"
    assert (await authority.answer(F1, "p384")).outcome == "granted"


@pytest.mark.parametrize("missing", [True, False], ids=["no row", "reserved"])
async def test_a_certificate_that_is_not_known_to_be_good_does_not_sign(missing: bool) -> None:
    world = World()
    unit = world.unit()
    row = unit.rows[0]
    if missing:
        del world.store.rows[row.issuer, row.serial]
    else:
        set_state(world, row, CertificateState.RESERVED)
    assert await outcome(world.authority(unit)) == "systemFailure"


async def test_a_revocation_before_the_first_request_is_seen_without_being_told() -> None:
    world = World()
    unit = world.unit()
    set_state(world, unit.rows[0], CertificateState.REVOKED)
    assert await outcome(world.authority(unit)) == "systemFailure"


async def test_what_was_known_holds_while_the_store_is_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    world = World()
    authority = world.authority()
    assert await outcome(authority) == "granted"
    world.store.unavailable = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await authority.check_revocation()
    assert await outcome(authority) == "granted"
    assert len(caplog.records) == 1


async def test_what_was_known_holds_no_longer_than_set(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    authority = world.authority(settings=Settings(revocation_max_age=5.0))
    assert await outcome(authority) == "granted"
    world.store.unavailable = True
    world.clock.step(5)
    assert await outcome(authority) == "granted"
    world.clock.step(1)
    readings = world.store.readings
    for _ in range(10):
        assert await outcome(authority) == "systemFailure"
    assert world.store.readings == readings + 1
    assert len(caplog.records) == 1
    world.store.unavailable = False
    world.clock.step(1)
    assert await outcome(authority) == "granted"


async def test_a_revocation_no_one_told_of_is_seen_when_the_reading_is_old() -> None:
    world = World()
    unit = world.unit()
    authority = world.authority(unit, settings=Settings(revocation_max_age=5.0))
    assert await outcome(authority) == "granted"
    set_state(world, unit.rows[0], CertificateState.REVOKED)
    world.clock.step(6)
    assert await outcome(authority) == "systemFailure"


async def test_an_older_reading_never_overwrites_a_newer_one() -> None:
    world = World()
    unit = world.unit()
    authority = world.authority(unit)
    await authority.check_revocation()
    gate = asyncio.Event()
    read, calls = world.store.status, 0

    async def slow_first(issuer: IssuerID, serial: int, *, as_heard: bool = False) -> Status:
        nonlocal calls
        calls += 1
        status = await read(issuer, serial)
        if calls == len(unit.rows):
            await gate.wait()
        return status

    world.store.status = slow_first  # type: ignore[method-assign]  # a store that hangs at the worst moment
    older = asyncio.create_task(authority.check_revocation())
    await asyncio.sleep(0)
    assert calls == len(unit.rows)
    for row in unit.rows:
        set_state(world, row, CertificateState.REVOKED)
    newer = asyncio.create_task(authority.check_revocation())
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(older, newer)
    assert await outcome(authority) == "systemFailure"


async def test_without_a_store_from_the_start_nothing_is_issued(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    authority = world.authority()
    world.store.unavailable = True
    for _ in range(3):
        assert await outcome(authority) == "systemFailure"
    assert len(caplog.records) == 1
    world.store.unavailable = False
    world.clock.step(1)
    assert await outcome(authority) == "granted"


async def test_when_serials_run_out_the_reply_is_a_rejection_told_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    authority = world.authority(settings=Settings(serial_block=2))
    assert await outcome(authority) == "granted"
    world.store.unavailable = True
    replies = [await outcome(authority) for _ in range(5)]
    assert replies[-3:] == ["systemFailure"] * 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    world.store.unavailable = False
    world.clock.step(1)
    assert await outcome(authority) == "granted"


async def test_units_of_one_subject_share_one_space_of_serials() -> None:
    world = World()
    profile = Profile(subject="TSA")
    old, new = world.unit("p256", profile=profile), world.unit("p384", "sha384", profile=profile)
    other = world.unit("rsa-3072")
    authority = world.authority(old, new, other)
    for name in ("p256", "p384", "rsa-3072", "p256"):
        assert (await authority.answer(F1, name)).outcome == "granted"
    assert {name: len(blocks) for name, blocks in world.store.blocks.items()} == {old.tsa_name: 1, other.tsa_name: 1}


async def test_serials_go_on_where_they_were_when_units_are_replaced() -> None:
    world = World()
    authority = world.authority()
    serials = []
    for _ in range(3):
        serials.append(int(open_reply((await authority.answer(F1)).der).tst_info["serial_number"]))
        authority.use({"p256": world.unit()})
    assert serials == [serials[0], serials[0] + 1, serials[0] + 2]


async def test_both_ends_of_the_period_to_the_second() -> None:
    world = World()
    start, end = (dt.datetime.fromtimestamp(NOW + offset, dt.UTC) for offset in (-10, 10))
    authority = world.authority(world.unit(profile=Profile(not_before=start, not_after=end)))
    for at, expected in ((-10.0, "granted"), (10.99, "granted"), (11.0, "systemFailure")):
        world.clock.come(NOW + at)
        assert await outcome(authority) == expected
    world.clock.come(NOW - 10.5)
    fresh = world.authority(world.unit(profile=Profile(not_after=end)))
    assert await outcome(fresh) == "granted"


async def test_nothing_before_the_period() -> None:
    world = World()
    start = dt.datetime.fromtimestamp(NOW - 1, dt.UTC)
    authority = world.authority(world.unit(profile=Profile(not_before=start)))
    world.clock.come(NOW - 1.001)
    assert await outcome(authority) == "systemFailure"
    world.clock.come(NOW - 1.0)
    assert await outcome(authority) == "granted"


async def test_nothing_after_the_private_keys_usage_period() -> None:
    world = World()
    authority = world.authority(world.unit(profile=Profile(key_until=dt.datetime.fromtimestamp(NOW + 1, dt.UTC))))
    assert await outcome(authority) == "granted"
    world.clock.step(1)
    assert await outcome(authority) == "granted"
    world.clock.step(1)
    assert await outcome(authority) == "systemFailure"


async def test_gen_time_is_cut_and_never_rounded_up() -> None:
    world = World()
    authority = world.authority()
    for fraction in (0.0, 0.001, 0.5, 0.999):
        world.clock.come(NOW + 1 + fraction)
        assert gen_time(await authority.answer(F1)) == NOW + 1


async def test_a_clock_set_back_stops_issuance_until_it_has_caught_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    world = World()
    authority = world.authority(clock_settings=ClockSettings(settle_seconds=0))
    world.clock.come(NOW + 10.0)
    assert await outcome(authority) == "granted"
    for back in (9.8, 8.0, 9.0, 9.89):
        world.clock.time = NOW + back
        reply = await authority.answer(F1)
        assert reply.outcome == "timeNotAvailable"
        assert open_reply(reply.der).fail_info == "0303010002"
    world.clock.time = NOW + 9.95  # within the tolerance: the last genTime again, never an earlier one
    assert gen_time(await authority.answer(F1)) == NOW + 10
    world.clock.time = NOW + 11.0
    assert gen_time(await authority.answer(F1)) == NOW + 11
    told = [record.getMessage().split(":")[0] for record in caplog.records]
    assert [each for each in told if not each.startswith("the clock was set by")] == [
        "no time-stamps",
        "the clock is good again",
    ]


class SlowKey(MemorySigner):
    """A key that takes its time: the clock moves while it signs."""

    world: World
    takes: float

    @property
    def slow(self) -> bool:
        return True

    def sign(self, data: bytes) -> bytes:
        self.world.clock.time += self.takes
        self.world.clock.ticks += max(0.0, self.takes)
        return super().sign(data)


def slow_authority(takes: float) -> Authority:
    world = World()
    signer = SlowKey(key("p256"))
    object.__setattr__(signer, "world", world)
    object.__setattr__(signer, "takes", takes)
    return world.authority(world.unit(signer=signer))


@pytest.mark.parametrize("takes", [1.7, 60.0])
async def test_a_token_that_waited_longer_than_its_accuracy_allows_is_not_sent(takes: float) -> None:
    authority = slow_authority(takes)
    with pytest.raises(SigningOverload):
        await authority.answer(F1)


async def test_a_clock_set_back_during_the_signature_is_noticed() -> None:
    assert await outcome(slow_authority(-0.5)) == "timeNotAvailable"


async def test_a_signature_within_the_accuracy_is_sent() -> None:
    assert await outcome(slow_authority(1.6)) == "granted"


class LostKey(MemorySigner):
    def sign(self, data: bytes) -> bytes:
        raise KeyUnavailable(f"no key for {len(data)} octets")


async def test_a_key_that_fails_is_a_system_failure_with_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    reply = await world.authority(world.unit(signer=LostKey(key("p256")))).answer(F1)
    assert reply.outcome == "systemFailure"
    assert open_reply(reply.der).text == "The authority has an internal fault."
    assert caplog.records[0].exc_info is not None


async def test_a_key_that_fails_is_a_system_failure_for_the_older_protocol_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    lost = LostKey(key("rsa-3072"))
    certificate = issue("rsa-3072", key("rsa-3072").public_key(), "sha256", Profile())
    unit = load_authenticode_unit(
        "authenticode",
        UnitSettings(protocol="authenticode"),
        world.credential("authenticode", certificate),
        [ca.issuer for ca in world.chain],
        lost,
        int(world.clock.now()),
    )
    authority = world.authority()
    authority.use({"p256": world.unit()}, unit)
    with pytest.raises(SystemFailure, match="internal fault"):
        await authority.countersign(lines(request()))
    assert caplog.records[0].exc_info is not None


async def test_more_rsa_requests_than_the_gate_takes_are_refused_at_once() -> None:
    world = World(gate=SigningGate(in_flight=1, waiters=1, deadline=10.0))
    authority = world.authority(world.unit("rsa-3072"))
    await authority.answer(F1)
    results = await asyncio.gather(*(authority.answer(F1) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, SigningOverload) for result in results) == 6
    assert [result.outcome for result in results if not isinstance(result, BaseException)] == ["granted"] * 2


async def test_a_unit_that_is_not_there() -> None:
    world = World()
    authority = world.authority()
    with pytest.raises(UnknownUnit):
        await authority.answer(F1, "rsa")
    with pytest.raises(UnknownUnit):
        authority.describe("rsa")
    with pytest.raises(UnknownUnit, match="default"):
        authority.use({})
    assert await outcome(authority) == "granted"


async def test_new_units_are_checked_before_they_issue() -> None:
    world = World()
    authority = world.authority()
    assert await outcome(authority) == "granted"
    successor = world.unit()
    set_state(world, successor.rows[0], CertificateState.REVOKED)
    authority.use({"p256": successor})
    assert await outcome(authority) == "systemFailure"


def test_a_unit_describes_itself() -> None:
    world = World()
    unit = world.unit(settings=UnitSettings(policy=POLICY, policies=("2.999.5", POLICY), accuracy_seconds=3))
    description = world.authority(unit).describe()
    assert description == replace(description, name="p256", policy=POLICY, policies=(POLICY, "2.999.5"))
    assert (description.accuracy_seconds, description.signature_algorithm) == (3, "ecdsa-with-SHA256")
    assert description.certificates == unit.certificates
    assert description.digests == ("sha256", "sha384", "sha512")


async def test_closing_stops_a_reservation_under_way() -> None:
    world = World()
    authority = world.authority(settings=Settings(serial_block=1))
    assert await outcome(authority) == "granted"
    await authority.close()
    assert len(asyncio.all_tasks()) == 1
