"""From the octets of an OCSPRequest (RFC 6960 §4.1.1) to what the responder needs of it.

The declarations follow the ASN.1 of that section for the request nearly every client sends: DER, version left out, no
requestorName and no signature. Everything else is first brought to that form by ``ocsp.tolerance``.
"""

from typing import Annotated, Final, NamedTuple

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from ca_store import der
from ocsp import tolerance
from ocsp.errors import MalformedRequest
from ocsp.preference import Preference, decode_preferences

NONCE: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.2")
ACCEPTABLE_RESPONSES: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.4")
PREFERRED_SIGNATURE_ALGORITHMS: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.8")
BASIC: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.1")

NONCE_LIMIT: Final = 128
"""RFC 9654 §2.1: Nonce ::= OCTET STRING(SIZE(1..128))."""
NONCE_LIMIT_8954: Final = 32
"""RFC 8954 §2.1: Nonce ::= OCTET STRING(SIZE(1..32))."""

_UNDERSTOOD: Final = frozenset({NONCE, ACCEPTABLE_RESPONSES, PREFERRED_SIGNATURE_ALGORITHMS})


class CertID(NamedTuple):
    """One certificate that is asked about."""

    encoded: bytes
    """The CertID exactly as it was sent: the answer repeats it."""
    algorithm: ObjectIdentifier
    name_hash: bytes
    key_hash: bytes
    serial: int
    """Any INTEGER, also one that no certificate can have."""


class Request(NamedTuple):
    """What one OCSPRequest asks for."""

    cert_ids: tuple[CertID, ...]
    """In the order of the request; at least one."""
    nonce: bytes | None
    """The TLV inside the nonce extension's extnValue, exactly as it was sent."""
    preferences: tuple[Preference, ...] = ()
    """The client's preferred signature algorithms, the most preferred first."""


@asn1.sequence
class _AlgorithmIdentifier:
    algorithm: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _CertID:
    hash_algorithm: _AlgorithmIdentifier
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int


@asn1.sequence
class _Extension:
    extn_id: ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)]
    extn_value: bytes


@asn1.sequence
class _Request:
    # Kept as octets, to be repeated as they are, and parsed a second time.
    req_cert: asn1.TLV
    single_request_extensions: Annotated[list[_Extension] | None, asn1.Explicit(0)]


@asn1.sequence
class _TBSRequest:
    request_list: list[_Request]
    request_extensions: Annotated[list[_Extension] | None, asn1.Explicit(2)]


@asn1.sequence
class _OCSPRequest:
    tbs_request: _TBSRequest


@asn1.sequence
class _AcceptableResponses:
    # A SEQUENCE OF cannot be decoded by itself; it is wrapped into this one.
    response_types: list[ObjectIdentifier]


def decode_request(encoded: bytes, *, cert_ids: int, nonce: int) -> Request:
    """Read exactly one OCSPRequest with at most ``cert_ids`` CertIDs and a nonce of at most ``nonce`` octets.

    requestorName and signature are read and then ignored (RFC 9919 §3.1.2). Raises MalformedRequest, and nothing else,
    for whatever else the octets may be.
    """
    try:
        tbs = _decode(encoded).tbs_request
        requests = tbs.request_list
        if not 0 < len(requests) <= cert_ids:
            raise MalformedRequest(f"{len(requests)} CertIDs in one request")
        found = tuple([_cert_id(request) for request in requests])
        if not tbs.request_extensions:
            return Request(found, None)
        values = _check_extensions(tbs.request_extensions, _UNDERSTOOD)
        if ACCEPTABLE_RESPONSES in values:
            _check_acceptable(values[ACCEPTABLE_RESPONSES])
        preferred = values.get(PREFERRED_SIGNATURE_ALGORITHMS)
        return Request(
            found,
            _check_nonce(values.get(NONCE), nonce),
            () if preferred is None else decode_preferences(preferred),
        )
    except ValueError as error:
        raise MalformedRequest(str(error)) from error


def _decode(encoded: bytes) -> _OCSPRequest:
    try:
        return asn1.decode_der(_OCSPRequest, encoded)
    except ValueError:
        return asn1.decode_der(_OCSPRequest, tolerance.plain_request(encoded))


def _cert_id(request: _Request) -> CertID:
    if request.single_request_extensions:
        _check_extensions(request.single_request_extensions, frozenset())
    # A Tlv is its contents; DER leaves only one way to write the header in front of them.
    encoded = der.sequence(bytes(request.req_cert.data))
    cert_id = asn1.decode_der(_CertID, encoded)
    if request.req_cert.tag_bytes != b"\x30":
        raise MalformedRequest("reqCert is not a SEQUENCE")
    return CertID(
        encoded,
        cert_id.hash_algorithm.algorithm,
        cert_id.issuer_name_hash,
        cert_id.issuer_key_hash,
        cert_id.serial_number,
    )


def _check_nonce(nonce: bytes | None, limit: int) -> bytes | None:
    if nonce is not None and not 0 < len(asn1.decode_der(bytes, nonce)) <= limit:
        raise MalformedRequest(f"a nonce of {len(nonce)} octets with its header")
    return nonce


def _check_acceptable(value: bytes) -> None:
    """RFC 6960 §4.4.3: the answer must be of a type that the client listed, and only one type is made here."""
    if BASIC not in asn1.decode_der(_AcceptableResponses, der.sequence(value)).response_types:
        raise MalformedRequest("id-pkix-ocsp-basic is not among the acceptable responses")


def _check_extensions(
    extensions: list[_Extension], understood: frozenset[ObjectIdentifier]
) -> dict[ObjectIdentifier, bytes]:
    """The values by OID. RFC 6960 §4.1.2: an extension marked critical that is not understood may not be ignored."""
    values = {extension.extn_id: extension.extn_value for extension in extensions}
    if len(values) != len(extensions):
        raise MalformedRequest("an extension occurs twice")
    for extension in extensions:
        if extension.critical and extension.extn_id not in understood:
            raise MalformedRequest(f"critical extension {extension.extn_id.dotted_string} is not understood")
    return values
