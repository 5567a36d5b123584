"""Applications carried out: each line of a file is issued, renewed or revoked, or refused, and stops no other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ca_store.errors import Conflict, KeyUnavailable, NotFound, StoreError, StoreUnavailable
from ca_store.types import Application, AuditRecord, CertificateState, Reason, format_serial
from issuance.application_codes import ACCEPTED, ApplicationRefused
from issuance.application_columns import Action
from issuance.application_file import read_fields
from issuance.application_review import Reviewer, digest_of
from issuance.crl import sign_crl
from issuance.ct_completion import complete
from issuance.errors import IssuanceError
from issuance.files import encode_pem, replace_file
from issuance.issuer import issue, reserve
from issuance.pkcs12 import encode_pkcs12, make_pin
from issuance.precertificate import is_precertificate
from issuance.revocation import revoke

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ca_store.types import Certificate, Issuer, IssuerID, Officer
    from issuance.application_file import Line
    from issuance.application_review import Reviewed
    from issuance.core import Core
    from issuance.rule_set import RuleSet

_PRIVATE: Final = 0o600
_DONE: Final = {
    Action.ISSUE: ("発行しました。", "issued"),
    Action.RENEW: ("更新発行しました。", "renewed"),
    Action.REVOKE: ("失効しました。", "revoked"),
}
_BEFORE: Final = ("処理済みの申請です。", "was carried out before")
_CHECKED: Final = ("チェックに合格しました。", "every check passed; nothing was written")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one line."""

    line: int
    code: str
    japanese: str
    english: str
    serial: int | None = None

    @property
    def accepted(self) -> bool:
        """Whether it was carried out, now or before, or would be."""
        return self.code == ACCEPTED


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where what is issued goes."""

    certificates: Path | None = None
    """A folder for certificates and PKCS #12 files; without one no subscriber's key is made."""
    pins: Path | None = None
    """A folder for the PINs that are made here: another one, since nobody may hold both."""


