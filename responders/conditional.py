"""Conditional GET (RFC 9110 §13)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENTITY_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')


def not_modified(headers: Mapping[str, str], etag: str, last_modified: int) -> bool:
    """Whether the client's copy is still the right one, for GET and HEAD. ``etag`` comes with its quotes.

    If-None-Match is compared weakly and decides alone when it is there; ``last_modified`` is POSIX seconds.
    """
    tags = headers.get(hdrs.IF_NONE_MATCH)
    if tags is not None:
        return tags.strip() == "*" or etag in _ENTITY_TAG.findall(tags)
    since = headers.get(hdrs.IF_MODIFIED_SINCE)
    if since is None:
        return False
    try:
        return last_modified <= parsedate_to_datetime(since).timestamp()
    except ValueError:
        return False
