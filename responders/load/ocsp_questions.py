"""OCSP questions and what is right to answer."""

from __future__ import annotations

import base64
import functools
import random
import secrets
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509

from ocsp import client
from responders.load.sampling import Share
from responders.load.verdict import Failed, Response, Wrong, check_http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from responders.load.plan import Checking, OCSPMix, Target

_ANSWER: Final = b"application/ocsp-response"
_RIGHT: Final = {
    "good": frozenset({"good"}),
    "revoked": frozenset({"revoked"}),
    "any": frozenset({"good", "revoked"}),
    "unassigned": frozenset({"unknown", "unauthorized", "never issued"}),
}
_BUSY: Final = frozenset({"tryLater", "internalError"})
_LABELS: Final[dict[type[client.OCSPClientError], str]] = {
    client.UnreadableAnswer: "not an OCSP response",
    client.OtherCertificate: "other certificate",
    client.NonceMismatch: "nonce",
    client.UntrustedResponder: "untrusted responder",
    client.BadSignature: "bad signature",
    client.NotCurrent: "not current",
}
_SERIAL_OCTETS: Final = 20
_REMEMBERED: Final = 2048
"""Questions without a nonce that are kept, each with an answer."""


class _Asked:
    """A question that may be asked again, and what was right to answer the last time."""

    __slots__ = ("octets", "question", "right")

    def __init__(self, question: client.Question, octets: bytes) -> None:
        self.question, self.octets = question, octets
        self.right: tuple[bytes, int, str] | None = None


class OCSPInquiry:
    """One question; see ``responders.load.verdict.Inquiry``."""

    __slots__ = ("_asked", "_expected", "_skew", "_verify", "kind", "octets")

    def __init__(self, asked: _Asked, expected: str, skew: int, *, verify: bool, kind: str) -> None:
        self.octets, self.kind = asked.octets, kind
        self._asked, self._expected, self._skew, self._verify = asked, expected, skew, verify

    def check(self, response: Response, at: float) -> bool:
        check_http(response, _ANSWER)
        if not self._verify and self._asked.right == (response.body, int(at), self._expected):
            return False  # these octets were found right within this second
        verified = self._check(response, at)
        self._asked.right = (response.body, int(at), self._expected)
        return verified

    def _check(self, response: Response, at: float) -> bool:
        question, skew = self._asked.question, self._skew
        try:
            status = client.check_form(response.body, question, int(at), skew=skew)
            unusual = status == "revoked" and self._expected == "unassigned"
            if self._verify or unusual:
                verified = client.verify_response(response.body, question, int(at), skew=skew)
                if unusual and (verified.reason, verified.revoked_at) == ("certificateHold", 0):
                    status = "never issued"  # the extended definition of revoked (RFC 6960 §2.2)
        except client.Refused as error:
            if error.status in _BUSY:
                raise Failed(error.status, str(error)) from None
            if error.status not in _RIGHT[self._expected]:
                raise Wrong(error.status, str(error)) from None
            return False
        except client.OCSPClientError as error:
            raise Wrong(_LABELS[type(error)], str(error)) from None
        if status not in _RIGHT[self._expected]:
            raise Wrong(f"{status} instead of {self._expected}")
        return self._verify


class OCSPAsker:
    """Questions in the proportions of a mix. ``number`` of ``of`` processes: they share the cold serials out."""

    def __init__(
        self, mix: OCSPMix, checking: Checking, target: Target, seed: int, number: int = 0, of: int = 1
    ) -> None:
        self._mix, self._skew = mix, checking.skew
        self._cached = functools.lru_cache(maxsize=_REMEMBERED)(self._make)
        self._random = random.Random(f"{seed}/{number}")
        self._nonces = random.Random(secrets.token_bytes(client.NONCE_OCTETS))
        issuers = [x509.load_der_x509_certificate(each) for each in mix.population.issuers]
        self._templates = [client.QuestionTemplate(each, mix.algorithm) for each in issuers]
        self._draw = {
            state: self._drawer(random.Random(seed).sample(subjects, len(subjects)), number, of)
            for state, subjects in mix.population.subjects.items()
            if subjects
        }
        self._draw.setdefault("unassigned", self._unassigned)
        self._states: list[str] = [state for state in ("good", "any") if state in self._draw] or ["unassigned"]
        self._verify = Share(checking.verified)
        path, host = target.path.encode(), target.authority.encode()
        self._get = b"GET " + path + b"/", b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        self._post = b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/ocsp-request\r\nContent-Length: " % (
            path or b"/",
            host,
        )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> OCSPInquiry:
        mix, chance = self._mix, self._random.random
        draw = chance()
        if draw < mix.revoked:
            state = "revoked"
        elif draw < mix.revoked + mix.unassigned:
            state = "unassigned"
        else:
            state = self._states[0] if len(self._states) == 1 else self._random.choice(self._states)
        subject = self._draw[state]()
        by_get = chance() < mix.get
        kind = "GET" if by_get else "POST"
        if chance() < mix.nonce:
            kind += " nonce"
            asked = self._make(subject, by_get, self._nonces.randbytes(client.NONCE_OCTETS))
        else:
            asked = self._cached(subject, by_get, None)
        verify = self._verify.take()
        return OCSPInquiry(asked, state, self._skew, verify=verify, kind=f"{kind} {state}")

    def _make(self, subject: tuple[int, int], by_get: bool, nonce: bytes | None) -> _Asked:  # noqa: FBT001 - a cache's key
        issuer, serial = subject
        question = self._templates[issuer].question(serial, nonce)
        if by_get:
            return _Asked(question, self._get[0] + _path(question.der) + self._get[1])
        return _Asked(question, b"%b%d\r\n\r\n%b" % (self._post, len(question.der), question.der))

    def _drawer(self, subjects: Sequence[tuple[int, int]], number: int, of: int) -> Callable[[], tuple[int, int]]:
        """Hot subjects at random, cold ones in turn."""
        hot, cold = subjects[: self._mix.hot_serials], subjects[self._mix.hot_serials :][number::of]
        chance, pick, share = self._random.random, self._random.choice, self._mix.hot
        if not cold or not hot:
            return lambda: pick(hot or cold or subjects)
        turn = _cycle(cold)
        return lambda: pick(hot) if chance() < share else next(turn)

    def _unassigned(self) -> tuple[int, int]:
        # As long as a real one, and not one of them: they have 64 random bits.
        serial = int.from_bytes(b"\x7f" + self._random.randbytes(_SERIAL_OCTETS - 1), "big")
        return self._random.randrange(len(self._templates)), serial


def _cycle(subjects: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    # itertools.cycle would keep a second copy.
    while True:
        yield from subjects


def _path(encoded: bytes) -> bytes:
    """Base64 for a URL's path (RFC 6960 §A.1)."""
    text = base64.b64encode(encoded)
    return text.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")
