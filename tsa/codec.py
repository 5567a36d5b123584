"""DER and BER to a TimeStampRequest; a refusal to DER (RFC 3161 §2.4.1 and §2.4.2). The only reader of requests.

Requests are read by the declarative decoder of ``cryptography``, which takes nothing but DER. Real clients send BER in
two places, an explicitly encoded certReq FALSE and a TRUE other than 0xFF: where the decoder refuses, asn1crypto splits
the request, its BOOLEANs are put right and the decoder judges the rest. Nothing that comes back in a token is ever
repaired: imprint and nonce are echoed octet for octet or refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from asn1crypto import parser
from cryptography import x509  # noqa: TC002 - the decoder reads the annotations at run time
from cryptography.hazmat import asn1

from ca_store import der
from tsa.errors import BadDataFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tsa.errors import TSAError

NOT_A_REQUEST: Final = "This is not the encoding of one TimeStampReq."

_MAX_BER: Final = 4096
"""Octets. No client that sends BER sends long requests, and asn1crypto's time grows with the square of some of them."""

_SEQUENCE: Final = b"\x30"
_BOOLEAN: Final = b"\x01"
_FALSE: Final = b"\x00"
_EXTENSIONS: Final = b"\xa0"
_REJECTION: Final = der.integer(2)


class TimeStampRequest(NamedTuple):
    """One decoded TimeStampReq (RFC 3161 §2.4.1). Nothing is checked yet but its form."""

    version: int
    algorithm: bytes
    """Contents octets of the imprint's AlgorithmIdentifier, with NULL, absent or other parameters as received."""
    digest: bytes
    """hashedMessage."""
    policy: str | None
    nonce: bytes
    """The whole INTEGER, DER, as received; empty when there was none."""
    certificates: bool
    """certReq."""
    extensions: bool
    """Whether there was any extension."""


@asn1.sequence
class _Extension:
    extn_id: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)]
    extn_value: bytes


@asn1.sequence
class _MessageImprint:
    hash_algorithm: asn1.TLV
    hashed_message: bytes


@asn1.sequence
class _Algorithm:
    algorithm: x509.ObjectIdentifier


@asn1.sequence
class _TimeStampReq:
    version: int
    message_imprint: _MessageImprint
    req_policy: x509.ObjectIdentifier | None
    nonce: int | None
    cert_req: Annotated[bool, asn1.Default(False)]
    extensions: Annotated[list[_Extension] | None, asn1.Implicit(0)]


def decode_request(encoded: bytes) -> TimeStampRequest:
    """Read one TimeStampReq and nothing after it. Raises BadDataFormat for any other octets, and nothing else."""
    try:
        request = asn1.decode_der(_TimeStampReq, encoded)
    except ValueError:
        request = _decode_ber(encoded)
    if request.extensions is not None and not request.extensions:
        raise BadDataFormat("The extensions are present but empty.")
    algorithm = request.message_imprint.hash_algorithm
    if algorithm.tag_bytes != _SEQUENCE:
        raise BadDataFormat(NOT_A_REQUEST)
    return TimeStampRequest(
        request.version,
        bytes(algorithm.data),
        request.message_imprint.hashed_message,
        None if request.req_policy is None else request.req_policy.dotted_string,
        b"" if request.nonce is None else der.integer(request.nonce),
        request.cert_req,
        request.extensions is not None,
    )


def decode_algorithm(contents: bytes) -> str:
    """The dotted OID of an AlgorithmIdentifier, of which ``contents`` are the contents octets: an OID and at most one
    more value. Raises BadDataFormat.
    """
    try:
        oid, *parameters = _split(contents)
        if len(parameters) > 1:
            raise BadDataFormat(NOT_A_REQUEST)
        return asn1.decode_der(_Algorithm, der.sequence(oid.encoded)).algorithm.dotted_string
    except ValueError as error:
        raise BadDataFormat(NOT_A_REQUEST) from error


def encode_rejection(refusal: TSAError) -> bytes:
    """TimeStampResp with status rejection, the refusal's sentence and its one failInfo bit, and no token."""
    free_text = der.sequence(der.tlv(der.UTF8_STRING, str(refusal).encode()))
    return der.sequence(der.sequence(_REJECTION, free_text, refusal.fail_info.encoded))


def _decode_ber(encoded: bytes) -> _TimeStampReq:
    """Put the BOOLEANs and the outer length into DER, and have the strict decoder judge everything else."""
    if len(encoded) > _MAX_BER:
        raise BadDataFormat(NOT_A_REQUEST)
    try:
        (request,) = _split(encoded)
        if request.tag != _SEQUENCE:
            raise BadDataFormat(NOT_A_REQUEST)
        return asn1.decode_der(_TimeStampReq, der.sequence(*_der_members(request.contents)))
    except ValueError as error:
        raise BadDataFormat(NOT_A_REQUEST) from error


def _der_members(contents: bytes) -> Iterator[bytes]:
    """The members of a TimeStampReq. A BOOLEAN is put right in the place of certReq or critical and nowhere else."""
    members = list(_split(contents))
    extensions = members.pop() if members and members[-1].tag == _EXTENSIONS else None
    cert_req = members.pop() if members and members[-1].tag == _BOOLEAN else None
    if any(each.tag in (_BOOLEAN, _EXTENSIONS) for each in members):
        raise BadDataFormat(NOT_A_REQUEST)
    yield from (each.encoded for each in members)
    if cert_req is not None:
        yield _der_boolean(cert_req)
    if extensions is not None:
        yield der.context(0, *map(_der_extension, _split(extensions.contents)))


def _der_extension(extension: _Value) -> bytes:
    match list(_split(extension.contents)):
        case [oid, critical, value]:
            return der.tlv(extension.tag[0], oid.encoded, _der_boolean(critical), value.encoded)
        case _:
            return extension.encoded


def _der_boolean(value: _Value) -> bytes:
    """A BOOLEAN DEFAULT FALSE in DER: any octet but zero is TRUE (X.690 §8.2.2), FALSE is left out."""
    if value.tag != _BOOLEAN or len(value.contents) != 1:
        return value.encoded
    return der.TRUE if value.contents != _FALSE else b""


class _Value(NamedTuple):
    tag: bytes
    contents: bytes
    encoded: bytes


def _split(encoded: bytes) -> Iterator[_Value]:
    """The values that follow each other in ``encoded``, BER. Raises ValueError."""
    while encoded:
        _, _, _, header, contents, trailer = parser.parse(encoded)
        value = header + contents + trailer
        yield _Value(header[:1], contents, value)
        encoded = encoded[len(value) :]
