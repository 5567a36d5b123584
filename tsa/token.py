"""Time-stamp tokens (RFC 3161 §2.4.2, RFC 5816, RFC 5652): templates per unit, spliced per request.

Everything that does not depend on the request is encoded once. A token differs from the next only in policy, imprint,
serial, genTime, nonce, messageDigest and signature, so its size is fixed but for the imprint's algorithm, the nonce and
the length of an ECDSA signature.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ca_store import der
from ca_store.signing import ML_DSA_65
from tsa.serials import SERIAL_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ca_store.signing import SignatureAlgorithm

ID_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
ID_CT_TST_INFO: Final = "1.2.840.113549.1.9.16.1.4"
ID_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
ID_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
ID_SIGNING_CERTIFICATE: Final = "1.2.840.113549.1.9.16.2.12"
ID_SIGNING_CERTIFICATE_V2: Final = "1.2.840.113549.1.9.16.2.47"
ID_ALGORITHM_PROTECTION: Final = "1.2.840.113549.1.9.52"

_GRANTED: Final = der.sequence(der.integer(0))
"""PKIStatusInfo without a statusString, which some versions of jarsigner cannot read on a granted reply."""

_CONTENT_TYPE: Final = der.oid(ID_CT_TST_INFO)
_SIGNED_DATA: Final = der.oid(ID_SIGNED_DATA)
_LONGEST_DIGEST_OID: Final = der.oid("2.16.840.1.101.3.4.2.1")
"""All digests known here have OIDs of one length."""

_SERIAL_HEAD: Final = bytes((der.INTEGER, SERIAL_SIZE))
_VERSION_1: Final = der.integer(1)
_FRAMES: Final = 256
"""Frames kept per unit, one for each mix of TSTInfo and signature sizes. Each has the certificates: 1 to 4 kB."""
_LARGEST_NONCE: Final = 33
"""Contents octets of a nonce of 32 unsigned octets: the longest for which a token's maximum size is published."""

_MILLI: Final = 1000

generalized_time = functools.lru_cache(maxsize=8)(der.generalized_time)
"""``der.generalized_time`` for the many tokens of one second."""


def fractional_time(milliseconds: int) -> bytes:
    """GeneralizedTime with a fraction, which ends neither in zero nor in the point (RFC 3161 §2.4.2, X.690 §11.7)."""
    seconds, milli = divmod(milliseconds, _MILLI)
    whole = generalized_time(seconds)
    if not milli:
        return whole
    return der.tlv(whole[0], whole[2:-1], b".%s" % (b"%03d" % milli).rstrip(b"0"), b"Z")


def accuracy(milliseconds: int) -> bytes:
    """Accuracy (RFC 3161 §2.4.2), without the fields that are zero."""
    seconds, milli = divmod(milliseconds, _MILLI)
    whole = der.integer(seconds) if seconds else b""
    return der.sequence(whole, der.context(0, der.integer(milli)[2:], constructed=False) if milli else b"")


@dataclass(frozen=True, slots=True)
class SignerIdentity:
    """The parts of the signer's certificate that a token repeats, as DER."""

    certificate: bytes
    issuer: bytes
    """Name."""
    serial: bytes
    """INTEGER."""


class Unsigned(NamedTuple):
    """A token before its signature."""

    tst_info: bytes
    message_digest: bytes


class _Frame(NamedTuple):
    """A TimeStampResp without TSTInfo, messageDigest and signature, which follow these parts in this order."""

    before_tst_info: bytes
    before_message_digest: bytes
    before_signature: bytes


