"""What is read out of an OCSPRequest, and that nothing else is."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from asn1crypto import algos, core
from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ObjectIdentifier, OCSPNonce
from cryptography.x509 import ocsp as x509_ocsp
from hypothesis import given
from hypothesis import strategies as st

from ca_store import der
from ca_store.der import contents
from ocsp.codec import Request, decode_request
from ocsp.errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

SHA1 = der.sequence(der.oid("1.3.14.3.2.26"), der.NULL)
NAME, KEY = b"\x11" * 20, b"\x22" * 20
NONCE = "1.3.6.1.5.5.7.48.1.2"
ACCEPTABLE = "1.3.6.1.5.5.7.48.1.4"
PREFERRED = "1.3.6.1.5.5.7.48.1.8"
SERVICE_LOCATOR = "1.3.6.1.5.5.7.48.1.7"

# crt.sh's monitor asks every responder this: serial 03FFFC under an issuer whose hashes are all zero.
CRT_SH_PROBE = base64.b64decode(
    "MEQwQjBAMD4wPDAJBgUrDgMCGgUABBQAAAAAAAAAAAAAAAAAAAAAAAAAAAQUAAAAAAAAAAAAAAAAAAAAAAAAAAACAwP//A=="
)
# Sent by a client of Let's Encrypt in 2015; its base64 has slashes side by side.
DOUBLE_SLASH = base64.b64decode(
    "MFQwUjBQME4wTDAJBgUrDgMCGgUABBQ55F6w46hhx/o6OXOHa+Yfe32YhgQU+3hPEvlgFYMsnxd/NBmzLjbqQYkCEwD6Wh0MaVKu9gJ3By9DI//xsd4="
)
# A nonce extension as a client sent it.
NONCE_EXTENSION = bytes.fromhex(
    "302f06092b060105050730010204220420dd49d4072c449da1c317bd1c1bdffedbe150312ec4cd0add18e5bd6f84bf14c8"
)


def cert_id(serial: int = 5, algorithm: bytes = SHA1, name: bytes = NAME, key: bytes = KEY) -> bytes:
    return der.sequence(algorithm, der.octet_string(name), der.octet_string(key), der.integer(serial))


def extension(oid: str, value: bytes, critical: bytes = b"") -> bytes:
    return der.sequence(der.oid(oid), critical, der.octet_string(value))


def request(*cert_ids: bytes, extensions: Sequence[bytes] = (), before: bytes = b"", after: bytes = b"") -> bytes:
    """An OCSPRequest; ``before`` stands in front of the requestList, ``after`` behind the tbsRequest."""
    members = der.context(2, der.sequence(*extensions)) if extensions else b""
    requests = der.sequence(*[der.sequence(each) for each in cert_ids])
    return der.sequence(der.sequence(before, requests, members), after)


def decode(encoded: bytes) -> Request:
    return decode_request(encoded, cert_ids=32, nonce=128)


def test_the_request_of_the_crt_sh_monitor() -> None:
    (asked,) = decode(CRT_SH_PROBE).cert_ids
    assert (asked.serial, asked.name_hash, asked.key_hash) == (0x03FFFC, bytes(20), bytes(20))
    assert asked.algorithm == ObjectIdentifier("1.3.14.3.2.26")
    assert asked.encoded in CRT_SH_PROBE


def test_a_request_with_slashes_in_its_base64() -> None:
    (asked,) = decode(DOUBLE_SLASH).cert_ids
    assert asked.serial == 0xFA5A1D0C6952AEF60277072F4323FFF1B1DE
    assert asked.encoded in DOUBLE_SLASH


def test_a_nonce_is_kept_as_it_came() -> None:
    sent = request(cert_id(), extensions=[NONCE_EXTENSION])
    nonce = decode(sent).nonce
    assert nonce is not None
    assert nonce[:2] == b"\x04\x20"
    assert nonce in NONCE_EXTENSION


def test_agrees_with_the_request_builder_of_cryptography() -> None:
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        b"\x01" * 32, b"\x02" * 32, 1 << 152, hashes.SHA256()
    )
    built = builder.add_extension(OCSPNonce(b"n" * 32), critical=False).build()
    read = decode(built.public_bytes(Encoding.DER))
    (asked,) = read.cert_ids
    assert (asked.serial, asked.name_hash, asked.key_hash) == (
        built.serial_number,
        built.issuer_name_hash,
        built.issuer_key_hash,
    )
    assert read.nonce == der.octet_string(b"n" * 32)


def test_several_cert_ids_stay_in_order() -> None:
    """RFC 6960 §4.1.1: requestList; a responder answers each (§4.2.2.3)."""
    asked = [cert_id(serial) for serial in (9, 3, 9, 7)]
    assert [each.encoded for each in decode(request(*asked)).cert_ids] == asked


@pytest.mark.parametrize("serial", [0, -1, 1 << 160, -(1 << 160), 1 << 2000, 0xFF, 0x7F])
def test_any_integer_is_a_serial(serial: int) -> None:
    """Whether a certificate can have it is the responder's business; the CertID goes back unchanged."""
    (asked,) = decode(request(cert_id(serial))).cert_ids
    assert (asked.serial, asked.encoded) == (serial, cert_id(serial))


