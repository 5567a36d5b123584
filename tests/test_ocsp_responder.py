"""What the responder answers."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
from typing import TYPE_CHECKING

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes import DAY, NOW, TINY, KeySigner, TinyCA, good
from hypothesis import given
from hypothesis import strategies as st
from ocsp_world import SERIAL, World, read, request_for

from ca_store import der
from ca_store.errors import KeyUnavailable, StoreUnavailable
from ca_store.gate import SigningGate
from ca_store.types import CertificateState, IssuerID, Reason, Status
from ocsp.directory import Directory
from ocsp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CRT_SH_PROBE = base64.b64decode(
    "MEQwQjBAMD4wPDAJBgUrDgMCGgUABBQAAAAAAAAAAAAAAAAAAAAAAAAAAAQUAAAAAAAAAAAAAAAAAAAAAAAAAAACAwP//A=="
)


def several(*requests: bytes) -> bytes:
    """The CertIDs of several requests in one."""
    members = [asn1_ocsp.OCSPRequest.load(each)["tbs_request"]["request_list"][0].dump() for each in requests]
    return der.sequence(der.sequence(der.sequence(*members)))


def with_serial(request: bytes, serial: int) -> bytes:
    """The same question about another serial, also one that no certificate can have."""
    (asked,) = asn1_ocsp.OCSPRequest.load(request)["tbs_request"]["request_list"]
    fields = asked["req_cert"]
    cert_id = der.sequence(
        *[fields[name].dump() for name in ("hash_algorithm", "issuer_name_hash", "issuer_key_hash")],
        der.integer(serial),
    )
    return der.sequence(der.sequence(der.sequence(der.sequence(cert_id))))


async def test_good() -> None:
    world = World()
    world.store.issue(TINY, SERIAL)
    answer = await world.responder.answer(request_for(world.ca))
    assert answer.outcome == "good"
    found = read(answer.der)
    assert (found.certificate_status.name, found.serial_number) == ("GOOD", SERIAL)
    assert answer.this_update == found.this_update_utc.timestamp() == found.produced_at_utc.timestamp()
    assert found.next_update_utc is not None
    assert answer.next_update == found.next_update_utc.timestamp()
    assert answer.fresh_until is not None
    assert NOW < answer.fresh_until <= NOW + 3600
    assert not answer.nonce


async def test_revoked() -> None:
    world = World()
    world.store.issue(TINY, SERIAL)
    world.store.revoke(TINY, SERIAL, NOW - 100, Reason.superseded)
    answer = await world.responder.answer(request_for(world.ca))
    assert answer.outcome == "revoked"
    found = read(answer.der)
    assert (found.certificate_status.name, found.revocation_reason) == ("REVOKED", x509.ReasonFlags.superseded)
    assert answer.this_update == NOW - 100


async def test_the_probe_of_crt_sh_is_unauthorized() -> None:
    answer = await World().responder.answer(CRT_SH_PROBE)
    assert (answer.outcome, answer.der.hex()) == ("unauthorized", "30030a0106")
    assert answer.this_update is answer.next_update is answer.fresh_until is None


async def test_a_serial_without_a_row_is_unauthorized() -> None:
    """BR §4.9.10: never good for a serial that is not assigned."""
    world = World()
    assert (await world.responder.answer(request_for(world.ca))).outcome == "unauthorized"


async def test_a_reserved_serial_is_not_assigned() -> None:
    world = World()
    world.store.commit(TINY, SERIAL, Status(CertificateState.RESERVED, NOW - 5, NOW + DAY))
    assert (await world.responder.answer(request_for(world.ca))).outcome == "unauthorized"
    world.store.commit(TINY, SERIAL, good(NOW))
    assert (await world.responder.answer(request_for(world.ca))).outcome == "good"


async def test_an_unassigned_serial_can_get_a_signed_unknown() -> None:
    """RFC 9919 §7.1: authoritative, so fresh for a while; BR §4.9.9: not for long. Kept by no worker."""
    world = World(settings=Settings(signed_unknown=True))
    request = request_for(world.ca)
    answer = await world.responder.answer(request)
    assert (answer.outcome, read(answer.der).certificate_status.name) == ("unknown", "UNKNOWN")
    assert answer.fresh_until is not None
    assert NOW < answer.fresh_until <= NOW + 300
    assert world.responder.cached(request) is None
    assert (await world.responder.answer(CRT_SH_PROBE)).outcome == "unauthorized"


@pytest.mark.parametrize("serial", [0, -1, -(1 << 159), 1 << 160, 1 << 2000])
async def test_a_serial_that_cannot_exist_is_unassigned(serial: int) -> None:
    """It costs no look-up, and among known ones its CertID goes back unchanged."""
    world = World()
    world.store.issue(TINY, SERIAL)
    known = request_for(world.ca)
    impossible = with_serial(known, serial)
    assert (await world.responder.answer(impossible)).outcome == "unauthorized"
    assert world.store.reads == 0
    answer = await world.responder.answer(several(known, impossible))
    assert [each.certificate_status.name for each in read(answer.der).responses] == ["GOOD", "UNKNOWN"]
    assert [each.serial_number for each in read(answer.der).responses] == [SERIAL, serial]


async def test_an_issuer_without_a_delegate_is_unauthorized() -> None:
    world = World()
    world.store.issue(TINY, SERIAL)
    world.responder.use(Directory([world.ca.issuer], []))
    assert (await world.responder.answer(request_for(world.ca))).outcome == "unauthorized"


async def test_one_serial_under_two_issuers() -> None:
    """Each issuer's own row, and its own delegate."""
    world = World()
    other = TinyCA(id=IssuerID(2), common_name="Other CA")
    world.responder.use(Directory([world.ca.issuer, other.issuer], [world.ca.delegate(), other.delegate()]))
    world.store.issue(TINY, SERIAL)
    world.store.issue(TINY, 7)
    world.store.issue(other.id, SERIAL)
    world.store.revoke(other.id, SERIAL)
    mine, others = [await world.responder.answer(request_for(ca)) for ca in (world.ca, other)]
    assert (mine.outcome, others.outcome) == ("good", "revoked")
    read(others.der).certificates[0].verify_directly_issued_by(other.certificate)
    assert (await world.responder.answer(request_for(other, 7))).outcome == "unauthorized"
    mixed = several(request_for(world.ca), request_for(other))
    assert (await world.responder.answer(mixed)).outcome == "unauthorized"
    foreign = several(request_for(world.ca), CRT_SH_PROBE)
    assert (await world.responder.answer(foreign)).outcome == "unauthorized"


