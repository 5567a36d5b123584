"""Readers no one here wrote: openssl ts, rfc3161-client and pyasn1 take what the authority makes, offline."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyasn1.codec.der import decoder, encoder
from pyasn1_alt_modules import rfc3161
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response
from rfc3161_client.errors import VerificationError
from test_tsa_tokens import IMPRINTS, KEYS, make_request
from tsa_world import NOW, POLICY, World

from tsa.client import Query, encode_query, fresh_nonce
from tsa.settings import UnitSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tsa.settings import Chain
    from tsa.unit import Unit

DOCUMENT = b"a document\n"


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], check=False, capture_output=True, text=True, timeout=60)


def write_pem(path: Path, *certificates: bytes) -> Path:
    pem = (x509.load_der_x509_certificate(encoded).public_bytes(Encoding.PEM) for encoded in certificates)
    path.write_bytes(b"".join(pem))
    return path


def answer(world: World, unit: Unit, request: bytes) -> bytes:
    return asyncio.run(world.authority(unit).answer(request)).der


@pytest.mark.interop("openssl")
@pytest.mark.parametrize("options", [("-cert",), ("-no_nonce",), ("-cert", "-tspolicy", POLICY)], ids=" ".join)
@pytest.mark.parametrize("imprint", IMPRINTS)
@pytest.mark.parametrize(("key", "digest"), KEYS)
def test_openssl_verifies(tmp_path: Path, key: str, digest: str, imprint: str, options: tuple[str, ...]) -> None:
    world = World()
    unit = world.unit(key, digest)
    document, query, reply = (tmp_path / name for name in ("document", "query.tsq", "reply.tsr"))
    document.write_bytes(DOCUMENT)
    asked = openssl("ts", "-query", "-data", document, f"-{imprint}", *options, "-out", query)
    assert asked.returncode == 0, asked.stderr
    reply.write_bytes(answer(world, unit, query.read_bytes()))
    anchors: tuple[str | Path, ...] = ("-CAfile", write_pem(tmp_path / "root.pem", unit.certificates[-1]))
    if "-cert" not in options:
        anchors += ("-untrusted", write_pem(tmp_path / "others.pem", *unit.certificates[:-1]))
    verified = openssl("ts", "-verify", "-queryfile", query, "-in", reply, *anchors)
    assert "Verification: OK" in verified.stdout, verified.stderr
    against_data = openssl("ts", "-verify", "-data", document, "-in", reply, *anchors)
    assert "Verification: OK" in against_data.stdout, against_data.stderr
    document.write_bytes(DOCUMENT + b"!")
    altered = openssl("ts", "-verify", "-data", document, "-in", reply, *anchors)
    assert altered.returncode != 0


@pytest.mark.interop("openssl")
def test_openssl_prints_what_the_token_states(tmp_path: Path) -> None:
    world = World()
    reply = tmp_path / "reply.tsr"
    reply.write_bytes(answer(world, world.unit(), make_request(nonce=b"\x02\x01\x05")))
    lines = [line.strip() for line in openssl("ts", "-reply", "-in", reply, "-text").stdout.splitlines()]
    for line in (
        "Status: Granted.",
        "Status description: unspecified",
        f"Policy OID: {POLICY}",
        "Hash Algorithm: sha256",
        "Time stamp: Jul 25 17:20:00 2026 GMT",
        "Accuracy: 0x02 seconds, unspecified millis, unspecified micros",
        "Ordering: no",
        "Nonce: 0x05",
        "TSA: unspecified",
        "Extensions:",
    ):
        assert line in lines


@pytest.mark.interop("openssl")
def test_openssl_reads_a_refusal(tmp_path: Path) -> None:
    world = World()
    reply = tmp_path / "reply.tsr"
    query = Query(hashlib.sha256(DOCUMENT).digest(), "sha256", fresh_nonce(), policy="1.2.3.4")
    reply.write_bytes(answer(world, world.unit(), encode_query(query)))
    text = openssl("ts", "-reply", "-in", reply, "-text").stdout
    assert "Status: Rejected." in text
    assert "Status description: The policy asked for is not one of this unit's." in text
    assert "Failure info: the requested TSA policy is not supported by the TSA" in text


@pytest.mark.parametrize("certificates", ["leaf", "intermediates", "root"])
@pytest.mark.parametrize(("key", "digest"), KEYS)
def test_rfc3161_client_verifies(key: str, digest: str, certificates: Chain) -> None:
    world = World()
    unit = world.unit(key, digest, settings=UnitSettings(policy=POLICY, certificates=certificates))
    request = TimestampRequestBuilder().data(DOCUMENT).hash_algorithm(HashAlgorithm.SHA512).nonce(nonce=True).build()
    response = decode_timestamp_response(answer(world, unit, request.as_bytes()))
    builder = VerifierBuilder.from_request(request)
    leaf, intermediate, root = map(x509.load_der_x509_certificate, unit.certificates)
    verifier = (
        builder.add_root_certificate(root).add_intermediate_certificate(intermediate).tsa_certificate(leaf).build()
    )
    assert verifier.verify_message(response, DOCUMENT)
    assert response.tst_info.policy.dotted_string == POLICY
    assert response.tst_info.gen_time.timestamp() == NOW
    with pytest.raises(VerificationError):
        verifier.verify_message(response, DOCUMENT + b"!")


@pytest.mark.parametrize("certificates", [False, True])
@pytest.mark.parametrize(("key", "digest"), KEYS)
def test_pyasn1_writes_the_same_octets_again(key: str, digest: str, certificates: bool) -> None:
    world = World()
    reply = answer(world, world.unit(key, digest), make_request("sha384", certificates=certificates))
    decoded, rest = decoder.decode(reply, asn1Spec=rfc3161.TimeStampResp())
    assert rest == b""
    assert encoder.encode(decoded) == reply
