"""CAs that get a new key, and CAs that are revoked with all that they issued."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes import DAY, NOW, ManualClock
from issuance_world import (
    add_ca,
    advance,
    issuance,
    issue_one,
    killed_at,
    listed,
    make_csr,
    refused,
    small_core,
    without_dns,
    without_logs,
)

from ca_store.clock import SystemClock
from ca_store.errors import Conflict, IllegalMove
from ca_store.signing import KeyType
from ca_store.types import CertificateState, CredentialKind, Reason
from issuance.authority import Plan, create
from issuance.compromise import is_compromised, revoke_ca, revoke_issued
from issuance.csr import decode_request
from issuance.demo import INSTITUTION
from issuance.errors import NameRefused, RequestRefused, RevocationRefused, SetupRefused
from issuance.home import Wish, make_home, open_core
from issuance.issuer import issue, key_type_of, prepare, standing_of
from issuance.profile import SERVER
from issuance.roll_over import rekey
from issuance.rule_set import RULE_SETS
from issuance.signer_renewal import renew_all, renew_unit, tenures
from issuance.subscriber import order
from issuance.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ca_store.types import Issuer, Status
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


def read(issuer: Issuer) -> x509.Certificate:
    return x509.load_der_x509_certificate(issuer.certificate)


def status(core: Core, issuer: Issuer, serial: int) -> Status:
    return core.store.certificate(issuer.id, serial).status


def draft_of(core: Core, issuer: Issuer) -> object:
    request = decode_request(make_csr("p384", common_name="a.example.ac.jp"))
    named = order(request, SERVER, core.store.institutions(), RULE_SETS[-1])
    return prepare(core, issuer, SERVER, subject=named.subject, public_key=request.public_key, names=named.names)


class TestRollOver:
    def test_the_new_key_has_the_old_name_octet_for_octet_and_everything_of_its_own(
        self, core: Core, ecc: Issuer
    ) -> None:
        advance(core, 100)
        new = rekey(core, ecc)
        assert (new.label, new.parent) == ("ecc-2", ecc.parent)
        assert read(new).subject.public_bytes() == read(ecc).subject.public_bytes()
        assert read(new).public_key() != read(ecc).public_key()
        assert read(new).extensions.get_extension_for_class(x509.ExtendedKeyUsage) == read(
            ecc
        ).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert core.store.latest_crl(new.id).number == 1
        leaf = asn1_x509.Certificate.load(core.store.certificate(new.id, issue_one(core, new)).der)
        assert leaf.issuer.dump() == asn1_x509.Certificate.load(ecc.certificate).subject.dump()
        assert leaf.ocsp_urls == ["http://127.0.0.1:8080/ocsp"]
        assert leaf.crl_distribution_points[0].url == "http://127.0.0.1:8080/crl/ecc-2.crl"

    def test_the_old_key_keeps_its_serials_its_crl_and_a_delegate_that_is_renewed(
        self, core: Core, ecc: Issuer
    ) -> None:
        serial = issue_one(core, ecc)
        rekey(core, ecc)
        assert status(core, ecc, serial).state is CertificateState.GOOD
        advance(core, 61 * DAY)
        Timers(core, lambda _: None, lambda _: None).look()
        names = [tenure.credential.name for tenure in tenures(core, CredentialKind.OCSP)]
        assert names.count("ecc") == names.count("ecc-2") == 2
        assert core.store.latest_crl(ecc.id).this_update == core.now()

    def test_each_roll_over_starts_from_the_newest_key(self, core: Core, ecc: Issuer) -> None:
        second = rekey(core, ecc, key_type=KeyType.RSA_3072)
        assert key_type_of(core.signer(second).public_key) is KeyType.RSA_3072
        with pytest.raises(SetupRefused, match="ecc has a newer key already: ecc-2"):
            rekey(core, ecc)
        assert rekey(core, second).label == "ecc-3"
        assert rekey(core, core.store.issuer("ecc-3"), label="ecc-g4").label == "ecc-g4"

    def test_a_root_and_what_is_below_it(self, core: Core, ecc: Issuer) -> None:
        root = core.store.issuer("root")
        new_root = rekey(core, root)
        read(new_root).verify_directly_issued_by(read(new_root))
        assert rekey(core, ecc).parent == new_root.id

    def test_time_stamping_units_move_to_the_new_key_at_their_renewal(self, core: Core) -> None:
        stamping = add_ca(core, "stamping", "timestamp", "root")
        renew_unit(core, "one", key_type=KeyType.P256)
        new = rekey(core, stamping)
        advance(core, 10)
        moved = renew_unit(core, "one", force=True)
        assert moved is not None
        assert moved.issuer == new.id
        added = renew_unit(core, "two", key_type=KeyType.P256)
        assert added is not None
        assert added.issuer == new.id
        advance(core, 2 * DAY)
        renew_all(core)
        assert [each.credential for each in tenures(core, CredentialKind.TSA, "one")] == [moved]

    @pytest.mark.parametrize(
        ("label", "refusal", "sentence"),
        [
            ("root", Conflict, "there is a CA labelled root already"),
            ("A/B", NameRefused, "'A/B' is no label"),
        ],
    )
    def test_labels_that_it_cannot_have(
        self, core: Core, ecc: Issuer, label: str, refusal: type[Exception], sentence: str
    ) -> None:
        with pytest.raises(refusal, match=sentence):
            rekey(core, ecc, label=label)

    @pytest.mark.usefixtures("ecc")
    def test_a_name_is_given_a_second_key_only_on_purpose(self, core: Core, tmp_path: Path) -> None:
        plan = Plan("other", "server", "root", KeyType.P384, "Test ecc")
        with pytest.raises(SetupRefused, match="the CA ecc has this name already: `issuance ca rekey ecc`"):
            create(core, plan)
        assert not (tmp_path / "keys" / "other.key").exists()


class TestRevocation:
    def test_a_compromise_is_told_by_the_parent_first_and_then_about_everything(self, core: Core, ecc: Issuer) -> None:
        serials = [issue_one(core, ecc) for _ in range(5)]
        advance(core, 1000)
        assert revoke_ca(core, ecc, Reason.keyCompromise, NOW + 10, pytest.fail) == 5
        standing = standing_of(core, ecc)
        assert (standing.state, standing.reason, standing.revoked_at) == (
            CertificateState.REVOKED,
            Reason.keyCompromise,
            NOW + 10,
        )
        for serial in serials:
            found = status(core, ecc, serial)
            # The subscribers' own keys are not compromised.
            assert (found.reason, found.revoked_at, found.changed_at) == (Reason.unspecified, NOW + 10, NOW + 1000)
        root = core.store.issuer("root")
        for issuer, listed_serials in ((root, [ecc.serial]), (ecc, serials)):
            crl = x509.load_der_x509_crl(core.store.latest_crl(issuer.id).der)
            assert {entry.serial_number for entry in crl} == set(listed_serials)
        assert revoke_ca(core, ecc, Reason.keyCompromise, None, pytest.fail) == 0

    def test_the_delegates_go_on_speaking_and_nothing_else_is_issued(self, core: Core, ecc: Issuer) -> None:
        draft = draft_of(core, ecc)
        revoke_ca(core, ecc, Reason.keyCompromise, None, pytest.fail)
        (delegate,) = tenures(core, CredentialKind.OCSP, "ecc")
        assert delegate.speaks(core.now())
        with pytest.raises(RequestRefused, match="the CA ecc is revoked"):
            issue_one(core, ecc)
        with pytest.raises(IllegalMove):
            issue(core, draft)  # type: ignore[arg-type]  # a draft
        advance(core, 61 * DAY)
        assert "ecc" in {credential.name for credential in renew_all(core)}

    def test_a_page_at_a_time(self, core: Core, ecc: Issuer) -> None:
        for _ in range(5):
            issue_one(core, ecc)
        core.store.revoke(ecc.parent or ecc.id, ecc.serial, Reason.keyCompromise, NOW, NOW)
        assert revoke_issued(core, ecc, page=2) == 5
        assert revoke_issued(core, ecc, page=2) == 0

    def test_a_unit_of_a_compromised_ca_has_a_reason_that_spares_its_tokens(self, core: Core) -> None:
        stamping = add_ca(core, "stamping", "timestamp", "root")
        unit = renew_unit(core, "one", key_type=KeyType.P256)
        assert unit is not None
        assert revoke_ca(core, stamping, Reason.keyCompromise, None, pytest.fail) == 1
        assert status(core, stamping, unit.serial).reason is Reason.cessationOfOperation

    def test_any_other_reason_is_the_parents_word_alone(self, core: Core, ecc: Issuer) -> None:
        serial = issue_one(core, ecc)
        assert revoke_ca(core, ecc, Reason.superseded, None, pytest.fail) == 0
        assert status(core, ecc, serial).state is CertificateState.GOOD
        assert not is_compromised(core, ecc)

    def test_a_root_has_nobody_to_say_so(self, core: Core) -> None:
        with pytest.raises(RevocationRefused, match="a root cannot revoke itself"):
            revoke_ca(core, core.store.issuer("root"), Reason.keyCompromise, None, pytest.fail)

    def test_the_timers_finish_what_was_begun(self, core: Core, ecc: Issuer) -> None:
        """Also when the CA was revoked as an ordinary certificate of its parent."""
        for _ in range(3):
            issue_one(core, ecc)
        core.store.revoke(ecc.parent or ecc.id, ecc.serial, Reason.keyCompromise, NOW, NOW)
        reports: list[str] = []
        timers = Timers(core, lambda _: None, reports.append)
        timers.look()
        assert "revoked 3 certificates of ecc, whose key is compromised" in reports
        assert len(x509.load_der_x509_crl(core.store.latest_crl(ecc.id).der)) == 3
        reports.clear()
        timers.look()
        assert reports == []
        # By a process that had looked at the CA before it was revoked. Everything is looked at only once an hour now.
        core.store.reserve(ecc.id, 77, "server", NOW + DAY, NOW)
        timers.look()
        assert reports == []
        advance(core, 3600)
        timers.look()
        assert "revoked 1 certificates of ecc, whose key is compromised" in reports


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made") / "home"
    make_home(home, Wish(), SystemClock())
    without_dns(home)
    without_logs(home)
    with open_core(home, SystemClock()) as core:
        core.store.add_institution(INSTITUTION)
        add_ca(core, "root", "root")
        ecc = add_ca(core, "ecc", "server", "root")
        for _ in range(3):
            issue_one(core, ecc)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "home")


class TestCommand:
    @pytest.mark.parametrize(
        "function",
        [
            "issuance.compromise:sign_crl",
            "ca_store.certificates:CertificateWriter.revoke_all",
            "ca_store.statuses:record_change",
        ],
    )
    def test_killed_anywhere_it_is_completed_by_repeating_it(self, home: Path, function: str) -> None:
        call = 2 if function.endswith("record_change") else 1
        revoking = ("ca", "revoke", "ecc", "--reason", "keyCompromise")
        killed_at(function, call, *revoking, home=home)
        states = {row["state"] for row in listed("cert", "list", "--ca", "ecc", "--profile", "server", home=home)}
        assert states == {"good"}
        assert issuance(*revoking, home=home).stdout == "revoked ecc and 3 certificates that it issued\n"
        assert issuance(*revoking, home=home).stdout == "revoked ecc and 0 certificates that it issued\n"
        states = {row["state"] for row in listed("cert", "list", "--ca", "ecc", "--profile", "server", home=home)}
        assert states == {"revoked"}

    @pytest.mark.parametrize("function", ["ca_store.issuers:IssuerWriter.add_issuer", "issuance.authority:sign_crl"])
    def test_an_interrupted_roll_over_is_completed_by_repeating_it(self, home: Path, function: str) -> None:
        killed_at(function, 1, "ca", "rekey", "ecc", home=home)
        assert issuance("ca", "rekey", "ecc", home=home).stdout == "ecc-2\n"
        made = x509.load_pem_x509_certificate((home / "certs" / "ecc-2.pem").read_bytes())
        shown = listed("ca", "show", "ecc-2", home=home)
        assert f"{made.serial_number:x}" == shown["serial"]
        assert [row["label"] for row in listed("ca", "list", home=home)] == ["root", "ecc", "ecc-2"]
        assert "ecc has a newer key already: ecc-2" in refused("ca", "rekey", "ecc", home=home)
        assert made.public_bytes(Encoding.DER)

    @pytest.mark.parametrize(
        ("arguments", "status", "sentence"),
        [
            (("revoke", "ecc"), 2, "--reason"),
            (("revoke", "ecc", "--reason", "unspecified"), 2, "--reason"),
            (("revoke", "root", "--reason", "keyCompromise"), 1, "a root cannot revoke itself"),
            (("revoke", "nowhere", "--reason", "superseded"), 1, "there is no CA labelled 'nowhere'"),
            (("revoke", "ecc", "--reason", "superseded", "--at", "2999-01-01T00:00:00Z"), 1, "in the future"),
            (("rekey", "nowhere"), 1, "there is no CA labelled 'nowhere'"),
            (("rekey", "ecc", "--key", "p256"), 2, "--key"),
            (("rekey", "ecc", "--label", "root"), 1, "there is a CA labelled root already"),
        ],
    )
    def test_refusals(self, made: Path, arguments: tuple[str, ...], status: int, sentence: str) -> None:
        assert sentence in refused("ca", *arguments, home=made, status=status)
        assert [row["state"] for row in listed("cert", "list", "--profile", "sub-ca", home=made)] == ["good"]
