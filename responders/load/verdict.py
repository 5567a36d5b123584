"""What became of one question. An answer is right when nothing of this is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = 200
SERVER_ERROR = 500
TOO_MANY = 429


class Bad(Exception):  # noqa: N818 - named as its meaning, here and below
    """``label`` is one of few, to be counted by; the sentence tells one case from another."""

    def __init__(self, label: str, sentence: str = "") -> None:
        super().__init__(sentence or label)
        self.label = label


class Wrong(Bad):
    """An answer that a client must not get: to another question, stale, forged, or no answer at all."""


class Failed(Bad):
    """No answer, and nothing untrue said: the connection was lost, time ran out, or the server was too busy."""


class Response(NamedTuple):
    """One HTTP response."""

    status: int
    content_type: bytes
    """In lower case, without parameters."""
    body: bytes
    closes: bool
    """Whether the connection ends with it."""


class Inquiry(Protocol):
    """One question on its way."""

    kind: str
    """One of few, to be counted by."""
    octets: bytes
    """The whole HTTP request."""

    def check(self, response: Response, at: float) -> bool:
        """Whether the signature was verified too. ``at`` is now in POSIX seconds. Raises Wrong or Failed."""
        ...


class Asker(Protocol):
    """Makes up questions in the proportions of its mix, without end."""

    def __iter__(self) -> Iterator[Inquiry]: ...

    def __next__(self) -> Inquiry: ...


def check_http(response: Response, content_type: bytes) -> None:
    """HTTP 200 with a body of this type. Raises Wrong or Failed."""
    status = response.status
    if status >= SERVER_ERROR or status == TOO_MANY:
        raise Failed(f"HTTP {status}")
    if status != OK:
        raise Wrong(f"HTTP {status}")
    if response.content_type != content_type:
        raise Wrong("content type", f"the content type is {response.content_type.decode('latin-1')!r}")
