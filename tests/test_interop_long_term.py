"""Signatures that outlive their certificates: pyHanko, openssl, osslsigncode and jarsigner hold the stamps, the OCSP
answers and the CRLs of a running server against them, now and after the certificates' end.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aged_home
import aiohttp
import pytest
from asn1crypto import cms
from asn1crypto import crl as asn1_crl
from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import x509 as raw_x509
from cryptography import x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import signers
from pyhanko.sign.ades.report import AdESPassed
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.timestamps import HTTPTimeStamper
from pyhanko.sign.validation import DocumentSecurityStore
from pyhanko.sign.validation.ades import (
    ades_lta_validation,
    ades_with_time_validation,
    simulate_future_ades_lta_validation,
)
from pyhanko.sign.validation.policy_decl import (
    LocalKnowledge,
    PdfSignatureValidationSpec,
    RevinfoOnlineFetchingRule,
    RevocationInfoGatheringSpec,
    SignatureValidationSpec,
)
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.context import CertValidationPolicySpec
from pyhanko_certvalidator.errors import RevokedError
from pyhanko_certvalidator.fetchers.aiohttp_fetchers import AIOHttpFetcherBackend
from pyhanko_certvalidator.policy_decl import CertRevTrustPolicy, RevocationCheckingPolicy, RevocationCheckingRule
from pyhanko_certvalidator.registry import SimpleTrustManager
from pyhanko_certvalidator.revinfo.archival import CRLContainer, OCSPContainer
from running_server import running_server
from signers_world import command
from strangers import SEEN_SECONDS, ask, attempt, certificate, issue, load, ocsp_request, revoke, run
from test_interop_openssl_ts import Exchange
from test_interop_pyhanko import KEY_USAGE, USAGE, page, read

if TYPE_CHECKING:
    import io
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    from aged_home import Heirloom
    from running_server import Server
    from strangers import Issued

    Maker = Callable[[Server, Any, Path], Coroutine[Any, Any, "CAdES"]]

CONTENT = b"what was signed at that time"
REVOCATION = CertRevTrustPolicy(
    RevocationCheckingPolicy(RevocationCheckingRule.OCSP_REQUIRED, RevocationCheckingRule.CRL_REQUIRED)
)
"""The responder is asked about signers and units, the CAs above them are looked up in a CRL."""

# This is not typed there.
_load_signer: Any = signers.SimpleSigner.load


@pytest.fixture
async def fetcher() -> AsyncIterator[AIOHttpFetcherBackend]:
    """What pyHanko asks the server through, once for each test."""
    async with aiohttp.ClientSession() as session:
        yield AIOHttpFetcherBackend(session)


def trusting(home: Path, fetcher: Any = None, root: str = "root", knowledge: Any = None) -> Any:
    """Trust in one certificate, and in none below it without revocation information. That is fetched from the server;
    without ``fetcher`` it has to be known already.
    """
    rule = RevinfoOnlineFetchingRule.LOCAL_ONLY if fetcher is None else RevinfoOnlineFetchingRule.ALWAYS_FETCH
    return SignatureValidationSpec(
        CertValidationPolicySpec(
            trust_manager=SimpleTrustManager.build([read(certificate(home, root))]),
            revinfo_policy=REVOCATION,
            time_tolerance=timedelta(0),
        ),
        RevocationInfoGatheringSpec(rule, fetcher),
        local_knowledge=knowledge or LocalKnowledge(),
        key_usage_settings=USAGE,
    )


class TestPAdES:
    """ETSI EN 319 142-1 level B-LTA: stamp, revocation information, and a stamp of the document over all of it."""

    @pytest.mark.parametrize("path", ["/tsa", "/tsa/p256"])
    async def test_a_document_needs_nothing_but_itself_long_after_its_certificates_end(
        self, server: Server, fetcher: Any, tmp_path: Path, path: str
    ) -> None:
        signer = issue(server.home, tmp_path, "client", "smime")
        signed = await sign_document(server, fetcher, signer, path)
        reader = PdfFileReader(signed)
        assert len(reader.embedded_timestamp_signatures) == 1
        inside = DocumentSecurityStore.read_dss(reader)
        assert (len(inside.ocsps), len(inside.crls)) == (2, 1), "of the signer and the unit; of the root"

        offline = PdfSignatureValidationSpec(trusting(server.home))
        now: Any = await ades_lta_validation(only_signature(signed), offline)
        assert now.ades_subindic is AdESPassed.OK, now.failure_msg
        assert now.api_status.bottom_line
        assert now.signature_timestamp_status.ades_subindic is AdESPassed.OK
        assert now.oldest_evidence_record_timestamp >= now.best_signature_time
        for ended in (signer.certificate, certificate(server.home, "tsa" if path == "/tsa" else "tsa-p256")):
            after = load(ended).not_valid_after_utc + timedelta(days=1)
            then = await simulate_future_ades_lta_validation(only_signature(signed), offline, after)
            assert then.ades_subindic is AdESPassed.OK, then.failure_msg
        stranger = PdfSignatureValidationSpec(trusting(server.home, root="server-rsa"))
        refused = await ades_lta_validation(only_signature(signed), stranger)
        assert refused.ades_subindic is not AdESPassed.OK

    async def test_a_document_without_revocation_information_ends_with_its_certificate(
        self, server: Server, fetcher: Any, tmp_path: Path
    ) -> None:
        """That the test above proves something shows in this one."""
        signer = issue(server.home, tmp_path, "client", "smime")
        signed = await sign_document(server, fetcher, signer, "/tsa", long_term=False)
        after = load(signer.certificate).not_valid_after_utc + timedelta(days=1)
        then = await simulate_future_ades_lta_validation(
            only_signature(signed), PdfSignatureValidationSpec(trusting(server.home)), after
        )
        assert then.ades_subindic is not AdESPassed.OK

    async def test_a_document_outlives_a_later_revocation_and_no_earlier_one(
        self, server: Server, fetcher: Any, tmp_path: Path
    ) -> None:
        signer = issue(server.home, tmp_path, "client", "smime")
        signed = await sign_document(server, fetcher, signer, "/tsa")
        await asyncio.sleep(SEEN_SECONDS)  # a revocation in the second of the stamp would not be later
        revoke(server.home, signer)
        online = PdfSignatureValidationSpec(trusting(server.home, fetcher))
        later = await ades_lta_validation(only_signature(signed), online)
        assert later.ades_subindic is AdESPassed.OK, later.failure_msg
        revoke(server.home, signer, at=load(signer.certificate).not_valid_before_utc)
        earlier = await ades_lta_validation(only_signature(signed), online)
        assert earlier.ades_subindic is not AdESPassed.OK


async def sign_document(
    server: Server, fetcher: Any, signer: Issued, path: str, *, long_term: bool = True
) -> io.BytesIO:
    context = ValidationContext(
        trust_roots=[read(certificate(server.home, "root"))],
        allow_fetching=True,
        revinfo_policy=REVOCATION,
        fetcher_backend=fetcher,
    )
    metadata = signers.PdfSignatureMetadata(
        field_name="Signature",
        md_algorithm="sha256",
        subfilter=SigSeedSubFilter.PADES,
        signer_key_usage=KEY_USAGE,
        validation_context=context,
        embed_validation_info=long_term,
        use_pades_lta=long_term,
    )
    credentials = _load_signer(
        str(signer.key), str(signer.certificate), ca_chain_files=(str(certificate(server.home, "client")),)
    )
    stamper = HTTPTimeStamper(server.url + path, session=fetcher.session)
    signed: io.BytesIO = await signers.PdfSigner(metadata, credentials, timestamper=stamper).async_sign_pdf(page())
    return signed


def only_signature(signed: io.BytesIO) -> Any:
    """Read anew: pyHanko keeps what it found out."""
    (signature,) = PdfFileReader(signed).embedded_regular_signatures
    return signature


@dataclass
class CAdES:
    """A signature of the demo home's code signer over CONTENT with a signature-time-stamp (RFC 5126 §6.1.1)."""

    message: cms.ContentInfo
    unit: str
    """Whose stamp it is: the label of its certificate."""

    @property
    def signed(self) -> Any:
        return self.message["content"]

    @property
    def signature(self) -> bytes:
        """What the stamp is about."""
        octets: bytes = self.signed["signer_infos"][0]["signature"].native
        return octets

    @property
    def token(self) -> bytes:
        (attribute,) = self.signed["signer_infos"][0]["unsigned_attrs"]
        assert attribute["type"].native == "signature_time_stamp_token"
        (token,) = attribute["values"]
        encoded: bytes = token.dump()
        return encoded

    def carry(self, crls: list[bytes], answers: list[bytes]) -> None:
        """Put revocation information where level B-LT of ETSI EN 319 122-1 has it (RFC 5652 §10.2.1, RFC 5940 §2)."""
        self.signed["version"] = "v5"
        self.signed["crls"] = [
            *[cms.RevocationInfoChoice("crl", asn1_crl.CertificateList.load(crl)) for crl in crls],
            *[cms.RevocationInfoChoice("other", _other(answer)) for answer in answers],
        ]

    def carried(self) -> Any:
        """The same, as it is read from the message."""
        found = [choice.chosen for choice in self.signed["crls"]]
        answers = [each["other_rev_info"] for each in found if isinstance(each, cms.OtherRevocationInfoFormat)]
        return LocalKnowledge(
            known_ocsps=[one for answer in answers for one in OCSPContainer.load_multi(answer)],
            known_crls=[CRLContainer(each) for each in found if isinstance(each, asn1_crl.CertificateList)],
        )