class TokenTemplate:
    """The constant parts of one unit's tokens."""

    def __init__(
        self,
        signer: SignerIdentity,
        others: Iterable[bytes],
        algorithm: SignatureAlgorithm,
        accuracy_milliseconds: int,
        *,
        ess_cert_id_v1: bool = False,
        fraction: bool = False,
    ) -> None:
        """``others`` are the DER certificates that go along with the signer's own when they are asked for."""
        self._digest = getattr(hashlib, algorithm.digest)
        self._digest_size = self._digest().digest_size
        # RFC 5754 §2: implementations MUST generate SHA2 AlgorithmIdentifiers without parameters.
        digest_algorithm = der.sequence(der.oid(algorithm.digest_oid))
        self._accuracy = accuracy(accuracy_milliseconds)
        self._fraction = fraction
        before, self._attributes_tail = _signed_attributes(signer, algorithm, self._digest_size, v1=ess_cert_id_v1)
        attributes_head = der.length(len(before) + self._digest_size + len(self._attributes_tail)) + before
        # RFC 5652 §5.4: the attributes are signed as SET OF and sent as [0] IMPLICIT.
        self._signed_head = bytes((der.SET,)) + attributes_head
        self._signer_head = (
            _VERSION_1 + der.sequence(signer.issuer, signer.serial) + digest_algorithm + b"\xa0" + attributes_head
        )
        self._signer_tail = self._attributes_tail + algorithm.identifier
        self._signed_data_head = der.integer(3) + der.set_of([digest_algorithm])
        # RFC 5652 §5.1: SET OF, hence sorted; re-encoding a token must be the identity.
        self._certificates = der.context(0, *sorted({signer.certificate, *others}))
        self._frame = functools.lru_cache(maxsize=_FRAMES)(self._make_frame)

    def prepare(self, policy: bytes, imprint: bytes, serial: bytes, gen_time: int, nonce: bytes) -> Unsigned:
        """The TSTInfo and its digest. All but ``serial`` (contents octets) and ``gen_time`` (POSIX milliseconds) are
        DER; an empty ``nonce`` is left out.
        """
        time = fractional_time(gen_time) if self._fraction else generalized_time(gen_time // _MILLI)
        tst_info = der.sequence(_VERSION_1, policy, imprint, _SERIAL_HEAD, serial, time, self._accuracy, nonce)
        return Unsigned(tst_info, self._digest(tst_info).digest())

    def to_be_signed(self, unsigned: Unsigned) -> bytes:
        """The octets that the signature is made over: the signed attributes under the tag of SET OF."""
        return self._signed_head + unsigned.message_digest + self._attributes_tail

    def reply(self, unsigned: Unsigned, signature: bytes, *, certificates: bool) -> bytes:
        """The TimeStampResp with status granted and the token."""
        frame = self._frame(len(unsigned.tst_info), len(signature), certificates)
        return b"".join(
            (
                frame.before_tst_info,
                unsigned.tst_info,
                frame.before_message_digest,
                unsigned.message_digest,
                frame.before_signature,
                signature,
            )
        )

    def largest(self, policies: Iterable[bytes], digest_size: int, signature_size: int) -> int:
        """The most octets a token can have, certificates included, for an imprint of at most ``digest_size`` octets
        with NULL parameters and a nonce of at most 32 octets.
        """
        imprint = der.sequence(der.sequence(_LONGEST_DIGEST_OID, der.NULL), der.octet_string(bytes(digest_size)))
        nonce = der.tlv(der.INTEGER, bytes(_LARGEST_NONCE))
        tst_info = self.prepare(max(policies, key=len), imprint, bytes(SERIAL_SIZE), 999, nonce).tst_info
        return len(self._token(tst_info, self._signer_infos(bytes(signature_size)), certificates=True))

    def _signer_infos(self, signature: bytes) -> bytes:
        """The SET of one SignerInfo, with zeros for the messageDigest."""
        digest = bytes(self._digest_size)
        signer_info = der.sequence(self._signer_head, digest, self._signer_tail, der.octet_string(signature))
        return der.tlv(der.SET, signer_info)

    def _token(self, tst_info: bytes, signer_infos: bytes, *, certificates: bool) -> bytes:
        """The TimeStampToken: a ContentInfo around SignedData."""
        signed_data = der.sequence(
            self._signed_data_head,
            der.sequence(_CONTENT_TYPE, der.context(0, der.octet_string(tst_info))),
            # RFC 3161 §2.4.1: without certReq "the certificates field ... MUST not be present in the response".
            self._certificates if certificates else b"",
            signer_infos,
        )
        return der.sequence(_SIGNED_DATA, der.context(0, signed_data))

    def _make_frame(self, tst_info_size: int, signature_size: int, certificates: bool) -> _Frame:  # noqa: FBT001 - lru_cache takes it by position
        """Only these sizes decide what surrounds the variable parts, so a frame is encoded once and cut in pieces."""
        signer_infos = self._signer_infos(bytes(signature_size))
        token = self._token(bytes(tst_info_size), signer_infos, certificates=certificates)
        reply = der.sequence(_GRANTED, token)
        signature_at = len(reply) - signature_size
        tail = self._signer_tail + der.octet_string(bytes(signature_size))
        digest_at = len(reply) - len(tail) - self._digest_size
        tst_info_end = len(reply) - len(signer_infos) - (len(self._certificates) if certificates else 0)
        return _Frame(
            reply[: tst_info_end - tst_info_size],
            reply[tst_info_end:digest_at],
            reply[digest_at + self._digest_size : signature_at],
        )


def _signed_attributes(
    signer: SignerIdentity, algorithm: SignatureAlgorithm, size: int, *, v1: bool
) -> tuple[bytes, bytes]:
    """Contents of the SET OF signed attributes, before and after the messageDigest's octets.

    contentType and messageDigest are required (RFC 5652 §11), signingCertificateV2 names the signer's certificate and
    no other (RFC 3161 §2.4.2); RFC 5816 §2.2.1 lets the old signingCertificate stand beside it. There is no
    signingTime: genTime is the time. The order is that of the encodings; it does not depend on the digest, because the
    types come first and differ.
    """
    marker = bytes(size)
    message_digest = _attribute(ID_MESSAGE_DIGEST, der.octet_string(marker))
    attributes = [
        _attribute(ID_CONTENT_TYPE, der.oid(ID_CT_TST_INFO)),
        message_digest,
        _attribute(ID_SIGNING_CERTIFICATE_V2, _signing_certificate_v2(signer, algorithm)),
    ]
    if v1:
        attributes.append(_attribute(ID_SIGNING_CERTIFICATE, _signing_certificate(signer)))
    if algorithm is ML_DSA_65:
        attributes.append(_attribute(ID_ALGORITHM_PROTECTION, _algorithm_protection(algorithm)))
    attributes.sort()
    position = attributes.index(message_digest)
    before = b"".join(attributes[:position]) + message_digest.removesuffix(marker)
    return before, b"".join(attributes[position + 1 :])


def _attribute(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), der.tlv(der.SET, value))


