"""Time-stamp requests and what is right to reply."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509

from responders.load.sampling import Share
from responders.load.verdict import Failed, Response, Wrong, check_http
from tsa import authenticode_client, client, reply_form
from tsa.errors import (
    BadSignature,
    MalformedReply,
    Mismatch,
    NotGranted,
    PKIFailureInfo,
    ReplyError,
    WrongSigner,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from responders.load.plan import Checking, Target, TSAMix

_REPLY: Final = b"application/timestamp-reply"
_LEGACY: Final = b"application/octet-stream"
_UNABLE: Final = frozenset({PKIFailureInfo.timeNotAvailable, PKIFailureInfo.systemFailure})
_LABELS: Final[dict[type[ReplyError], str]] = {
    MalformedReply: "not a time-stamp reply",
    Mismatch: "other question or time",
    WrongSigner: "untrusted signer",
    BadSignature: "bad signature",
}
_SIGNATURE_OCTETS: Final = 384
"""As RSA-3072 signs programs."""


class TSAInquiry:
    """One RFC 3161 request; see ``responders.load.verdict.Inquiry``."""

    __slots__ = ("_asker", "_query", "_verify", "kind", "octets")

    def __init__(self, octets: bytes, query: client.Query, asker: TSAAsker, *, verify: bool, kind: str) -> None:
        self.octets, self.kind = octets, kind
        self._query, self._asker, self._verify = query, asker, verify

    def check(self, response: Response, at: float) -> bool:
        check_http(response, _REPLY)
        asker = self._asker
        try:
            reply_form.check_form(response.body, self._query, at, skew=asker.skew)
            if self._verify:
                client.verify_reply(response.body, self._query, asker.anchors, asker.others)
        except ReplyError as error:
            raise _judged(error) from None
        return self._verify


class LegacyInquiry:
    """One request of Authenticode's older protocol; see ``responders.load.verdict.Inquiry``."""

    __slots__ = ("_asker", "_signature", "_verify", "kind", "octets")

    def __init__(self, octets: bytes, signature: bytes, asker: TSAAsker, *, verify: bool) -> None:
        self.octets, self.kind = octets, "legacy"
        self._signature, self._asker, self._verify = signature, asker, verify

    def check(self, response: Response, at: float) -> bool:
        check_http(response, _LEGACY)
        asker = self._asker
        try:
            reply = authenticode_client.read_reply(response.body, self._signature, at, skew=asker.skew)
            if self._verify:
                authenticode_client.verify_reply(reply, asker.anchors, asker.others)
        except ReplyError as error:
            raise _judged(error) from None
        return self._verify


class TSAAsker:
    """Requests in the proportions of a mix."""

    def __init__(self, mix: TSAMix, checking: Checking, target: Target, seed: int, number: int = 0) -> None:
        self._mix = mix
        self.skew = checking.skew
        self.anchors = _certificates(mix.anchors)
        self.others = _certificates(mix.others)
        self._random = random.Random(f"{seed}/{number}")
        self._verify = Share(checking.verified)
        paths = [f"{target.path}/{unit}" for unit in mix.units] or [target.path or "/"]
        self._heads = [f"POST {path} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: ".encode() for path in paths]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TSAInquiry | LegacyInquiry:
        mix, chance = self._mix, self._random.random
        number = self._random.randrange(len(self._heads)) if len(self._heads) > 1 else 0
        head = self._heads[number]
        verify = self._verify.take()
        if chance() < mix.legacy:
            signature = self._random.randbytes(_SIGNATURE_OCTETS)
            body = authenticode_client.encode_request(signature)
            octets = b"%bapplication/octet-stream\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
            return LegacyInquiry(octets, signature, self, verify=verify)
        algorithm = self._random.choice(mix.digests)
        size = hashlib.new(algorithm).digest_size
        query = client.Query(
            digest=self._random.randbytes(size),
            algorithm=algorithm,
            nonce=client.fresh_nonce() if chance() < mix.nonce else None,
            certificates=chance() < mix.certificates,
        )
        body = client.encode_query(query)
        octets = b"%bapplication/timestamp-query\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
        kind = " ".join((*mix.units[number : number + 1], algorithm, *(("certReq",) if query.certificates else ())))
        return TSAInquiry(octets, query, self, verify=verify, kind=kind)


def _judged(error: ReplyError) -> Wrong | Failed:
    if isinstance(error, NotGranted):
        names = ", ".join(bit.name for bit in error.fail_info) or f"status {error.status}"
        return (Failed if _UNABLE.intersection(error.fail_info) else Wrong)(names, str(error))
    return Wrong(_LABELS[type(error)], str(error))


def _certificates(encoded: Sequence[bytes]) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(each) for each in encoded]