def _other(answer: bytes) -> cms.OtherRevocationInfoFormat:
    parsed = asn1_ocsp.OCSPResponse.load(answer)
    return cms.OtherRevocationInfoFormat({"other_rev_info_format": "ocsp_response", "other_rev_info": parsed})


async def by_openssl(server: Server, fetcher: Any, folder: Path) -> CAdES:
    """openssl makes the signature and the query; the token is put in here, which it cannot do."""
    home, content, encoded = server.home, folder / "content", folder / "signature.p7m"
    content.write_bytes(CONTENT)
    run(
        "openssl", "cms", "-sign", "-cades", "-binary", "-nodetach", "-md", "sha256", "-in", content,
        "-signer", certificate(home, "demo-code-signer"), "-inkey", home / "keys" / "demo-code-signer.key",
        "-certfile", certificate(home, "code-signing"), "-outform", "DER", "-out", encoded,
    )  # fmt: skip
    made = CAdES(cms.ContentInfo.load(encoded.read_bytes()), "tsa")
    exchange = Exchange(folder, f"{server.url}/tsa", "-sha256", "-cert", content=made.signature)
    token = cms.ContentInfo.load(exchange.token(folder).read_bytes())
    attribute = cms.CMSAttribute({"type": "signature_time_stamp_token", "values": [token]})
    made.signed["signer_infos"][0]["unsigned_attrs"] = [attribute]
    return made


