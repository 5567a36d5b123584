"""Who signs an OCSP answer and what its status means, asked of a running server."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as x509_ocsp
from issuance_world import issue_one, private_key, refused
from pkilint.bin import lint_ocsp_response
from running_server import running_server
from signers_world import (
    ECDSA_SHA1,
    ECDSA_SHA256,
    REFUSED,
    RSA_SHA1,
    RSA_SHA256,
    STATUS,
    Asked,
    build,
    certificate_of,
    command,
    core_of,
    preferring,
    request,
)
from strangers import SEEN_SECONDS, SHA256, ask
from test_interop_pkilint import lint

from ca_store import der
from ca_store.types import CertificateState, CredentialKind, Reason
from issuance.certificate import encode_name
from issuance.crl import sign_crl
from issuance.issuer import issue, prepare
from issuance.profile import SERVER
from issuance.signer_renewal import tenures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from running_server import Server
    from signers_world import Past

    from ca_store.types import Issuer
    from issuance.core import Core

SCT_LIST, ARCHIVE_CUTOFF, REASON_CODE = "1.3.6.1.4.1.11129.2.4.5", "1.3.6.1.5.5.7.48.1.6", "2.5.29.21"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Past]]:
    home = tmp_path_factory.mktemp("signers") / "home"
    past = build(home)
    with running_server(home, workers=2) as running:
        yield running, past


@pytest.fixture
def past(served: tuple[Server, Past]) -> Past:
    return served[1]


@pytest.fixture(name="server")
def own_server(served: tuple[Server, Past]) -> Server:
    """Not the demo home's."""
    return served[0]


def issue_web(server: Server) -> int:
    with core_of(server) as core:
        return issue_one(core, core.store.issuer("web"), "a.example.ac.jp")


def issue_as(core: Core, issuer: Issuer, serial: int) -> None:
    """A server certificate with a serial of one's choice."""
    key = private_key("p384").public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    names = {"country_name": "JP", "organization_name": "Example University", "common_name": "a.example.ac.jp"}
    draft = prepare(
        core, issuer, SERVER, subject=encode_name(names), public_key=spki, names=("a.example.ac.jp",), serial=serial
    )
    issue(core, draft)


class TestPreferredSignatureAlgorithms:
    """RFC 6960 §4.4.7. The code-signing CA has a delegate of RSA, which is the default, and one of P-256."""

    @pytest.mark.parametrize("nonce", [False, True], ids=["cached", "nonce"])
    @pytest.mark.parametrize(
        ("preferences", "signed"),
        [
            pytest.param(None, RSA_SHA256, id="no preference"),
            pytest.param(preferring(), RSA_SHA256, id="an empty list"),
            pytest.param(preferring(RSA_SHA256), RSA_SHA256, id="RSA"),
            pytest.param(preferring(ECDSA_SHA256), ECDSA_SHA256, id="ECDSA"),
            pytest.param(preferring("1.2.3.4", ECDSA_SHA256, RSA_SHA256), ECDSA_SHA256, id="ECDSA after another"),
            pytest.param(preferring(RSA_SHA256, ECDSA_SHA256), RSA_SHA256, id="RSA before ECDSA"),
            pytest.param(preferring(RSA_SHA1), RSA_SHA256, id="SHA-1"),
            pytest.param(preferring(ECDSA_SHA1, RSA_SHA1), RSA_SHA256, id="SHA-1 twice"),
        ],
    )
    def test_choose_among_the_delegates_and_never_downgrade(
        self, server: Server, past: Past, preferences: bytes | None, signed: str, nonce: bool
    ) -> None:
        question = Asked(server, "code", past.code, nonce, preferences)
        for _ in range(4):
            assert question.read().signature_algorithm_oid.dotted_string == signed

    def test_choose_nothing_where_there_is_one_delegate(self, server: Server, past: Past) -> None:
        answer = Asked(server, "web", past.server, preferences=preferring(RSA_SHA256)).read()
        assert answer.signature_algorithm_oid.dotted_string == ECDSA_SHA256

    @pytest.mark.parametrize(
        "value",
        [b"", b"not DER", der.NULL, der.sequence(der.NULL), preferring() + b"\0"],
        ids=["nothing", "no DER", "NULL", "a list of NULL", "a trailing octet"],
    )
    def test_malformed_are_malformed_requests(self, server: Server, past: Past, value: bytes) -> None:
        assert Asked(server, "code", past.code, preferences=value).refusal() is REFUSED.MALFORMED_REQUEST

    def test_another_algorithm_is_added_renewed_and_retired_while_the_server_runs(self, server: Server) -> None:
        serial = issue_web(server)
        preferring_rsa = Asked(server, "web", serial, nonce=True, preferences=preferring(RSA_SHA256))
        plain = replace(preferring_rsa, preferences=None)
        assert preferring_rsa.read().signature_algorithm_oid.dotted_string == ECDSA_SHA256
        default = plain.read().certificates
        _, name, first = command(server, "signer", "renew", "--ca", "web", "--key", "rsa-3072").split()
        assert name == "web.rsa-3072"
        assert f"{preferring_rsa.read().certificates[0].serial_number:x}" == first
        _, _, second = command(server, "signer", "renew", "--ca", "web", "--key", "rsa-3072", "--force").split()
        assert f"{preferring_rsa.read().certificates[0].serial_number:x}" == second != first
        assert plain.read().certificates == default
        command(server, "signer", "retire", "--ca", "web", "--key", "rsa-3072")
        assert preferring_rsa.read().certificates == default


