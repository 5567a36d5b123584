"""The HTTP client of Certificate Transparency logs (RFC 6962 §4): the only part of issuance that speaks HTTP."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from issuance.ct_log import Submission
from issuance.ct_sct import SCT, VERSION, LogRefused, check_sct

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from issuance.ct_log import Log
    from issuance.ct_sct import Entry

SECONDS: Final = 10.0
"""For one log, repeated requests included."""
GRACE: Final = 1.0
"""Seconds that the other logs still have once enough of them have answered."""
ATTEMPTS: Final = 3
_PAUSE: Final = 0.25
"""Seconds before the second attempt; the next pause is twice as long."""
_MOST: Final = 1 << 16
_OK: Final = 200
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that another attempt may change."""
_LONGEST_EXTENSIONS: Final = 0xFFFF
_LAST_TIMESTAMP: Final = 1 << 63


class _TryAgain(Exception):  # noqa: N818 - named as its meaning
    pass


class HTTPSubmitter:
    """``issuance.ct_log.Submitter`` by HTTP.

    Args:
        seconds: how long one log may take.
        grace: how long the others are waited for once there are enough SCTs.
    """

    def __init__(self, seconds: float = SECONDS, grace: float = GRACE) -> None:
        self._seconds = seconds
        self._grace = grace

    def submit(
        self, entry: Entry, logs: Sequence[Log], now: int, enough: Callable[[Collection[Log]], bool]
    ) -> Submission:
        return asyncio.run(self._submit(entry, logs, now, enough))

    async def _submit(
        self, entry: Entry, logs: Sequence[Log], now: int, enough: Callable[[Collection[Log]], bool]
    ) -> Submission:
        began = time.monotonic()

        def current() -> int:
            return now + int(time.monotonic() - began)

        scts: dict[Log, SCT] = {}
        refusals: dict[Log, str] = {}
        async with aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}, auto_decompress=False) as session:
            tasks = {asyncio.create_task(self._ask(session, entry, log, current)): log for log in logs}
            waiting = set(tasks)
            while waiting:
                left = self._grace if enough(scts) else None
                done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        scts[tasks[task]] = task.result()
                    except LogRefused as error:
                        refusals[tasks[task]] = str(error)
                if not done:
                    break
            for task in waiting:
                task.cancel()
                refusals[tasks[task]] = "it was slower than the others"
            await asyncio.gather(*waiting, return_exceptions=True)
        return Submission(
            tuple((log, scts[log]) for log in logs if log in scts),
            tuple(f"{log.url}: {refusals[log]}" for log in logs if log in refusals),
        )

    async def _ask(self, session: aiohttp.ClientSession, entry: Entry, log: Log, now: Callable[[], int]) -> SCT:
        try:
            async with asyncio.timeout(self._seconds):
                sct = await self._persist(session, entry, log)
        except TimeoutError:
            raise LogRefused(f"it gave no answer within {self._seconds:g} s") from None
        check_sct(sct, log.key, entry, now())
        return sct

    async def _persist(self, session: aiohttp.ClientSession, entry: Entry, log: Log) -> SCT:
        for attempt in range(ATTEMPTS):
            try:
                return await _post(session, entry, log)
            except _TryAgain as error:
                if attempt == ATTEMPTS - 1:
                    raise LogRefused(str(error)) from None
                await asyncio.sleep(_PAUSE * 2**attempt)
        raise AssertionError("unreachable")


async def _post(session: aiohttp.ClientSession, entry: Entry, log: Log) -> SCT:
    url = f"{log.url}ct/v1/add-{'pre-' if entry.precertificate else ''}chain"
    body = {"chain": [base64.b64encode(each).decode() for each in entry.chain]}
    try:
        async with session.post(url, json=body, allow_redirects=False) as response:
            octets = await _read(response)
            status = response.status
    except (aiohttp.ClientError, OSError) as error:
        raise _TryAgain(f"it cannot be reached: {' '.join(str(error).split()) or type(error).__name__}") from None
    if status in _PASSING:
        raise _TryAgain(f"it answered HTTP {status}")
    if status != _OK:
        raise LogRefused(f"it answered HTTP {status}")
    return decode_answer(octets)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    octets = b""
    async for chunk in response.content.iter_any():
        octets += chunk
        if len(octets) > _MOST:
            raise LogRefused("its answer is too long")
    return octets


def decode_answer(octets: bytes) -> SCT:
    """The SCT in the answer to a submission (RFC 6962 §4.1). Raises LogRefused."""
    try:
        answer = json.loads(octets)
    except (ValueError, RecursionError):
        raise LogRefused("its answer is not JSON") from None
    if not isinstance(answer, dict):
        raise LogRefused("its answer is not a JSON object")
    version, timestamp = answer.get("sct_version"), answer.get("timestamp")
    if type(version) is not int or version != VERSION:
        raise LogRefused("its SCT is not of version 1")
    if type(timestamp) is not int or not 0 <= timestamp < _LAST_TIMESTAMP:
        raise LogRefused("its SCT has no timestamp")
    extensions = _binary(answer, "extensions")
    if len(extensions) > _LONGEST_EXTENSIONS:
        raise LogRefused("its SCT has extensions that are too long")
    return SCT(_binary(answer, "id"), timestamp, extensions, _binary(answer, "signature"))


def _binary(answer: dict[str, Any], name: str) -> bytes:
    value = answer.get(name)
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise LogRefused(f"its SCT has no {name} in base64")
