"""Certificate Transparency: precertificates, what logs answer to them, and what is left wherever it ends."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp
from ct_log import CTLog, make_logs, running_logs
from fakes import NOW, ManualClock
from issuance_world import add_ca, advance, issue_one, make_csr, private_key, small_core

from ca_store.errors import IllegalMove
from ca_store.signing import KeyType
from ca_store.types import CertificateState, Reason
from issuance import ct_completion
from issuance.certificate import assemble
from issuance.csr import decode_request
from issuance.ct_backlog import GIVEN_UP, PATIENCE, Backlog
from issuance.ct_completion import COMPLETED_WITHIN, TransparencyRefused, complete
from issuance.ct_http import HTTPSubmitter, decode_answer
from issuance.ct_log import Submission, Transparency
from issuance.ct_policy import COUNT_RULES, count_rule, shortfall
from issuance.ct_sct import LogRefused, certificate_entry, check_sct, encode_list, precertificate_entry
from issuance.ct_settings import read_logs
from issuance.errors import IssuanceError, RequestRefused, SetupRefused
from issuance.issuer import issue, prepare
from issuance.period import DAY, Period
from issuance.precertificate import (
    POISON,
    check_correspondence,
    embed,
    has_scts,
    is_precertificate,
    stripped,
    to_be_signed,
)
from issuance.profile import CLIENT, SERVER
from issuance.revocation import revoke
from issuance.subscriber import issue_from_request
from issuance.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ca_store.types import Certificate
    from issuance.core import Core

SCTS = x509.PrecertificateSignedCertificateTimestamps


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, clock: ManualClock) -> Iterator[tuple[Core, list[CTLog]]]:
    """A core with CAs of both kinds of key, and three logs that accept its root."""
    home = tmp_path_factory.mktemp("home")
    (home / "keys").mkdir(mode=0o700)
    core = small_core(home, clock)
    root = add_ca(core, "root", "root", key=KeyType.RSA_3072)
    add_ca(core, "ecc", "server", "root")
    add_ca(core, "rsa", "server", "root", KeyType.RSA_3072)
    add_ca(core, "client", "client", "root", KeyType.RSA_3072)
    logs = make_logs(clock.now)
    for log in logs:
        log.roots.append(x509.load_der_x509_certificate(root.certificate))
    with running_logs(*logs):
        yield core, logs
    core.store.close()


@pytest.fixture
def logs(world: tuple[Core, list[CTLog]]) -> list[CTLog]:
    for log in world[1]:
        log.reset()
    return world[1]


@pytest.fixture
def core(world: tuple[Core, list[CTLog]], logs: list[CTLog]) -> Core:
    described = tuple(log.described() for log in logs)
    return replace(world[0], transparency=Transparency(described, HTTPSubmitter(2, 0.3)))


def issued(core: Core, host: str = "a.example.ac.jp", label: str = "ecc") -> Certificate:
    """What is on record after a server certificate was issued."""
    issuer = core.store.issuer(label)
    request = decode_request(make_csr("p384" if label == "ecc" else "rsa-2048", common_name=host))
    serial, der = issue_from_request(core, issuer, SERVER, request)
    known = core.store.certificate(issuer.id, serial)
    assert known.der == der
    return known


def left(core: Core, before: set[int]) -> Certificate:
    """The one row that came into being."""
    (found,) = [each for each in core.store.certificates() if each.serial not in before]
    return found


def serials(core: Core) -> set[int]:
    return {each.serial for each in core.store.certificates()}


def loaded(certificate: Certificate) -> x509.Certificate:
    assert certificate.der is not None
    return x509.load_der_x509_certificate(certificate.der)


def embedded(certificate: Certificate) -> list[SignedCertificateTimestamp]:
    return list(loaded(certificate).extensions.get_extension_for_class(SCTS).value)


def verify(log: CTLog, sct: SignedCertificateTimestamp, entry: bytes) -> None:
    """As a browser would, with nothing of ours: ``entry`` is LogEntryType and signed_entry."""
    timestamp = int(sct.timestamp.replace(tzinfo=UTC).timestamp()) * 1000 + sct.timestamp.microsecond // 1000
    extensions = len(sct.extension_bytes).to_bytes(2, "big") + sct.extension_bytes
    signed = b"\0\0" + timestamp.to_bytes(8, "big") + entry + extensions
    key = log.key.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(sct.signature, signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        key.verify(sct.signature, signed, ec.ECDSA(hashes.SHA256()))


def of_precertificate(core: Core, certificate: Certificate) -> bytes:
    issuer = asn1_x509.Certificate.load(core.store.issuer(certificate.issuer_label).certificate)
    tbs = loaded(certificate).tbs_precertificate_bytes
    return b"\0\1" + hashlib.sha256(issuer.public_key.dump()).digest() + len(tbs).to_bytes(3, "big") + tbs


def parse_list(encoded: bytes) -> list[SignedCertificateTimestamp]:
    """A TLS list as cryptography reads it: in an extension of a certificate that is made for it."""
    inner = b"\x04" + (b"\x82" + len(encoded).to_bytes(2, "big")) + encoded
    name = x509.Name([])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    carrier = (
        x509.CertificateBuilder(name, name, private_key("p256").public_key(), 1, moment, moment)
        .add_extension(x509.UnrecognizedExtension(SCTS.oid, inner), critical=False)
        .sign(private_key("p256"), hashes.SHA256())
    )
    return list(carrier.extensions.get_extension_for_class(SCTS).value)


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


def spoilt(**changed: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda answer: answer | changed


def flipped(answer: dict[str, Any]) -> dict[str, Any]:
    octets = bytearray(base64.b64decode(answer["signature"]))
    octets[-1] ^= 1
    return answer | {"signature": base64.b64encode(octets).decode()}


def page(_answer: dict[str, Any]) -> web.Response:
    return web.Response(text="<html>Welcome</html>", content_type="text/html")


LIES: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any] | web.Response], str]] = {
    "a signature that does not verify": (flipped, "does not verify"),
    "another log's id": (spoilt(id=base64.b64encode(b"x" * 32).decode()), "another log's"),
    "an id that is too short": (spoilt(id="AAAA"), "another log's"),
    "the future": (spoilt(timestamp=(NOW + 10 * DAY) * 1000), "a timestamp of"),
    "the past": (spoilt(timestamp=1000), "a timestamp of"),
    "another timestamp than was signed": (lambda answer: answer | {"timestamp": answer["timestamp"] - 1}, "not verify"),
    "a timestamp in words": (spoilt(timestamp="now"), "no timestamp"),
    "a timestamp that is a truth": (spoilt(timestamp=True), "no timestamp"),
    "no extensions": (spoilt(extensions=""), "does not verify"),
    "extensions in no base64": (spoilt(extensions="?"), "no extensions in base64"),
    "no signature": (spoilt(signature=None), "no signature in base64"),
    "an empty signature": (spoilt(signature=""), "malformed signature"),
    "a signature that ends early": (spoilt(signature="BAMARA=="), "malformed signature"),
    "an algorithm that the key has not": (spoilt(signature="BAIAAQE="), "which its key cannot have made"),
    "version 2": (spoilt(sct_version=1), "not of version 1"),
    "HTML": (page, "not JSON"),
    "a list": (lambda _: web.json_response([]), "not a JSON object"),
    "too much": (lambda _: web.Response(text="x" * 100_000), "too long"),
    "elsewhere": (lambda _: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), "HTTP 302"),
    "forbidden": (lambda _: web.Response(status=403), "HTTP 403"),
}


class TestLies:
    @pytest.mark.parametrize("lie", LIES)
    def test_a_log_that_lies_is_refused_by_name_and_the_serial_can_be_revoked(
        self, core: Core, logs: list[CTLog], lie: str
    ) -> None:
        before = serials(core)
        logs[2].spoil, sentence = LIES[lie]
        with pytest.raises(TransparencyRefused) as refusal:
            issued(core)
        known = left(core, before)
        told = str(refusal.value)
        assert told.startswith(f"serial {known.serial:x} has a precertificate and no certificate yet")
        assert "needs SCTs of 3 logs of 2 operators, and has 2 of 1" in told
        assert f"{logs[2].url}: it" in told
        assert sentence in told
        assert logs[2].asked == ["add-pre-chain"], "what is wrong is not asked for again"
        assert known.status.state is CertificateState.GOOD
        assert known.der is not None
        assert is_precertificate(known.der)
        revoke(core, core.store.issuer("ecc"), known.serial, Reason.cessationOfOperation)

    def test_one_that_is_away_for_a_moment_is_asked_again(self, core: Core, logs: list[CTLog]) -> None:
        logs[1].refuse = lambda method, count: 503 if method == "add-pre-chain" and count < 3 else None
        assert len(embedded(issued(core))) == 3
        assert logs[1].asked.count("add-pre-chain") == 3

    def test_one_that_stays_away_is_asked_three_times(self, core: Core, logs: list[CTLog]) -> None:
        logs[1].refuse = lambda _method, _count: 503
        with pytest.raises(TransparencyRefused, match=f"{logs[1].url}: it answered HTTP 503"):
            issued(core)
        assert logs[1].asked == ["add-pre-chain"] * 3

    def test_one_that_is_slow_has_its_time(self, core: Core, logs: list[CTLog]) -> None:
        logs[1].delay = 5
        with pytest.raises(TransparencyRefused, match=f"{logs[1].url}: it gave no answer within 2 s"):
            issued(core)

    def test_nobody_listens(self, core: Core) -> None:
        assert core.transparency is not None
        lost = replace(core.transparency.logs[1], url="http://127.0.0.1:9/")
        told = replace(core.transparency, logs=(core.transparency.logs[0], lost, core.transparency.logs[2]))
        with pytest.raises(TransparencyRefused, match=r"http://127.0.0.1:9/: it cannot be reached"):
            issued(replace(core, transparency=told))

    def test_once_there_are_enough_the_slow_are_left_behind(self, core: Core, logs: list[CTLog]) -> None:
        fourth = CTLog("Hedy", ec.generate_private_key(ec.SECP256R1()), logs[0].now, roots=logs[0].roots, delay=30)
        with running_logs(fourth):
            described = tuple(log.described() for log in (*logs, fourth))
            patient = replace(core, transparency=Transparency(described, HTTPSubmitter(60, 0.1)))
            assert [sct.log_id for sct in embedded(issued(patient))] == [log.log_id for log in logs]

    def test_a_lie_does_not_spoil_what_the_others_say(self, core: Core, logs: list[CTLog]) -> None:
        fourth = CTLog("Hedy", ec.generate_private_key(ec.SECP256R1()), logs[0].now, roots=logs[0].roots)
        fourth.spoil = flipped
        with running_logs(fourth):
            described = tuple(log.described() for log in (fourth, *logs))
            told = replace(core, transparency=Transparency(described, HTTPSubmitter(2, 0.3)))
            assert [sct.log_id for sct in embedded(issued(told))] == [log.log_id for log in logs]

    @pytest.mark.parametrize("octets", [b"", b"\xff", b"[" * 60_000, b"null", b'{"sct_version": 0, "timestamp": -1}'])
    def test_answers_that_are_none(self, octets: bytes) -> None:
        with pytest.raises(LogRefused):
            decode_answer(octets)


class TestLog:
    """The log of these tests refuses what a log must, or their SCTs would prove little."""

    def test_it_looks_at_chain_and_poison(self, core: Core, logs: list[CTLog]) -> None:
        issued(core)
        (pre, final), log = (chain for chain in logs[0].seen), logs[0]
        for chain, is_pre in ((final, True), (pre, False), (pre[:1], True), (pre[:2], True), ([pre[0], pre[2]], True)):
            with pytest.raises(ValueError, match="chain|precertificates"):
                log.add(chain, pre=is_pre)


class Interrupted(Exception):  # noqa: N818 - what kill -9 is to a process
    pass


class TestInterruptions:
    @pytest.mark.parametrize(
        ("owner", "name", "state", "finished"),
        [
            ("issuance.issuer", "assemble", CertificateState.RESERVED, False),
            ("issuance.ct_completion", "_submit", CertificateState.GOOD, False),
            ("issuance.ct_completion", "embed", CertificateState.GOOD, False),
            ("issuance.ct_completion", "log_certificate", CertificateState.GOOD, True),
        ],
    )
    def test_what_is_left_can_be_answered_for_and_revoked(
        self,
        core: Core,
        monkeypatch: pytest.MonkeyPatch,
        owner: str,
        name: str,
        state: CertificateState,
        finished: bool,
    ) -> None:
        before = serials(core)

        def die(*_arguments: object, **_named: object) -> None:
            raise Interrupted

        with monkeypatch.context() as patch:
            patch.setattr(f"{owner}.{name}", die)
            with pytest.raises(Interrupted):
                issued(core)
        known = left(core, before)
        assert known.status.state is state
        assert (known.der is not None and has_scts(known.der)) is finished
        revoke(core, core.store.issuer("ecc"), known.serial, Reason.cessationOfOperation)
        assert left(core, before).status.state is CertificateState.REVOKED

    def test_a_revoked_precertificate_gets_no_certificate(self, core: Core, logs: list[CTLog]) -> None:
        before = serials(core)

        def meanwhile(answer: dict[str, Any]) -> dict[str, Any]:
            revoke(core, core.store.issuer("ecc"), left(core, before).serial, Reason.keyCompromise)
            return answer

        logs[0].spoil = meanwhile
        with pytest.raises(IllegalMove, match="is revoked, so it gets no certificate"):
            issued(core)
        known = left(core, before)
        assert known.der is not None
        assert is_precertificate(known.der)

    def test_of_two_that_complete_one_wins(self, core: Core, logs: list[CTLog]) -> None:
        known = unfinished(core, logs)
        issuer = core.store.issuer("ecc")
        assert known.der is not None
        first = complete(core, issuer, known.der)
        advance(core, 1)
        logs[0].entries.clear()  # it forgets, and gives another SCT
        assert complete(core, issuer, known.der) == first
        assert core.store.certificate(issuer.id, known.serial).der == first


def unfinished(core: Core, logs: list[CTLog]) -> Certificate:
    """A precertificate that a log did not answer for."""
    before = serials(core)
    logs[2].refuse = lambda _method, _count: 404
    with pytest.raises(TransparencyRefused):
        issued(core)
    logs[2].refuse = None
    return left(core, before)


class TestBacklog:
    @pytest.fixture(autouse=True)
    def _nothing_is_owed(self, core: Core) -> None:
        advance(core, GIVEN_UP + 1)

    def look(self, core: Core, backlog: Backlog | None = None) -> list[str]:
        said: list[str] = []
        (backlog or Backlog(core, said.append)).look()
        return said

    def test_a_precertificate_is_completed(self, core: Core, logs: list[CTLog]) -> None:
        known = unfinished(core, logs)
        assert not self.look(core), "somebody may be at work on it"
        advance(core, PATIENCE)
        assert self.look(core) == [f"completed the certificate {known.serial:x} of ecc"]
        done = core.store.certificate(known.issuer, known.serial)
        for log, sct in zip(logs, embedded(done), strict=True):
            verify(log, sct, of_precertificate(core, done))
        assert done.status.sct_list is not None
        assert self.look(core) == []

    def test_the_timers_look_after_it(self, core: Core, logs: list[CTLog]) -> None:
        known = unfinished(core, logs)
        advance(core, PATIENCE)
        said: list[str] = []
        Timers(core, lambda _credential: None, said.append).look()
        assert f"completed the certificate {known.serial:x} of ecc" in said

    def test_the_scts_for_ocsp_follow_when_a_log_is_back(self, core: Core, logs: list[CTLog]) -> None:
        logs[1].refuse = lambda method, _count: 503 if method == "add-chain" else None
        certificate = issued(core)
        assert certificate.status.sct_list is None
        advance(core, PATIENCE)
        (sentence,) = self.look(core)
        assert sentence.startswith(f"Certificate Transparency of {certificate.serial:x}: a certificate of 199 days")
        assert f"{logs[1].url}: it answered HTTP 503" in sentence
        logs[1].refuse = None
        assert self.look(core) == [f"OCSP answers about {certificate.serial:x} have SCTs now"]
        known = core.store.certificate(certificate.issuer, certificate.serial)
        assert known.status.sct_list is not None
        assert len(parse_list(known.status.sct_list)) == 3

    def test_it_looks_every_ten_minutes_and_gives_up_in_the_end(self, core: Core, logs: list[CTLog]) -> None:
        logs[1].refuse = lambda method, _count: 403 if method == "add-chain" else None
        certificate = issued(core)
        said: list[str] = []
        backlog = Backlog(core, said.append)
        backlog.look()
        advance(core, PATIENCE)
        for _ in range(3):
            backlog.look()
        assert len(said) == 1
        advance(core, GIVEN_UP - PATIENCE + 1)
        said.clear()
        backlog.look()
        assert not said
        assert core.store.certificate(certificate.issuer, certificate.serial).status.sct_list is None

    def test_an_old_precertificate_is_left_to_be_revoked(self, core: Core, logs: list[CTLog]) -> None:
        known = unfinished(core, logs)
        assert known.der is not None
        advance(core, COMPLETED_WITHIN)
        assert self.look(core) == []
        with pytest.raises(IssuanceError, match="too old to be completed: revoke it"):
            complete(core, core.store.issuer("ecc"), known.der)
        revoke(core, core.store.issuer("ecc"), known.serial, Reason.cessationOfOperation)

    def test_what_was_issued_without_scts_is_no_business_of_logs(self, core: Core, logs: list[CTLog]) -> None:
        issued(replace(core, transparency=None))
        advance(core, PATIENCE)
        assert self.look(core) == []
        assert self.look(replace(core, transparency=None)) == []
        assert not any(log.asked for log in logs)


class TestCorrespondence:
    @pytest.fixture
    def pair(self, core: Core, logs: list[CTLog]) -> tuple[bytes, bytes, bytes]:
        """Certificate, precertificate, issuer."""
        der = issued(core).der
        assert der is not None
        return der, logs[0].seen[0][0], core.store.issuer("ecc").certificate

    def test_a_changed_profile_is_noticed(self, core: Core, pair: tuple[bytes, bytes, bytes]) -> None:
        """A profile that changed between the two made 645 certificates that browsers refused (bugzilla 1838667)."""
        certificate, precertificate, issuer = pair
        check_correspondence(certificate, precertificate, issuer)
        authority = core.store.issuer("ecc")
        contents = prepare(
            core,
            authority,
            replace(SERVER, policies=()),
            subject=asn1_x509.Certificate.load(precertificate).subject.dump(),
            public_key=asn1_x509.Certificate.load(precertificate).public_key.dump(),
            names=("a.example.ac.jp",),
        ).contents
        same_serial = replace(contents, serial=asn1_x509.Certificate.load(precertificate).serial_number)
        other = assemble(same_serial, core.signer(authority), (POISON,))
        with pytest.raises(IssuanceError, match="not what its precertificate announced"):
            check_correspondence(certificate, other, issuer)

    def test_two_of_a_kind_are_no_pair(self, pair: tuple[bytes, bytes, bytes]) -> None:
        certificate, precertificate, issuer = pair
        for each in ((certificate, certificate), (precertificate, precertificate)):
            with pytest.raises(IssuanceError):
                check_correspondence(*each, issuer)

    def test_another_issuer(self, core: Core, pair: tuple[bytes, bytes, bytes]) -> None:
        certificate, precertificate, _ = pair
        with pytest.raises(IssuanceError, match="does not verify under its issuer"):
            check_correspondence(certificate, precertificate, core.store.issuer("rsa").certificate)

    def test_a_certificate_is_completed_once(self, core: Core, pair: tuple[bytes, bytes, bytes]) -> None:
        certificate, _, issuer = pair
        with pytest.raises(IssuanceError, match="no precertificate"):
            embed(certificate, b"\0\0", issuer, core.signer(core.store.issuer("ecc")))

    def test_scts_of_another_precertificate_are_never_embedded(
        self, core: Core, pair: tuple[bytes, bytes, bytes]
    ) -> None:
        """A submitter that mixes up two answers is found out before anything is recorded."""
        assert core.transparency is not None
        issuer = core.store.issuer("ecc")
        above = (issuer.certificate, core.store.issuer("root").certificate)
        honest = core.transparency
        wrong = honest.submitter.submit(
            precertificate_entry(pair[1], above), honest.logs, core.now(), lambda _answered: False
        )

        class Mixed:
            def submit(self, *_arguments: object) -> Submission:
                return wrong

        before = serials(core)
        with pytest.raises(LogRefused, match="does not verify"):
            issued(replace(core, transparency=Transparency(honest.logs, Mixed())))
        known = left(core, before)
        assert known.der is not None
        assert is_precertificate(known.der)

    def test_the_hash_is_that_of_the_issuers_own_key(self, core: Core, pair: tuple[bytes, bytes, bytes]) -> None:
        """certificate-transparency-go 39: it was another's."""
        _, precertificate, issuer = pair
        root = core.store.issuer("root").certificate
        entry = precertificate_entry(precertificate, (issuer, root))
        key = x509.load_der_x509_certificate(issuer).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - this test alone

        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert entry.signed[2:34] == hashlib.sha256(spki).digest()


