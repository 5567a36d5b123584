"""A home with a past: CAs made three years ago, certificates that have ended since, and signers of today.

Whatever a running server answers about it is read and verified by ``Asked.read``, which also holds every answer to the
time algebra.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from fakes import DAY, ManualClock
from issuance_world import add_ca, issue_one, make_csr, without_dns, without_logs
from ports import free_port
from strangers import SEEN_SECONDS, SHA1, ask, issuance

from ca_store import der
from ca_store.clock import SystemClock
from ca_store.signing import KeyType
from issuance.csr import decode_request
from issuance.demo import INSTITUTION
from issuance.home import Wish, make_home, open_core
from issuance.profile import CODE_SIGNING
from issuance.signer_renewal import renew_delegate, renew_unit
from issuance.subscriber import issue_from_request
from issuance.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server

    from ca_store.types import Issuer
    from issuance.core import Core

AGE: Final = 3 * 365 * DAY
"""How long ago the CAs were made; since then every subscriber's certificate of that day has ended."""
MIN_VALIDITY: Final = 8 * 3600  # BR §4.9.9
PREFERRED: Final = "1.3.6.1.5.5.7.48.1.8"
RSA_SHA256, RSA_SHA1 = "1.2.840.113549.1.1.11", "1.2.840.113549.1.1.5"
ECDSA_SHA256, ECDSA_SHA1 = "1.2.840.10045.4.3.2", "1.2.840.10045.4.1"
STATUS = x509_ocsp.OCSPCertStatus
REFUSED = x509_ocsp.OCSPResponseStatus


@dataclass(frozen=True)
class Past:
    """Serials of certificates that ended long ago."""

    code: int
    code_revoked: int
    server: int


def build(home: Path) -> Past:
    """Make the home, let three years pass, and renew its signers."""
    then = ManualClock(int(time.time()) - AGE)
    make_home(home, Wish(base_url=f"http://127.0.0.1:{free_port()}"), then)
    without_dns(home)
    without_logs(home)
    with open_core(home, then) as core:
        core.store.add_institution(INSTITUTION)
        add_ca(core, "root", "root")
        add_ca(core, "stamping", "timestamp", "root")
        renew_unit(core, "one", key_type=KeyType.P256)
        code = add_ca(core, "code", "code-signing", "root")
        past = Past(
            issue_code(core, code), issue_code(core, code), issue_one(core, add_ca(core, "web", "server", "root"))
        )
    # Two hours ago, so that every window of now began after it.
    with open_core(home, ManualClock(int(time.time()) - 7200)) as core:
        Timers(core, lambda _: None, lambda _: None).look()
        renew_delegate(core, core.store.issuer("code"), key_type=KeyType.P256)
    with open_core(home, SystemClock()) as core:
        Timers(core, lambda _: None, lambda _: None).look()
        for issuer in core.store.issuers():
            (home / "certs" / f"{issuer.label}.pem").write_bytes(certificate_of(issuer).public_bytes(Encoding.PEM))
    return past


def issue_code(core: Core, issuer: Issuer) -> int:
    """The serial of a new code-signing certificate."""
    request = decode_request(make_csr("rsa-3072", common_name=INSTITUTION.name))
    return issue_from_request(core, issuer, CODE_SIGNING, request)[0]


def certificate_of(issuer: Issuer) -> x509.Certificate:
    return x509.load_der_x509_certificate(issuer.certificate)


@contextmanager
def core_of(server: Server) -> Iterator[Core]:
    """The issuance core of a home that is being served."""
    with open_core(server.home, SystemClock()) as core:
        yield core


def command(server: Server, *arguments: str) -> str:
    """Carry out an issuance command; every worker knows when it returns."""
    printed = issuance(server.home, *arguments)
    time.sleep(SEEN_SECONDS)
    return printed


