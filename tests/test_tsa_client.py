"""The relying party believes nothing that was not checked: a good reply, and each way in which one can be wrong."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from asn1crypto import x509 as raw_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tsa_reader import OptionalTokenResp
from tsa_world import NOW, POLICY, MemorySigner, Profile, World, issue, key, make_ca

from ca_store import der
from ca_store.signing import ECDSA_SHA256, ECDSA_SHA384
from tsa.client import Query, encode_query, fresh_nonce, verify_reply
from tsa.errors import BadSignature, MalformedReply, Mismatch, NotGranted, PKIFailureInfo, ReplyError, WrongSigner
from tsa.settings import KNOWN_DIGESTS
from tsa.token import (
    ID_CT_TST_INFO,
    ID_SIGNING_CERTIFICATE_V2,
    SignerIdentity,
    TokenTemplate,
    Unsigned,
)

if TYPE_CHECKING:
    from collections.abc import Callable

QUERY = Query(hashlib.sha256(b"document").digest(), "sha256", fresh_nonce())
IMPRINT = der.sequence(der.sequence(der.oid(KNOWN_DIGESTS["sha256"])), der.octet_string(QUERY.digest))
NONCE = der.integer(QUERY.nonce or 0)
GEN_TIME = b"\x18\x0f20260725172000Z"
ANCHORS = [make_ca("root").certificate]


async def ask(query: Query = QUERY, name: str = "p256", digest: str = "sha256") -> bytes:
    world = World()
    return (await world.authority(world.unit(name, digest)).answer(encode_query(query))).der


def tst_info(
    version: int = 1,
    policy: str = POLICY,
    imprint: bytes = IMPRINT,
    gen_time: bytes = GEN_TIME,
    nonce: bytes = NONCE,
    accuracy: bytes = b"",
    rest: bytes = b"",
) -> bytes:
    serial = der.integer(0x1234)
    return der.sequence(der.integer(version), der.oid(policy), imprint, serial, gen_time, accuracy, nonce, rest)


@dataclass
class Forgery:
    """A reply that is whole but for one thing."""

    content: bytes = field(default_factory=tst_info)
    profile: Profile = field(default_factory=Profile)
    message_digest: bytes | None = None
    signing_key: str = "p256"
    named: str = "p256"
    """Whose certificate the ESSCertIDv2 names."""
    sid_serial: int | None = None
    attributes: Callable[[bytes], bytes] = bytes
    """What becomes of the signed attributes before they are signed."""

    def encode(self) -> bytes:
        certificate = self.certificate("p256")
        fields = raw_x509.Certificate.load(certificate)["tbs_certificate"]
        serial = fields["serial_number"].dump() if self.sid_serial is None else der.integer(self.sid_serial)
        named = certificate if self.named == "p256" else self.certificate(self.named)
        others = [certificate, make_ca("timestamp", "root").issuer.certificate]
        signer = MemorySigner(key(self.signing_key))
        template = TokenTemplate(SignerIdentity(named, fields["issuer"].dump(), serial), others, signer.algorithm, 2)
        unsigned = Unsigned(self.content, self.message_digest or hashlib.sha256(self.content).digest())
        honest = der.contents(template.to_be_signed(unsigned))
        attributes = self.attributes(honest)
        reply = template.reply(unsigned, signer.sign(der.tlv(der.SET, attributes)), certificates=True)
        return reply.replace(honest, attributes)

    def certificate(self, name: str) -> bytes:
        return issue(name, key(name).public_key(), "sha256", self.profile).public_bytes(Encoding.DER)


def moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


@pytest.mark.parametrize(("name", "digest"), [("rsa-3072", "sha256"), ("p256", "sha256"), ("p384", "sha384")])
async def test_a_good_reply(name: str, digest: str) -> None:
    stamp = verify_reply(await ask(name=name, digest=digest), QUERY, ANCHORS)
    assert (stamp.gen_time, stamp.policy, stamp.accuracy) == (NOW, POLICY, 2.0)
    assert stamp.signer == f"CN=Time-stamping unit {name},O=Example University,C=JP"
    assert stamp.serial.bit_length() == 103
    assert len(stamp.path) == 3
    assert stamp.token[0] == 0x30


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_without_nonce_and_with_a_policy(algorithm: str) -> None:
    query = Query(hashlib.new(algorithm, b"document").digest(), algorithm, None, POLICY)
    assert verify_reply(await ask(query), query, ANCHORS).policy == POLICY


async def test_certificates_may_come_from_elsewhere() -> None:
    world = World()
    unit = world.unit()
    query = replace(QUERY, certificates=False)
    reply = (await world.authority(unit).answer(encode_query(query))).der
    with pytest.raises(WrongSigner, match="not at hand"):
        verify_reply(reply, query, ANCHORS)
    others = [x509.load_der_x509_certificate(encoded) for encoded in unit.certificates[:-1]]
    assert verify_reply(reply, query, ANCHORS, others).serial


def test_an_untouched_forgery_is_good() -> None:
    stamp = verify_reply(Forgery().encode(), QUERY, ANCHORS)
    assert (stamp.serial, stamp.accuracy) == (0x1234, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"\x18\x1320260725172000.123Z", NOW + 0.123), (b"\x18\x1120260725172000.5Z", NOW + 0.5)],
)
def test_fractions_of_others_are_read(text: bytes, seconds: float) -> None:
    assert verify_reply(Forgery(tst_info(gen_time=text)).encode(), QUERY, ANCHORS).gen_time == pytest.approx(seconds)


def test_every_unit_of_accuracy_is_read() -> None:
    accuracy = bytes.fromhex("3009020101800201f4810101")
    stamp = verify_reply(Forgery(tst_info(accuracy=b"\x30\x0a" + accuracy[2:])).encode(), QUERY, ANCHORS)
    assert stamp.accuracy == pytest.approx(1.500001)


def other_content_type(attributes: bytes) -> bytes:
    return attributes.replace(der.oid(ID_CT_TST_INFO), der.oid(ID_CT_TST_INFO[:-1] + "5"))


def other_issuer_serial(attributes: bytes) -> bytes:
    return attributes[:-1] + bytes((attributes[-1] ^ 1,))


def no_signing_certificate(attributes: bytes) -> bytes:
    return attributes.replace(der.oid(ID_SIGNING_CERTIFICATE_V2), der.oid(ID_SIGNING_CERTIFICATE_V2[:-1] + "8"))


CRITICAL = bytes.fromhex("a10d300b06022a030101ff04020500")
WRONG: tuple[tuple[str, Forgery, type[ReplyError], str], ...] = (
    ("other imprint", Forgery(tst_info(imprint=IMPRINT[:-1] + b"\0")), Mismatch, "imprint"),
    (
        "other algorithm",
        Forgery(tst_info(imprint=IMPRINT.replace(b"\x04\x02\x01", b"\x04\x02\x08"))),
        Mismatch,
        "imprint",
    ),
    ("other nonce", Forgery(tst_info(nonce=der.integer(5))), Mismatch, "nonce"),
    ("no nonce", Forgery(tst_info(nonce=b"")), Mismatch, "nonce"),
    ("version 2", Forgery(tst_info(version=2)), MalformedReply, "version"),
    ("critical extension", Forgery(tst_info(rest=CRITICAL)), MalformedReply, "critical"),
    ("genTime with .0", Forgery(tst_info(gen_time=b"\x18\x1120260725172000.0Z")), MalformedReply, "genTime"),
    ("genTime without seconds", Forgery(tst_info(gen_time=b"\x18\x0d202607251720Z")), MalformedReply, "genTime"),
    ("genTime without zone", Forgery(tst_info(gen_time=b"\x18\x0e20260725172000")), MalformedReply, "genTime"),
    ("no date", Forgery(tst_info(gen_time=b"\x18\x0f20261325172000Z")), MalformedReply, "read"),
    ("messageDigest of something else", Forgery(message_digest=bytes(32)), BadSignature, "messageDigest"),
    ("another key's signature", Forgery(signing_key="p256/thief"), BadSignature, "signature"),
    ("RSA signature under an EC certificate", Forgery(signing_key="rsa-3072"), BadSignature, "signatureAlgorithm"),
    ("sid names another serial", Forgery(sid_serial=5), WrongSigner, "different certificates"),
    ("attribute names another certificate", Forgery(named="p256/twin"), WrongSigner, "different certificates"),
    ("contentType of something else", Forgery(attributes=other_content_type), MalformedReply, "contentType"),
    ("issuerSerial of another", Forgery(attributes=other_issuer_serial), WrongSigner, "issuerSerial"),
    ("no signingCertificate", Forgery(attributes=no_signing_certificate), MalformedReply, "signingCertificate"),
    ("EKU not critical", Forgery(profile=Profile(critical=False)), WrongSigner, "extKeyUsage"),
    ("no digitalSignature", Forgery(profile=Profile(digital_signature=False)), WrongSigner, "keyUsage"),
    ("a CA", Forgery(profile=Profile(ca=True)), WrongSigner, "basicConstraints"),
    ("expired at genTime", Forgery(profile=Profile(not_after=moment(NOW - 1))), WrongSigner, "notAfter"),
    ("not valid yet at genTime", Forgery(profile=Profile(not_before=moment(NOW + 1))), WrongSigner, "notBefore"),
)


@pytest.mark.parametrize(("forgery", "error", "word"), [pytest.param(*case[1:], id=case[0]) for case in WRONG])
def test_wrong_replies(forgery: Forgery, error: type[ReplyError], word: str) -> None:
    with pytest.raises(error, match=word):
        verify_reply(forgery.encode(), QUERY, ANCHORS)


def test_an_attribute_that_occurs_twice() -> None:
    response = OptionalTokenResp.load(Forgery().encode())
    attributes = response["time_stamp_token"]["content"]["signer_infos"][0]["signed_attrs"]
    attributes.append(attributes[0].copy())
    with pytest.raises(MalformedReply, match="exactly one"):
        verify_reply(response.dump(force=True), QUERY, ANCHORS)


def test_digests_that_do_not_agree() -> None:
    before, sha256, signature = Forgery().encode().rpartition(ECDSA_SHA256.identifier)
    assert len(sha256) == len(ECDSA_SHA384.identifier)
    with pytest.raises(MalformedReply, match="agree"):
        verify_reply(before + ECDSA_SHA384.identifier + signature, QUERY, ANCHORS)


def test_another_policy_than_asked_for() -> None:
    with pytest.raises(Mismatch, match="policy"):
        verify_reply(Forgery().encode(), replace(QUERY, policy="2.999.9"), ANCHORS)


async def test_another_anchor() -> None:
    with pytest.raises(WrongSigner):
        verify_reply(await ask(), QUERY, [make_ca("stranger").certificate])


async def test_a_refusal_says_what_the_authority_said() -> None:
    query = replace(QUERY, policy="2.999.9")
    with pytest.raises(NotGranted) as refusal:
        verify_reply(await ask(query), query, ANCHORS)
    assert (refusal.value.status, refusal.value.fail_info) == (2, (PKIFailureInfo.unacceptedPolicy,))
    assert str(refusal.value) == (
        "the authority refused (unacceptedPolicy): The policy asked for is not one of this unit's."
    )


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", MalformedReply),
        (b"<html>", MalformedReply),
        (bytes.fromhex("30053003020100"), MalformedReply),
        (bytes.fromhex("30053003020103"), NotGranted),
        (bytes.fromhex("3005300302010000"), MalformedReply),
        (bytes.fromhex("3010") + bytes.fromhex("3003020100") + bytes.fromhex("300906072a864886f70d01"), MalformedReply),
    ],
    ids=["empty", "HTML", "granted without token", "waiting", "trailing octet", "another content"],
)
def test_replies_without_a_token(reply: bytes, error: type[ReplyError]) -> None:
    with pytest.raises(error):
        verify_reply(reply, QUERY, ANCHORS)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # a mutated certificate may well have a negative one
async def test_mutated_replies_are_refused_or_say_the_same() -> None:
    reply = await ask()
    good = verify_reply(reply, QUERY, ANCHORS)
    chance = random.Random(5652)
    refused = 0
    for _ in range(1500):
        octets = bytearray(reply)
        place = chance.randrange(len(octets))
        match chance.randrange(3):
            case 0:
                octets[place] ^= 1 << chance.randrange(8)
            case 1:
                del octets[place : place + chance.randint(1, 3)]
            case _:
                octets[place:place] = chance.randbytes(chance.randint(1, 3))
        try:
            stamp = verify_reply(bytes(octets), QUERY, ANCHORS)
        except ReplyError:
            refused += 1
        else:
            assert replace(stamp, token=b"", path=()) == replace(good, token=b"", path=())
    assert refused > 1300


def test_nonces_are_fresh_positive_and_of_one_length() -> None:
    nonces = {fresh_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert {nonce.bit_length() for nonce in nonces} == {65}