async def test_several_are_answered_in_order() -> None:
    world = World()
    for serial in (1, 2):
        world.store.issue(TINY, serial)
    world.store.revoke(TINY, 2, NOW - 50)
    asked = [
        request_for(world.ca, 2),
        request_for(world.ca, 9),
        request_for(world.ca, 1),
        request_for(world.ca, 1, algorithm=hashes.SHA256()),
    ]
    answer = await world.responder.answer(several(*asked))
    found = list(read(answer.der).responses)
    assert [each.certificate_status.name for each in found] == ["REVOKED", "UNKNOWN", "GOOD", "GOOD"]
    assert [each.hash_algorithm.name for each in found] == ["sha1", "sha1", "sha1", "sha256"]
    assert answer.outcome == "several"
    latest = max(each.this_update_utc for each in found)
    assert read(answer.der).produced_at_utc == latest
    assert answer.this_update == latest.timestamp() == NOW - 50
    assert answer.next_update == min(each.next_update_utc.timestamp() for each in found if each.next_update_utc)


async def test_several_unassigned_are_unauthorized() -> None:
    world = World()
    asked = several(request_for(world.ca, 8), request_for(world.ca, 9))
    assert (await world.responder.answer(asked)).outcome == "unauthorized"


async def test_too_many_are_malformed() -> None:
    world = World(settings=Settings(cert_ids=2))
    asked = several(*[request_for(world.ca, serial) for serial in (1, 2, 3)])
    assert (await world.responder.answer(asked)).outcome == "malformedRequest"
    assert world.store.reads == 0


async def test_a_nonce_is_answered_now_and_kept_nowhere() -> None:
    """RFC 9654 §2.1; the times are those of this answer, not of a window."""
    world = World()
    world.store.issue(TINY, SERIAL)
    request = request_for(world.ca, nonce=b"n" * 32)
    answer = await world.responder.answer(request)
    found = read(answer.der)
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32
    assert found.produced_at_utc.timestamp() == found.this_update_utc.timestamp() == answer.this_update == NOW
    assert (answer.nonce, answer.fresh_until) == (True, None)
    assert world.responder.cached(request) is None
    plain = await world.responder.answer(request_for(world.ca))
    assert not plain.nonce
    assert list(read(plain.der).extensions) == []


@pytest.mark.parametrize(("strict", "outcome"), [(False, "good"), (True, "malformedRequest")])
async def test_the_nonce_limit_of_rfc_8954_is_a_choice(strict: bool, outcome: str) -> None:
    world = World(settings=Settings(nonce_limit_8954=strict))
    world.store.issue(TINY, SERIAL)
    assert (await world.responder.answer(request_for(world.ca, nonce=b"n" * 33))).outcome == outcome


