"""Requests that came before to the octet: HTTP's parser need not be asked again what they are.

Most clients of one kind write the same octets for the same certificate. What whole octets stand for never changes, so
that nothing here is ever dropped for another reason than room; whether there is an answer is asked anew each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp.http import HttpVersion11, RawRequestMessage

from responders.ocsp_http import read_path

if TYPE_CHECKING:
    from aiohttp import StreamReader

    from responders.public import PublicListener

MOST: Final = 2048
"""Octets of a request that is remembered."""
ROOM: Final = 4 * 1024 * 1024
"""Octets of all of them, with what each takes besides."""
_OVERHEAD: Final = 512
_END: Final = b"\r\n\r\n"
# What makes the response depend on more than the answer.
_TELLING: Final = ("If-None-Match", "If-Modified-Since", "Expect")


class Repeat(NamedTuple):
    """What a whole request stands for."""

    ocsp_request: bytes
    posted: bool


class Repeats:
    """The requests that one worker has seen and has an answer to, oldest first; ``public`` answers them.

    Belongs to one event loop.
    """

    def __init__(self, public: PublicListener, room: int = ROOM) -> None:
        self._public = public
        self._room = room
        self._known: dict[bytes, Repeat] = {}
        self.octets = 0
        """At most ``room``."""
        self.answered = 0
        """Requests answered without the parser."""

    def answer(self, octets: bytes) -> bytes | None:
        """The response, head and body, to a whole request on a connection that stays open; None where only the
        parser can say what it is, or where no answer is at hand.
        """
        # The rest are not worth a hash over all their octets.
        known = self._known.get(octets) if len(octets) <= MOST else None
        if known is None:
            return None
        response = self._public.repeat(known.ocsp_request, posted=known.posted)
        if response is not None:
            self.answered += 1
        return response

    def learn(self, octets: bytes, message: object) -> None:
        """Remember a whole request as the parser has read it, if it is one that is answered from memory."""
        read = _read(octets, message)
        if read is None or octets in self._known or not self._public.is_answered(read.ocsp_request):
            return
        self._known[octets] = read
        self.octets += len(octets) + _OVERHEAD
        while self.octets > self._room:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self.octets -= len(oldest) + _OVERHEAD


def ends_message(octets: bytes, message: object, payload: StreamReader) -> bool:
    """Whether the one message that the parser found in these octets ends with them: then nothing is left in it."""
    if not isinstance(message, RawRequestMessage) or message.upgrade or message.chunked or not payload.is_eof():
        return False
    head = octets.find(_END) + len(_END)
    length = message.headers.get("Content-Length", "0")
    return length.isdecimal() and head >= len(_END) and head + int(length) == len(octets)


def _read(octets: bytes, message: object) -> Repeat | None:
    """What a whole message stands for, if that is an OCSP request that says nothing about how it is to be answered."""
    if not isinstance(message, RawRequestMessage) or len(octets) > MOST:
        return None
    fetched = message.method == "GET" and message.path.startswith("/ocsp/")
    posted = message.method == "POST" and message.path == "/ocsp"
    if not (fetched or posted) or message.version != HttpVersion11 or message.should_close:
        return None
    if any(name in message.headers for name in _TELLING):
        return None
    if posted:
        return Repeat(octets[octets.find(_END) + len(_END) :], posted=True)
    return Repeat(read_path(message.path[6:]), posted=False)