@dataclass(frozen=True)
class Asked:
    """A question to a running server about one serial of one of its CAs."""

    server: Server
    issuer: str
    serial: int
    nonce: bool = False
    preferences: bytes | None = None
    """Contents octets of the extension."""
    digest: hashes.HashAlgorithm = field(default_factory=lambda: SHA1)

    @property
    def ca(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.server.home / "certs" / f"{self.issuer}.pem").read_bytes())

    def request(self) -> bytes:
        return request((self.ca, self.serial), nonce=self.nonce, preferences=self.preferences, digest=self.digest)

    def ask(self) -> bytes:
        reply = ask(f"{self.server.url}/ocsp", self.request())
        assert (reply.status, reply.content_type) == (200, "application/ocsp-response")
        return reply.body

    def refusal(self) -> x509_ocsp.OCSPResponseStatus:
        response = x509_ocsp.load_der_ocsp_response(self.ask())
        assert response.response_status is not REFUSED.SUCCESSFUL, response.certificate_status
        return response.response_status

    def read(self) -> x509_ocsp.OCSPResponse:
        """The verified answer."""
        encoded = self.ask()
        response = x509_ocsp.load_der_ocsp_response(encoded)
        assert response.response_status is REFUSED.SUCCESSFUL, response.response_status
        assert response.serial_number == self.serial
        verify(response, self.ca)
        check_times(response, self.ca)
        return response

    def single_extensions(self) -> dict[str, bytes]:
        """The extnValues of the SingleResponse by OID."""
        basic = asn1_ocsp.OCSPResponse.load(self.ask(), strict=True).basic_ocsp_response
        (single,) = basic["tbs_response_data"]["responses"]
        assert not any(extension["critical"].native for extension in single["single_extensions"])
        return {each["extn_id"].dotted: each["extn_value"].contents for each in single["single_extensions"]}


def request(
    *about: tuple[x509.Certificate, int],
    nonce: bool = False,
    preferences: bytes | None = None,
    digest: hashes.HashAlgorithm = SHA1,
) -> bytes:
    """An OCSPRequest about serials of CAs, put together here because no library writes several CertIDs."""
    cert_ids = []
    for ca, serial in about:
        alone = x509_ocsp.OCSPRequestBuilder().add_certificate_by_hash(
            *_hashes(ca, digest), serial_number=serial, algorithm=digest
        )
        encoded = alone.build().public_bytes(Encoding.DER)
        cert_ids.append(asn1_ocsp.OCSPRequest.load(encoded)["tbs_request"]["request_list"][0].dump())
    extensions = []
    if nonce:
        value = der.octet_string(time.monotonic_ns().to_bytes(16, "big"))
        extensions.append(der.sequence(der.oid("1.3.6.1.5.5.7.48.1.2"), der.octet_string(value)))
    if preferences is not None:
        extensions.append(der.sequence(der.oid(PREFERRED), der.octet_string(preferences)))
    wrapped = der.context(2, der.sequence(*extensions)) if extensions else b""
    return der.sequence(der.sequence(der.sequence(*cert_ids), wrapped))


def _hashes(ca: x509.Certificate, digest: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    name, key = hashes.Hash(digest), hashes.Hash(digest)
    name.update(ca.subject.public_bytes())
    spki = asn1_x509.Certificate.load(ca.public_bytes(Encoding.DER)).public_key
    key.update(spki["public_key"].contents[1:])
    return name.finalize(), key.finalize()


def preferring(*oids: str) -> bytes:
    """PreferredSignatureAlgorithms."""
    return der.sequence(*[der.sequence(der.sequence(der.oid(oid), der.NULL)) for oid in oids])


def verify(response: x509_ocsp.OCSPResponse, ca: x509.Certificate) -> None:
    """Signed by the one certificate in ``certs``, which the CA's own key issued and the responderID names."""
    (delegate,) = response.certificates
    delegate.verify_directly_issued_by(ca)
    key, digest = delegate.public_key(), response.signature_hash_algorithm
    assert isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512)
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
    else:
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
    assert response.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(key).digest


def check_times(response: x509_ocsp.OCSPResponse, ca: x509.Certificate) -> None:
    """revocationTime ≤ thisUpdate ≤ producedAt ≤ now < nextUpdate ≤ notAfter of the signer and of the CA."""
    (delegate,) = response.certificates
    this_update, next_update = response.this_update_utc, response.next_update_utc
    assert next_update is not None
    if response.revocation_time_utc is not None:
        assert response.revocation_time_utc <= this_update
    assert this_update <= response.produced_at_utc <= datetime.now(UTC) < next_update
    assert next_update <= min(delegate.not_valid_after_utc, ca.not_valid_after_utc)
    assert response.produced_at_utc >= delegate.not_valid_before_utc
    assert (next_update - this_update).total_seconds() >= MIN_VALIDITY
