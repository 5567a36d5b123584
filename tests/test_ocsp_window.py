"""The time algebra of answers, held over clocks, changes and roll-overs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from fakes import DAY, NOW, TINY, TinyCA, good, p256_signer, revoked
from hypothesis import assume, given
from hypothesis import strategies as st

from ocsp.directory import Directory
from ocsp.errors import Unauthorized
from ocsp.settings import MIN_VALIDITY, Settings
from ocsp.window import Times, Window, times, times_now, window

if TYPE_CHECKING:
    from ca_store.types import Status
    from ocsp.delegate import Delegate

CA = TinyCA()
DELEGATE = CA.delegate(p256_signer())
HOUR = 3600

moments = st.integers(NOW - 30 * DAY, NOW + 30 * DAY)
settings = st.builds(
    Settings,
    window=st.sampled_from([60, 600, HOUR, 6 * HOUR]),
    skew=st.sampled_from([0, 300, HOUR]),
    validity=st.sampled_from([DAY, 4 * DAY, 7 * DAY - 1]),
    unknown_window=st.sampled_from([1, 60]),
)
rows = st.none() | st.builds(good, moments) | st.builds(revoked, moments)


class Span(NamedTuple):
    delegate: Delegate
    window: Window
    times: Times


def delegates(draw: st.DrawFn) -> list[Delegate]:
    """One to three delegates, the first of which was there before everything else."""
    found: list[Delegate] = []
    for serial in range(draw(st.integers(1, 3))):
        not_before = draw(st.integers(NOW - 60 * DAY, NOW + (30 if found else -31) * DAY))
        not_after = not_before + draw(st.integers(1, 120 * DAY) if found else st.integers(60 * DAY, 120 * DAY))
        active_from = not_before + draw(st.integers(0, DAY))
        found.append(
            replace(DELEGATE, serial=serial, not_before=not_before, not_after=not_after, active_from=active_from)
        )
    return found


directories = st.composite(lambda draw: Directory([CA.issuer], delegates(draw)))()


def span(serial: int, status: Status | None, now: int, chosen: Settings, directory: Directory) -> Span:
    """What the responder works out at ``now``. Raises Unauthorized when no delegate speaks."""
    found = window(serial, status, now, chosen)
    delegate = directory.delegate(TINY, found.begins, now)
    return Span(delegate, found, times(found, status, delegate, now, chosen))


@given(serial=st.integers(0, 1 << 160), status=rows, now=moments, chosen=settings, directory=directories)
def test_every_answer_keeps_the_algebra(
    serial: int, status: Status | None, now: int, chosen: Settings, directory: Directory
) -> None:
    try:
        delegate, found, (this_update, next_update, fresh_until) = span(serial, status, now, chosen, directory)
    except Unauthorized:
        assume(False)
    assert this_update <= now < fresh_until <= next_update <= delegate.not_after
    assert this_update >= delegate.not_before
    assert next_update - this_update >= MIN_VALIDITY
    assert next_update - this_update <= chosen.validity
    assert now - this_update <= chosen.window + chosen.skew
    assert found.begins <= now < found.ends
    if status is not None:
        assert this_update >= min(status.changed_at, now)


@given(serial=st.integers(0, 1 << 160), status=rows, now=moments, chosen=settings)
def test_an_answer_with_nonce_is_made_now(serial: int, status: Status | None, now: int, chosen: Settings) -> None:
    assume(DELEGATE.not_before <= now < DELEGATE.not_after)
    this_update, next_update, _ = times_now(status, DELEGATE, now, chosen)
    assert this_update == now < next_update <= DELEGATE.not_after


@given(
    serial=st.integers(0, 1 << 160),
    status=rows,
    now=moments,
    later=st.integers(0, HOUR),
    chosen=settings,
    directory=directories,
)
def test_two_clocks_in_one_window_give_the_same_times(
    serial: int, status: Status | None, now: int, later: int, chosen: Settings, directory: Directory
) -> None:
    """Two nodes, one clock behind the other: as long as both are in the window, the octets are the same."""
    if status is not None:
        status = status._replace(changed_at=min(status.changed_at, now))
    try:
        one = span(serial, status, now, chosen, directory)
        assume(now + later < one.times.fresh_until)
        # Also where the first delegate of all begins to speak inside the window.
        assert span(serial, status, now + later, chosen, directory) == one
    except Unauthorized:
        assume(False)


@given(serial=st.integers(0, 1 << 160), status=rows, now=moments, later=st.integers(0, 2 * DAY), chosen=settings)
def test_this_update_never_goes_back(
    serial: int, status: Status | None, now: int, later: int, chosen: Settings
) -> None:
    assume(DELEGATE.not_before <= now < now + later < DELEGATE.not_after)
    first = times(window(serial, status, now, chosen), status, DELEGATE, now, chosen)
    second = times(window(serial, status, now + later, chosen), status, DELEGATE, now + later, chosen)
    assert first.this_update <= second.this_update
    assert first.next_update <= second.next_update


@given(serial=st.integers(0, 1 << 160), now=moments, after=st.integers(0, 5 * DAY), chosen=settings)
def test_a_revocation_begins_a_new_window(serial: int, now: int, after: int, chosen: Settings) -> None:
    """The answer about a revoked certificate is never dated before the moment at which it was revoked."""
    assume(DELEGATE.not_before <= now < now + after < DELEGATE.not_after)
    status = revoked(now)
    found = times(window(serial, status, now + after, chosen), status, DELEGATE, now + after, chosen)
    assert now <= found.this_update
    if after == 0:
        assert found.this_update == now


def test_a_day_of_one_certificate() -> None:
    """One hour's window from 300 seconds earlier on, seven days less a second."""
    status, chosen, serial = good(NOW - DAY), Settings(), 1000
    begins = NOW - (NOW - 1000) % HOUR
    found = times(window(serial, status, NOW, chosen), status, DELEGATE, NOW, chosen)
    assert found == Times(begins - 300, begins - 300 + 7 * DAY - 1, begins + HOUR)


