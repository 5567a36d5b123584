"""Requests that the fast decoder leaves out, brought to the form it reads.

These are what real clients send beside the plain form: a requestorName, a signature, the DEFAULT version written out,
or BOOLEANs in BER. Nothing else is tolerated and nothing is repaired: lengths must be definite and shortest, and
what the result is made of is decoded strictly once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import parser

from ca_store import der
from ocsp.errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

_ELEMENTS: Final = 1000
"""A request signed with a chain of certificates has some hundreds of TLVs; hostile ones must not cost more."""


def plain_request(encoded: bytes) -> bytes:
    """DER of the same request without version, requestorName and signature. Raises MalformedRequest."""
    try:
        request = asn1_ocsp.OCSPRequest.load(encoded, strict=True)
        _check_lengths(encoded)
        # asn1crypto is lazy: only reading every field checks them all.
        _check_members(request.native)
        return _plain(request["tbs_request"])
    except Exception as error:
        # Hostile octets raise many kinds in asn1crypto's readers, not only ValueError.
        raise MalformedRequest(f"{type(error).__name__}: {error}") from error


def _plain(tbs: asn1_ocsp.TBSRequest) -> bytes:
    if tbs["version"].contents != b"\x00":
        raise ValueError("version is not v1")
    requests = der.sequence(*[_request(each) for each in tbs["request_list"]])
    return der.sequence(der.sequence(requests, _extensions(2, tbs["request_extensions"])))


def _request(request: asn1_ocsp.Request) -> bytes:
    return der.sequence(request["req_cert"].dump(), _extensions(0, request["single_request_extensions"]))


def _extensions(tag: int, extensions: Iterable[asn1_ocsp.RequestExtension]) -> bytes:
    members = [
        der.sequence(
            extension["extn_id"].dump(),
            der.TRUE if extension["critical"].native else b"",
            extension["extn_value"].dump(),
        )
        for extension in extensions
    ]
    return der.context(tag, der.sequence(*members)) if members else b""


def _check_members(value: object) -> None:
    """Members beyond a SEQUENCE's definition: asn1crypto keeps them, each under its number."""
    if isinstance(value, dict):
        if any(name.isdigit() for name in value):
            raise ValueError("a SEQUENCE has more members than its definition")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_members(each)


def _check_lengths(encoded: bytes) -> None:
    """Definite and shortest lengths throughout (X.690 §10.1), and no more elements than an honest request has."""
    pending = [encoded]
    elements = 0
    while pending:
        rest = pending.pop()
        while rest:
            elements += 1
            size = parser.peek(rest)
            class_, constructed, tag, header, contents, trailer = parser.parse(rest[:size])
            if trailer or elements > _ELEMENTS or parser.emit(class_, constructed, tag, contents) != header + contents:
                raise ValueError("a length is indefinite or not the shortest, or there are too many elements")
            if constructed:
                pending.append(contents)
            rest = rest[size:]
