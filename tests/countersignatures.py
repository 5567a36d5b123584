"""Authenticode's own time-stamp protocol, as clients write it and as asn1crypto reads what comes back."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ca_store import der

if TYPE_CHECKING:
    from datetime import datetime

REQUEST_OID, DATA_OID = "1.3.6.1.4.1.311.3.2.1", "1.2.840.113549.1.7.1"
SIGNATURE = bytes(range(256)) + bytes(128)
"""Of an RSA-3072 key, as far as its length goes."""
LINE = 64


def request(signature: bytes = SIGNATURE, oid: str = REQUEST_OID, content: str = DATA_OID) -> bytes:
    """The DER below the base64."""
    return der.sequence(der.oid(oid), der.sequence(der.oid(content), der.context(0, der.octet_string(signature))))


def lines(octets: bytes, end: bytes = b"\n") -> bytes:
    """Base64 as osslsigncode writes it."""
    text = base64.b64encode(octets)
    return b"".join(text[at : at + LINE] + end for at in range(0, len(text), LINE))


@dataclass(frozen=True)
class Countersignature:
    """One reply taken apart, whose signature holds."""

    content: bytes
    certificates: list[bytes]
    signer: x509.Certificate
    attributes: dict[str, Any]
    signing_time: datetime


def open_countersignature(body: bytes) -> Countersignature:
    """Take apart the body of an answer and verify its signature with the signer's certificate that it carries."""
    info = cms.ContentInfo.load(base64.b64decode(body, validate=False), strict=True)
    assert info["content_type"].native == "signed_data"
    signed = info["content"]
    assert signed["version"].native == "v1"
    assert signed["encap_content_info"]["content_type"].dotted == DATA_OID
    (signer_info,) = signed["signer_infos"]
    certificates = [choice.chosen.dump() for choice in signed["certificates"]]
    assert certificates == sorted(certificates)
    sid = signer_info["sid"].chosen
    (signer,) = [
        each
        for each in map(x509.load_der_x509_certificate, certificates)
        if (each.serial_number, each.issuer.public_bytes()) == (sid["serial_number"].native, sid["issuer"].dump())
    ]
    attributes = signer_info["signed_attrs"]
    encoded = [each.dump() for each in attributes]
    assert encoded == sorted(encoded)
    key, digest = signer.public_key(), signer.signature_hash_algorithm
    assert isinstance(key, rsa.RSAPublicKey)
    assert digest is not None
    assert signer_info["digest_algorithm"]["algorithm"].native == digest.name
    key.verify(signer_info["signature"].native, attributes.untag().dump(), padding.PKCS1v15(), digest)
    values = {each["type"].native: each["values"] for each in attributes}
    assert all(len(each) == 1 for each in values.values())
    return Countersignature(
        bytes(signed["encap_content_info"]["content"].native),
        certificates,
        signer,
        {name: each[0].native for name, each in values.items()},
        values["signing_time"][0].native,
    )
