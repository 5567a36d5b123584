"""What a running server answers to each request (RFC 3161 §2.4.1, §2.4.2)."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from asn1crypto import core
from test_tsa_requests import CASES, F1, Case
from tsa_reader import check_der, open_reply
from tsa_server import ETSI_POLICY, POLICY, UNITS, Client, path, query

from ca_store import der
from tsa.settings import KNOWN_DIGESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from running_server import Server

DEMO_POLICY = "2.999.3161.1"
FAIL_INFO = {
    "badAlg": "03020780",
    "badRequest": "03020520",
    "badDataFormat": "03020204",
    "unacceptedPolicy": "0303000001",
    "unacceptedExtension": "030407000080",
}
MUTATIONS = 1200


@pytest.fixture
def client(tsa_server: Server) -> Iterator[Client]:
    with Client(tsa_server) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_request_gets_its_answer(client: Client, case: Case) -> None:
    """The fixtures F1 to F19, and their whole kinds."""
    request = bytes.fromhex(case.request)
    if case.outcome == "granted":
        opened = client.token(request)
        nonce = opened.tst_info["nonce"]
        assert (nonce.dump().hex() if not isinstance(nonce, core.Void) else "") == case.nonce
        assert bool(opened.certificates) is case.certificates
    else:
        opened = client.refusal(request)
        assert opened.fail_info == FAIL_INFO[case.outcome]
        assert opened.text.endswith(".")
        assert opened.text.count(".") <= 3


def test_the_imprint_comes_back_octet_for_octet(client: Client) -> None:
    for unit in ("sha3", "rsa"):
        for imprint in KNOWN_DIGESTS if unit == "sha3" else ("sha256", "sha384", "sha512"):
            for parameters in (b"", der.NULL):
                request = query(imprint, parameters=parameters, seed=b"document")
                sent = core.Sequence.load(request)[1].dump()
                assert client.token(request, path(unit)).tst_info["message_imprint"].dump() == sent


def test_minimal_integers_come_back_and_others_are_refused(client: Client) -> None:
    """Ten thousand nonces of 1 to 64 octets, of either sign."""
    chooser = random.Random(3161)
    refused = 0
    for _ in range(10_000):
        contents = chooser.randbytes(chooser.randint(1, 64))
        if chooser.random() < 0.2:
            contents = chooser.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) + contents
        nonce = der.tlv(der.INTEGER, contents)
        minimal = len(contents) == 1 or contents[:1] not in (b"\x00", b"\xff") or (contents[0] ^ contents[1]) & 0x80
        reply = client.post(query(nonce=nonce), "/tsa/p256")
        if minimal:
            # accuracy { seconds 2 } stands in front of it and the end of the TSTInfo behind it.
            assert reply.count(b"\x30\x03\x02\x01\x02" + nonce + b"\xa0\x82") + reply.count(
                b"\x30\x03\x02\x01\x02" + nonce + b"\x31"
            )
        else:
            refused += 1
            assert open_reply(reply).fail_info == FAIL_INFO["badDataFormat"]
    assert refused > 500


def test_policies_are_the_units_own(client: Client) -> None:
    assert client.token(query()).tst_info["policy"].dotted == DEMO_POLICY
    assert client.token(query(policy=DEMO_POLICY)).tst_info["policy"].dotted == DEMO_POLICY
    assert client.token(query(), "/tsa/etsi").tst_info["policy"].dotted == POLICY
    assert client.token(query(policy=ETSI_POLICY), "/tsa/etsi").tst_info["policy"].dotted == ETSI_POLICY
    for other in ("1.2.3.4.99", ETSI_POLICY, "2.999.3161.2", "1.2"):
        assert client.refusal(query(policy=other)).fail_info == FAIL_INFO["unacceptedPolicy"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("certificates", [False, True])
def test_certificates_are_there_exactly_when_asked_for(client: Client, unit: str, certificates: bool) -> None:
    opened = client.token(query(certificates=certificates), path(unit))
    expected = 0 if not certificates else {"leaf": 1, "root": 3}.get(unit, 2)
    assert len(opened.certificates) == expected


def test_a_rejection_is_readable_der_without_a_token(client: Client) -> None:
    for request in (b"0\x00", query(policy="1.2.3"), F1[:-1]):
        reply = client.post(request)
        check_der(reply)
        assert open_reply(reply).token is None
        assert core.Sequence.load(reply, strict=True)[0][0].native == 2
    # statusString is a UTF8String, which OpenJDK insists on.
    assert b"\x0c" in client.post(b"0\x00")


def test_a_granted_reply_says_nothing_but_zero(client: Client) -> None:
    assert client.post(query())[:9].hex()[-10:] == "3003020100"


def test_the_refusal_of_a_weak_digest_says_what_to_use(client: Client) -> None:
    sha1 = bytes.fromhex("302602010130213009" + "06052b0e03021a0500" + "0414" + "00" * 20)
    assert client.refusal(sha1).text == "SHA-1 is not accepted here. Use SHA-256, SHA-384, SHA-512."


def test_mutated_requests_harm_nobody(tsa_server: Server, client: Client) -> None:
    """Each is answered with a token for its own imprint, or refused; the same workers go on."""
    workers = tsa_server.worker_pids()
    chooser = random.Random(5)
    granted = 0
    for _ in range(MUTATIONS):
        request = bytearray(F1)
        for _ in range(chooser.randint(1, 3)):
            at = chooser.randrange(len(request))
            match chooser.randrange(3):
                case 0:
                    request[at] = chooser.randrange(256)
                case 1:
                    del request[at]
                case _:
                    request.insert(at, chooser.randrange(256))
        reply = client.post(bytes(request), "/tsa/p256")
        if client.status == 400:  # it happens to begin like base64
            assert request.lstrip(b" \t\r\n\0")[:1] == b"M"
            client._connection.close()
            continue
        assert client.status == 200
        opened = open_reply(reply)
        if opened.status == 0:
            granted += 1
            assert opened.tst_info["message_imprint"].dump() in bytes(request)
        else:
            assert opened.fail_info in FAIL_INFO.values()
    assert granted > 50
    assert tsa_server.worker_pids() == workers
    assert not re.search("Traceback", tsa_server.log.read_text())


def test_large_bodies_are_refused_and_small_lies_about_length_too(client: Client) -> None:
    for body in (b"\x30\x84" * 600_000, bytes(1 << 20)):
        try:
            client.post(body)
        except (BrokenPipeError, ConnectionResetError):
            continue  # told before the body was sent
        finally:
            client._connection.close()
        assert client.status == 413
    assert client.refusal(b"\x30\x84\xff\xff\xff\xff").fail_info == FAIL_INFO["badDataFormat"]
