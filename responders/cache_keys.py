"""Under which names HTTP caches hold what is said about a certificate: URLs, and tags that the answers carry."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ca_store.types import format_serial
from ocsp.canonical import plain_requests
from responders.purge_settings import SEPARATORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ca_store.types import Issuer

_LOWER: Final = str.maketrans({"/": "%2f", "+": "%2b", "=": "%3d"})


def spellings(request: bytes) -> list[str]:
    """How clients write a request into the path of a GET (RFC 6960 §A.1, RFC 9919 §6), without repetitions.

    Everything escaped, in upper case and in lower; everything but the slash; nothing but the slash; nothing.
    """
    text = b64encode(request).decode()
    found = (quote(text, safe=""), text.translate(_LOWER), quote(text, safe="/"), text.replace("/", "%2F"), text)
    return list(dict.fromkeys(found))


def certificate_paths(issuer: Issuer, serial: int) -> Iterator[str]:
    """The path of every canonical GET about one certificate, with its leading slash."""
    for request in plain_requests(issuer, serial):
        for spelling in spellings(request):
            yield f"/ocsp/{spelling}"


def crl_path(label: str) -> str:
    """The path of an issuer's CRL."""
    return f"/crl/{label}.crl"


def certificate_tag(label: str, serial: int) -> str:
    """The tag of every answer about one certificate of the issuer with this label."""
    return f"ocsp-{label}-{format_serial(serial)}"


def crl_tag(label: str) -> str:
    """The tag of an issuer's CRL."""
    return f"crl-{label}"


class TagHeader:
    """Writes tags into a response head; with an empty ``name`` it writes nothing."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    def line(self, tags: Iterable[str]) -> bytes:
        """A whole header line, or nothing."""
        return f"{self._name}: {SEPARATORS[self._name].join(tags)}\r\n".encode("ascii") if self._name else b""
