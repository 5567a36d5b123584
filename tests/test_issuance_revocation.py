"""Revocations: the reasons and times they may carry, and the CRLs that follow."""

from __future__ import annotations

import subprocess
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes import NOW, ManualClock
from issuance_world import add_ca, issuance, listed, make_csr, read_certificate, refused, small_core

from ca_store.database import open_issuance_store
from ca_store.errors import IllegalMove, NotFound
from ca_store.types import CertificateState, Reason
from issuance.crl import LIFE, PERIOD, is_due, sign_crl
from issuance.csr import decode_request
from issuance.errors import RevocationRefused
from issuance.issuer import issue, prepare
from issuance.profile import BACKDATE, PROFILES, SERVER
from issuance.revocation import check_reason, revoke
from issuance.signer_renewal import renew_unit
from issuance.subscriber import issue_from_request, order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ca_store.types import Issuer
    from issuance.core import Core

SUBSCRIBER = {"unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"}
LEGAL = {
    "server": SUBSCRIBER | {"privilegeWithdrawn"},
    "client": SUBSCRIBER | {"privilegeWithdrawn"},
    "smime": SUBSCRIBER | {"privilegeWithdrawn"},
    "code-signing": SUBSCRIBER | {"privilegeWithdrawn"},
    "ocsp-delegate": SUBSCRIBER | {"privilegeWithdrawn"},
    "sub-ca": SUBSCRIBER - {"unspecified"} | {"privilegeWithdrawn"},
    "tsa-unit": SUBSCRIBER - {"unspecified"},
}


@pytest.mark.parametrize("profile", LEGAL)
@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_each_profile_has_its_reasons(profile: str, reason: Reason) -> None:
    """BR §7.2.2 and §4.9.13; RFC 3161 §4 for time-stamping units, whose tokens any other reason would void."""
    if reason.name in LEGAL[profile]:
        check_reason(reason, PROFILES[profile])
    else:
        with pytest.raises(RevocationRefused):
            check_reason(reason, PROFILES[profile])


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    core = small_core(tmp_path, ManualClock())
    add_ca(core, "root", "root")
    with closing(core.store):
        yield core


@pytest.fixture
def ecc(core: Core) -> Issuer:
    return add_ca(core, "ecc", "server", "root")


def issue_one(core: Core, issuer: Issuer, host: str = "a.example.ac.jp") -> int:
    return issue_from_request(core, issuer, SERVER, decode_request(make_csr("p384", common_name=host)))[0]


def advance(core: Core, seconds: int) -> None:
    clock = core.clock
    assert isinstance(clock, ManualClock)
    clock.advance(seconds)


def read_crl(core: Core, issuer: Issuer) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(core.store.latest_crl(issuer.id).der)


class TestTimes:
    def test_a_time_back_to_the_validity_is_taken_and_none_beyond(self, core: Core, ecc: Issuer) -> None:
        serial = issue_one(core, ecc)
        advance(core, 1000)
        for wrong, sentence in ((NOW + 1001, "in the future"), (NOW - BACKDATE - 1, "valid only from")):
            with pytest.raises(RevocationRefused, match=sentence):
                revoke(core, ecc, serial, Reason.keyCompromise, wrong)
        assert core.store.certificate(ecc.id, serial).status.state is CertificateState.GOOD
        for right in (NOW + 1000, NOW - BACKDATE):
            assert revoke(core, ecc, serial, Reason.keyCompromise, right).revoked_at == right

    def test_a_repetition_changes_nothing_and_a_correction_keeps_the_time(self, core: Core, ecc: Issuer) -> None:
        serial = issue_one(core, ecc)
        advance(core, 10)
        first = revoke(core, ecc, serial, Reason.superseded)
        advance(core, 10)
        assert revoke(core, ecc, serial, Reason.superseded) == first
        corrected = revoke(core, ecc, serial, Reason.keyCompromise)
        assert (corrected.reason, corrected.revoked_at) == (Reason.keyCompromise, NOW + 10)

    def test_an_unknown_serial_is_named(self, core: Core, ecc: Issuer) -> None:
        with pytest.raises(NotFound, match="ecc has no certificate with the serial abc123"):
            revoke(core, ecc, 0xABC123, Reason.superseded)

    def test_a_root_does_not_revoke_itself(self, core: Core) -> None:
        root = core.store.issuer("root")
        with pytest.raises(RevocationRefused, match="a root cannot revoke itself"):
            revoke(core, root, root.serial, Reason.keyCompromise)

    def test_a_reserved_serial_can_be_revoked_and_never_becomes_good(self, core: Core, ecc: Issuer) -> None:
        request = decode_request(make_csr("p384", common_name="a.example.ac.jp"))
        named = order(request, SERVER, core.store.institutions())
        draft = prepare(core, ecc, SERVER, subject=named.subject, public_key=request.public_key, names=named.names)
        revoke(core, ecc, draft.contents.serial, Reason.keyCompromise)
        with pytest.raises(IllegalMove):
            issue(core, draft)


