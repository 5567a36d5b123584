"""Subscriber organisations and the domains they may have certificates for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca_store.types import Institution
from issuance.domain import check_registrable
from issuance.errors import SetupRefused
from issuance.naming import check_country, check_text
from issuance.subject_rules import check_locality, check_organization, check_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from issuance.core import Core


def register(
    core: Core,
    name: str,
    *,
    country: str,
    state: str | None,
    locality: str | None,
    domains: Sequence[str],
) -> Institution:
    """Record an institution. Raises NameRefused, SetupRefused, and Conflict when its name is taken.

    Its certificates carry these values as they are, so at least one of state and locality is needed (BR §7.1.2.7.4).
    """
    check_text("name of an institution", name)
    check_organization(name)
    check_country(country)
    if state is None and locality is None:
        raise SetupRefused("an institution needs a state or a locality")
    if state is not None:
        check_state(state, country)
    if locality is not None:
        check_locality(locality)
    taken = [domain for known in core.store.institutions() for domain in known.domains]
    checked = tuple(dict.fromkeys(check_registrable(domain, taken) for domain in domains))
    institution = Institution(name, country, state, locality, checked)
    core.store.add_institution(institution)
    return institution
