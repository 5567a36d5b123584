"""What is in the tokens of a running server, unit by unit (RFC 3161 §2.4.2, RFC 5816, RFC 5652, EN 319 422, CSBR)."""

from __future__ import annotations

import hashlib
import json
import re
import time
from typing import TYPE_CHECKING

import pytest
from asn1crypto import cms, core, tsp
from asn1crypto import x509 as raw_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from dilithium_py.ml_dsa import ML_DSA_65
from pyasn1.codec.der import decoder, encoder
from pyasn1_alt_modules import rfc3161
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response
from strangers import certificate, load, run
from tsa_reader import check_der
from tsa_server import UNITS, Client, openssl_verify, path, query

from ca_store import der
from tsa.client import Query, encode_query, verify_reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server
    from tsa_reader import Opened

EVERY = pytest.mark.parametrize("unit", UNITS)
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
DIGEST_OIDS = {f"sha{bits}": f"2.16.840.1.101.3.4.2.{arc}" for arc, bits in enumerate((256, 384, 512), 1)}
OPENSSL = [name for name in UNITS if name not in ("ed25519", "ml-dsa")]
"""OpenSSL 3.0 verifies no EdDSA and no ML-DSA in CMS."""


@pytest.fixture
def client(tsa_server: Server) -> Iterator[Client]:
    with Client(tsa_server) as made:
        yield made


def published(client: Client, unit: str) -> dict[str, object]:
    """What ``GET /tsa/UNIT`` says."""
    client._connection.request("GET", path(unit))
    found: dict[str, object] = json.loads(client._connection.getresponse().read())
    return found


def chain(client: Client, unit: str) -> list[x509.Certificate]:
    """The unit's certificate, its issuer's, the root's."""
    pems = published(client, unit)["certificates"]
    assert isinstance(pems, list)
    return [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]


@EVERY
@pytest.mark.parametrize("imprint", ["sha256", "sha384", "sha512"])
def test_the_signature_is_over_the_attributes_and_every_digest_is_one(client: Client, unit: str, imprint: str) -> None:
    """The signer's digest has nothing to do with the imprint's, and is that of the certificate's signature."""
    kind = UNITS[unit]
    opened = client.token(query(imprint, certificates=True), path(unit))
    leaf = chain(client, unit)[0]
    info = opened.signer_info
    oid = DIGEST_OIDS[kind.digest]
    assert [each["algorithm"].dotted for each in opened.signed_data["digest_algorithms"]] == [oid]
    assert info["digest_algorithm"].dump() == der.sequence(der.oid(oid))
    content = bytes(opened.signed_data["encap_content_info"]["content"])
    assert opened.attribute("message_digest").native == hashlib.new(kind.digest, content).digest()
    assert leaf.signature_hash_algorithm is not None
    assert leaf.signature_hash_algorithm.name == kind.digest
    signed = info["signed_attrs"].untag().dump()
    assert signed[0] == 0x31
    verify(leaf, info["signature"].native, signed, kind.digest)
    parameters = info["signature_algorithm"].dump()
    assert parameters.endswith(der.NULL) is ("RSA" in kind.signature)
    assert opened.tst_info["message_imprint"]["hash_algorithm"]["algorithm"].native == imprint


def verify(leaf: x509.Certificate, signature: bytes, signed: bytes, digest: str) -> None:
    match leaf.public_key():
        case rsa.RSAPublicKey() as key:
            assert key.key_size >= 3072
            key.verify(signature, signed, padding.PKCS1v15(), HASHES[digest])
        case ec.EllipticCurvePublicKey() as key:
            key.verify(signature, signed, ec.ECDSA(HASHES[digest]))
        case ed25519.Ed25519PublicKey() | mldsa.MLDSA65PublicKey() as key:
            key.verify(signature, signed)
        case _:
            raise AssertionError("a key of another kind")