class TestPolicy:
    @pytest.mark.parametrize(
        ("at", "validity", "count"),
        [
            ("2018-05-01", Period(months=15), 3),
            ("2018-05-01", Period(months=14), 2),
            ("2018-05-01", Period(months=24, days=30), 3),
            ("2018-05-01", Period(months=27), 3),
            ("2018-05-01", Period(months=39), 4),
            ("2018-05-01", Period(months=40), 5),
            ("2022-04-14", Period(days=398), 3),
            ("2022-04-15", Period(days=398), 3),
            ("2021-04-20", Period(days=398), 2),
            ("2026-11-25", Period(days=180), 2),
            ("2026-11-25", Period(days=181), 3),
            ("2026-11-25", Period(days=199), 3),
        ],
    )
    def test_counts_by_date_and_validity(self, at: str, validity: Period, count: int) -> None:
        start = int(datetime.fromisoformat(f"{at}T00:00:00+00:00").timestamp())
        rule, end = count_rule(start), validity.last_second(start)
        logs = [CTLog(operator, ec.generate_private_key(ec.SECP256R1())).described() for operator in "AB"]
        logs += [CTLog("Google", ec.generate_private_key(ec.SECP256R1())).described() for _ in range(4)]
        assert shortfall(rule, logs[-count:] if count > 4 else [logs[0], *logs[-count + 1 :]], start, end) is None
        lacking = shortfall(rule, [logs[0], *logs[-count + 2 :]] if count > 2 else logs[:1], start, end)
        assert lacking is not None
        assert f"SCTs of {count} logs of 2 operators" in lacking

    def test_rules_change_at_a_moment(self) -> None:
        for before, after in itertools.pairwise(COUNT_RULES):
            assert count_rule(after.effective - 1) is before
            assert count_rule(after.effective) is after
        apple = int(datetime(2018, 10, 15, tzinfo=UTC).timestamp())
        assert count_rule(apple - 1).demanded_by == ("Chrome",)
        assert count_rule(apple).demanded_by == ("Chrome", "Apple")
        assert count_rule(0) is COUNT_RULES[0]

    def test_operators(self) -> None:
        start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
        end = Period(days=90).last_second(start)
        same = [CTLog("A", ec.generate_private_key(ec.SECP256R1())).described() for _ in range(5)]
        assert "has 5 of 1" in str(shortfall(count_rule(start), same, start, end))
        until_2022 = COUNT_RULES[0]
        other = CTLog("B", ec.generate_private_key(ec.SECP256R1())).described()
        assert "must be of a log of Google" in str(shortfall(until_2022, [*same, other], start, end))
        assert shortfall(count_rule(start), [*same, other], start, end) is None

    def test_too_few_logs_take_no_serial(self, core: Core, logs: list[CTLog]) -> None:
        before = serials(core)
        ended = {"usable_until": core.now()}
        for described in (
            (),
            [log.described() for log in logs[:2]],
            [log.described(**ended) for log in logs],
            [log.described(expiry_until=core.now() + 30 * DAY) for log in logs],
            [log.described(expiry_from=core.now() + 300 * DAY) for log in logs],
            [log.described(usable_from=core.now() + 1) for log in logs],
        ):
            with pytest.raises(RequestRefused, match="logs of .ct. that are in force are too few"):
                issued(replace(core, transparency=Transparency(tuple(described), HTTPSubmitter())))
        assert serials(core) == before

    def test_a_shard_gets_what_ends_in_it(self, core: Core, logs: list[CTLog]) -> None:
        end = core.now() + 198 * DAY
        this = tuple(log.described(expiry_from=end, expiry_until=end + DAY) for log in logs)
        other = CTLog("Hedy", ec.generate_private_key(ec.SECP256R1())).described(expiry_until=end)
        told = replace(core, transparency=Transparency((*this, other), HTTPSubmitter(2, 0.3)))
        assert len(embedded(issued(told))) == 3


