"""The cache: bounded in octets, exact in what a change drops, and closed to what a change overtook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes import NOW, TINY, good
from hypothesis import given
from hypothesis import strategies as st

from ca_store.types import IssuerID
from ocsp.cache import Cache
from ocsp.types import Answer

if TYPE_CHECKING:
    from ocsp.cache import Key

OTHER = IssuerID(2)
ROOMY = 1 << 20


def answer(octets: int = 500, fresh_until: int | None = NOW + 60) -> Answer:
    return Answer(bytes(octets), "good", NOW - 60, NOW + 600, fresh_until)


def put(cache: Cache, request: bytes, *keys: Key, made: Answer | None = None) -> None:
    with cache.lease(keys) as lease:
        cache.store(request, made or answer(), [good()] * len(keys), lease)


def held(cache: Cache, *requests: bytes) -> list[bool]:
    return [cache.get(request) is not None for request in requests]


def test_an_answer_is_found_by_the_octets_of_its_request() -> None:
    cache, made = Cache(ROOMY), answer()
    put(cache, b"one", (TINY, 1), made=made)
    entry = cache.get(b"one")
    assert entry is not None
    assert entry.answer is made
    assert cache.get(b"onf") is None


def test_an_entry_holds_from_this_update_until_it_is_no_longer_fresh() -> None:
    cache = Cache(ROOMY)
    put(cache, b"one", (TINY, 1))
    entry = cache.get(b"one")
    assert entry is not None
    assert [entry.holds(now) for now in (NOW - 61, NOW - 60, NOW + 59.9, NOW + 60)] == [False, True, True, False]


def test_a_change_drops_every_answer_about_its_certificate_and_no_other() -> None:
    cache = Cache(ROOMY)
    put(cache, b"sha-1", (TINY, 1))
    put(cache, b"sha-256", (TINY, 1))
    put(cache, b"both", (TINY, 1), (TINY, 2))
    put(cache, b"twice", (TINY, 1), (TINY, 1))
    put(cache, b"second", (TINY, 2))
    put(cache, b"same serial, other issuer", (OTHER, 1))
    cache.drop([(TINY, 1)])
    assert held(cache, b"sha-1", b"sha-256", b"both", b"twice") == [False] * 4
    assert held(cache, b"second", b"same serial, other issuer") == [True] * 2


def test_the_least_recently_used_make_room() -> None:
    put(one := Cache(ROOMY), b"x", (TINY, 0))
    cache = Cache(3 * one.octets)
    for name in (b"a", b"b", b"c"):
        put(cache, name, (TINY, name[0]))
    cache.get(b"a")
    put(cache, b"d", (TINY, 4))
    assert held(cache, b"a", b"b", b"c", b"d") == [True, False, True, True]
    assert cache.evictions == 1


def test_an_answer_larger_than_the_cache_displaces_nothing() -> None:
    cache = Cache(4000)
    put(cache, b"a", (TINY, 1))
    put(cache, b"large", (TINY, 2), made=answer(5000))
    assert held(cache, b"a", b"large") == [True, False]


def test_a_cache_of_nothing_keeps_nothing() -> None:
    put(cache := Cache(0), b"a", (TINY, 1))
    assert len(cache) == cache.octets == 0


def test_an_answer_without_freshness_is_not_kept() -> None:
    """Neither one with a nonce nor an unsigned error."""
    put(cache := Cache(ROOMY), b"a", (TINY, 1), made=answer(fresh_until=None))
    put(cache, b"b", (TINY, 1), made=Answer(b"30030a0106", "unauthorized"))
    assert held(cache, b"a", b"b") == [False, False]


def test_what_a_change_overtook_is_not_kept() -> None:
    cache = Cache(ROOMY)
    with cache.lease([(TINY, 1), (TINY, 2)]) as overtaken, cache.lease([(TINY, 3)]) as other:
        cache.drop([(TINY, 2)])
        cache.store(b"overtaken", answer(), [good(), good()], overtaken)
        cache.store(b"other", answer(), [good()], other)
    assert held(cache, b"overtaken", b"other") == [False, True]


def test_what_a_reset_overtook_is_not_kept() -> None:
    cache = Cache(ROOMY)
    with cache.lease([(TINY, 1)]) as lease:
        cache.clear()
        cache.store(b"one", answer(), [good()], lease)
    assert held(cache, b"one") == [False]


def test_a_lease_that_ended_is_of_no_concern_to_later_changes() -> None:
    cache = Cache(ROOMY)
    with cache.lease([(TINY, 1)]) as lease:
        pass
    cache.drop([(TINY, 1)])
    assert not lease.stale


def test_clearing_gives_everything_back() -> None:
    cache = Cache(ROOMY)
    put(cache, b"one", (TINY, 1))
    cache.clear()
    assert len(cache) == cache.octets == 0


keys = st.lists(st.tuples(st.sampled_from([TINY, OTHER]), st.integers(0, 3)), min_size=1, max_size=3)
steps = st.one_of(
    st.tuples(st.just("put"), st.binary(min_size=1, max_size=2), keys, st.integers(0, 2000)),
    st.tuples(st.just("get"), st.binary(min_size=1, max_size=2)),
    st.tuples(st.just("drop"), keys),
)


@given(st.lists(steps, max_size=60), st.integers(0, 20_000))
def test_the_index_and_the_bound_hold_through_anything(script: list[tuple[object, ...]], bound: int) -> None:
    """Octets are those of what is held; a dropped key has no answers; an emptied cache holds no index."""
    cache = Cache(bound)
    known: dict[bytes, list[Key]] = {}
    for step in script:
        match step:
            case ("put", bytes(request), list(about), int(octets)):
                put(cache, request, *about, made=answer(octets))
                known[request] = about
            case ("get", bytes(request)):
                cache.get(request)
            case ("drop", list(about)):
                cache.drop(about)
                assert not any(cache.get(each) for each, keys in known.items() if set(keys) & set(about))
        assert cache.octets <= bound
    cache.drop([(issuer, serial) for issuer in (TINY, OTHER) for serial in range(4)])
    assert len(cache) == cache.octets == 0
    assert cache._requests == {}