@pytest.mark.parametrize(
    "algorithm",
    [
        der.sequence(der.oid("1.3.14.3.2.26")),
        der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.NULL),
        der.sequence(der.oid("1.2.840.113549.2.5"), der.NULL),
        der.sequence(der.oid("2.16.840.1.101.3.4.2.8")),
    ],
    ids=["SHA-1 without parameters", "SHA-256", "MD5", "SHA3-256"],
)
def test_hash_algorithms(algorithm: bytes) -> None:
    (asked,) = decode(request(cert_id(algorithm=algorithm))).cert_ids
    assert asked.encoded == cert_id(algorithm=algorithm)


DIRECTORY_NAME = der.context(1, der.context(4, asn1_x509.Name.build({"common_name": "client"}).dump()))
DNS_NAME = der.context(1, der.context(2, b"client.example", constructed=False))
SIGNATURE = der.context(0, der.sequence(der.sequence(der.oid("1.2.840.10045.4.3.2")), der.bit_string(b"\x30\x00")))
EXPLICIT_VERSION = der.context(0, der.integer(0))
NONCE_IN_BER = extension(NONCE, der.octet_string(b"n"), b"\x01\x01\x01")
NONCE_NOT_CRITICAL = extension(NONCE, der.octet_string(b"n"), b"\x01\x01\x00")


@pytest.mark.parametrize(
    "sent",
    [
        request(cert_id(), before=DIRECTORY_NAME),
        request(cert_id(), before=DNS_NAME),
        request(cert_id(), before=DIRECTORY_NAME, after=SIGNATURE),
        request(cert_id(), before=EXPLICIT_VERSION),
        request(cert_id(), after=SIGNATURE),
    ],
    ids=["directoryName", "dNSName", "signed", "explicit version", "signature alone"],
)
def test_what_is_read_and_ignored(sent: bytes) -> None:
    """RFC 9919 §3.1.2: requestorName as if absent; the signature may be ignored. Version: DEFAULT, but written out."""
    assert decode(sent) == decode(request(cert_id()))


@pytest.mark.parametrize("sent", [NONCE_IN_BER, NONCE_NOT_CRITICAL], ids=["TRUE as 01", "FALSE written out"])
def test_booleans_in_ber(sent: bytes) -> None:
    assert decode(request(cert_id(), extensions=[sent])).nonce == der.octet_string(b"n")


def test_a_request_that_asn1crypto_signed_is_read() -> None:
    """The whole optionalSignature, certificates and all, as a library writes it."""
    asked = asn1_ocsp.OCSPRequest(
        {
            "tbs_request": {
                "requestor_name": asn1_x509.GeneralName("directory_name", asn1_x509.Name.build({"common_name": "me"})),
                "request_list": [
                    {
                        "req_cert": {
                            "hash_algorithm": {"algorithm": "sha1"},
                            "issuer_name_hash": NAME,
                            "issuer_key_hash": KEY,
                            "serial_number": 5,
                        }
                    }
                ],
            },
            "optional_signature": {
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_rsa"}),
                "signature": bytes(256),
                "certs": [],
            },
        }
    )
    (found,) = decode(asked.dump()).cert_ids
    assert found.serial == 5


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [extension("1.2.3.4", b"whatever")],
        [extension(PREFERRED, der.sequence())],
        [extension(PREFERRED, der.sequence(), der.TRUE)],
        [extension(ACCEPTABLE, der.sequence(der.oid("1.3.6.1.5.5.7.48.1.1")), der.TRUE)],
        [extension(ACCEPTABLE, der.sequence(der.oid("1.2.3"), der.oid("1.3.6.1.5.5.7.48.1.1")))],
    ],
    ids=["none", "unknown", "preferred", "preferred, critical", "acceptable, critical", "acceptable, two"],
)
def test_extensions_that_change_nothing(extensions: list[bytes]) -> None:
    assert decode(request(cert_id(), extensions=extensions)) == decode(request(cert_id()))