def test_a_draft_is_good_for_one_certificate(core: Core) -> None:
    issuer = core.store.issuer("ecc")
    request = decode_request(make_csr("p384", common_name="a.example.ac.jp"))
    subject = asn1_x509.Certificate.load(issuer.certificate).subject.dump()
    draft = prepare(core, issuer, SERVER, subject=subject, public_key=request.public_key, names=("a.example.ac.jp",))
    seen: list[bytes] = []
    assert seen == [] and issue(core, draft, deliver=seen.append) == seen[0]  # noqa: PT018 - in this order
    with pytest.raises(IllegalMove):
        issue(core, draft)


def test_a_timestamp_may_be_a_little_ahead(core: Core, logs: list[CTLog], clock: ManualClock) -> None:
    logs[0].now = lambda: clock.now() + 59
    try:
        assert len(embedded(issued(core))) == 3
    finally:
        logs[0].now = clock.now


def test_scts_that_do_not_fit_are_refused(core: Core) -> None:
    certificate = issued(core)
    assert certificate.der is not None
    submission = ct_completion._submit(core, certificate_entry(certificate.der, core.chain(core.store.issuer("ecc"))))
    (log, sct), *_ = submission.scts
    with pytest.raises(LogRefused, match="no room"):
        encode_list([sct] * 1000)
    entry = precertificate_entry(certificate.der, core.chain(core.store.issuer("ecc")))
    with pytest.raises(LogRefused, match="does not verify"):
        check_sct(sct, log.key, entry, core.now())


