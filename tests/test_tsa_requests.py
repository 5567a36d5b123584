"""What each request gets: the fixtures, byte for byte, and ten thousand broken ones."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tsa_reader import open_reply
from tsa_world import POLICY, World

from ca_store import der
from tsa.codec import decode_request
from tsa.errors import BadDataFormat, PKIFailureInfo, TSAError
from tsa.settings import UnitSettings

if TYPE_CHECKING:
    from tsa.authority import Authority

H = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
A = f"3031300d060960864801650304020105000420{H}"
V = "020101"
F1 = bytes.fromhex(f"3036{V}{A}")


class Case(NamedTuple):
    name: str
    request: str
    outcome: str
    nonce: str = ""
    certificates: bool = False


CASES = (
    Case("F1 base", f"3036{V}{A}", "granted"),
    Case("F2 parameters absent", f"3034{V}302f300b06096086480165030402010420{H}", "granted"),
    Case("F4 SHA-1", f"3026{V}3021300906052b0e03021a05000414{H[:40]}", "badAlg"),
    Case("F5 31 octets of SHA-256", f"3035{V}3030300d06096086480165030402010500041f{H[:62]}", "badDataFormat"),
    Case("F6 version 2", f"3036020102{A}", "badRequest"),
    Case("F7 nonce -128", f"3039{V}{A}020180", "granted", "020180"),
    Case("F8 nonce 0", f"3039{V}{A}020100", "granted", "020100"),
    Case("F9 nonce with high bit", f"3041{V}{A}020900ffffffffffffff00", "granted", "020900ffffffffffffff00"),
    Case("F10 nonce of 64 octets", f"3078{V}{A}0240{'7f' * 64}", "granted", f"0240{'7f' * 64}"),
    Case("F12 certReq TRUE", f"3039{V}{A}0101ff", "granted", certificates=True),
    Case("F13 certReq explicitly FALSE", f"3039{V}{A}010100", "granted"),
    Case("F15 another policy", f"303c{V}{A}06042a030463", "unacceptedPolicy"),
    Case("F16 extension", f"3042{V}{A}a00a300806022a0304020500", "unacceptedExtension"),
    Case("F17 critical extension", f"3045{V}{A}a00d300b06022a030101ff04020500", "unacceptedExtension"),
    Case("F19 empty SEQUENCE", "3000", "badDataFormat"),
    Case("F19 empty body", "", "badDataFormat"),
    Case("F19 HTML", b"<html><body>It works!</body></html>".hex(), "badDataFormat"),
    Case("F19 lengths of four octets", "3084" * 32768, "badDataFormat"),
    Case("the default policy by name", f"303d{V}{A}06058837985901", "granted"),
    Case("SHA-384 without parameters", f"3044{V}303f300b06096086480165030402020430{H}{H[:32]}", "granted"),
    Case("SHA-512 with NULL", f"3056{V}3051300d060960864801650304020305000440{H}{H}", "granted"),
    Case("32 octets called SHA-512", f"3036{V}3031300d060960864801650304020305000420{H}", "badDataFormat"),
    Case("MD5", f"3026{V}3020300c06082a864886f70d020505000410{H[:32]}", "badDataFormat"),
    Case("MD5, right lengths", f"3025{V}3020300c06082a864886f70d020505000410{H[:32]}", "badAlg"),
    Case("a digest no one knows", f"302c{V}3027300306012a0420{H}", "badAlg"),
    Case("SHA-256 with an INTEGER as parameter", f"3037{V}3032300e06096086480165030402010201010420{H}", "badAlg"),
    Case("SHA-256 with two parameters", f"3038{V}3033300f0609608648016503040201050005000420{H}", "badDataFormat"),
    Case("algorithm that is no OID", f"302c{V}3027300302012a0420{H}", "badDataFormat"),
    Case("certReq TRUE as other BER", f"3039{V}{A}010101", "granted", certificates=True),
    Case("certReq explicitly FALSE after a nonce", f"303c{V}{A}020105010100", "granted", "020105"),
    Case("certReq of two octets", f"303a{V}{A}0102ffff", "badDataFormat"),
    Case("certReq of no octet", f"3038{V}{A}0100", "badDataFormat"),
    Case("outer length not minimal", f"308136{V}{A}", "granted"),
    Case("outer length indefinite", f"3080{V}{A}0000", "granted"),
    Case("imprint length not minimal", f"3037{V}308131{A[4:]}", "badDataFormat"),
    Case("imprint length indefinite", f"3038{V}3080{A[4:]}0000", "badDataFormat"),
    Case("imprint as a SET", f"3036{V}31{A[2:]}", "badDataFormat"),
    Case("algorithm as a SET", f"3036{V}3031310d{A[8:]}", "badDataFormat"),
    Case("nonce not minimal", f"303a{V}{A}02020001", "badDataFormat"),
    Case("negative nonce not minimal", f"303a{V}{A}0202ff80", "badDataFormat"),
    Case("nonce not minimal beside BER", f"303d{V}{A}02020001010100", "badDataFormat"),
    Case("nonce of no octet", f"3038{V}{A}0200", "badDataFormat"),
    Case("version not minimal", f"303702020001{A}", "badDataFormat"),
    Case("version missing", f"3033{A}", "badDataFormat"),
    Case("policy arc not minimal", f"303d{V}{A}06042a800304010100"[:-6], "badDataFormat"),
    Case("extensions empty", f"3038{V}{A}a000", "badDataFormat"),
    Case("extensions empty beside BER", f"303b{V}{A}010100a000", "badDataFormat"),
    Case("extension beside BER", f"3045{V}{A}010100a00a300806022a0304020500", "unacceptedExtension"),
    Case("extension with explicit FALSE", f"3045{V}{A}a00d300b06022a0301010004020500", "unacceptedExtension"),
    Case("extension that is none", f"303d{V}{A}a0050503020100", "badDataFormat"),
    Case("trailing octet", f"3036{V}{A}00", "badDataFormat"),
    Case("FALSE before the version", f"3039010100{V}{A}", "badDataFormat"),
    Case("FALSE before the nonce", f"303c{V}{A}010100020105", "badDataFormat"),
    Case("FALSE twice", f"303c{V}{A}010100010100", "badDataFormat"),
    Case("FALSE and TRUE", f"303c{V}{A}0101000101ff", "badDataFormat"),
    Case("FALSE after the extensions", f"3045{V}{A}a00a300806022a0304020500010100", "badDataFormat"),
    Case("FALSE before an extension's OID", f"3045{V}{A}a00d300b01010006022a0304020500", "badDataFormat"),
    Case("critical FALSE twice", f"3048{V}{A}a010300e06022a0301010001010004020500", "badDataFormat"),
    Case("trailing octet after BER", f"3039{V}{A}01010000", "badDataFormat"),
    Case("unknown last field", f"3038{V}{A}a100", "badDataFormat"),
    Case("two requests", f"3036{V}{A}" * 2, "badDataFormat"),
    Case("cut in the middle", f"3036{V}{A}"[:60], "badDataFormat"),
    Case("a long nonce", f"308210ab{V}{A}02821071{'7f' * 4209}", "granted", f"02821071{'7f' * 4209}"),
    Case("a long nonce beside BER", f"308210ae{V}{A}02821071{'7f' * 4209}010100", "badDataFormat"),
    Case("a long policy beside BER", "30820bc4" + V + A + "06820b86" + "81" * 2949 + "01" + "010100", "badDataFormat"),
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return World().authority()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_each_request_gets_its_answer(case: Case, authority: Authority) -> None:
    request = bytes.fromhex(case.request)
    reply = await authority.answer(request)
    assert reply.outcome == case.outcome
    opened = open_reply(reply.der)
    if case.outcome != "granted":
        assert (opened.status, opened.token) == (2, None)
        assert opened.fail_info == PKIFailureInfo[case.outcome].encoded.hex()
        assert opened.text.isascii()
        assert opened.text.endswith(".")
        return
    assert (opened.status, opened.fail_info, opened.text) == (0, "", "")
    info = opened.tst_info
    assert (b"" if info["nonce"].native is None else info["nonce"].dump()).hex() == case.nonce
    assert info["message_imprint"].dump() in request
    assert info["policy"].dotted == POLICY
    assert bool(opened.certificates) is case.certificates


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("badAlg", "03020780"),
        ("badRequest", "03020520"),
        ("badDataFormat", "03020204"),
        ("timeNotAvailable", "0303010002"),
        ("unacceptedPolicy", "0303000001"),
        ("unacceptedExtension", "030407000080"),
        ("addInfoNotAvailable", "030406000040"),
        ("systemFailure", "03050600000040"),
    ],
)
def test_fail_info_is_a_named_bit_list_in_der(name: str, encoded: str) -> None:
    assert PKIFailureInfo[name].encoded.hex() == encoded
    assert len(PKIFailureInfo) == 8


async def test_the_refusal_of_a_weak_digest_says_what_to_use(authority: Authority) -> None:
    reply = await authority.answer(bytes.fromhex(CASES[2].request))
    assert open_reply(reply.der).text == "SHA-1 is not accepted here. Use SHA-256, SHA-384, SHA-512."


async def test_ten_thousand_nonces_come_back_octet_for_octet(authority: Authority) -> None:
    chance = random.Random(3161)
    for number in range(10_000):
        octets = (
            chance.randbytes(chance.randint(1, 64)) if number % 5 else chance.choice((b"\0", b"\x7f", b"\x80", b"\xff"))
        )
        nonce = der.integer(int.from_bytes(octets, "big", signed=True))
        request = decode_request(der.sequence(bytes.fromhex(V + A), nonce))
        assert request.nonce == nonce


def _mutated(chance: random.Random) -> bytes:
    octets = bytearray(bytes.fromhex(chance.choice(CASES[:14]).request))
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(octets))
        match chance.randrange(4):
            case 0:
                octets[place] ^= 1 << chance.randrange(8)
            case 1:
                octets[place] = chance.choice((0x00, 0x01, 0x05, 0x30, 0x7F, 0x80, 0x81, 0x84, 0xA0, 0xFF))
            case 2:
                del octets[place : place + chance.randint(1, 4)]
            case _:
                octets[place:place] = chance.randbytes(chance.randint(1, 4))
        octets = octets or bytearray(b"\x30")
    return bytes(octets)


def test_no_octets_raise_anything_but_bad_data_format() -> None:
    chance = random.Random(2025)
    read = 0
    for _ in range(10_000):
        request = _mutated(chance)
        try:
            decoded = decode_request(request)
        except BadDataFormat:
            continue
        read += 1
        assert decoded.algorithm + der.octet_string(decoded.digest) in request
        assert decoded.nonce in request
    assert read > 100


async def test_mutated_requests_get_a_token_for_their_own_imprint_or_a_refusal(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(5816)
    outcomes = set()
    for _ in range(1_000):
        request = _mutated(chance)
        reply = await authority.answer(request)
        outcomes.add(reply.outcome)
        opened = open_reply(reply.der)
        if opened.token is not None:
            assert opened.tst_info["message_imprint"].dump() in request
    assert outcomes == {"granted", "badAlg", "badRequest", "badDataFormat", "unacceptedPolicy", "unacceptedExtension"}
    assert not caplog.records


@pytest.mark.parametrize("name", ["sha3_256", "sha3_384", "sha3_512"])
async def test_sha3_imprints_where_the_unit_takes_them(name: str) -> None:
    world = World()
    arc = {"sha3_256": 8, "sha3_384": 9, "sha3_512": 10}[name]
    algorithm = der.sequence(der.oid(f"2.16.840.1.101.3.4.2.{arc}"))
    request = der.sequence(der.integer(1), der.sequence(algorithm, der.octet_string(bytes(int(name[-3:]) // 8))))
    refused = await world.authority().answer(request)
    assert refused.outcome == "badAlg"
    unit = world.unit(settings=UnitSettings(policy=POLICY, digests=(name,)))
    assert (await world.authority(unit).answer(request)).outcome == "granted"
    assert (await world.authority(unit).answer(F1)).outcome == "badAlg"


def test_every_refusal_has_a_bit_of_its_own() -> None:
    classes = TSAError.__subclasses__()
    assert len({cls.fail_info for cls in classes}) == len(classes)
