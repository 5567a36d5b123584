"""Replies as asn1crypto reads them: the tests' own eyes, apart from the package's writer and reader."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

from asn1crypto import cms, core, tsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa


class OptionalTokenResp(core.Sequence):  # type: ignore[misc]  # asn1crypto ships no types
    """TimeStampResp with the token OPTIONAL, as RFC 3161 §2.4.2 has it."""

    _fields: ClassVar = [("status", tsp.PKIStatusInfo), ("time_stamp_token", cms.ContentInfo, {"optional": True})]


@dataclass(frozen=True)
class Opened:
    """One TimeStampResp taken apart."""

    status: int
    fail_info: str
    """Hex of the whole BIT STRING; empty when there is none."""
    text: str
    token: bytes | None
    signed_data: Any
    tst_info: Any

    @property
    def signer_info(self) -> Any:
        return self.signed_data["signer_infos"][0]

    @property
    def certificates(self) -> list[bytes]:
        field = self.signed_data["certificates"]
        return [] if isinstance(field, core.Void) else [choice.chosen.dump() for choice in field]

    def attribute(self, name: str) -> Any:
        """The one value of a signed attribute, by asn1crypto's name of it."""
        (found,) = [item for item in self.signer_info["signed_attrs"] if item["type"].native == name]
        (value,) = found["values"]
        return value


def open_reply(encoded: bytes) -> Opened:
    """Take a reply apart. A token that should be there and is not fails the test that looks into it."""
    response = OptionalTokenResp.load(encoded, strict=True)
    info = response["status"]
    fail_info = info["fail_info"]
    text = info["status_string"]
    token = response["time_stamp_token"]
    has_token = not isinstance(token, core.Void)
    signed_data: Any = token["content"] if has_token else None
    return Opened(
        int(info["status"]),
        "" if isinstance(fail_info, core.Void) else fail_info.dump().hex(),
        "" if isinstance(text, core.Void) else text[0].native,
        token.dump() if has_token else None,
        signed_data,
        tsp.TSTInfo.load(bytes(signed_data["encap_content_info"]["content"]), strict=True) if has_token else None,
    )


def check_der(encoded: bytes) -> None:
    """Insist that asn1crypto, writing every field of a reply again, gives the same octets. Slow: it walks deep."""
    response = OptionalTokenResp.load(encoded, strict=True)
    assert response.native is not None
    assert response.copy().dump(force=True) == encoded


def signer_of(opened: Opened) -> x509.Certificate:
    """The certificate in a token that its signer identifier names, whose key (RSA or EC) made the signature."""
    info = opened.signer_info
    sid = info["sid"].chosen
    named = sid["serial_number"].native, sid["issuer"].dump()
    (signer,) = [
        each
        for each in map(x509.load_der_x509_certificate, opened.certificates)
        if (each.serial_number, each.issuer.public_bytes()) == named
    ]
    content = bytes(opened.signed_data["encap_content_info"]["content"])
    name = info["digest_algorithm"]["algorithm"].native
    assert opened.attribute("message_digest").native == hashlib.new(name, content).digest()
    key, digest = signer.public_key(), getattr(hashes, name.upper())()
    signature, signed = info["signature"].native, info["signed_attrs"].untag().dump()
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, signed, ec.ECDSA(digest))
    else:
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(signature, signed, padding.PKCS1v15(), digest)
    return signer
