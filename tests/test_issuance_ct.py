"""Certificate Transparency: precertificates, what logs answer to them, and what is left wherever it ends."""

from __future__ import annotations

import base64
import json
import threading
import urllib.request
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.certificate_transparency import LogEntryType
from ct_core import SCTS, embedded, issued, left, loaded, of_precertificate, parse_list, serials, verify
from issuance_world import issue_one, make_csr

from ca_store.errors import IllegalMove
from ca_store.types import CertificateState
from issuance.csr import decode_request
from issuance.issuer import issue, prepare
from issuance.precertificate import (
    has_scts,
    is_precertificate,
    stripped,
    to_be_signed,
)
from issuance.profile import CLIENT, SERVER
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from ct_log import CTLog

    from issuance.core import Core

pytest_plugins = ("ct_fixtures",)


class TestIssuance:
    @pytest.mark.parametrize("label", ["ecc", "rsa"])
    def test_the_scts_of_every_log_are_embedded_and_verify(self, core: Core, logs: list[CTLog], label: str) -> None:
        certificate = issued(core, label=label)
        found = embedded(certificate)
        assert [sct.log_id for sct in found] == [log.log_id for log in logs]
        for log, sct in zip(logs, found, strict=True):
            assert sct.entry_type is LogEntryType.PRE_CERTIFICATE
            assert sct.extension_bytes == b"log's own"
            verify(log, sct, of_precertificate(core, certificate))

    def test_each_log_is_told_once_of_the_precertificate_and_once_of_the_certificate(
        self, core: Core, logs: list[CTLog]
    ) -> None:
        certificate = issued(core)
        for log in logs:
            assert log.asked == ["add-pre-chain", "add-chain"]
            precertificate, final = log.seen[0][0], log.seen[1][0]
            assert log.seen[0][1:] == log.seen[1][1:]
            assert len(log.seen[0]) == 3  # and the two CAs above
            assert is_precertificate(precertificate)
            assert final == certificate.der

    def test_a_precertificate_is_its_certificate_but_for_one_extension(self, core: Core, logs: list[CTLog]) -> None:
        certificate = loaded(issued(core))
        announced = x509.load_der_x509_certificate(logs[0].seen[0][0])
        *same, poison = announced.extensions
        *others, scts = certificate.extensions
        assert same == others
        assert (poison.oid, poison.critical, poison.value.public_bytes()) == (x509.PrecertPoison.oid, True, b"\5\0")
        assert (scts.oid, scts.critical) == (SCTS.oid, False)
        assert announced.serial_number == certificate.serial_number
        assert certificate.tbs_precertificate_bytes == stripped(to_be_signed(logs[0].seen[0][0]))

    def test_the_certificates_own_scts_are_kept_for_ocsp(self, core: Core, logs: list[CTLog]) -> None:
        certificate = issued(core)
        assert certificate.status.sct_list is not None
        assert certificate.der is not None
        kept = parse_list(certificate.status.sct_list)
        entry = b"\0\0" + len(certificate.der).to_bytes(3, "big") + certificate.der
        for log, sct in zip(logs, kept, strict=True):
            verify(log, sct, entry)
        assert not {sct.signature for sct in kept} & {sct.signature for sct in embedded(certificate)}

    def test_the_serial_is_good_before_any_log_hears_of_it(self, core: Core, logs: list[CTLog]) -> None:
        """Precertificates whose serials nobody answered for (bugzilla 1577652)."""
        before = serials(core)
        seen: list[CertificateState] = []

        def look(answer: dict[str, Any]) -> dict[str, Any]:
            seen.append(left(core, before).status.state)
            return answer

        logs[0].spoil = look
        issued(core)
        assert seen == [CertificateState.GOOD] * 2

    def test_servers_alone(self, core: Core, logs: list[CTLog]) -> None:
        request = decode_request(make_csr("rsa-2048", common_name="Taro Yamada"))
        _, der = issue_from_request(core, core.store.issuer("client"), CLIENT, request)
        assert not is_precertificate(der)
        assert not has_scts(der)
        assert [log.asked for log in logs] == [[], [], []]

    def test_without_it_nothing_is_told_to_anyone(self, core: Core, logs: list[CTLog]) -> None:
        certificate = issued(replace(core, transparency=None))
        assert certificate.der is not None
        assert not has_scts(certificate.der)
        assert not any(log.asked for log in logs)

    def test_what_was_issued_can_be_found_in_the_logs(self, core: Core, logs: list[CTLog]) -> None:
        certificate = issued(core)
        for log in logs:
            head = json.loads(urllib.request.urlopen(f"{log.url}ct/v1/get-sth").read())  # noqa: S310 - loopback
            last = head["tree_size"] - 1
            url = f"{log.url}ct/v1/get-entries?start=0&end={last}"
            entries = json.loads(urllib.request.urlopen(url).read())["entries"]  # noqa: S310 - the same
            leaves = [base64.b64decode(each["leaf_input"]) for each in entries]
            (found,) = [each for each in leaves if of_precertificate(core, certificate) in each]
            (sct,) = [each for each in embedded(certificate) if each.log_id == log.log_id]
            assert int.from_bytes(found[2:10], "big") // 1000 == int(sct.timestamp.replace(tzinfo=UTC).timestamp())

    def test_two_at_once_get_their_own_scts(self, core: Core, logs: list[CTLog]) -> None:
        """SCTs of another precertificate were once embedded (bugzilla 1815874)."""
        before = serials(core)
        for log in logs:
            log.delay = 0.1
        failures: list[Exception] = []

        def work(number: int) -> None:
            try:
                issued(core, f"t{number}.example.ac.jp")
            except Exception as error:  # noqa: BLE001 - the test fails on it below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        made = [each for each in core.store.certificates() if each.serial not in before]
        assert len(made) == 4
        for certificate in made:
            for log, sct in zip(logs, embedded(certificate), strict=True):
                verify(log, sct, of_precertificate(core, certificate))


class TestLog:
    """The log of these tests refuses what a log must, or their SCTs would prove little."""

    def test_it_looks_at_chain_and_poison(self, core: Core, logs: list[CTLog]) -> None:
        issued(core)
        (pre, final), log = (chain for chain in logs[0].seen), logs[0]
        for chain, is_pre in ((final, True), (pre, False), (pre[:1], True), (pre[:2], True), ([pre[0], pre[2]], True)):
            with pytest.raises(ValueError, match="chain|precertificates"):
                log.add(chain, pre=is_pre)


def test_a_draft_is_good_for_one_certificate(core: Core) -> None:
    issuer = core.store.issuer("ecc")
    request = decode_request(make_csr("p384", common_name="a.example.ac.jp"))
    subject = asn1_x509.Certificate.load(issuer.certificate).subject.dump()
    draft = prepare(core, issuer, SERVER, subject=subject, public_key=request.public_key, names=("a.example.ac.jp",))
    seen: list[bytes] = []
    assert seen == [] and issue(core, draft, deliver=seen.append) == seen[0]  # noqa: PT018 - in this order
    with pytest.raises(IllegalMove):
        issue(core, draft)


def test_the_ecc_ca_signs_precertificates_as_it_signs_certificates(core: Core) -> None:
    serial = issue_one(core, core.store.issuer("ecc"))
    der = core.store.certificate(core.store.issuer("ecc").id, serial).der
    assert der is not None
    assert asn1_x509.Certificate.load(der)["signature_algorithm"]["algorithm"].native == "sha384_ecdsa"