async def by_pyhanko(server: Server, fetcher: Any, folder: Path) -> CAdES:
    credentials = _load_signer(
        str(server.home / "keys" / "demo-code-signer.key"),
        str(certificate(server.home, "demo-code-signer")),
        ca_chain_files=(str(certificate(server.home, "code-signing")),),
    )
    stamper = HTTPTimeStamper(f"{server.url}/tsa/p256", session=fetcher.session)
    made = await credentials.async_sign_general_data(
        CONTENT, "sha256", detached=False, use_cades=True, timestamper=stamper
    )
    return CAdES(made, "tsa-p256")


@pytest.mark.interop("openssl")
@pytest.mark.parametrize("make", [by_openssl, by_pyhanko])
class TestCAdES:
    async def test_openssl_verifies_the_token_on_its_own(
        self, server: Server, fetcher: Any, tmp_path: Path, make: Maker
    ) -> None:
        made = await make(server, fetcher, tmp_path)
        token, about = tmp_path / "token.der", tmp_path / "about"
        token.write_bytes(made.token)
        verify = ("openssl", "ts", "-verify", "-token_in", "-in", token, "-CAfile", certificate(server.home, "root"))
        about.write_bytes(made.signature)
        assert "Verification: OK" in run(*verify, "-data", about)
        about.write_bytes(CONTENT)
        assert "message imprint mismatch" in attempt(*verify, "-data", about).output

    async def test_openssl_and_pyhanko_need_no_server_for_a_signature_that_carries_its_revocation_information(
        self, server: Server, fetcher: Any, tmp_path: Path, make: Maker
    ) -> None:
        made, home = await make(server, fetcher, tmp_path), server.home
        message = tmp_path / "message.p7m"
        verify = (
            "openssl", "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", message, "-purpose", "any",
            "-crl_check_all", "-CAfile", certificate(home, "root"), "-out", os.devnull,
        )  # fmt: skip
        message.write_bytes(made.message.dump())
        assert "unable to get certificate CRL" in attempt(*verify).output
        bare = await ades_with_time_validation(made.signed, trusting(home))
        assert bare.ades_subindic is not AdESPassed.OK

        crls = [ask(f"{server.url}/crl/{label}.crl").body for label in ("code-signing", "root")]
        pairs = (("demo-code-signer", "code-signing"), (made.unit, "timestamp"))
        questions = [ocsp_request(certificate(home, leaf), certificate(home, issuer)) for leaf, issuer in pairs]
        made.carry(crls, [ask(f"{server.url}/ocsp", question).body for question in questions])
        message.write_bytes(made.message.dump())
        run(*verify)
        again = CAdES(cms.ContentInfo.load(message.read_bytes()), made.unit)
        believed: Any = await ades_with_time_validation(again.signed, trusting(home, knowledge=again.carried()))
        assert believed.ades_subindic is AdESPassed.OK, believed.failure_msg
        assert believed.api_status.timestamp_validity.trusted


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Heirloom]]:
    home, heirloom = aged_home.make(tmp_path_factory.mktemp("aged"))
    with running_server(home, workers=1) as running:
        yield running, heirloom