class Applications:
    """Carries out the lines of a file for one officer.

    Args:
        core: the issuance core.
        officer: who applies.
        rules: by which.
        delivery: where what is issued goes.
        dry_run: check everything and write nothing.
        report: told, in one sentence, what could not be done though every application was carried out.
    """

    def __init__(
        self,
        core: Core,
        officer: Officer,
        rules: RuleSet,
        delivery: Delivery,
        *,
        dry_run: bool,
        report: Callable[[str], None],
    ) -> None:
        self._core = core
        self._officer = officer
        self._rules = rules
        self._delivery = delivery
        self._dry_run = dry_run
        self._report = report
        self._reviewer = Reviewer(
            core,
            officer,
            rules,
            keys=delivery.certificates is not None,
            pins=delivery.pins is not None,
            keep=not dry_run,
        )
        self._revoked_under: set[IssuerID] = set()

    def carry_out(self, lines: Iterable[Line], action: Action) -> Iterator[Outcome]:
        """What became of each line, as it is done; CRLs are signed at the end. Raises StoreUnavailable,
        KeyUnavailable and OSError when none can be carried out any more; what was done is done.
        """
        for line in lines:
            outcome = self._line(line, action)
            if not self._dry_run:
                self._core.store.add_audit(self._record(outcome, action))
            yield outcome
        for issuer in self._core.store.issuers():
            if issuer.id in self._revoked_under:
                self._sign_crl(issuer)

    def _sign_crl(self, issuer: Issuer) -> None:
        try:
            sign_crl(self._core, issuer)
        except (IssuanceError, StoreError) as error:
            # What was asked for is committed, and the timers sign the CRL as soon as they can.
            self._report(f"revoked, but no new CRL of {issuer.label} was signed: {error}")

    def _line(self, line: Line, action: Action) -> Outcome:
        try:
            before = self._before(line, action)
            if before is not None:
                return self._done(line, _BEFORE, self._completed(before))
            fields = read_fields(line, action, self._core.settings.profile_ids, self._rules)
            reviewed = self._reviewer.review(line, action, fields)
            if self._dry_run:
                return Outcome(line.number, ACCEPTED, *_CHECKED)
            return self._act(line, reviewed)
        except ApplicationRefused as refusal:
            return Outcome(line.number, refusal.code, refusal.japanese, refusal.sentence)
        except (StoreUnavailable, KeyUnavailable):
            raise
        except (IssuanceError, StoreError) as error:
            unforeseen = ApplicationRefused("911", str(error))
            return Outcome(line.number, unforeseen.code, unforeseen.japanese, unforeseen.sentence)

    def _before(self, line: Line, action: Action) -> Certificate | None:
        """The certificate that was issued for this very line; one that was only reserved does not count."""
        try:
            known = self._core.store.application(digest_of(line, action, self._reviewer.institution))
        except NotFound:
            return None
        certificate = self._core.store.certificate(known.issuer, known.serial)
        return None if certificate.status.state is CertificateState.RESERVED else certificate

    def _completed(self, certificate: Certificate) -> Certificate:
        """A line whose certificate was announced to logs, and no more, is gone on with."""
        if self._dry_run or certificate.der is None or not is_precertificate(certificate.der):
            return certificate
        complete(self._core, self._issuer(certificate), certificate.der)
        return self._core.store.certificate(certificate.issuer, certificate.serial)

    def _act(self, line: Line, reviewed: Reviewed) -> Outcome:
        if reviewed.action is Action.REVOKE:
            return self._revoke(line, reviewed)
        try:
            serial = self._issue(reviewed)
        except Conflict:
            before = self._before(line, reviewed.action)
            if before is None:
                raise
            return self._done(line, _BEFORE, self._completed(before))
        assert reviewed.issuer is not None  # noqa: S101 - it was issued under
        return self._done(line, _DONE[reviewed.action], self._core.store.certificate(reviewed.issuer.id, serial))

    def _revoke(self, line: Line, reviewed: Reviewed) -> Outcome:
        certificate, reason = reviewed.certificate, reviewed.reason
        assert certificate is not None  # noqa: S101 - the review found it
        assert reason is not None  # noqa: S101 - the same
        # A revocation is corrected in one way only: to keyCompromise (BR §7.2.2).
        if certificate.status.state is CertificateState.REVOKED and (
            reason is not Reason.keyCompromise or certificate.status.reason is reason
        ):
            return Outcome(line.number, ACCEPTED, *_BEFORE, certificate.serial)
        revoke(self._core, self._issuer(certificate), certificate.serial, reason)
        self._revoked_under.add(certificate.issuer)
        return Outcome(line.number, ACCEPTED, *_DONE[Action.REVOKE], certificate.serial)

    def _issue(self, reviewed: Reviewed) -> int:
        contents, issuer = reviewed.contents, reviewed.issuer
        assert contents is not None  # noqa: S101 - the review made it
        assert issuer is not None  # noqa: S101 - the same
        now = self._core.now()
        kept = {key: value for key, value in reviewed.fields.items() if value and key != "pin"}

        def commit(serial: int) -> None:
            application = Application(
                digest=reviewed.digest,
                action=reviewed.action.value,
                officer=self._officer,
                fields=json.dumps(kept, ensure_ascii=False),
                issuer=issuer.id,
                serial=serial,
                received_at=now,
            )
            self._core.store.reserve_for(application, contents.profile.name, contents.not_after, now)

        draft = reserve(self._core, issuer, contents, commit)
        issue(self._core, draft, deliver=self._delivering(reviewed, issuer, draft.contents.serial))
        return draft.contents.serial

    def _delivering(self, reviewed: Reviewed, issuer: Issuer, serial: int) -> Callable[[bytes], None] | None:
        """Write key and PIN before the certificate counts: what dies in between is issued anew under another serial."""
        key, folder = reviewed.key, self._delivery.certificates
        if key is None or folder is None:
            return None

        def deliver(certificate: bytes) -> None:
            stem = f"{reviewed.fields['file'] or 'certificate'}-{format_serial(serial)}"
            pin = reviewed.fields.get("pin", "")
            if not pin:
                pin = make_pin()
                assert self._delivery.pins is not None  # noqa: S101 - the review asked for it
                replace_file(self._delivery.pins / f"{stem}.pin", pin.encode() + b"\n", _PRIVATE)
            name = reviewed.name.get("CN") or stem
            chain = self._core.chain(issuer)
            octets = encode_pkcs12(name, key, certificate, chain, pin, old=self._rules.old_pkcs12)
            replace_file(folder / f"{stem}.p12", octets, _PRIVATE)

        return deliver

    def _issuer(self, certificate: Certificate) -> Issuer:
        return self._core.store.issuer(certificate.issuer_label)

    def _done(self, line: Line, said: tuple[str, str], certificate: Certificate) -> Outcome:
        folder = self._delivery.certificates
        if folder is not None and certificate.der is not None and not self._dry_run:
            replace_file(folder / f"{format_serial(certificate.serial)}.pem", encode_pem(certificate.der))
        return Outcome(line.number, ACCEPTED, *said, certificate.serial)

    def _record(self, outcome: Outcome, action: Action) -> AuditRecord:
        detail = {
            "line": outcome.line,
            "code": outcome.code,
            "sentence": outcome.english,
            "serial": None if outcome.serial is None else format_serial(outcome.serial),
            "institution": self._officer.institution,
            "rules": self._rules.name,
        }
        actor = f"{self._officer.name} ({format_serial(self._officer.serial)})"
        event = f"{action.value} {'accepted' if outcome.accepted else 'refused'}"
        return AuditRecord(self._core.now(), actor, event, json.dumps(detail, ensure_ascii=False))
