"""The token itself (RFC 3161 §2.4.2, RFC 5816, RFC 5652, RFC 5035), as asn1crypto and cryptography read it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from asn1crypto import core
from asn1crypto import x509 as raw_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tsa_reader import Opened, check_der, open_reply
from tsa_world import NOW, POLICY, World

from ca_store import der
from tsa.settings import KNOWN_DIGESTS, UnitSettings

if TYPE_CHECKING:
    from tsa.authority import Authority
    from tsa.settings import Chain
    from tsa.unit import Unit

KEYS = (("rsa-3072", "sha256"), ("rsa-3072", "sha512"), ("p256", "sha256"), ("p384", "sha384"))
IMPRINTS = ("sha256", "sha384", "sha512")
LONG_POLICY = der.oid("2.999.1.2.3.4.99999.1")
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


def make_request(
    imprint: str = "sha256",
    *,
    policy: bytes = b"",
    parameters: bytes = b"",
    nonce: bytes = b"",
    certificates: bool = False,
    seed: bytes = b"",
) -> bytes:
    digest = hashlib.new(imprint, seed).digest()
    algorithm = der.sequence(der.oid(KNOWN_DIGESTS[imprint]), parameters)
    return der.sequence(
        der.integer(1),
        der.sequence(algorithm, der.octet_string(digest)),
        policy,
        nonce,
        der.TRUE if certificates else b"",
    )


def check_signature(opened: Opened, unit: Unit, digest: str) -> None:
    """RFC 5652 §5.4: over the signed attributes under the tag of SET OF, all digests the same."""
    key = x509.load_der_x509_certificate(unit.certificates[0]).public_key()
    info = opened.signer_info
    signed = info["signed_attrs"].untag().dump()
    assert signed[0] == 0x31
    signature = info["signature"].native
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PKCS1v15(), _HASHES[digest])
        assert info["signature_algorithm"].dump().endswith(der.NULL)
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, signed, ec.ECDSA(_HASHES[digest]))
        assert info["signature_algorithm"]["parameters"].native is None
    content = bytes(opened.signed_data["encap_content_info"]["content"])
    assert opened.attribute("message_digest").native == hashlib.new(digest, content).digest()


@pytest.mark.parametrize("imprint", IMPRINTS)
@pytest.mark.parametrize(("key", "digest"), KEYS)
async def test_signer_digest_does_not_depend_on_the_imprint(key: str, digest: str, imprint: str) -> None:
    world = World()
    unit = world.unit(key, digest)
    reply = await world.authority(unit).answer(make_request(imprint, certificates=True))
    opened = open_reply(reply.der)
    check_signature(opened, unit, digest)
    assert opened.tst_info["message_imprint"]["hash_algorithm"]["algorithm"].native == imprint
    digest_algorithm = der.sequence(der.oid(KNOWN_DIGESTS[digest]))
    assert opened.signer_info["digest_algorithm"].dump() == digest_algorithm
    assert opened.signed_data["digest_algorithms"].dump() == der.tlv(der.SET, digest_algorithm)
    assert unit.signer.algorithm.digest == digest


@pytest.mark.parametrize(("key", "digest"), KEYS)
async def test_signed_attributes(key: str, digest: str) -> None:
    world = World()
    unit = world.unit(key, digest)
    opened = open_reply((await world.authority(unit).answer(make_request())).der)
    attributes = opened.signer_info["signed_attrs"]
    assert [item["type"].native for item in attributes] == ["content_type", "message_digest", "signing_certificate_v2"]
    encodings = [item.dump() for item in attributes]
    assert encodings == sorted(encodings)
    assert opened.attribute("content_type").native == "tst_info"
    (named,) = opened.attribute("signing_certificate_v2")["certs"]
    leaf = raw_x509.Certificate.load(unit.certificates[0])
    assert named["cert_hash"].native == hashlib.new(digest, unit.certificates[0]).digest()
    # RFC 5035 §4: hashAlgorithm DEFAULT SHA-256 is left out in DER; GeneralNames holds [4] EXPLICIT Name.
    explicit = b"" if digest == "sha256" else der.sequence(der.oid(KNOWN_DIGESTS[digest]))
    general_names = der.sequence(der.tlv(0xA4, leaf.issuer.dump()))
    issuer_serial = der.sequence(general_names, der.integer(leaf.serial_number))
    assert named.dump() == der.sequence(explicit, named["cert_hash"].dump(), issuer_serial)


async def test_shape_of_a_token() -> None:
    world = World()
    unit = world.unit()
    reply = await world.authority(unit).answer(make_request(certificates=True))
    check_der(reply.der)
    assert reply.der[4:9].hex() == "3003020100"  # PKIStatusInfo: granted and nothing else
    opened = open_reply(reply.der)
    assert opened.signed_data["version"].native == "v3"
    assert opened.signed_data["encap_content_info"]["content_type"].native == "tst_info"
    info = opened.signer_info
    assert info["version"].native == "v1"
    leaf = raw_x509.Certificate.load(unit.certificates[0])
    assert info["sid"].chosen.dump() == der.sequence(leaf.issuer.dump(), der.integer(leaf.serial_number))
    tst = opened.tst_info
    assert (tst["version"].native, tst["policy"].dotted) == ("v1", POLICY)
    assert tst["gen_time"].contents == b"20260725172000Z"
    assert tst["gen_time"].native.timestamp() == NOW
    assert tst["accuracy"].dump().hex() == "3003020102"
    assert [tst[name].native for name in ("ordering", "nonce", "tsa", "extensions")] == [False, None, None, None]
    serial = tst["serial_number"]
    assert len(serial.contents) == 13
    assert 0x40 <= serial.contents[0] <= 0x7F


@pytest.mark.parametrize("certificates", ["leaf", "intermediates", "root"])
async def test_certificates_are_leaf_and_intermediates_sorted_and_only_when_asked(certificates: Chain) -> None:
    world = World()
    unit = world.unit(settings=UnitSettings(policy=POLICY, certificates=certificates))
    authority = world.authority(unit)
    opened = open_reply((await authority.answer(make_request(certificates=True))).der)
    assert opened.certificates == sorted(opened.certificates)
    among = {"leaf": unit.certificates[:1], "intermediates": unit.certificates[:-1], "root": unit.certificates}
    assert set(opened.certificates) == set(among[certificates])
    assert len(unit.certificates) == 3
    without = open_reply((await authority.answer(make_request())).der)
    assert isinstance(without.signed_data["certificates"], core.Void)


@pytest.mark.parametrize("parameters", [b"", der.NULL], ids=["absent", "NULL"])
@pytest.mark.parametrize("imprint", IMPRINTS)
async def test_the_imprint_comes_back_octet_for_octet(imprint: str, parameters: bytes) -> None:
    request = make_request(imprint, parameters=parameters)
    opened = open_reply((await World().authority().answer(request)).der)
    assert opened.tst_info["message_imprint"].dump() == der.contents(request)[3:]


async def test_every_policy_of_a_unit_can_be_asked_for_and_is_in_the_token() -> None:
    world = World()
    unit = world.unit(settings=UnitSettings(policy=POLICY, policies=("2.999.7", "1.2.3")))
    authority = world.authority(unit)
    for policy in (POLICY, "2.999.7", "1.2.3"):
        request = make_request(policy=der.oid(policy))
        assert open_reply((await authority.answer(request)).der).tst_info["policy"].dotted == policy


@pytest.fixture(scope="module")
def sized() -> dict[str, tuple[Unit, Authority]]:
    """Units with their authorities, made once: a property test asks them a hundred times."""
    world = World()
    longest = UnitSettings(policy=POLICY, policies=("1.2", "2.999.1.2.3.4.99999.1"), certificates="root")
    units = [
        world.unit(key, digest, settings=longest) for key, digest in KEYS if (key, digest) != ("rsa-3072", "sha512")
    ]
    return {unit.name: (unit, world.authority(unit)) for unit in units}


@pytest.mark.parametrize("key", ["rsa-3072", "p256", "p384"])
@settings(max_examples=60, deadline=None)
@given(
    imprint=st.sampled_from(IMPRINTS),
    parameters=st.sampled_from([b"", der.NULL]),
    nonce=st.integers(min_value=0, max_value=2**256 - 1),
    policy=st.sampled_from([b"", LONG_POLICY]),
)
def test_no_token_is_larger_than_published(
    sized: dict[str, tuple[Unit, Authority]], key: str, imprint: str, parameters: bytes, nonce: int, policy: bytes
) -> None:
    unit, authority = sized[key]
    request = make_request(
        imprint,
        policy=policy,
        parameters=parameters,
        nonce=der.integer(nonce),
        certificates=True,
        seed=str(nonce).encode(),
    )
    token = open_reply(asyncio.run(authority.answer(request)).der).token
    assert token is not None
    assert len(token) <= authority.describe(unit.name).max_token_size


@pytest.mark.parametrize(("key", "spread"), [("rsa-3072", 0), ("p256", 6), ("p384", 6)])
async def test_the_size_is_predictable(sized: dict[str, tuple[Unit, Authority]], key: str, spread: int) -> None:
    unit, authority = sized[key]
    rounds = 50 if unit.signer.slow else 1000
    sizes = set()
    for number in range(rounds):
        request = make_request(
            "sha512",
            parameters=der.NULL,
            nonce=b"\x02\x21\x00" + b"\xff" * 32,
            certificates=True,
            policy=LONG_POLICY,
            seed=str(number).encode(),
        )
        reply = await authority.answer(request)
        sizes.add(len(reply.der) - len(b"\x30\x82\x00\x00\x30\x03\x02\x01\x00"))
    assert max(sizes) - min(sizes) <= spread
    largest = authority.describe(unit.name).max_token_size
    assert max(sizes) == largest


async def test_a_longer_nonce_adds_its_length() -> None:
    authority = World().authority()
    base = await authority.answer(make_request(nonce=b"\x02\x20" + b"\x7f" * 32))
    longer = await authority.answer(make_request(nonce=b"\x02\x40" + b"\x7f" * 64))
    assert 26 <= len(longer.der) - len(base.der) <= 38
