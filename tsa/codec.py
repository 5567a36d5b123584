"""DER and BER to a TimeStampRequest; a refusal to DER (RFC 3161 §2.4.1 and §2.4.2). The only reader of requests.

Strict DER is read by the declarative decoder of ``cryptography``. What it refuses is read a second time by asn1crypto,
because real clients send BER in two places: an explicitly encoded certReq FALSE, and a TRUE other than 0xFF. Neither
path repairs anything that comes back in a token: imprint and nonce are echoed octet for octet or refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, NamedTuple

from asn1crypto import core, tsp
from cryptography import x509  # noqa: TC002 - the decoder reads the annotations at run time
from cryptography.hazmat import asn1

from ca_store import der
from tsa.errors import BadDataFormat

if TYPE_CHECKING:
    from collections.abc import Sized

    from tsa.errors import TSAError

NOT_A_REQUEST: Final = "This is not the encoding of one TimeStampReq."

_MAX_BER: Final = 4096
"""Octets. No client that sends BER sends long requests, and asn1crypto's time grows with the square of some of them."""

_SEQUENCE: Final = bytes((der.SEQUENCE,))
_REJECTION: Final = der.integer(2)


class TimeStampRequest(NamedTuple):
    """One decoded TimeStampReq (RFC 3161 §2.4.1). Nothing is checked yet but its form."""

    version: int
    imprint: bytes
    """The whole MessageImprint, DER, as received."""
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
class _TimeStampReq:
    version: int
    message_imprint: asn1.TLV
    req_policy: x509.ObjectIdentifier | None
    nonce: int | None
    cert_req: Annotated[bool, asn1.Default(False)]
    extensions: Annotated[list[_Extension] | None, asn1.Implicit(0)]


class _AlgorithmIdentifier(core.Sequence):  # type: ignore[misc]  # asn1crypto ships no types
    _fields: ClassVar = [("algorithm", core.ObjectIdentifier), ("parameters", core.Any, {"optional": True})]


def decode_request(encoded: bytes) -> TimeStampRequest:
    """Read one TimeStampReq and nothing after it. Raises BadDataFormat for any other octets, and nothing else."""
    try:
        request = asn1.decode_der(_TimeStampReq, encoded)
    except ValueError:
        return _decode_ber(encoded)
    _check_not_empty(request.extensions)
    imprint = der.sequence(bytes(request.message_imprint.data))
    algorithm, digest = _decode_imprint(imprint, request.message_imprint.tag_bytes)
    return TimeStampRequest(
        request.version,
        imprint,
        algorithm,
        digest,
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
        identifier = _AlgorithmIdentifier.load(der.sequence(contents[:_MAX_BER]), strict=True)
        return str(_minimal_oid(identifier["algorithm"]))
    except (ValueError, TypeError) as error:
        raise BadDataFormat(NOT_A_REQUEST) from error


def encode_rejection(refusal: TSAError) -> bytes:
    """TimeStampResp with status rejection, the refusal's sentence and its one failInfo bit, and no token."""
    free_text = der.sequence(der.tlv(der.UTF8_STRING, str(refusal).encode()))
    return der.sequence(der.sequence(_REJECTION, free_text, refusal.fail_info.encoded))


def _check_not_empty(extensions: Sized | None) -> None:
    if extensions is not None and not len(extensions):
        raise BadDataFormat("The extensions are present but empty.")


def _decode_imprint(encoded: bytes, tag: bytes) -> tuple[bytes, bytes]:
    """(contents of the AlgorithmIdentifier, hashedMessage). Raises BadDataFormat."""
    try:
        imprint = asn1.decode_der(_MessageImprint, encoded)
    except ValueError as error:
        raise BadDataFormat(NOT_A_REQUEST) from error
    if tag != _SEQUENCE or imprint.hash_algorithm.tag_bytes != _SEQUENCE:
        raise BadDataFormat(NOT_A_REQUEST)
    return bytes(imprint.hash_algorithm.data), imprint.hashed_message


def _decode_ber(encoded: bytes) -> TimeStampRequest:
    if len(encoded) > _MAX_BER:
        raise BadDataFormat(NOT_A_REQUEST)
    try:
        return _read(tsp.TimeStampReq.load(encoded, strict=True))
    except (ValueError, TypeError) as error:
        raise BadDataFormat(NOT_A_REQUEST) from error


def _read(request: tsp.TimeStampReq) -> TimeStampRequest:
    """Read every field, since asn1crypto checks only what is read. Raises BadDataFormat, ValueError or TypeError."""
    imprint = request["message_imprint"].dump()
    algorithm, digest = _decode_imprint(imprint, _SEQUENCE)
    policy, nonce, extensions = (request[name] for name in ("req_policy", "nonce", "extensions"))
    has_extensions = not isinstance(extensions, core.Void)
    if has_extensions:
        _check_not_empty(extensions)
        for extension in extensions:
            _read_extension(extension)
    return TimeStampRequest(
        int.from_bytes(_minimal_integer(request["version"]), "big", signed=True),
        imprint,
        algorithm,
        digest,
        None if isinstance(policy, core.Void) else _minimal_oid(policy),
        b"" if isinstance(nonce, core.Void) else der.tlv(der.INTEGER, _minimal_integer(nonce)),
        _boolean(request["cert_req"]),
        has_extensions,
    )


def _read_extension(extension: tsp.Extension) -> None:
    _minimal_oid(extension["extn_id"])
    _boolean(extension["critical"])
    bytes(extension["extn_value"])


def _minimal_integer(value: core.Integer) -> bytes:
    """Contents octets of an INTEGER. Raises ValueError when it is not in its shortest form (X.690 §8.3.2)."""
    octets = bytes(value.contents)
    if octets != der.contents(der.integer(int.from_bytes(octets, "big", signed=True))):
        raise ValueError("an INTEGER is not in its shortest form")
    return octets


def _minimal_oid(value: core.ObjectIdentifier) -> str:
    """Dotted form. Raises ValueError when an arc is not in its shortest form (X.690 §8.19.2)."""
    dotted = str(value.dotted)
    if value.contents != der.contents(der.oid(dotted)):
        raise ValueError("an OBJECT IDENTIFIER is not in its shortest form")
    return dotted


def _boolean(value: core.Boolean) -> bool:
    """Any octet but zero is TRUE (X.690 §8.2.2). Raises ValueError when there is not exactly one octet."""
    if len(value.contents) != 1:
        raise ValueError("a BOOLEAN does not have one octet")
    return bool(value.contents[0])