def test_a_stranger_verifies_ml_dsa(client: Client) -> None:
    """Pure ML-DSA-65 with an empty context (FIPS 204), in an implementation that shares no code with ours."""
    opened = client.token(query(certificates=True), "/tsa/ml-dsa")
    key = chain(client, "ml-dsa")[0].public_key()
    assert isinstance(key, mldsa.MLDSA65PublicKey)
    signed = opened.signer_info["signed_attrs"].untag().dump()
    signature = opened.signer_info["signature"].native
    assert len(signature) == 3309
    assert ML_DSA_65.verify(key.public_bytes_raw(), signed, signature)
    assert not ML_DSA_65.verify(key.public_bytes_raw(), signed + b"!", signature)
    assert not ML_DSA_65.verify(key.public_bytes_raw(), signed, signature, ctx=b"other")
    protection = next(
        each for each in opened.signer_info["signed_attrs"] if each["type"].dotted == "1.2.840.113549.1.9.52"
    )
    assert protection["values"][0].dump() == der.sequence(
        der.sequence(der.oid(DIGEST_OIDS["sha512"])), der.tlv(0xA1, der.oid("2.16.840.1.101.3.4.3.18"))
    )


@EVERY
def test_the_shape_of_signed_data(client: Client, unit: str) -> None:
    opened = client.token(query(certificates=True), path(unit))
    leaf = raw_x509.Certificate.load(chain(client, unit)[0].public_bytes(Encoding.DER))
    assert opened.signed_data["version"].native == "v3"
    assert opened.signed_data["encap_content_info"]["content_type"].dotted == "1.2.840.113549.1.9.16.1.4"
    content = opened.signed_data["encap_content_info"]["content"]
    assert (content.method, type(content).__name__) == (0, "ParsableOctetString")
    assert len(opened.signed_data["signer_infos"]) == 1
    assert isinstance(opened.signed_data["crls"], core.Void)
    info = opened.signer_info
    assert info["version"].native == "v1"
    assert isinstance(info["unsigned_attrs"], core.Void)
    sid = info["sid"].chosen
    assert (sid["issuer"].dump(), sid["serial_number"].native) == (leaf.issuer.dump(), leaf.serial_number)
    names = {each["type"].native for each in info["signed_attrs"]}
    expected = {"content_type", "message_digest", "signing_certificate_v2"}
    expected |= {"signing_certificate"} if unit == "v1" else set()
    expected |= {"cms_algorithm_protection"} if unit == "ml-dsa" else set()
    assert names == expected  # no signingTime: genTime is the time
    encoded = [each.dump() for each in info["signed_attrs"]]
    assert encoded == sorted(encoded)
    assert all(len(each["values"]) == 1 for each in info["signed_attrs"])
    assert opened.certificates == sorted(opened.certificates)
    assert all(each.name == "certificate" for each in opened.signed_data["certificates"])
    check_ess(opened, leaf, UNITS[unit].digest)


def check_ess(opened: Opened, leaf: raw_x509.Certificate, digest: str) -> None:
    """RFC 5816: the signer's certificate, first and alone, with issuerSerial as GeneralNames; defaults left out."""
    value = opened.attribute("signing_certificate_v2")
    assert len(value["certs"]) == 1
    ess = value["certs"][0]
    assert ess["cert_hash"].native == hashlib.new(digest, leaf.dump()).digest()
    written = ess.dump()[2:4] if len(ess.dump()) < 130 else ess.dump()[3:5]
    assert (written[0] == 0x30) is (digest != "sha256")
    assert ess["issuer_serial"]["issuer"].dump() == der.sequence(der.context(4, leaf.issuer.dump()))
    assert ess["issuer_serial"]["serial_number"].native == leaf.serial_number
    assert isinstance(value["policies"], core.Void)


def test_the_old_signing_certificate_stands_beside_the_new_one_by_choice(client: Client) -> None:
    opened = client.token(query(certificates=True), "/tsa/v1")
    leaf = chain(client, "v1")[0].public_bytes(Encoding.DER)
    old = opened.attribute("signing_certificate")
    assert [each["cert_hash"].native for each in old["certs"]] == [hashlib.sha1(leaf, usedforsecurity=False).digest()]


