"""The time algebra of one answer.

An answer without nonce is the same, octet for octet, from every worker and node as long as its window lasts, so its
times come from the window and not from the second of signing. For every answer holds:

    revocationTime ≤ thisUpdate ≤ producedAt ≤ now < nextUpdate ≤ notAfter of the delegate and of the CA
    thisUpdate ≥ issue or last change of the certificate; producedAt ≥ notBefore of the delegate
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocsp.settings import MIN_VALIDITY

if TYPE_CHECKING:
    from ca_store.types import Status
    from ocsp.delegate import Delegate
    from ocsp.settings import Settings


class Window(NamedTuple):
    """The span in which nothing about an answer changes: ``begins`` ≤ now < ``ends``."""

    begins: int
    ends: int


class Times(NamedTuple):
    """The times of one SingleResponse, and until when no better one will exist."""

    this_update: int
    next_update: int
    fresh_until: int


def window(serial: int, status: Status | None, now: int, settings: Settings) -> Window:
    """The window of a certificate at ``now``.

    Windows of different certificates begin at different moments, so that they are not all signed again in the same
    second; a status change begins a new one. ``status`` is None for a serial that is not assigned.
    """
    length = settings.unknown_window if status is None else settings.window
    begins = now - (now - serial) % length
    ends = begins + length
    if status is None or status.changed_at <= begins:
        return Window(begins, ends)
    if status.changed_at <= now:
        return Window(status.changed_at, ends)
    # The issuance clock is ahead. No time may lie in the future, so this answer lasts until that clock is reached.
    return Window(now, min(ends, status.changed_at))


def times(span: Window, status: Status | None, delegate: Delegate, now: int, settings: Settings) -> Times:
    """The times of an answer without nonce; ``delegate`` speaks at ``span.begins`` and has not expired."""
    changed_at = 0 if status is None else status.changed_at
    this_update = min(now, max(span.begins - settings.skew, delegate.not_before, changed_at))
    next_update = _next_update(this_update, status, delegate, settings)
    return Times(this_update, next_update, min(span.ends, next_update))


def times_now(status: Status | None, delegate: Delegate, now: int, settings: Settings) -> Times:
    """The times of an answer with nonce: it is made for one client, at ``now``, and for no cache."""
    return Times(now, _next_update(now, status, delegate, settings), now)


def _next_update(this_update: int, status: Status | None, delegate: Delegate, settings: Settings) -> int:
    # Who was told "unknown" should ask again soon.
    validity = MIN_VALIDITY if status is None else settings.validity
    return min(this_update + validity, delegate.not_after)
