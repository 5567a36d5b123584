"""Online signers are renewed before their end, change over at a stated moment, and never speak again by themselves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from fakes import DAY, NOW, ManualClock
from issuance_world import (
    add_ca,
    advance,
    copy_home,
    issuance,
    killed_at,
    listed,
    read_certificate,
    refused,
    small_core,
)

from ca_store.errors import KeyUnavailable, NotFound
from ca_store.signing import KeyType
from ca_store.types import CredentialKind, Reason
from issuance.crl import LIFE, PERIOD
from issuance.errors import SetupRefused
from issuance.issuer import key_type_of
from issuance.revocation import revoke
from issuance.signer_renewal import (
    DELEGATE_KEYS,
    LEAD,
    OVERLAP,
    delegate_keys,
    renew_all,
    renew_delegate,
    renew_unit,
    retire_delegates,
    tenures,
)
from issuance.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ca_store.types import Credential
    from issuance.core import Core

LIFETIME = 90 * DAY
"""Of an OCSP delegate; a third of it remains after 60 days."""


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    core = small_core(tmp_path, ManualClock())
    add_ca(core, "root", "root")
    with closing(core.store):
        yield core


def on_record(core: Core, kind: CredentialKind = CredentialKind.OCSP) -> list[Credential]:
    return [tenure.credential for tenure in tenures(core, kind)]


class TestDelegates:
    def test_a_new_ca_has_one_that_speaks_at_once(self, core: Core) -> None:
        (credential,) = on_record(core)
        assert (credential.name, credential.active_from) == ("root", NOW)
        certificate = x509.load_der_x509_certificate(credential.certificate)
        assert certificate.serial_number == credential.serial
        assert credential.key_reference == f"file:keys/ocsp-root-{credential.serial:x}"[:28] + ".key"
        assert core.keys.load(credential.key_reference).public_key in credential.certificate

    def test_it_is_renewed_when_a_third_is_left_and_the_successor_waits_for_every_node(self, core: Core) -> None:
        (first,) = on_record(core)
        advance(core, 60 * DAY - 3602)  # notBefore lies an hour back
        assert renew_all(core) == []
        advance(core, 2)
        (second,) = renew_all(core)
        assert second.active_from == core.now() + LEAD
        assert second.key_reference != first.key_reference
        assert renew_all(core) == []
        assert on_record(core) == [first, second]
        advance(core, LEAD + OVERLAP)
        assert renew_all(core) == []
        assert on_record(core) == [second]

    def test_by_force_the_new_one_speaks_at_once_and_none_that_waits_after_it(self, core: Core) -> None:
        (first,) = on_record(core)
        advance(core, 61 * DAY)
        (waiting,) = renew_all(core)
        forced = renew_delegate(core, core.store.issuer("root"), force=True)
        assert forced is not None
        assert forced.active_from == core.now()
        assert on_record(core) == [first, forced]
        assert waiting not in on_record(core)

    def test_one_that_has_ended_or_was_revoked_is_replaced_at_once(self, core: Core) -> None:
        root = core.store.issuer("root")
        (first,) = on_record(core)
        revoke(core, root, first.serial, Reason.keyCompromise)
        (second,) = renew_all(core)
        assert second.active_from == core.now()
        advance(core, LIFETIME)
        (third,) = renew_all(core)
        assert third.active_from == core.now()
        assert on_record(core) == [third]

    def test_one_that_was_revoked_while_its_successor_waits_leaves_no_silence(self, core: Core) -> None:
        (first,) = on_record(core)
        advance(core, 61 * DAY)
        (waiting,) = renew_all(core)
        revoke(core, core.store.issuer("root"), first.serial, Reason.superseded)
        (now_speaking,) = renew_all(core)
        assert now_speaking.active_from == core.now() < waiting.active_from
        assert renew_all(core) == []

    def test_at_the_end_of_its_ca_there_is_no_successor(self, core: Core) -> None:
        root = core.store.issuer("root")
        advance(core, root.not_after - NOW - DAY)
        (last,) = renew_all(core)
        assert last.not_after == root.not_after
        advance(core, DAY - 10)
        assert renew_all(core) == []
        advance(core, 10)
        assert renew_all(core, force=True) == []

    def test_an_interrupted_renewal_is_repeated(self, core: Core, tmp_path: Path) -> None:
        """The key is made before anything is committed: what is left is a file that no credential names."""
        root = core.store.issuer("root")
        before = on_record(core)
        key = tmp_path / "keys" / "root.key"
        key.rename(tmp_path / "away")
        core._opened.clear()
        with pytest.raises(KeyUnavailable):
            renew_delegate(core, root, force=True)
        assert on_record(core) == before
        (tmp_path / "away").rename(key)
        assert renew_delegate(core, root, force=True) is not None


class TestSeveralAlgorithms:
    """A delegate beside the default one, for clients that prefer another algorithm (RFC 6960 §4.4.7)."""

    def test_each_has_a_tenure_of_its_own(self, core: Core) -> None:
        root = core.store.issuer("root")
        (default,) = on_record(core)
        advance(core, 30 * DAY)
        other = renew_delegate(core, root, key_type=KeyType.RSA_3072)
        assert other is not None
        assert (other.name, other.active_from) == ("root.rsa-3072", core.now())
        assert key_type_of(core.key(other.key_reference).public_key) is KeyType.RSA_3072
        assert renew_delegate(core, root, key_type=KeyType.RSA_3072) is None
        assert renew_all(core) == []
        advance(core, 31 * DAY)
        (successor,) = renew_all(core)
        assert successor.name == "root"
        advance(core, OVERLAP + LEAD)
        assert renew_all(core) == []
        assert on_record(core) == [other, successor]
        assert default.serial != successor.serial
        advance(core, 30 * DAY)
        assert [credential.name for credential in renew_all(core)] == ["root.rsa-3072"]

    def test_the_purpose_says_which_is_the_default(self, core: Core) -> None:
        code = add_ca(core, "code", "code-signing", "root")
        assert delegate_keys(core, code) == [KeyType.RSA_3072]
        for key_type in DELEGATE_KEYS:
            renew_delegate(core, code, key_type=key_type, force=True)
        assert [credential.name for credential in on_record(core)] == ["root", "code", "code", "code.p256"]
        assert delegate_keys(core, code) == [KeyType.RSA_3072, KeyType.P256]

    def test_one_is_retired_for_good_and_never_the_default(self, core: Core) -> None:
        root = core.store.issuer("root")
        renew_delegate(core, root, key_type=KeyType.RSA_3072)
        with pytest.raises(SetupRefused, match="the p256 delegate of root is its default"):
            retire_delegates(core, root, KeyType.P256)
        retire_delegates(core, root, KeyType.RSA_3072)
        with pytest.raises(NotFound, match="root has no rsa-3072 delegate"):
            retire_delegates(core, root, KeyType.RSA_3072)
        advance(core, 61 * DAY)
        assert [credential.name for credential in renew_all(core)] == ["root"]

    def test_one_that_cannot_speak_until_its_successor_does_is_succeeded_at_once(self, core: Core) -> None:
        """A delegate is silent for its last eight hours, in which no answer would be valid for long enough."""
        advance(core, LIFETIME - 9 * 3600)
        (successor,) = renew_all(core)
        assert successor.active_from == core.now()


class TestUnits:
    def test_a_unit_keeps_name_and_kind_of_key_and_is_due_by_its_key_and_not_by_its_certificate(
        self, core: Core
    ) -> None:
        add_ca(core, "stamping", "timestamp", "root")
        first = renew_unit(core, "one", key_type=KeyType.P256)
        assert first is not None
        advance(core, 10 * 30 * DAY)  # of 15 months
        assert renew_unit(core, "one") is None
        advance(core, 10 * DAY)
        second = renew_unit(core, "one")
        assert second is not None
        old, new = (x509.load_der_x509_certificate(unit.certificate) for unit in (first, second))
        assert old.subject == new.subject
        assert old.public_key() != new.public_key()
        assert key_type_of(core.key(second.key_reference).public_key) is KeyType.P256

    def test_a_revoked_unit_stays_silent_until_someone_asks_for_it(self, core: Core) -> None:
        stamping = add_ca(core, "stamping", "timestamp", "root")
        unit = renew_unit(core, "one", key_type=KeyType.P256)
        assert unit is not None
        revoke(core, stamping, unit.serial, Reason.keyCompromise)
        assert renew_all(core, force=False) == []
        advance(core, 12 * 31 * DAY)
        assert [credential.kind for credential in renew_all(core)] == [CredentialKind.OCSP] * 2
        renewed = renew_unit(core, "one")
        assert renewed is not None
        assert renewed.active_from == core.now()

    def test_a_unit_needs_a_ca_and_a_name(self, core: Core) -> None:
        with pytest.raises(SetupRefused, match="exactly one CA for timestamp: there are 0"):
            renew_unit(core, "one")
        with pytest.raises(Exception, match="'../one' is no name of a unit"):
            renew_unit(core, "../one")


class TestTimers:
    @pytest.fixture
    def reports(self) -> list[str]:
        return []

    @pytest.fixture
    def timers(self, core: Core, reports: list[str]) -> Timers:
        return Timers(core, lambda _credential: None, reports.append)

    def test_nothing_is_done_before_it_is_due(self, core: Core, timers: Timers, reports: list[str]) -> None:
        timers.look()
        advance(core, PERIOD - 1)
        timers.look()
        assert reports == []
        advance(core, 1)
        timers.look()
        assert reports == ["signed CRL 2 of root"]

    def test_no_crl_and_no_signer_ever_runs_out(self, core: Core, timers: Timers) -> None:
        """Half a year, looked at once a day."""
        root = core.store.issuer("root")
        for _ in range(180):
            advance(core, DAY)
            timers.look()
            now = core.now()
            assert core.store.latest_crl(root.id).next_update - now > LIFE - 2 * DAY
            speaking = [credential for credential in on_record(core) if credential.active_from <= now]
            assert max(speaking, key=lambda credential: credential.active_from).not_after - now > 28 * DAY
            assert len(on_record(core)) <= 2

    def test_what_fails_for_one_ca_holds_up_no_other(
        self, core: Core, timers: Timers, reports: list[str], tmp_path: Path
    ) -> None:
        add_ca(core, "ecc", "server", "root")
        (tmp_path / "keys" / "root.key").unlink()
        core._opened.clear()
        advance(core, 61 * DAY)
        timers.look()
        assert reports == [
            f"{tmp_path / 'keys' / 'root.key'} does not exist",
            f"{tmp_path / 'keys' / 'root.key'} does not exist",
            "signed CRL 2 of ecc",
            "renewed the ocsp signer ecc",
        ]

    def test_it_stops_when_told(self, timers: Timers) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=timers.run, args=(stop,))
        thread.start()
        stop.set()
        thread.join(timeout=60)
        assert not thread.is_alive()


class TestCommand:
    @pytest.fixture
    def home(self, demo_home: Path, tmp_path: Path) -> Path:
        return copy_home(demo_home, tmp_path)

    def test_renew_lists_and_publishes(self, home: Path) -> None:
        before = {row["serial"]: row for row in listed("signer", "list", home=home)}
        assert issuance("signer", "renew", home=home).stdout == ""
        done = issuance("signer", "renew", "--unit", "rsa", "--force", home=home)
        kind, name, serial = done.stdout.split()
        assert (kind, name) == ("tsa", "rsa")
        assert f"{read_certificate(home / 'certs' / 'tsa.pem').serial_number:x}" == serial
        done = issuance("signer", "renew", "--unit", "archive", "--key", "p256", home=home)
        assert f"{read_certificate(home / 'certs' / 'tsa-archive.pem').serial_number:x}" == done.stdout.split()[2]
        done = issuance("signer", "renew", "--ca", "root", "--force", home=home)
        after = {row["serial"]: row for row in listed("signer", "list", home=home)}
        assert [row["name"] for new, row in after.items() if new not in before] == ["root", "rsa", "archive"]
        assert before.items() <= after.items()

    def test_run_does_what_an_interrupted_command_left_and_ends_on_sigterm(self, home: Path) -> None:
        create = ("ca", "create", "more", "--purpose", "server", "--parent", "root", "--common-name", "More")
        killed_at("issuance.authority:sign_crl", 1, *create, home=home)
        command = [sys.executable, "-m", "issuance", "run", "--home", str(home)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            assert running.stderr.readline() == "issuance: signed CRL 1 of more\n"
            assert running.stderr.readline() == "issuance: renewed the ocsp signer more\n"
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=60) == 0
            assert running.stderr.read() == ""
        assert "more" in {row["name"] for row in listed("signer", "list", home=home)}

    @pytest.mark.parametrize(
        ("arguments", "status", "sentence"),
        [
            (("--ca", "root", "--unit", "rsa"), 2, "not allowed with"),
            (("--ca", "nowhere"), 1, "there is no CA labelled 'nowhere'"),
            (("--unit", "A/B"), 1, "no name of a unit"),
            (("--unit", "rsa", "--key", "p521"), 2, "--key"),
            (("--key", "p256"), 2, "--key: only with --unit or --ca"),
            (("--ca", "root", "--key", "rsa-4096"), 2, "--key: an OCSP delegate has one of rsa-3072, p256"),
        ],
    )
    def test_refusals(self, demo_home: Path, arguments: tuple[str, ...], status: int, sentence: str) -> None:
        assert sentence in refused("signer", "renew", *arguments, home=demo_home, status=status)