@pytest.mark.parametrize("octets", [1, 15, 16, 32, 33, 127, 128])
def test_nonces_that_are_answered(octets: int) -> None:
    """RFC 9654 §2.1: SIZE(1..128)."""
    sent = request(cert_id(), extensions=[extension(NONCE, der.octet_string(b"n" * octets))])
    assert decode(sent).nonce == der.octet_string(b"n" * octets)


def test_a_nonce_of_rfc_8954_ends_at_32() -> None:
    sent = [request(cert_id(), extensions=[extension(NONCE, der.octet_string(b"n" * n))]) for n in (32, 33)]
    assert decode_request(sent[0], cert_ids=32, nonce=32).nonce == der.octet_string(b"n" * 32)
    with pytest.raises(MalformedRequest):
        decode_request(sent[1], cert_ids=32, nonce=32)


@dataclass(frozen=True)
class Case:
    name: str
    encoded: bytes


PLAIN = request(cert_id())
NOT_MINIMAL = der.sequence(SHA1, der.octet_string(NAME), der.octet_string(KEY), b"\x02\x02\x00\x05")
LONG_LENGTH = b"\x30\x81" + cert_id()[1:]
WITH_NONCE = extension(NONCE, der.octet_string(b"n"))

MALFORMED = [
    Case("nothing", b""),
    Case("one octet", b"3"),
    Case("a browser", b"GET / HTTP/1.1\r\n\r\n"),
    Case("a trailing octet", PLAIN + b"\x00"),
    Case("two requests end to end", PLAIN + PLAIN),
    Case("cut short", PLAIN[:-1]),
    Case("indefinite length", b"\x30\x80" + PLAIN[2:] + b"\x00\x00"),
    Case("indefinite length and a requestorName", b"\x30\x80" + request(cert_id(), before=DNS_NAME)[2:] + b"\x00\x00"),
    Case("a length that is not the shortest", request(LONG_LENGTH)),
    Case("the same, with a requestorName", request(LONG_LENGTH, before=DNS_NAME)),
    Case("a serial that is not the shortest", request(NOT_MINIMAL)),
    Case("the same, with a requestorName", request(NOT_MINIMAL, before=DNS_NAME)),
    Case("an empty serial", request(der.sequence(SHA1, der.octet_string(NAME), der.octet_string(KEY), b"\x02\x00"))),
    Case("no serial", request(der.sequence(SHA1, der.octet_string(NAME), der.octet_string(KEY)))),
    Case(
        "a hash that is a BIT STRING",
        request(der.sequence(SHA1, der.bit_string(NAME), der.octet_string(KEY), der.integer(5))),
    ),
    Case(
        "a hash algorithm with parameters", request(cert_id(algorithm=der.sequence(der.oid("1.2.3"), der.integer(1))))
    ),
    Case("a CertID that is a SET", request(b"\x31" + cert_id()[1:])),
    Case("an empty requestList", request()),
    Case("33 CertIDs", request(*[cert_id(serial) for serial in range(33)])),
    Case("version 2", request(cert_id(), before=der.context(0, der.integer(1)))),
    Case("version 1 written too long", request(cert_id(), before=der.context(0, b"\x02\x02\x00\x00"))),
    Case("a requestorName that is no GeneralName", request(cert_id(), before=der.context(1, der.NULL))),
    Case(
        "a requestorName without its explicit tag", request(cert_id(), before=der.context(1, b"me", constructed=False))
    ),
    Case("a signature under tag 1", request(cert_id(), after=der.context(1, SIGNATURE[2:]))),
    Case("a signature that is none", request(cert_id(), after=der.context(0, der.NULL))),
    Case("a member too many", request(cert_id(), after=der.NULL)),
    Case("a member too many in the tbsRequest", der.sequence(der.sequence(contents(contents(PLAIN)), der.NULL))),
    Case("a member too many behind a requestorName", request(cert_id() + der.NULL, before=DNS_NAME)),
    Case(
        "a member too many in an extension",
        request(cert_id(), before=DNS_NAME, extensions=[der.sequence(contents(WITH_NONCE), der.NULL)]),
    ),
    Case("a critical extension of the request", request(cert_id(), extensions=[extension("1.2.3.4", b"", der.TRUE)])),
    Case("the same in BER", request(cert_id(), extensions=[extension("1.2.3.4", b"", b"\x01\x01\x01")])),
    Case("two nonces", request(cert_id(), extensions=[WITH_NONCE, WITH_NONCE])),
    Case("a nonce of no octets", request(cert_id(), extensions=[extension(NONCE, der.octet_string(b""))])),
    Case("a nonce of 129 octets", request(cert_id(), extensions=[extension(NONCE, der.octet_string(b"n" * 129))])),
    Case("a nonce that is no OCTET STRING", request(cert_id(), extensions=[extension(NONCE, b"n" * 16)])),
    Case(
        "a nonce with a trailing octet",
        request(cert_id(), extensions=[extension(NONCE, der.octet_string(b"n") + b"\x00")]),
    ),
    Case(
        "acceptable responses without basic",
        request(cert_id(), extensions=[extension(ACCEPTABLE, der.sequence(der.oid("1.2.3")))]),
    ),
    Case("preferred algorithms that are none", request(cert_id(), extensions=[extension(PREFERRED, b"not even DER")])),
    Case("acceptable responses that are none", request(cert_id(), extensions=[extension(ACCEPTABLE, der.NULL)])),
    Case("an OCSPResponse", bytes.fromhex("30030a0106")),
    Case("a time-stamp request", der.sequence(der.integer(1), der.sequence(SHA1, der.octet_string(NAME)))),
    Case("thousands of empty elements", der.sequence(b"\x05\x00" * 8000)),
    Case(
        "a slow request of a thousand extensions",
        request(cert_id(), before=EXPLICIT_VERSION, extensions=[extension(f"1.2.{n}", b"") for n in range(1000)]),
    ),
    Case("nested without end", bytes.fromhex("30820000") * 4000),
]


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_malformed(case: Case) -> None:
    """RFC 6960 §2.3: not the DER of one OCSPRequest, or asking for what may not be ignored."""
    with pytest.raises(MalformedRequest):
        decode(case.encoded)


