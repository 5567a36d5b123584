"""OCSP on the wire for tests: requests that no well-behaved library makes, and what asn1crypto reads in the answers."""

from __future__ import annotations

import hashlib
import http.client
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asn1crypto import keys as asn1_keys
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server

MALFORMED, INTERNAL, TRY_LATER, UNAUTHORIZED = (bytes.fromhex(f"30030a010{code}") for code in (1, 2, 3, 6))

OIDS: Final = {
    "sha1": "06052b0e03021a",
    "sha224": "0609608648016503040204",
    "sha256": "0609608648016503040201",
    "sha384": "0609608648016503040202",
    "sha512": "0609608648016503040203",
    "sha3_256": "0609608648016503040208",
    "md5": "06082a864886f70d0205",
}
NULL: Final = bytes.fromhex("0500")
NONCE_OID: Final = "06092b0601050507300102"


def tlv(tag: int, *contents: bytes) -> bytes:
    """DER."""
    value = b"".join(contents)
    length = len(value)
    if length < 0x80:
        return bytes([tag, length]) + value
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + value


def sequence(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def cert_id(
    issuer: Path, serial: int | bytes, digest: str = "sha1", *, parameters: bytes = NULL, key_of: Path | None = None
) -> bytes:
    """A CertID about a serial (or the INTEGER's contents) of the CA in a PEM file; ``key_of`` is another CA's key."""
    ca = x509.load_pem_x509_certificate(issuer.read_bytes())
    key = ca if key_of is None else x509.load_pem_x509_certificate(key_of.read_bytes())
    # The BIT STRING's contents, by a road that is not the server's.
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info: Any = asn1_keys.PublicKeyInfo.load(spki)
    contents = info["public_key"].contents[1:]
    return sequence(
        sequence(bytes.fromhex(OIDS[digest]), parameters),
        tlv(0x04, hashlib.new(digest, ca.subject.public_bytes()).digest()),
        tlv(0x04, hashlib.new(digest, contents).digest()),
        integer(serial) if isinstance(serial, int) else tlv(0x02, serial),
    )


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """An Extension; ``oid`` is a whole TLV in hexadecimal, ``value`` what the OCTET STRING holds."""
    return sequence(bytes.fromhex(oid), bytes.fromhex("0101ff") if critical else b"", tlv(0x04, value))


def nonce(octets: bytes, *, critical: bool = False) -> bytes:
    """RFC 9654 §2.1."""
    return extension(NONCE_OID, tlv(0x04, octets), critical=critical)


def request(
    *cert_ids: bytes,
    extensions: tuple[bytes, ...] = (),
    single_extensions: tuple[bytes, ...] = (),
    requestor: bytes = b"",
    signature: bytes = b"",
) -> bytes:
    """An OCSPRequest."""
    single = tlv(0xA0, sequence(*single_extensions)) if single_extensions else b""
    return sequence(
        sequence(
            tlv(0xA1, requestor) if requestor else b"",
            sequence(*(sequence(each, single) for each in cert_ids)),
            tlv(0xA2, sequence(*extensions)) if extensions else b"",
        ),
        signature,
    )


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    fields: dict[str, str]
    body: bytes


def send(server: Server, method: str, target: str, body: bytes | None = None, **fields: str) -> Reply:
    """One HTTP request over a fresh connection; a field ``content_type`` is Content-Type."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    try:
        headers = {name.replace("_", "-").title(): value for name, value in fields.items()}
        connection.request(method, target, body, {"Connection": "close", **headers})
        answer = connection.getresponse()
        return Reply(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def post(server: Server, body: bytes, target: str = "/ocsp") -> bytes:
    """The OCSPResponse to a POST; HTTP 200 and the media type are promises that hold for every answer."""
    reply = send(server, "POST", target, body, content_type="application/ocsp-request")
    assert (reply.status, reply.fields["Content-Type"]) == (200, "application/ocsp-response")
    assert reply.fields["Content-Length"] == str(len(reply.body))
    return reply.body


def basic(body: bytes) -> Any:
    """The BasicOCSPResponse of a successful answer, as asn1crypto reads it."""
    response: Any = asn1_ocsp.OCSPResponse.load(body, strict=True)
    assert response["response_status"].native == "successful", body.hex()
    return response["response_bytes"]["response"].parsed


def data(body: bytes) -> Any:
    """Its ResponseData."""
    return basic(body)["tbs_response_data"]


def singles(body: bytes) -> list[tuple[bytes, str]]:
    """(CertID, status) of each SingleResponse, in order."""
    return [(each["cert_id"].dump(), each["cert_status"].name) for each in data(body)["responses"]]


def serial_of(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number