class TestDelegates:
    def test_each_issuer_has_its_own_by_cert_id(self, server: Server, past: Past) -> None:
        """Also under SHA-256; the certificate appears once, first and alone."""
        with core_of(server) as core:
            own = {issuer.label: issuer for issuer in core.store.issuers()}
        for label, serial in (("code", past.code), ("web", past.server), ("root", own["web"].serial)):
            for digest in (hashes.SHA1(), SHA256):  # noqa: S303 - names an issuer and protects nothing
                (delegate,) = Asked(server, label, serial, digest=digest).read().certificates
                assert delegate.issuer == certificate_of(own[label]).subject

    def test_a_request_about_two_issuers_is_unauthorized(self, server: Server, past: Past) -> None:
        one, other = Asked(server, "code", past.code), Asked(server, "web", past.server)
        mixed = request((one.ca, one.serial), (other.ca, other.serial))
        response = x509_ocsp.load_der_ocsp_response(ask(f"{server.url}/ocsp", mixed).body)
        assert response.response_status is REFUSED.UNAUTHORIZED

    def test_a_revoked_one_falls_silent_and_is_replaced_without_a_restart(self, server: Server) -> None:
        with core_of(server) as core:
            tenure = tenures(core, CredentialKind.OCSP, "stamping")[-1]
            unit = tenures(core, CredentialKind.TSA, "one")[0].credential.serial
        question = Asked(server, "stamping", unit)
        (before,) = question.read().certificates
        assert before.serial_number == tenure.credential.serial
        serial = f"{before.serial_number:x}"
        command(server, "cert", "revoke", "--ca", "stamping", "--serial", serial, "--reason", "superseded")
        assert question.refusal() is REFUSED.UNAUTHORIZED
        assert f"OCSP delegate {serial} of stamping is left out: it is revoked" in server.log.read_text()
        command(server, "signer", "renew", "--ca", "stamping")
        (after,) = question.read().certificates
        assert after.serial_number != before.serial_number

    def test_a_wrong_one_is_refused_at_load_and_the_one_before_goes_on(self, server: Server) -> None:
        serial = issue_web(server)
        question = Asked(server, "web", serial, nonce=True)
        before = question.read().certificates
        with core_of(server) as core:
            good = tenures(core, CredentialKind.OCSP, "web")[-1].credential
            leaf = core.store.certificate(good.issuer, serial)
            assert leaf.der is not None
            wrong = replace(good, serial=serial, certificate=leaf.der, active_from=int(time.time()))
            identifier = core.store.add_credential(wrong, int(time.time()))
        time.sleep(SEEN_SECONDS)
        assert question.read().certificates == before
        log = server.log.read_text()
        assert f"the certificate of OCSP delegate {serial:x} of web is refused: " in log
        assert "extendedKeyUsage must be OCSPSigning and nothing else" in log
        with core_of(server) as core:
            core.store.retire_credential(identifier, int(time.time()))


