"""``[purge]``: the HTTP caches in front that must forget what has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

SEPARATORS: Final = {"Cache-Tag": ",", "Edge-Cache-Tag": ",", "Surrogate-Key": " ", "xkey": " "}
"""Headers that caches read tags from, and what stands between two tags in each."""


@dataclass(frozen=True, slots=True)
class Purge:
    """``[purge]``. Without caches nothing is sent; ``docs/http-caches.md`` has tried examples."""

    caches: tuple[str, ...] = ()
    """Base URLs of caches that forget by URL: ``PURGE`` for each spelling of the GET URLs of a certificate."""
    posts: bool = False
    """Caches that forget by URL keep answers to POST, too, under the request's body: also send them ``PURGE /ocsp``
    with each plain request as its body. ``docker/nginx.conf`` makes such a cache.
    """
    tag_caches: tuple[str, ...] = ()
    """URLs of caches that forget by tag: one ``PURGE`` with ``tag_header``, which covers every spelling, and POST."""
    tag_header: str = ""
    """The header in which answers and CRLs carry tags: Cache-Tag, Edge-Cache-Tag, Surrogate-Key or xkey; none by
    default.
    """
    hosts: tuple[str, ...] = ()
    """``Host`` of the requests by URL, for caches whose key has the host: one request for each name under which clients
    come. By default the cache's own.
    """
    seconds: float = 5.0
    """How long a cache may take for one PURGE."""
    waiting: int = 10_000
    """Certificates that may wait for one cache. Past it they are read from the database later."""

    def __post_init__(self) -> None:
        for name in ("caches", "tag_caches"):
            for url in getattr(self, name):
                _check_url(name, url)
        for host in self.hosts:
            _check_host(host)
        if self.tag_header and self.tag_header not in SEPARATORS:
            raise ValueError(f"tag_header is {self.tag_header!r}: it must be one of {', '.join(SEPARATORS)}")
        if self.tag_caches and not self.tag_header:
            raise ValueError("tag_header is missing: tag_caches forget by tag")
        if self.posts and not self.caches:
            raise ValueError("posts is true: there are no caches that it could be for")
        if not 0.1 <= self.seconds <= 60:  # noqa: PLR2004 - a cache's patience and ours
            raise ValueError(f"seconds is {self.seconds}: it must lie between 0.1 and 60")
        if not 1 <= self.waiting <= 1_000_000:  # noqa: PLR2004 - some hundred octets each
            raise ValueError(f"waiting is {self.waiting}: it must lie between 1 and 1000000")


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{name}: {url!r} is not an http or https URL")
    if parts.username is not None or parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError(f"{name}: {url!r} must have neither user, query nor fragment")


def _check_host(host: str) -> None:
    try:
        parts = urlsplit(f"//{host}")
        sound = parts.netloc == host and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        sound = False
    if not sound or not host.isascii() or not host.isprintable() or " " in host:
        raise ValueError(f"hosts: {host!r} is not HOST or HOST:PORT")
