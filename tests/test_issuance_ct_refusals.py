"""Certificate Transparency: logs that lie, and what a crash leaves."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from ct_core import embedded, issued, left, of_precertificate, parse_list, serials, verify
from ct_log import CTLog, running_logs
from fakes import NOW
from issuance_world import advance

from ca_store.errors import IllegalMove
from ca_store.types import CertificateState, Reason
from issuance.ct_backlog import GIVEN_UP, PATIENCE, Backlog
from issuance.ct_completion import COMPLETED_WITHIN, TransparencyRefused, complete
from issuance.ct_http import HTTPSubmitter, decode_answer
from issuance.ct_log import Transparency
from issuance.ct_sct import LogRefused
from issuance.errors import IssuanceError
from issuance.period import DAY
from issuance.precertificate import (
    has_scts,
    is_precertificate,
)
from issuance.revocation import revoke
from issuance.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from ca_store.types import Certificate
    from issuance.core import Core

pytest_plugins = ("ct_fixtures",)


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