def _algorithm_protection(algorithm: SignatureAlgorithm) -> bytes:
    """CMSAlgorithmProtection (RFC 6211 §2), which RFC 9882 §3.4 recommends beside ML-DSA."""
    digest_algorithm = der.sequence(der.oid(algorithm.digest_oid))
    return der.sequence(digest_algorithm, der.tlv(0xA1, algorithm.identifier[2:]))


def _signing_certificate(signer: SignerIdentity) -> bytes:
    """RFC 2634 §5.4, over SHA-1, which is all that its hash can be."""
    cert_hash = der.octet_string(hashlib.sha1(signer.certificate, usedforsecurity=False).digest())
    return der.sequence(der.sequence(der.sequence(cert_hash, _issuer_serial(signer))))


def _issuer_serial(signer: SignerIdentity) -> bytes:
    """IssuerSerial (RFC 5035 §5): issuer is a GeneralNames."""
    return der.sequence(der.sequence(der.context(4, signer.issuer)), signer.serial)


def _signing_certificate_v2(signer: SignerIdentity, algorithm: SignatureAlgorithm) -> bytes:
    """RFC 5035 §3: hashAlgorithm DEFAULT SHA-256, hence left out for it."""
    cert_hash = der.octet_string(hashlib.new(algorithm.digest, signer.certificate).digest())
    hash_algorithm = b"" if algorithm.digest == "sha256" else der.sequence(der.oid(algorithm.digest_oid))
    return der.sequence(der.sequence(der.sequence(hash_algorithm, cert_hash, _issuer_serial(signer))))