@pytest.mark.parametrize("critical", [False, True])
def test_extensions_of_a_single_request(critical: bool) -> None:
    """RFC 6960 §4.1.2: a critical one that is not understood may not be ignored; serviceLocator is not acted upon."""
    single = der.context(0, der.sequence(extension(SERVICE_LOCATOR, der.sequence(), der.TRUE if critical else b"")))
    sent = request(cert_id() + single)
    if critical:
        with pytest.raises(MalformedRequest):
            decode(sent)
    else:
        assert decode(sent) == decode(request(cert_id()))


SAMPLES = [
    CRT_SH_PROBE,
    DOUBLE_SLASH,
    request(cert_id(), cert_id(6), extensions=[NONCE_EXTENSION]),
    request(cert_id(), before=EXPLICIT_VERSION + DIRECTORY_NAME, extensions=[NONCE_IN_BER], after=SIGNATURE),
]


@given(st.binary(max_size=400))
def test_any_octets_are_read_or_malformed(encoded: bytes) -> None:
    try:
        decode(encoded)
    except MalformedRequest:
        return


@given(
    sample=st.sampled_from(SAMPLES),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from("=+-")), max_size=6),
)
def test_altered_requests_are_read_or_malformed(sample: bytes, changes: list[tuple[int, int, str]]) -> None:
    """What is still read has its CertIDs in the octets that were sent: nothing is repaired."""
    altered = bytearray(sample)
    for position, value, change in changes:
        at = position % len(altered)
        if change == "=":
            altered[at] = value
        elif change == "+":
            altered.insert(at, value)
        elif len(altered) > 1:
            del altered[at]
    try:
        found = decode(bytes(altered))
    except MalformedRequest:
        return
    for each in found.cert_ids:
        assert each.encoded in altered
        assert asn1_ocsp.CertId.load(each.encoded, strict=True)["serial_number"].native == each.serial
    assert core.load(bytes(altered), strict=True).dump() == altered
