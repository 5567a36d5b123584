"""What must hold for every answer, whatever the request: strangers' decoders read it; it is about what was asked."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from asn1crypto import cms
from asn1crypto import ocsp as asn1_ocsp
from cryptography.x509 import ocsp as x509_ocsp
from pyasn1.codec.ber import decoder
from rfc3161_client import decode_timestamp_response
from tsa_reader import open_reply

from tsa.errors import PKIFailureInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

OCSP_REFUSALS: Final = frozenset(bytes.fromhex(f"30030a01{code:02x}") for code in (1, 6))
"""malformedRequest and unauthorized. A fuzz run has neither a fault of ours (internalError) nor overload (tryLater)."""
TSA_REFUSALS: Final = frozenset(
    PKIFailureInfo[name].encoded.hex()
    for name in ("badAlg", "badRequest", "badDataFormat", "unacceptedPolicy", "unacceptedExtension")
)
GOOD, REVOKED = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED
_NONCE: Final = "1.3.6.1.5.5.7.48.1.2"


def check_ocsp(request: bytes, encoded: bytes, rows: Mapping[int, x509_ocsp.OCSPCertStatus]) -> bool:
    """Hold an OCSPResponse against its request; whether it is signed. ``rows`` has the status by serial, so far as it
    is known.
    """
    if encoded in OCSP_REFUSALS:
        return False
    by_cryptography = x509_ocsp.load_der_ocsp_response(encoded)
    assert by_cryptography.response_status is x509_ocsp.OCSPResponseStatus.SUCCESSFUL
    response: Any = asn1_ocsp.OCSPResponse.load(encoded, strict=True)
    data = response["response_bytes"]["response"].parsed["tbs_response_data"]
    cert_ids = [each["cert_id"].dump() for each in data["responses"]]
    for cert_id in cert_ids:
        assert cert_id in request, "an answer about a certificate that was not asked about"
    for single in by_cryptography.responses:
        known = rows.get(single.serial_number)
        assert known is None or single.certificate_status is known, f"{single.serial_number:x} has another status"
    extensions = data["response_extensions"].native and data["response_extensions"]
    for extension in extensions or ():
        if extension["extn_id"].dotted == _NONCE:
            assert bytes(extension["extn_value"].contents) in request, "a nonce that was not sent"
    return True


def check_timestamp(request: bytes, encoded: bytes) -> bool:
    """Hold a TimeStampResp against its request; whether a token was granted."""
    opened = open_reply(encoded)
    if opened.status != 0:
        assert (opened.status, opened.token) == (2, None)
        assert opened.fail_info in TSA_REFUSALS, f"{opened.fail_info}: {opened.text}"
        assert opened.text
        return False
    info = opened.tst_info
    imprint = info["message_imprint"].dump()
    assert imprint in request, "a token for an imprint that was not sent"
    nonce = info["nonce"]
    assert nonce.native is None or nonce.dump() in request, "a nonce that was not sent"
    if nonce.native is None or nonce.native >= 0:  # a negative one, which is an INTEGER too, it does not read
        other = decode_timestamp_response(encoded)
        assert other.tst_info.message_imprint.message == info["message_imprint"]["hashed_message"].native
    return True


def check_countersignature(body: bytes, reply: bytes) -> None:
    """Hold a reply of Authenticode's older protocol against its request."""
    signed = cms.ContentInfo.load(base64.b64decode(reply, validate=False), strict=True)["content"]
    content = bytes(signed["encap_content_info"]["content"].native)
    (info,) = signed["signer_infos"]
    assert info.native is not None
    assert content
    asked = base64.b64decode(body.translate(None, b" \t\r\n\0"), validate=True)
    if content not in asked:  # an OCTET STRING in pieces
        request, _ = decoder.decode(asked)
        assert bytes(request[1][1]) == content, "a signature that was not sent"
