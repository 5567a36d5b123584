"""Revocations: the reasons and times they may carry."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from fakes import NOW, ManualClock
from issuance_world import add_ca, advance, issuance, issue_one, listed, make_csr, refused, small_core

from ca_store.database import open_issuance_store
from ca_store.errors import IllegalMove, NotFound
from ca_store.types import CertificateState, Reason
from issuance.csr import decode_request
from issuance.errors import RevocationRefused
from issuance.issuer import issue, prepare
from issuance.profile import BACKDATE, PROFILES, SERVER
from issuance.revocation import check_reason, revoke
from issuance.rule_set import RULE_SETS
from issuance.subscriber import order

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
        named = order(request, SERVER, core.store.institutions(), RULE_SETS[-1])
        draft = prepare(core, ecc, SERVER, subject=named.subject, public_key=request.public_key, names=named.names)
        revoke(core, ecc, draft.contents.serial, Reason.keyCompromise)
        with pytest.raises(IllegalMove):
            issue(core, draft)


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
