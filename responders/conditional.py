"""Conditional GET (RFC 9110 §13)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def not_modified(headers: CIMultiDictProxy[str], etag: str, last_modified: int) -> bool:
    """Whether the client's copy is still the right one, for GET and HEAD. ``etag`` comes with its quotes.

    If-None-Match is compared weakly and decides alone when it is there, in one line or in several;
    ``last_modified`` is POSIX seconds. A date that cannot be read counts as none (RFC 9110 §13.1.3).
    """
    tags = headers.getall(hdrs.IF_NONE_MATCH, ())
    if tags:
        return any(line.strip() == "*" or etag in _ENTITY_TAG.findall(line) for line in tags)
    since = headers.get(hdrs.IF_MODIFIED_SINCE)
    if since is None:
        return False
    try:
        return last_modified <= parsedate_to_datetime(since).timestamp()
    except (ValueError, OverflowError, OSError):  # numbers that no calendar and no time zone has
        return False
