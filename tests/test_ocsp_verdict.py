"""The judge of our own answers: silent about a right one, and naming the field of each that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp as x509_ocsp
from fakes import DAY, NOW, SHA1, TinyCA, good, p256_signer, revoked
from ocsp_world import SERIAL, World

from ca_store.types import CertificateState, Reason
from ocsp.linter import Linter
from ocsp.selfcheck import request_for
from ocsp.settings import Settings
from ocsp.verdict import judge

if TYPE_CHECKING:
    from ca_store.types import Status
    from ocsp.delegate import Delegate

SETTINGS = Settings()


class Case:
    """One delegate, one row, and the answer to a request about it."""

    def __init__(self, status: Status | None = None, settings: Settings = SETTINGS) -> None:
        self.world = World(settings=settings)
        self.status = status
        self.settings = settings
        if status is not None:
            self.world.store.issue(self.world.ca.issuer.id, SERIAL)
            if status.state is CertificateState.REVOKED:
                self.world.store.commit(self.world.ca.issuer.id, SERIAL, status)
        self.request = request_for(self.world.ca.issuer, SERIAL, SHA1)

    @property
    def delegate(self) -> Delegate:
        return self.world.directory.delegate(self.world.ca.issuer.id, NOW, NOW)

    async def answer(self) -> bytes:
        return (await self.world.responder.answer(self.request)).der

    def rules(self, answer: bytes, **changed: object) -> set[tuple[str, bool]]:
        """The fields that are found at fault, with whether they mislead."""
        known = {"delegate": self.delegate, "status": self.status, "request": self.request, **changed}
        asked = x509_ocsp.load_der_ocsp_request(known["request"])  # type: ignore[arg-type]  # a table of mixed things
        faults = judge(answer, asked, known["delegate"], known["status"], self.settings)  # type: ignore[arg-type]  # the same
        return {(fault.rule, fault.misleads) for fault in faults}


@pytest.mark.parametrize(
    "status",
    [good(), revoked(), revoked(reason=Reason.unspecified), None],
    ids=["good", "revoked", "no reason", "none"],
)
@pytest.mark.parametrize("signed_unknown", [False, True])
async def test_a_right_answer_has_no_fault(status: Status | None, signed_unknown: bool) -> None:
    case = Case(status, Settings(signed_unknown=signed_unknown))
    answer = await case.answer()
    assert case.rules(answer) == set()
    assert list(Linter().lint(answer)) == []


async def test_another_status_than_the_row_has_misleads() -> None:
    case = Case(good())
    answer = await case.answer()
    assert case.rules(answer, status=revoked()) == {("certStatus", True)}
    # An answer about a serial that was never used must not exist at all (BR §4.9.10).
    assert case.rules(answer, status=None) == {("responseStatus", True), ("certStatus", True)}
    reserved = good()._replace(state=CertificateState.RESERVED)
    assert case.rules(answer, status=reserved) == {("responseStatus", True), ("certStatus", True)}


async def test_another_revocation_time_or_reason_than_the_row_has_misleads() -> None:
    case = Case(revoked())
    answer = await case.answer()
    row = revoked()
    assert case.rules(answer, status=row._replace(revoked_at=NOW - 2 * DAY)) == {("revocationTime", True)}
    assert case.rules(answer, status=row._replace(reason=Reason.superseded)) == {("revocationReason", True)}


async def test_a_broken_signature_misleads() -> None:
    case = Case(good())
    answer = await case.answer()
    signature = x509_ocsp.load_der_ocsp_response(answer).signature
    spoilt = answer.replace(signature, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert ("signature", True) in case.rules(spoilt)


async def test_an_answer_of_another_delegate_or_about_another_serial_misleads() -> None:
    case = Case(good())
    answer = await case.answer()
    assert case.rules(answer, delegate=case.world.ca.delegate(p256_signer())) == {("certs", True)}
    other = request_for(case.world.ca.issuer, SERIAL + 1, SHA1)
    assert case.rules(answer, request=other) == {("certID", True)}
    assert case.rules(answer, request=request_for(TinyCA().issuer, SERIAL, SHA1)) == {("certID", True)}
    assert case.rules(answer, request=request_for(case.world.ca.issuer, SERIAL, hashes.SHA256())) >= {("certID", True)}


async def test_a_refusal_of_a_known_serial_misleads_and_so_does_what_cannot_be_read() -> None:
    case = Case()
    assert case.rules(await case.answer(), status=good()) == {("responseStatus", True)}
    assert case.rules(b"0\x03\n\x01\x02", status=None) == {("responseStatus", True)}
    assert case.rules(b"0\x03\n\x01", status=None) == {("OCSPResponse", True)}


async def test_an_answer_outside_the_bounds_of_the_baseline_requirements_is_an_error_whatever_is_configured() -> None:
    """A validity that some upgrade has changed is noticed by a bound that no setting moves."""
    case = Case(good())
    answer = await case.answer()
    assert case.rules(answer, delegate=replace(case.delegate, not_after=NOW + DAY)) == {("nextUpdate", False)}
    assert case.rules(answer, delegate=replace(case.delegate, not_before=NOW)) == {("producedAt", False)}
    assert case.rules(answer, status=good(NOW)) == {("thisUpdate", False)}


@pytest.mark.parametrize("validity", [30 * DAY, 3600])
async def test_a_validity_that_no_setting_allows_is_noticed(validity: int) -> None:
    settings = Settings()
    object.__setattr__(settings, "validity", validity)  # what an upgrade might do to the bounds
    case = Case(good(), settings)
    assert case.rules(await case.answer()) == {("nextUpdate", False)}
