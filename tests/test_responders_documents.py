"""What a worker remembers of CRLs and CA certificates, whatever it is asked for: a bounded number of octets."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import make_mocked_request
from store_world import NOW, following

from ca_store.clock import SystemClock
from ca_store.types import CRL
from responders.prepared import Second
from responders.shared_state import SharedState
from responders.static_http import Documents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca_store.contracts import IssuanceStore, ReadStore
    from ca_store.types import IssuerID
    from responders.shared_state import Row

pytest_plugins = ("store_fixtures",)


@pytest.fixture
def row() -> Iterator[Row]:
    state = SharedState.create(1)
    yield state.row(0)
    os.close(state.descriptor)


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
async def test_old_crls_by_their_numbers_do_not_fill_the_memory(
    store: IssuanceStore, reader: ReadStore, root: IssuerID, row: Row
) -> None:
    """A CRL of 200,000 entries has 10 MB, and anyone can ask for each that there ever was."""
    clock = SystemClock()
    documents = Documents(reader, clock, 1, Second(clock), row)
    bodies = {number: bytes([number]) * (size << 20) for number, size in enumerate((9, 9, 9, 9, 40, 1), 1)}
    for number, body in bodies.items():
        store.add_crl(CRL(root, number, NOW, NOW + 9, body))
    async with following(reader):
        for number in (*bodies, 1):
            asked = documents.get(make_mocked_request("GET", "/"), "crl", f"root/{number}.crl")
            assert (await asyncio.wait_for(asked, 20))._octets == bodies[number]
            held = [len(each.body) for each in documents._kept.values()]
            assert sum(held) <= 32 << 20 or held == [40 << 20]
    assert len(documents._kept) == 2