class TestKeyRollOver:
    def test_the_previous_key_goes_on_answering_for_what_it_issued(self, server: Server) -> None:
        """One name, two keys: each serial belongs to the key that signed it, and its delegate says so."""
        with core_of(server) as core:
            issue_as(core, core.store.issuer("web"), 0x5EA1)
        label = command(server, "ca", "rekey", "web").strip()
        assert label == "web-2"
        old, new = Asked(server, "web", 0x5EA1, nonce=True), Asked(server, "web-2", 0x5EA1, nonce=True)
        assert old.ca.subject == new.ca.subject
        assert old.ca.public_key() != new.ca.public_key()
        assert old.read().certificate_status is STATUS.GOOD
        assert new.refusal() is REFUSED.UNAUTHORIZED
        with core_of(server) as core:
            issue_as(core, core.store.issuer("web-2"), 0x5EA1)
        serial = ("--serial", "5ea1", "--reason", "superseded")
        command(server, "cert", "revoke", "--ca", "web", *serial)
        assert old.read().certificate_status is STATUS.REVOKED
        assert new.read().certificate_status is STATUS.GOOD
        mixed = request((old.ca, 0x5EA1), (new.ca, 0x5EA1))
        answer = x509_ocsp.load_der_ocsp_response(ask(f"{server.url}/ocsp", mixed).body)
        assert answer.response_status is REFUSED.UNAUTHORIZED

        (before,) = old.read().certificates
        command(server, "signer", "renew", "--ca", "web", "--force")
        (after,) = old.read().certificates
        assert after.serial_number != before.serial_number
        # Each key signs the CRL about what it issued.
        for asked, listed in ((old, True), (new, False)):
            crl = x509.load_der_x509_crl(ask(f"{server.url}/crl/{asked.issuer}.crl").body)
            assert crl.is_signature_valid(asked.ca.public_key())  # type: ignore[arg-type]  # a CA key signs
            assert (crl.get_revoked_certificate_by_serial_number(0x5EA1) is not None) is listed


class TestCodeSigning:
    """CSBR §4.9.10 and §4.10.1: answers for ten years after a certificate's end, and what makes them worth it."""

    def test_an_ended_certificate_is_answered_with_an_archive_cutoff_that_moves_with_the_window(
        self, server: Server, past: Past
    ) -> None:
        question = Asked(server, "code", past.code)
        answer = question.read()
        assert answer.certificate_status is STATUS.GOOD
        with core_of(server) as core:
            assert (
                core.store.certificate(core.store.issuer("code").id, past.code).not_after < time.time() - 365 * 86_400
            )
        cutoff = der.generalized_time(int((answer.produced_at_utc - timedelta(days=3653)).timestamp()))
        assert question.single_extensions() == {ARCHIVE_CUTOFF: cutoff}
        later = replace(question, nonce=True)
        now = later.read().produced_at_utc
        assert now > answer.produced_at_utc
        assert later.single_extensions()[ARCHIVE_CUTOFF] > cutoff

    def test_a_backdated_revocation_is_dated_alike_in_answer_and_crl_and_never_forgotten(
        self, server: Server, past: Past
    ) -> None:
        at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1000)
        question = Asked(server, "code", past.code_revoked)
        assert question.read().certificate_status is STATUS.GOOD
        serial = f"{past.code_revoked:x}"
        command(
            server, "cert", "revoke", "--ca", "code", "--serial", serial, "--reason", "keyCompromise",
            "--at", at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )  # fmt: skip
        answer = question.read()
        assert (answer.certificate_status, answer.revocation_time_utc) == (STATUS.REVOKED, at)
        assert answer.revocation_reason is x509.ReasonFlags.key_compromise
        assert ARCHIVE_CUTOFF in question.single_extensions()
        for _ in range(2):  # an entry that RFC 5280 §3.3 would drop after one CRL
            with core_of(server) as core:
                sign_crl(core, core.store.issuer("code"))
        time.sleep(SEEN_SECONDS)
        crl = x509.load_der_x509_crl(ask(f"{server.url}/crl/code.crl").body)
        entry = crl.get_revoked_certificate_by_serial_number(past.code_revoked)
        assert entry is not None
        assert entry.revocation_date_utc == at
        assert entry.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc == at

    def test_an_ended_server_certificate_is_answered_too_without_a_promise(self, server: Server, past: Past) -> None:
        question = Asked(server, "web", past.server)
        assert question.read().certificate_status is STATUS.GOOD
        assert question.single_extensions() == {}