@EVERY
def test_the_content_says_what_it_must_and_no_more(client: Client, unit: str) -> None:
    for _ in range(20):
        before = time.time()
        info = client.token(query(nonce=der.integer(-5)), path(unit)).tst_info
        after = time.time()
        if after - before < 0.5:  # a busy machine says nothing of the accuracy
            break
    present = {name for name in info if not isinstance(info[name], core.Void)}
    # ordering FALSE and an absent tsa are not encoded: nothing names who asked.
    assert present - {"ordering"} == {
        "version", "policy", "message_imprint", "serial_number", "gen_time", "accuracy", "nonce",
    }  # fmt: skip
    assert b"\x01\x01\x00" not in info.dump()[-40:]
    assert info["version"].native == "v1"
    text = bytes(info["gen_time"].contents).decode()
    if unit == "etsi":
        assert re.fullmatch(r"\d{14}(\.\d{0,2}[1-9])?Z", text)
        assert info["accuracy"].dump() == bytes.fromhex("3003020101")
    else:
        assert re.fullmatch(r"\d{14}Z", text)
        assert info["accuracy"].dump() == bytes.fromhex("3003020102")
    moment = info["gen_time"].native.timestamp()
    granularity, accuracy = (0.001, 1) if unit == "etsi" else (1, 2)
    assert before - granularity <= moment <= after
    assert moment + accuracy >= after - 0.5
    serial = info["serial_number"].dump()
    assert (serial[:2], serial[2] & 0xC0) == (b"\x02\x0d", 0x40)
    assert info["nonce"].native == -5


def test_a_fraction_has_no_zeros_at_its_end(client: Client) -> None:
    """Of a few hundred tokens some fall on whole tenths."""
    texts = {bytes(client.token(query(), "/tsa/etsi").tst_info["gen_time"].contents).decode() for _ in range(60)}
    assert all(re.fullmatch(r"\d{14}(\.\d{0,2}[1-9])?Z", each) for each in texts)
    assert any("." in each for each in texts)


@EVERY
def test_encoding_a_token_again_is_the_identity(client: Client, unit: str) -> None:
    reply = client.post(query(certificates=True, nonce=der.integer(1 << 200)), path(unit))
    if unit != "ml-dsa":  # asn1crypto knows no such key
        check_der(reply)
    decoded, rest = decoder.decode(reply, asn1Spec=rfc3161.TimeStampResp())
    assert not rest
    assert encoder.encode(decoded) == reply


@pytest.mark.interop("openssl")
@pytest.mark.parametrize("unit", OPENSSL)
def test_openssl_verifies_the_token_and_its_file_is_one_message(
    tsa_server: Server, client: Client, unit: str, tmp_path: Path
) -> None:
    request, reply = tmp_path / "q.tsq", tmp_path / "r.tsr"
    run("openssl", "rand", "-out", tmp_path / "data", "1000")
    run("openssl", "ts", "-query", "-data", tmp_path / "data", "-sha512", "-cert", "-out", request)
    reply.write_bytes(client.post(request.read_bytes(), path(unit)))
    assert "Verification: OK" in openssl_verify(reply, request, tsa_server.home)
    again = run("openssl", "ts", "-reply", "-in", reply, "-text")
    assert "Status: Granted." in again
    assert "Ordering: no" in again


@pytest.mark.parametrize("unit", [name for name in UNITS if name not in ("ed25519", "ml-dsa")])
def test_rfc3161_client_verifies(client: Client, unit: str) -> None:
    data = b"what was there"
    request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True).build()
    response = decode_timestamp_response(client.post(request.as_bytes(), path(unit)))
    leaf, intermediate, root = chain(client, unit)
    builder = VerifierBuilder.from_request(request).add_root_certificate(root)
    verifier = builder.add_intermediate_certificate(intermediate).tsa_certificate(leaf).build()
    assert verifier.verify_message(response, data)