@pytest.mark.interop("faketime", "jarsigner", "keytool", "openssl", "osslsigncode")
class TestEndedCertificates:
    """CSBR §4.9.10 and §4.10.1: a code-signing certificate is answered for ten years after its end."""

    def test_osslsigncode_believes_today_what_was_stamped_then(self, aged: tuple[Server, Heirloom]) -> None:
        server, heirloom = aged
        assert load(certificate(server.home, "demo-code-signer")).not_valid_after_utc < datetime.now(UTC)
        believed = heirloom.stamped.verify(datetime.now(UTC))
        assert believed.status == 0, believed.output
        assert "certificate has expired" in heirloom.bare.verify(datetime.now(UTC)).output

    def test_jarsigner_believes_today_what_was_stamped_then(self, aged: tuple[Server, Heirloom]) -> None:
        server, heirloom = aged
        outcome = heirloom.stores.verify(heirloom.archive, "-revCheck")
        assert outcome.status == 0, outcome.output
        assert outcome.output.count(f"Contacting OCSP server at {server.url}/ocsp") == 4

    def test_openssl_gets_an_answer_and_a_crl_where_the_ended_certificate_points(
        self, aged: tuple[Server, Heirloom], tmp_path: Path
    ) -> None:
        server, _ = aged
        home, leaf = server.home, certificate(server.home, "demo-code-signer")
        issuer, root = certificate(home, "code-signing"), certificate(home, "root")
        url = run("openssl", "x509", "-in", leaf, "-noout", "-ocsp_uri").strip()
        said = run("openssl", "ocsp", "-issuer", issuer, "-cert", leaf, "-url", url, "-CAfile", root, "-resp_text")
        assert "Response verify OK" in said
        assert f"{leaf}: good" in said
        assert "OCSP Archive Cutoff" in said

        (point,) = load(leaf).extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name is not None
        crl = tmp_path / "code-signing.crl"
        crl.write_bytes(ask(point.full_name[0].value).body)
        assert "verify OK" in run("openssl", "crl", "-inform", "DER", "-in", crl, "-noout", "-CAfile", issuer)

    async def test_pyhanko_validates_at_a_time_when_the_certificate_lived(
        self, aged: tuple[Server, Heirloom], fetcher: Any
    ) -> None:
        """With the CRLs of today, also after a revocation that became known long after the certificate's end. It cannot
        with OCSP, for which it wants a delegate of that time.
        """
        server, heirloom = aged
        leaf = raw_x509.Certificate.load(heirloom.code)
        before, at, after = (leaf.not_valid_before + timedelta(days=days) for days in (100, 200, 300))
        await path_at(server.home, leaf, after, fetcher).async_validate_usage(KEY_USAGE, {"code_signing"})
        command(
            server, "cert", "revoke", "--ca", "code-signing", "--serial", f"{leaf.serial_number:x}",
            "--reason", "keyCompromise", "--at", at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )  # fmt: skip
        await path_at(server.home, leaf, before, fetcher).async_validate_usage(KEY_USAGE, {"code_signing"})
        with pytest.raises(RevokedError):
            await path_at(server.home, leaf, after, fetcher).async_validate_usage(KEY_USAGE, {"code_signing"})


def path_at(home: Path, leaf: raw_x509.Certificate, moment: datetime, fetcher: Any) -> Any:
    """What pyHanko makes of a path at a moment of the past, by CRLs that were signed later."""
    rule = RevocationCheckingRule.CRL_REQUIRED
    context = ValidationContext(
        trust_roots=[read(certificate(home, "root"))],
        moment=moment,
        allow_fetching=True,
        fetcher_backend=fetcher,
        revinfo_policy=CertRevTrustPolicy(RevocationCheckingPolicy(rule, rule), retroactive_revinfo=True),
    )
    return CertificateValidator(leaf, [read(certificate(home, "code-signing"))], validation_context=context)