KEY = base64.b64encode(CTLog("A", ec.generate_private_key(ec.SECP256R1())).public_key).decode()


class TestSettings:
    def test_logs(self) -> None:
        stated = {
            "url": "https://log.example/2026h1",
            "operator": "A",
            "key": KEY,
            "usable_from": datetime(2026, 1, 1, tzinfo=UTC).date(),
            "expiry_until": datetime(2026, 7, 1, 12, tzinfo=UTC),
        }
        logs = read_logs({"ct": {"logs": [stated]}})
        assert logs is not None
        (log,) = logs
        assert (log.url, log.operator, log.usable_from, log.usable_until) == (
            "https://log.example/2026h1/", "A", 1767225600, None,
        )  # fmt: skip
        assert log.expiry_until == 1782907200
        assert log.log_id == hashlib.sha256(base64.b64decode(KEY)).digest()

    def test_it_is_off_where_nothing_is_said(self) -> None:
        assert read_logs({}) is None
        assert read_logs({"ct": {"enabled": False, "logs": []}}) is None
        assert read_logs({"ct": {}}) == ()

    @pytest.mark.parametrize(
        ("section", "sentence"),
        [
            ([], "must be a table"),
            ({"log": []}, "[ct] log is not a setting"),
            ({"enabled": 1}, "enabled must be true or false"),
            ({"logs": {}}, "must be a list of tables"),
            ({"logs": ["a"]}, "number 1: it is not a table"),
            ({"logs": [{"name": "a"}]}, "number 1: name is not a setting"),
            ({"logs": [{"url": "http://a/"}]}, "operator must be text"),
            ({"logs": [{"url": "a", "operator": "A", "key": KEY}]}, "url must be an http(s):// URL"),
            ({"logs": [{"url": "http://a:x/", "operator": "A", "key": KEY}]}, "url must be an http(s):// URL"),
            ({"logs": [{"url": "http://a/?b", "operator": "A", "key": KEY}]}, "url must be an http(s):// URL"),
            ({"logs": [{"url": "http://a/", "operator": "A", "key": "?"}]}, "SubjectPublicKeyInfo in base64"),
            ({"logs": [{"url": "http://a/", "operator": "A", "key": "AAAA"}]}, "SubjectPublicKeyInfo in base64"),
            (
                {"logs": [{"url": "http://a/", "operator": "A", "key": KEY, "usable_from": "2026-01-01"}]},
                "usable_from must be a date",
            ),
            (
                {"logs": [{"url": f"http://{host}/", "operator": "A", "key": KEY} for host in "ab"]},
                "two of them have the same key",
            ),
        ],
    )
    def test_wrong_settings_are_named(self, section: object, sentence: str) -> None:
        with pytest.raises(SetupRefused) as refusal:
            read_logs({"ct": section})
        assert sentence in str(refusal.value)

    def test_keys_that_no_log_has(self) -> None:
        for kind in ("p384", "rsa-1024", "ed25519"):
            from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - here alone

            octets = private_key(kind).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            stated = {"url": "http://a/", "operator": "A", "key": base64.b64encode(octets).decode()}
            with pytest.raises(SetupRefused, match="P-256, or RSA of 2048 bits"):
                read_logs({"ct": {"logs": [stated]}})


def test_the_ecc_ca_signs_precertificates_as_it_signs_certificates(core: Core) -> None:
    serial = issue_one(core, core.store.issuer("ecc"))
    der = core.store.certificate(core.store.issuer("ecc").id, serial).der
    assert der is not None
    assert asn1_x509.Certificate.load(der)["signature_algorithm"]["algorithm"].native == "sha384_ecdsa"
