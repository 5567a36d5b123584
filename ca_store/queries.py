"""Queries that both dialects' readers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca_store.credentials import CRLS
from ca_store.schema import crl, issuer

if TYPE_CHECKING:
    from sqlalchemy import Select


def crl_of(label: str) -> Select[tuple[object, ...]]:
    """The newest CRL of the CA with this label."""
    return CRLS.join(issuer, issuer.c.id == crl.c.issuer_id).where(issuer.c.label == label)