async def test_a_database_that_cannot_be_asked_is_try_later() -> None:
    """Never unauthorized: that would say there is no such certificate."""
    world = World(settings=Settings(retry_after=7))
    world.store.fail_next(StoreUnavailable("gone"))
    answer = await world.responder.answer(request_for(world.ca))
    assert (answer.outcome, answer.der.hex(), answer.retry_after) == ("tryLater", "30030a0103", 7)
    assert answer.fresh_until is None


async def test_what_was_not_foreseen_is_an_internal_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.store.fail_next(RuntimeError("no one expected this"))
    with caplog.at_level(logging.ERROR, "ocsp"):
        answer = await world.responder.answer(request_for(world.ca))
    assert (answer.outcome, answer.der.hex(), answer.retry_after) == ("internalError", "30030a0102", None)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "no one expected this" in str(record.exc_info[1])


async def test_a_revocation_without_a_time_is_not_published(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.store.commit(TINY, SERIAL, good())
    world.store.commit(TINY, SERIAL, Status(CertificateState.REVOKED, NOW - 100, NOW + DAY))
    assert (await world.responder.answer(request_for(world.ca))).outcome == "internalError"
    assert len(caplog.records) == 1


async def test_a_key_that_is_gone_is_an_internal_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.store.issue(TINY, SERIAL)

    def sign(_: bytes) -> bytes:
        raise KeyUnavailable("the key is gone")

    monkeypatch.setattr(world.signer, "sign", sign)
    assert (await world.responder.answer(request_for(world.ca))).outcome == "internalError"
    assert "the key is gone" in caplog.text


async def test_a_new_directory_speaks_at_once() -> None:
    world = World()
    world.store.issue(TINY, SERIAL)
    request = request_for(world.ca)
    await world.responder.answer(request)
    world.responder.use(Directory([world.ca.issuer], [world.ca.delegate(serial=0xD2)]))
    assert world.responder.cached(request) is None
    answer = await world.responder.answer(request)
    assert read(answer.der).certificates[0].serial_number == 0xD2


OUTCOMES = {"good", "revoked", "several", "unauthorized", "malformedRequest"}
FUZZED = World()
FUZZED.store.issue(TINY, SERIAL)
SAMPLE = request_for(FUZZED.ca, nonce=b"n" * 32)


@given(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=0, max_size=3), st.integers(0, 3))
def test_any_octets_get_an_answer(at: int, inserted: bytes, removed: int) -> None:
    altered = SAMPLE[:at] + inserted + SAMPLE[at + removed :]
    answer = asyncio.run(FUZZED.responder.answer(altered))
    assert answer.outcome in OUTCOMES


class SlowSigner(KeySigner):
    """Signs when the test lets it."""

    def __init__(self) -> None:
        super().__init__(rsa.generate_private_key(65537, 2048))
        self.may_sign = threading.Event()

    def sign(self, data: bytes) -> bytes:
        assert self.may_sign.wait(30)
        return super().sign(data)


@pytest.fixture
def slow() -> Iterator[World]:
    """A world that signs with RSA, one at a time, and lets no one wait."""
    signer, gate = SlowSigner(), SigningGate(1, 0, 1)
    world = World(signer=signer, gate=gate)
    for serial in (SERIAL, 7):
        world.store.issue(TINY, serial)
    yield world
    signer.may_sign.set()
    gate.close()


def release(world: World) -> None:
    assert isinstance(world.signer, SlowSigner)
    world.signer.may_sign.set()


async def test_too_many_signatures_are_try_later(slow: World) -> None:
    first = asyncio.create_task(slow.responder.answer(request_for(slow.ca)))
    await asyncio.sleep(0)
    second = await slow.responder.answer(request_for(slow.ca, 7))
    assert (second.outcome, second.retry_after) == ("tryLater", 5)
    release(slow)
    assert (await first).outcome == "good"


async def test_equal_misses_share_one_signature(slow: World) -> None:
    request = request_for(slow.ca)
    tasks = [asyncio.create_task(slow.responder.answer(request)) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    release(slow)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {each.der for each in answers[1:] if not isinstance(each, BaseException)} == {(await tasks[1]).der}
    assert slow.signer.signatures == 1
    assert slow.store.reads == 5


async def test_a_client_that_goes_away_leaves_nothing_behind(slow: World) -> None:
    task = asyncio.create_task(slow.responder.answer(request_for(slow.ca)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not slow.responder._cache._leases
    release(slow)
    assert (await slow.responder.answer(request_for(slow.ca))).outcome == "good"