class TestCRL:
    def test_a_crl_says_what_the_rows_say(self, core: Core, ecc: Issuer) -> None:
        good, unspecified, compromised = (issue_one(core, ecc, f"{host}.example.ac.jp") for host in "abc")
        advance(core, 500)
        revoke(core, ecc, unspecified, Reason.unspecified)
        revoke(core, ecc, compromised, Reason.keyCompromise, NOW)
        sign_crl(core, ecc)
        crl = read_crl(core, ecc)
        issuer = x509.load_der_x509_certificate(ecc.certificate)

        assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # a CA key signs
        assert crl.issuer.public_bytes() == issuer.subject.public_bytes()
        assert crl.last_update_utc.timestamp() == NOW + 500
        assert crl.next_update_utc is not None
        assert crl.next_update_utc.timestamp() == NOW + 500 + LIFE
        # RFC 5280 §5.2: these two MUST be there; IssuingDistributionPoint would narrow the scope.
        assert [extension.oid._name for extension in crl.extensions] == ["authorityKeyIdentifier", "cRLNumber"]
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2

        assert crl.get_revoked_certificate_by_serial_number(good) is None
        entry = crl.get_revoked_certificate_by_serial_number(unspecified)
        assert entry is not None
        assert (entry.revocation_date_utc.timestamp(), list(entry.extensions)) == (NOW + 500, [])
        entry = crl.get_revoked_certificate_by_serial_number(compromised)
        assert entry is not None
        assert entry.revocation_date_utc.timestamp() == NOW
        assert [extension.value for extension in entry.extensions] == [x509.CRLReason(x509.ReasonFlags.key_compromise)]

    def test_a_backdated_revocation_of_a_time_stamping_unit_has_an_invalidity_date(self, core: Core) -> None:
        """CSBR §7.2.2: invalidityDate equals revocationDate. Without backdating it would say nothing new."""
        stamping = add_ca(core, "stamping", "timestamp", "root")
        first, second = (renew_unit(core, name) for name in ("one", "two"))
        assert first is not None
        assert second is not None
        advance(core, 500)
        revoke(core, stamping, first.serial, Reason.keyCompromise, NOW + 7)
        revoke(core, stamping, second.serial, Reason.superseded)
        sign_crl(core, stamping)
        crl = read_crl(core, stamping)
        backdated = crl.get_revoked_certificate_by_serial_number(first.serial)
        assert backdated is not None
        invalidity = backdated.extensions.get_extension_for_class(x509.InvalidityDate).value
        assert invalidity.invalidity_date_utc == backdated.revocation_date_utc
        assert backdated.revocation_date_utc.timestamp() == NOW + 7
        plain = crl.get_revoked_certificate_by_serial_number(second.serial)
        assert plain is not None
        assert [type(extension.value) for extension in plain.extensions] == [x509.CRLReason]

    def test_a_new_ca_has_an_empty_crl_without_an_empty_list(self, core: Core, ecc: Issuer) -> None:
        """RFC 5280 §5.1.2.6: revokedCertificates MUST be absent when there is none."""
        crl = read_crl(core, ecc)
        assert len(crl) == 0
        assert crl.next_update_utc is not None
        # thisUpdate and nextUpdate, then at once the extensions.
        assert crl.next_update_utc.strftime("%y%m%d%H%M%SZ").encode() + b"\xa0" in crl.tbs_certlist_bytes

    def test_dates_past_2049_are_generalized_time(self, core: Core) -> None:
        """RFC 5280 §5.1.2.4."""
        root = core.store.issuer("root")
        advance(core, 24 * 365 * 86_400)
        sign_crl(core, root)
        assert b"\x18\x0f2051" in read_crl(core, root).tbs_certlist_bytes

    def test_it_is_due_after_a_period_and_ends_with_its_ca(self, core: Core, ecc: Issuer) -> None:
        assert not is_due(core, ecc)
        advance(core, PERIOD - 1)
        assert not is_due(core, ecc)
        advance(core, 1)
        assert is_due(core, ecc)
        advance(core, ecc.not_after - NOW - PERIOD - 100)
        assert sign_crl(core, ecc).next_update == ecc.not_after
        advance(core, 100)
        assert not is_due(core, ecc)

    def test_a_number_taken_by_another_is_followed_by_one_that_knows_all_it_knew(self, core: Core, ecc: Issuer) -> None:
        serial = issue_one(core, ecc)

        class Overtaken:
            """Another process revokes and signs between the rows' reading and the CRL's storing, once."""

            def __init__(self) -> None:
                self.overtaken = False

            def __getattr__(self, name: str) -> Any:
                return getattr(core.store, name)

            def add_crl(self, crl: Any) -> None:
                if not self.overtaken:
                    self.overtaken = True
                    revoke(core, ecc, serial, Reason.superseded)
                    sign_crl(core, ecc)
                core.store.add_crl(crl)

        signed = sign_crl(replace(core, store=Overtaken()), ecc)
        assert signed.number == 3
        assert read_crl(core, ecc).get_revoked_certificate_by_serial_number(serial) is not None

    def test_two_processes_sign_at_once(self, core: Core, ecc: Issuer, tmp_path: Path) -> None:
        numbers: list[int] = []

        def sign() -> None:
            with closing(open_issuance_store(f"sqlite:///{tmp_path / 'ca.db'}")) as store:
                mine = replace(core, store=store)
                numbers.extend(sign_crl(mine, ecc).number for _ in range(8))

        threads = [threading.Thread(target=sign) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(numbers) == list(range(2, 26))


@pytest.fixture(scope="module")
def serial(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    csr = tmp_path_factory.mktemp("csr") / "a.csr"
    csr.write_bytes(make_csr(common_name="a.example.ac.jp"))
    command = ("cert", "issue", "--ca", "server-rsa", "--profile", "server", "--csr", csr)
    return issuance(*command, home=demo_home).stdout.strip()


class TestCommand:
    """On the demo home, which other tests use too: certificates of one's own are revoked."""

    @pytest.mark.parametrize(
        ("arguments", "status", "sentence"),
        [
            (("--reason", "certificateHold"), 1, "not suspended"),
            (("--reason", "removeFromCRL"), 1, "not suspended"),
            (("--reason", "cACompromise"), 1, "use keyCompromise"),
            (("--reason", "keycompromise"), 2, "--reason"),
            (("--reason", "superseded", "--at", "yesterday"), 2, "not an RFC 3339 time"),
            (("--reason", "superseded", "--at", "2026-11-25T04:00:00"), 2, "not an RFC 3339 time"),
            (("--reason", "superseded", "--at", "2026-11-25"), 2, "not an RFC 3339 time"),
            (("--reason", "superseded", "--at", "2999-01-01T00:00:00Z"), 1, "in the future"),
            (("--reason", "superseded", "--at", "1999-01-01T00:00:00+09:00"), 1, "valid only from"),
            ((), 2, "--reason"),
        ],
    )
    def test_refusals(
        self, demo_home: Path, serial: str, arguments: tuple[str, ...], status: int, sentence: str
    ) -> None:
        command = ("cert", "revoke", "--ca", "server-rsa", "--serial", serial, *arguments)
        assert sentence in refused(*command, home=demo_home, status=status)
        with closing(open_issuance_store(f"sqlite:///{demo_home / 'ca.db'}")) as store:
            row = store.certificate(store.issuer("server-rsa").id, int(serial, 16))
        assert row.status.state is CertificateState.GOOD

    def test_revoke_repeat_and_backdate(self, demo_home: Path, serial: str) -> None:
        named = ("cert", "revoke", "--ca", "server-rsa", "--serial")
        for spelling in (serial, f"0x00{serial.upper()}"):
            done = issuance(*named, spelling, "--reason", "superseded", home=demo_home)
            assert done.stdout == ""
        rows = listed("cert", "list", "--ca", "server-rsa", "--state", "revoked", home=demo_home)
        (row,) = (row for row in rows if row["serial"] == serial)
        assert (row["state"], row["reason"]) == ("revoked", "superseded")
        issuance(*named, serial, "--reason", "keyCompromise", "--at", row["not_before"], home=demo_home)
        shown = listed("cert", "show", "--ca", "server-rsa", "--serial", serial, home=demo_home)
        assert (shown["reason"], shown["revoked_at"]) == ("keyCompromise", row["not_before"])

    @pytest.mark.interop("openssl")
    def test_openssl_finds_the_certificate_on_the_crl(self, demo_home: Path, tmp_path: Path) -> None:
        database = f"sqlite:///{demo_home / 'ca.db'}"
        pems = []
        with closing(open_issuance_store(database)) as store:
            for issuer in (store.issuer("root"), store.issuer("server-rsa")):
                crl = x509.load_der_x509_crl(store.latest_crl(issuer.id).der)
                pems.append(crl.public_bytes(Encoding.PEM))
        (tmp_path / "crls.pem").write_bytes(b"".join(pems))
        certs = demo_home / "certs"
        for name, verdict in (("demo-good", "OK"), ("demo-revoked", "certificate revoked")):
            command = ["openssl", "verify", "-crl_check_all", "-CAfile", str(certs / "root.pem")]
            command += ["-untrusted", str(certs / "server-rsa.pem"), "-CRLfile", str(tmp_path / "crls.pem")]
            done = subprocess.run([*command, str(certs / f"{name}.pem")], capture_output=True, text=True, check=False)
            assert verdict in done.stdout + done.stderr
        entry = crl.get_revoked_certificate_by_serial_number(read_certificate(certs / "demo-revoked.pem").serial_number)
        assert entry is not None
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value
        assert reason.reason is x509.ReasonFlags.key_compromise