class TestStatus:
    def test_a_serial_is_good_as_soon_as_it_is_issued_and_not_while_it_is_reserved(self, server: Server) -> None:
        with core_of(server) as core:
            web = core.store.issuer("web")
            core.store.reserve(web.id, 0xBEEF, "server", web.not_after, core.now())
            reserved = Asked(server, "web", 0xBEEF)
            assert reserved.refusal() is REFUSED.UNAUTHORIZED
        serial = issue_web(server)
        for digest in (hashes.SHA1(), SHA256):  # noqa: S303 - names an issuer and protects nothing
            assert Asked(server, "web", serial, digest=digest).read().certificate_status is STATUS.GOOD

    @pytest.mark.parametrize(
        "reason", ["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation",
                   "privilegeWithdrawn"],
    )  # fmt: skip
    def test_every_reason_that_the_br_permit_is_told_and_unspecified_is_omitted(
        self, server: Server, reason: str
    ) -> None:
        question = Asked(server, "web", issue_web(server))
        assert question.read().certificate_status is STATUS.GOOD
        command(server, "cert", "revoke", "--ca", "web", "--serial", f"{question.serial:x}", "--reason", reason)
        found = asn1_ocsp.OCSPResponse.load(question.ask(), strict=True).response_data["responses"][0]["cert_status"]
        assert question.read().certificate_status is STATUS.REVOKED
        told = found.chosen["revocation_reason"]
        # [0] EXPLICIT ENUMERATED, or nothing at all.
        assert told.dump() == (b"" if reason == "unspecified" else b"\xa0\x03\x0a\x01" + bytes([Reason[reason]]))

    @pytest.mark.parametrize("reason", ["certificateHold", "removeFromCRL", "cACompromise", "aACompromise"])
    def test_no_other_reason_is_taken(self, server: Server, reason: str) -> None:
        serial = issue_web(server)
        arguments = ("cert", "revoke", "--ca", "web", "--serial", f"{serial:x}", "--reason", reason)
        assert f"{reason} is refused" in refused(*arguments, home=server.home)
        assert Asked(server, "web", serial).read().certificate_status is STATUS.GOOD

    def test_a_time_stamp_unit_is_revoked_with_a_reason(self, server: Server) -> None:
        """RFC 3161 §4: without one every token of the key would be void."""
        with core_of(server) as core:
            unit = tenures(core, CredentialKind.TSA, "one")[0].credential.serial
        arguments = ("cert", "revoke", "--ca", "stamping", "--serial", f"{unit:x}", "--reason")
        for reason in ("unspecified", "privilegeWithdrawn"):
            assert "is revoked for one of" in refused(*arguments, reason, home=server.home)
        command(server, "signer", "renew", "--ca", "stamping")
        command(server, *arguments, "cessationOfOperation")
        answer = Asked(server, "stamping", unit).read()
        assert answer.revocation_reason is x509.ReasonFlags.cessation_of_operation

    def test_scts_that_are_kept_for_ocsp_are_in_the_answer(self, server: Server) -> None:
        """RFC 6962 §3.3, as another library and a linter read it."""
        question = Asked(server, "web", issue_web(server))
        assert question.single_extensions() == {}
        sct = b"\0" + b"L" * 32 + (1_700_000_000_000).to_bytes(8, "big") + b"\0\0" + b"\x04\x03" + b"\0\x02ab"
        listed = (len(sct) + 2).to_bytes(2, "big") + len(sct).to_bytes(2, "big") + sct
        with core_of(server) as core:
            core.store.put_sct_list(core.store.issuer("web").id, question.serial, listed, core.now())
        time.sleep(SEEN_SECONDS)
        assert question.single_extensions() == {SCT_LIST: der.octet_string(listed)}
        (found,) = question.read().single_extensions.get_extension_for_class(x509.SignedCertificateTimestamps).value
        assert found.log_id == b"L" * 32
        assert lint(lint_ocsp_response, question.ask()) == []


class TestCompromise:
    def test_a_sub_ca_is_answered_at_its_parent_and_its_compromise_revokes_all_that_it_issued(
        self, server: Server
    ) -> None:
        """By one command; BR §7.3: a revoked CA carries its reason."""
        command(
            server, "ca", "create", "doomed", "--purpose", "server", "--parent", "root", "--key", "p384",
            "--common-name", "Doomed CA",
        )  # fmt: skip
        with core_of(server) as core:
            doomed = core.store.issuer("doomed")
            serials = [issue_one(core, doomed) for _ in range(3)]
        at_parent = Asked(server, "root", doomed.serial)
        leaves = [Asked(server, "doomed", serial) for serial in serials]
        assert {asked.read().certificate_status for asked in (at_parent, *leaves)} == {STATUS.GOOD}
        printed = command(server, "ca", "revoke", "doomed", "--reason", "keyCompromise")
        assert printed == "revoked doomed and 3 certificates that it issued\n"
        answer = at_parent.read()
        assert answer.certificate_status is STATUS.REVOKED
        assert answer.revocation_reason is x509.ReasonFlags.key_compromise
        assert {asked.read().certificate_status for asked in leaves} == {STATUS.REVOKED}
        for label, listed in (("root", [doomed.serial]), ("doomed", serials)):
            crl = x509.load_der_x509_crl(ask(f"{server.url}/crl/{label}.crl").body)
            assert all(crl.get_revoked_certificate_by_serial_number(serial) is not None for serial in listed)
        with core_of(server) as core:
            states = {core.store.certificate(doomed.id, serial).status.state for serial in serials}
            assert states == {CertificateState.REVOKED}


def test_every_kind_of_answer_passes_the_linter(server: Server, past: Past) -> None:
    for question in (Asked(server, "code", past.code), Asked(server, "web", past.server)):
        assert lint(lint_ocsp_response, question.ask()) == []
