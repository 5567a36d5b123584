"""One signature for equal octets that are wanted at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ca_store.gate import SigningGate
    from ca_store.signing import Signer


class Signatures:
    """Signs through the gate; when a window of a much asked certificate begins, only the first request signs.

    ResponseData names the responder's key, so equal octets mean equal signatures.
    """

    def __init__(self, gate: SigningGate) -> None:
        self._gate = gate
        self._pending: dict[bytes, asyncio.Task[bytes]] = {}

    async def sign(self, signer: Signer, data: bytes, *, alone: bool = False) -> bytes:
        """Raises SigningOverload and KeyUnavailable, to everyone who waits for the same signature.

        What is for one client ``alone``, which a nonce makes it, waits behind what is for many.
        """
        if not signer.slow or alone:
            return await self._gate.sign(signer, data, patient=alone)
        pending = self._pending.get(data)
        if pending is None:
            pending = self._pending[data] = asyncio.create_task(self._gate.sign(signer, data))
            pending.add_done_callback(lambda done: self._forget(data, done))
        # A client that goes away takes the signature from no one else.
        return await asyncio.shield(pending)

    def _forget(self, data: bytes, done: asyncio.Task[bytes]) -> None:
        del self._pending[data]
        if not done.cancelled():
            # Looked at here, because everyone who waited may have gone.
            done.exception()
