"""CRLs: what they say, what they leave out, and their numbers when several processes sign at once."""

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
from issuance_world import add_ca, advance, issue_one, make_csr, read_certificate, small_core

from ca_store.database import open_issuance_store
from ca_store.types import Reason
from issuance.crl import LIFE, PERIOD, is_due, sign_crl
from issuance.csr import decode_request
from issuance.period import DAY, Period
from issuance.profile import CODE_SIGNING
from issuance.revocation import revoke
from issuance.signer_renewal import renew_unit
from issuance.subscriber import issue_from_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ca_store.types import Issuer, IssuerID, Status
    from issuance.core import Core


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    core = small_core(tmp_path, ManualClock())
    add_ca(core, "root", "root")
    with closing(core.store):
        yield core


@pytest.fixture
def ecc(core: Core) -> Issuer:
    return add_ca(core, "ecc", "server", "root")


def read_crl(core: Core, issuer: Issuer) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(core.store.latest_crl(issuer.id).der)


def test_a_crl_says_what_the_rows_say(core: Core, ecc: Issuer) -> None:
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


def test_a_backdated_revocation_of_a_time_stamping_unit_has_an_invalidity_date(core: Core) -> None:
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


def test_a_new_ca_has_an_empty_crl_without_an_empty_list(core: Core, ecc: Issuer) -> None:
    """RFC 5280 §5.1.2.6: revokedCertificates MUST be absent when there is none."""
    crl = read_crl(core, ecc)
    assert len(crl) == 0
    assert crl.next_update_utc is not None
    # thisUpdate and nextUpdate, then at once the extensions.
    assert crl.next_update_utc.strftime("%y%m%d%H%M%SZ").encode() + b"\xa0" in crl.tbs_certlist_bytes


def test_dates_past_2049_are_generalized_time(core: Core) -> None:
    """RFC 5280 §5.1.2.4."""
    root = core.store.issuer("root")
    advance(core, 24 * 365 * 86_400)
    sign_crl(core, root)
    assert b"\x18\x0f2051" in read_crl(core, root).tbs_certlist_bytes


def test_it_is_due_after_a_period_and_ends_with_its_ca(core: Core, ecc: Issuer) -> None:
    assert not is_due(core, ecc)
    advance(core, PERIOD - 1)
    assert not is_due(core, ecc)
    advance(core, 1)
    assert is_due(core, ecc)
    advance(core, ecc.not_after - NOW - PERIOD - 100)
    assert sign_crl(core, ecc).next_update == ecc.not_after
    advance(core, 100)
    assert not is_due(core, ecc)


def test_it_is_due_when_a_revocation_is_not_on_it(core: Core, ecc: Issuer) -> None:
    """The CA's key may have been out of reach when the command that revoked wanted to sign."""
    serial = issue_one(core, ecc)
    sign_crl(core, ecc)
    revoke(core, ecc, serial, Reason.superseded)  # within the very second of the CRL
    assert is_due(core, ecc)
    sign_crl(core, ecc)
    assert not is_due(core, ecc)
    advance(core, 10)
    revoke(core, ecc, serial, Reason.superseded)  # says nothing new
    assert not is_due(core, ecc)
    revoke(core, ecc, serial, Reason.keyCompromise, NOW - 7)
    assert is_due(core, ecc)
    sign_crl(core, ecc)
    assert not is_due(core, ecc)


def test_a_late_commit_makes_it_due(core: Core, ecc: Issuer) -> None:
    """Whoever revokes takes the time first and commits afterwards; a CRL of the time between knows nothing of it."""
    serial = issue_one(core, ecc)
    advance(core, 20)
    sign_crl(core, ecc)
    core.store.revoke(ecc.id, serial, Reason.superseded, NOW, NOW)
    assert is_due(core, ecc)


def test_a_revoked_code_signer_stays_on_it_for_ten_years(core: Core) -> None:
    """CSBR §4.10.1, §7.2: a signature can be older than the end of its certificate."""
    signing = add_ca(core, "signing", "code-signing", "root")
    request = decode_request(make_csr("rsa-3072", common_name="Example University"))
    serial, _ = issue_from_request(core, signing, CODE_SIGNING, request)
    revoke(core, signing, serial, Reason.keyCompromise)
    end = core.store.certificate(signing.id, serial).not_after
    ten_years = Period(months=120).end(end)
    for moment, there in (
        (end + DAY, True),
        (ten_years, True),
        (ten_years + 4 * DAY, True),
        (ten_years + 5 * DAY, False),
    ):
        advance(core, moment - core.now())
        sign_crl(core, signing)
        found = read_crl(core, signing).get_revoked_certificate_by_serial_number(serial)
        assert (found is not None) == there, moment - end


def test_a_number_taken_by_another_is_followed_by_one_that_knows_all_it_knew(core: Core, ecc: Issuer) -> None:
    serial = issue_one(core, ecc)

    class Overtaken:
        """Another process revokes and signs once, behind the back of whoever has read the rows."""

        def __init__(self) -> None:
            self.overtaken = False

        def __getattr__(self, name: str) -> Any:
            return getattr(core.store, name)

        def revoked(
            self, issuer: IssuerID, *, retention: int = 0, since: int | None = None, after: int = 0, limit: int = 9
        ) -> Sequence[tuple[int, Status]]:
            rows = core.store.revoked(issuer, retention=retention, since=since, after=after, limit=limit)
            if not self.overtaken:
                self.overtaken = True
                revoke(core, ecc, serial, Reason.superseded)
                sign_crl(core, ecc)
            return rows

    signed = sign_crl(replace(core, store=Overtaken()), ecc)
    assert signed.number == 3
    assert read_crl(core, ecc).get_revoked_certificate_by_serial_number(serial) is not None


def test_two_processes_sign_at_once(core: Core, ecc: Issuer, tmp_path: Path) -> None:
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


@pytest.mark.interop("openssl")
def test_openssl_finds_the_certificate_on_the_crl(demo_home: Path, tmp_path: Path) -> None:
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
