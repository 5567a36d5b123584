"""A bounded slice of ``make fuzz``: mutants of real clients' requests, the same in every run, and what fuzzing found.

What holds for each is in ``fuzz_targets`` and ``fuzz_checks``.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import pytest
from countersignatures import REQUEST_OID
from fuzz_targets import make_target, mutator
from fuzz_wire import WireFuzzer, check_log, fuzz_settings, resources
from issuance_world import copy_home
from running_server import running_server, until

from ca_store import der
from tsa.authenticode import NotAuthenticode, decode_request

if TYPE_CHECKING:
    from pathlib import Path

SLICES: Final = {"ocsp": 3_000, "tsa": 3_000, "authenticode": 2_000, "path": 4_000}
WIRE, HEADS = 1_500, 400
"""Through the socket, twice: bodies and paths; headers."""
SPARE_DESCRIPTORS: Final = 2
"""A thread of the server may have one open just then."""
MIB: Final = 1 << 20
LEAST: Final = 0.005
"""The share of mutants that are still requests; without them nothing but the refusals would be tested."""


@pytest.mark.parametrize("name", SLICES)
def test_mutants_get_an_answer_about_what_they_ask_or_a_refusal(name: str, caplog: pytest.LogCaptureFixture) -> None:
    target = make_target(name)
    mutants = mutator(target, 6960)
    for number in range(SLICES[name]):
        octets = mutants.next()
        try:
            target.check(octets)
        except Exception as error:
            error.add_note(f"mutant {number}: {octets[:4096].hex()}")
            raise
    target.close()
    assert target.answered > SLICES[name] * LEAST
    assert caplog.text == ""


def test_mutants_are_the_same_in_every_run() -> None:
    target = make_target("path")
    first, second, other = (mutator(target, number) for number in (1, 1, 2))
    made = [[each.next() for _ in range(200)] for each in (first, second, other)]
    assert made[0] == made[1] != made[2]


def _nested(levels: int) -> bytes:
    octets = der.NULL
    for _ in range(levels):
        octets = der.sequence(octets)
    return octets


def _signed_data(content: bytes, signers: bytes = der.tlv(der.SET)) -> bytes:
    return der.sequence(
        der.integer(3), der.tlv(der.SET), der.sequence(der.oid("1.2.840.113549.1.9.16.1.4"), content), signers
    )


def _older_request(signed_data: bytes) -> bytes:
    content = der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, signed_data))
    return der.sequence(der.oid(REQUEST_OID), content)


FOUND: Final = {
    "a SignedData that is deeper than Python's stack": _older_request(_signed_data(_nested(1100))),
    "a TSTInfo whose tsa is a name that asn1crypto cannot read": bytes.fromhex(
        "308191060030818c06092a864886f70d010702a07f307d020031003075060b2a864886f70d0109100104a06604643062020101060588"
        "379859013031300d060960864801650304020105000420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e"
        "1f020d74bf29bd58556d585f00000000180f32303236303732353137323030305a88030201023100"
    ),
}
"""DER of Authenticode's older protocol that once got HTTP 503, and a traceback into the log."""


@pytest.mark.parametrize("encoded", FOUND.values(), ids=FOUND)
def test_what_was_found_in_the_older_protocol_is_refused(encoded: bytes) -> None:
    with pytest.raises(NotAuthenticode):
        decode_request(base64.b64encode(encoded))


def test_mutants_through_the_socket_get_no_fault_and_leave_nothing_behind(pristine_home: Path, tmp_path: Path) -> None:
    """No HTTP 5xx, no word in the log, and no memory or descriptor that is not given back."""
    home = copy_home(pristine_home, tmp_path)
    (home / "responders.toml").write_text(fuzz_settings(home))
    with running_server(home, 2) as server:
        fuzzer = WireFuzzer(server, 3161)
        fuzzer.bodies_and_paths(WIRE)
        fuzzer.heads(HEADS)
        until(lambda: server.metric("responders_connections") == 0, "connections are left over")
        before = [resources(pid) for pid in server.worker_pids()]
        fuzzer.bodies_and_paths(WIRE)
        fuzzer.heads(HEADS)
        until(lambda: server.metric("responders_connections") == 0, "connections are left over")
        after = [resources(pid) for pid in server.worker_pids()]
        check_log(server.log.read_text())
        assert server.metric("responders_worker_restarts_total") == 0
    found = fuzzer.findings
    assert found.sent >= 2 * (WIRE + HEADS)
    assert found.signed > 2 * WIRE * LEAST
    assert {200, 400, 408, 0} <= found.statuses.keys()
    for was, now in zip(before, after, strict=True):
        assert now.descriptors <= was.descriptors + SPARE_DESCRIPTORS
        assert now.resident < was.resident * 1.1 + MIB
