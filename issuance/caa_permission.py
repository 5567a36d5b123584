"""Whether CAA permits a certificate (BR §3.2.2.8): each of its names is looked up, judged, and kept on record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ca_store.errors import NotFound
from ca_store.types import CAACheck
from issuance.caa import ISSUE, ISSUE_MAIL, ISSUE_WILD, judge
from issuance.caa_records import LookUpFailed, relevant
from issuance.errors import RequestRefused, SetupRefused
from issuance.profile import SERVER, SMIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from issuance.core import Core
    from issuance.profile import Profile
    from issuance.rule_set import RuleSet

REUSE: Final = 8 * 3_600
"""Seconds that a permission holds, or as long as DNS allows its records to be kept, if that is longer."""

_CODE: Final = 338


class CAARefused(RequestRefused):
    """CAA permits no certificate for some of the names, or could not be looked up for them."""

    def __init__(self, checks: Sequence[CAACheck]) -> None:
        self.names = tuple(check.name for check in checks)
        told = "; ".join(f"{check.name}: {_told(check)}" for check in checks)
        super().__init__(f"error {_CODE}: CAA does not permit {told}")


def check_permission(core: Core, names: Sequence[str], profile: Profile, rules: RuleSet, *, keep: bool = True) -> None:
    """Raises CAARefused unless CAA permits every name; a failed look-up permits nothing. With ``keep`` each look is put
    on record, whatever it permits. A permission on record is used again while it holds; a refusal never is.
    """
    if not core.settings.caa:
        return
    checks = [_check(core, name, tag, keep=keep) for name, tag in _questions(names, profile, rules)]
    refused = [check for check in checks if not check.permitted]
    if refused:
        raise CAARefused(refused)


def _questions(names: Sequence[str], profile: Profile, rules: RuleSet) -> Sequence[tuple[str, str]]:
    """Each name that is looked up and the property that is asked about."""
    if profile.name == SERVER.name:
        return [(name, ISSUE_WILD if name.startswith("*.") else ISSUE) for name in dict.fromkeys(names)]
    if profile.name == SMIME.name and rules.mail_caa:
        return [(host, ISSUE_MAIL) for host in dict.fromkeys(name.rpartition("@")[2] for name in names)]
    return ()


def _check(core: Core, name: str, tag: str, *, keep: bool) -> CAACheck:
    now = core.now()
    try:
        known = core.store.caa_check(name, tag)
    except NotFound:
        pass
    else:
        if known.permitted and 0 <= now - known.checked_at < max(known.ttl, REUSE):
            return known
    check = _look(core, name, tag, now)
    if keep:
        core.store.add_caa_check(check)
    return check


def _look(core: Core, name: str, tag: str, now: int) -> CAACheck:
    if core.resolver is None:
        raise SetupRefused("CAA is on, and there is no name server to ask")
    try:
        found = relevant(core.resolver, name, core.clock)
    except LookUpFailed as error:
        return CAACheck(name, tag, now, 0, None, (), permitted=False, sentence=str(error))
    verdict = judge(found.records.properties, tag, core.settings.caa_policy)
    records = tuple(map(str, found.records.properties))
    return CAACheck(name, tag, now, found.records.ttl, found.source, records, verdict.permitted, verdict.sentence)


def _told(check: CAACheck) -> str:
    return check.sentence if check.source is None else f"{check.sentence} (at {check.source})"