def test_windows_of_different_certificates_begin_at_different_times() -> None:
    """No second in which everything is signed again."""
    begins = {window(serial, good(), NOW, Settings()).begins for serial in range(5000, 5100)}
    assert len(begins) == 100


def test_an_issuance_clock_that_is_ahead_is_not_followed_into_the_future() -> None:
    status, serial = good(NOW + 20), NOW + 2000
    found = times(window(serial, status, NOW, Settings()), status, DELEGATE, NOW, Settings())
    assert (found.this_update, found.fresh_until) == (NOW, NOW + 20)


def test_unknown_is_short_lived() -> None:
    chosen = Settings()
    found = times(window(7, None, NOW, chosen), None, DELEGATE, NOW, chosen)
    assert found.fresh_until - NOW <= chosen.unknown_window
    assert found.next_update - found.this_update == MIN_VALIDITY


def test_next_update_ends_with_the_delegate() -> None:
    delegate = replace(DELEGATE, not_after=NOW + DAY)
    found = times(window(7, good(), NOW, Settings()), good(), delegate, NOW, Settings())
    assert found.next_update == NOW + DAY


def test_next_update_ends_with_the_ca() -> None:
    ca = TinyCA(not_after=NOW + 2 * DAY)
    assert ca.delegate(not_after=NOW + 90 * DAY).not_after == NOW + 2 * DAY


def test_a_new_delegate_speaks_from_the_first_window_after_its_date() -> None:
    """So that all nodes change over together: the window that is under way keeps the signer it began with."""
    old, new = replace(DELEGATE, serial=1), replace(DELEGATE, serial=2, active_from=NOW)
    directory, status, chosen = Directory([CA.issuer], [new, old]), good(), Settings()
    under_way = span(7, status, NOW + 1, chosen, directory)
    assert under_way.delegate is old
    following = span(7, status, under_way.times.fresh_until, chosen, directory)
    assert following.delegate is new
    assert span(7, revoked(NOW + 1), NOW + 1, chosen, directory).delegate is new


@pytest.mark.parametrize("now", [NOW - 1, NOW + 90 * DAY])
def test_no_delegate_speaks_outside_its_time(now: int) -> None:
    with pytest.raises(Unauthorized):
        Directory([CA.issuer], [replace(DELEGATE, active_from=NOW)]).delegate(TINY, now, now)
