"""The signature of a time-stamp token, as a relying party checks it (RFC 5652 §5.4 and §5.6, RFC 3161 §2.4.2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asn1crypto import cms, core, tsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

from ca_store import der
from ca_store.path import PathError, check_path
from tsa.errors import BadSignature, MalformedReply, UnitRefused, WrongSigner
from tsa.token import (
    ID_CONTENT_TYPE,
    ID_CT_TST_INFO,
    ID_MESSAGE_DIGEST,
    ID_SIGNED_DATA,
    ID_SIGNING_CERTIFICATE,
    ID_SIGNING_CERTIFICATE_V2,
)
from tsa.unit import check_purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_SIGNATURES: Final = {
    "1.2.840.113549.1.1.1": None,  # rsaEncryption: the digest is that of digestAlgorithm (RFC 5754 §3.2)
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
    "1.3.101.112": "sha512",  # Ed25519 (RFC 8419 §3)
    "2.16.840.1.101.3.4.3.18": "sha512",  # ML-DSA-65; RFC 9882 §3.3 has SHA-512 as the first choice
}

_FAMILIES: Final = {
    "1.2.840.113549.1.1.": "RSA",
    "1.2.840.10045.": "ECDSA",
    "1.3.101.112": "Ed25519",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
}


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A TimeStampToken taken apart, not verified yet."""

    content: bytes
    """The TSTInfo."""
    certificates: tuple[bytes, ...]
    issuer: bytes
    """DER Name in the signer identifier."""
    serial: int
    digest: hashes.HashAlgorithm
    signature_algorithm: str
    signed_attributes: bytes
    """Contents of the SET OF, as received."""
    attributes: dict[str, bytes]
    """DER of the one value of each signed attribute, by its OID."""
    signature: bytes

    @classmethod
    def decode(cls, token: bytes) -> SignedToken:
        """Raises MalformedReply, ValueError, TypeError or KeyError when this is not a token with one signer."""
        content_info = cms.ContentInfo.load(token, strict=True)
        if content_info["content_type"].dotted != ID_SIGNED_DATA:
            raise MalformedReply("the token is not SignedData")
        signed_data = content_info["content"]
        encapsulated = signed_data["encap_content_info"]
        if encapsulated["content_type"].dotted != ID_CT_TST_INFO:
            raise MalformedReply("the token does not contain a TSTInfo")
        if len(signed_data["signer_infos"]) != 1:
            raise MalformedReply("the token does not have exactly one signer")
        info = signed_data["signer_infos"][0]
        if info["sid"].name != "issuer_and_serial_number":
            raise MalformedReply("the signer is not named by issuer and serial")
        digest = _HASHES.get(info["digest_algorithm"]["algorithm"].dotted)
        if digest is None:
            raise MalformedReply("the token's digestAlgorithm is none of SHA-256, SHA-384 and SHA-512")
        certificates = signed_data["certificates"]
        present = () if isinstance(certificates, core.Void) else tuple(choice.chosen.dump() for choice in certificates)
        sid = info["sid"].chosen
        return cls(
            content=bytes(encapsulated["content"]),
            certificates=present,
            issuer=sid["issuer"].dump(),
            serial=int(sid["serial_number"]),
            digest=digest,
            signature_algorithm=info["signature_algorithm"]["algorithm"].dotted,
            signed_attributes=bytes(info["signed_attrs"].contents),
            attributes=_attributes(info["signed_attrs"]),
            signature=info["signature"].native,
        )

    def verify(
        self, anchors: Sequence[x509.Certificate], others: Sequence[x509.Certificate], at: int
    ) -> list[x509.Certificate]:
        """The path from the signer to one of ``anchors``, good at ``at`` (POSIX seconds). Raises WrongSigner,
        BadSignature, MalformedReply or ValueError.
        """
        pool = [*(x509.load_der_x509_certificate(encoded) for encoded in self.certificates), *others]
        signer = self._signer(pool)
        self._check_attributes()
        self._check_signature(signer)
        label = f"the signer's certificate {signer.subject.rfc4514_string()}"
        try:
            check_purpose(signer, label)
            return check_path(signer, [other for other in pool if other != signer], anchors, at)
        except (UnitRefused, PathError) as error:
            raise WrongSigner(str(error)) from error

    def _signer(self, pool: Sequence[x509.Certificate]) -> x509.Certificate:
        """The certificate that the first ESSCertID names; it must be that of the signer identifier."""
        algorithm, named = self._signing_certificate()
        for certificate in pool:
            encoded = certificate.public_bytes(serialization.Encoding.DER)
            if hashlib.new(algorithm, encoded).digest() == named["cert_hash"].native:
                break
        else:
            raise WrongSigner("the certificate that the signingCertificate attribute names is not at hand")
        identity = (certificate.issuer.public_bytes(), certificate.serial_number)
        if identity != (self.issuer, self.serial):
            raise WrongSigner("signer identifier and signingCertificate attribute name different certificates")
        issuer_serial = named["issuer_serial"]
        if not isinstance(issuer_serial, core.Void):
            names = der.sequence(der.context(4, self.issuer))
            if issuer_serial["issuer"].dump() != names or int(issuer_serial["serial_number"]) != self.serial:
                raise WrongSigner("the issuerSerial of the signingCertificate attribute is another certificate's")
        return certificate

    def _signing_certificate(self) -> tuple[str, core.Sequence]:
        """(hashlib name, the first ESSCertID or ESSCertIDv2). RFC 5816 §2.2.1: one of them must be there."""
        second = self.attributes.get(ID_SIGNING_CERTIFICATE_V2)
        if second is not None:
            named = tsp.SigningCertificateV2.load(second, strict=True)["certs"][0]
            digest = _HASHES.get(named["hash_algorithm"]["algorithm"].dotted)
            if digest is None:
                raise MalformedReply("the hash of ESSCertIDv2 is none of SHA-256, SHA-384 and SHA-512")
            return digest.name, named
        first = self.attributes.get(ID_SIGNING_CERTIFICATE)
        if first is None:
            raise MalformedReply("the token has no signingCertificate attribute")
        return "sha1", tsp.SigningCertificate.load(first, strict=True)["certs"][0]

    def _check_attributes(self) -> None:
        if self.attributes.get(ID_CONTENT_TYPE) != der.oid(ID_CT_TST_INFO):
            raise MalformedReply("the contentType attribute is not that of a TSTInfo")
        expected = hashlib.new(self.digest.name, self.content).digest()
        if self.attributes.get(ID_MESSAGE_DIGEST) != der.octet_string(expected):
            raise BadSignature("the messageDigest attribute is not the digest of the TSTInfo")

    def _check_signature(self, signer: x509.Certificate) -> None:
        if self.signature_algorithm not in _SIGNATURES:
            raise MalformedReply(f"the signature algorithm {self.signature_algorithm} is not known here")
        if _SIGNATURES[self.signature_algorithm] not in (None, self.digest.name):
            raise MalformedReply("signatureAlgorithm and digestAlgorithm do not agree")
        signed = der.tlv(der.SET, self.signed_attributes)
        key = signer.public_key()
        family = next(name for arc, name in _FAMILIES.items() if self.signature_algorithm.startswith(arc))
        try:
            match key:
                case rsa.RSAPublicKey() if family == "RSA":
                    key.verify(self.signature, signed, padding.PKCS1v15(), self.digest)
                case ec.EllipticCurvePublicKey() if family == "ECDSA":
                    key.verify(self.signature, signed, ec.ECDSA(self.digest))
                case ed25519.Ed25519PublicKey() if family == "Ed25519":
                    key.verify(self.signature, signed)
                case mldsa.MLDSA65PublicKey() if family == "ML-DSA-65":
                    key.verify(self.signature, signed)
                case _:
                    raise BadSignature("signatureAlgorithm is not one for the signer's key")
        except InvalidSignature as error:
            raise BadSignature("the signature over the signed attributes is wrong") from error


def _attributes(signed_attributes: cms.CMSAttributes) -> dict[str, bytes]:
    """Raises MalformedReply when a type occurs twice or has not exactly one value (RFC 5652 §11)."""
    attributes: dict[str, bytes] = {}
    for attribute in signed_attributes:
        oid = attribute["type"].dotted
        if oid in attributes or len(attribute["values"]) != 1:
            raise MalformedReply(f"the signed attribute {oid} does not have exactly one value")
        attributes[oid] = attribute["values"][0].dump()
    return attributes