@EVERY
def test_our_own_client_believes_it_and_nothing_else(tsa_server: Server, client: Client, unit: str) -> None:
    asked = Query(hashlib.sha256(b"x").digest(), "sha256", 77)
    reply = client.post(encode_query(asked), path(unit))
    root = load(certificate(tsa_server.home, "root"))
    others = [load(certificate(tsa_server.home, "timestamp"))]
    assert abs(verify_reply(reply, asked, [root], others).gen_time - time.time()) < 30


@EVERY
def test_no_token_is_larger_than_published_and_sizes_hardly_differ(client: Client, unit: str) -> None:
    """The largest request there is: the longest digest with NULL, a nonce of 32 octets, a long policy."""
    largest = published(client, unit)["max_token_size"]
    assert isinstance(largest, int)
    imprint = "sha3_512" if unit == "sha3" else "sha512"
    policy = "0.4.0.2023.1.1" if unit == "etsi" else None
    sizes = set()
    for number in range(40 if unit == "ml-dsa" else 150):
        request = query(
            imprint,
            parameters=der.NULL,
            nonce=der.integer(-(1 << 256) + number),
            policy=policy,
            certificates=True,
            seed=number.to_bytes(4, "big"),
        )
        token = client.token(request, path(unit)).token
        assert token is not None
        sizes.add(len(token))
    assert max(sizes) <= largest
    assert largest - max(sizes) <= 12
    assert max(sizes) - min(sizes) <= (8 if unit == "etsi" else 4)


@EVERY
def test_the_units_certificate_keeps_the_profile(client: Client, unit: str) -> None:
    """RFC 3161 §2.3, EN 319 422 §6, CSBR §7.1.2.3 and §6.3.2."""
    leaf, issuer, _ = chain(client, unit)
    extensions = leaf.extensions
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert usage.critical
    assert list(usage.value) == [ExtendedKeyUsageOID.TIME_STAMPING]
    key_usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert key_usage.digital_signature
    assert (key_usage.key_cert_sign, key_usage.crl_sign) == (False, False)
    for attribute in (NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        assert len(leaf.subject.get_attributes_for_oid(attribute)) == 1
    policies = extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert "2.23.140.1.4.2" in {each.policy_identifier.dotted_string for each in policies}
    extensions.get_extension_for_class(x509.CRLDistributionPoints)
    extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days <= 135 * 31
    period = extensions.get_extension_for_class(x509.PrivateKeyUsagePeriod).value
    assert period.not_before is not None
    assert period.not_after is not None
    assert (period.not_after - period.not_before).days <= 15 * 31
    assert leaf.issuer == issuer.subject


def test_units_outside_the_baseline_requirements_say_so(client: Client) -> None:
    for unit in UNITS:
        document = published(client, unit)
        assert document["code_signing_baseline_requirements"] is (unit not in ("ed25519", "ml-dsa"))
        assert document["windows"] is (unit in ("rsa", "v1"))
    assert published(client, "rsa")["signature_algorithm"] == "sha256WithRSAEncryption"


def test_the_chain_may_sort_before_the_leaf_and_the_leaf_alone_can_be_had(client: Client) -> None:
    """Clients that take the first certificate for the signer's are served by a unit that sends no other."""
    leaf = chain(client, "leaf")[0].public_bytes(Encoding.DER)
    assert client.token(query(certificates=True), "/tsa/leaf").certificates == [leaf]
    every = [each.public_bytes(Encoding.DER) for each in chain(client, "root")]
    assert client.token(query(certificates=True), "/tsa/root").certificates == sorted(every)


def test_a_token_taken_out_of_its_reply_is_whole(client: Client, tmp_path: Path) -> None:
    """RFC 5126: it stands in an unsigned attribute by itself."""
    reply = client.post(query(certificates=True))
    token = client.token(query(certificates=True)).token
    assert token is not None
    loaded = cms.ContentInfo.load(token, strict=True)
    assert loaded["content_type"].native == "signed_data"
    assert tsp.TimeStampResp.load(reply, strict=True)["time_stamp_token"]["content_type"].native == "signed_data"
    (tmp_path / "token").write_bytes(token)
    assert "Time stamp" in run("openssl", "ts", "-reply", "-token_in", "-in", tmp_path / "token", "-text")
