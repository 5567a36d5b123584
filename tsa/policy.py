"""What one unit accepts: digests, policies, and no extension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ca_store import der
from tsa.codec import decode_algorithm
from tsa.errors import BadAlgorithm, BadDataFormat, BadRequest, UnacceptedExtension, UnacceptedPolicy
from tsa.settings import KNOWN_DIGESTS

if TYPE_CHECKING:
    from tsa.codec import TimeStampRequest
    from tsa.settings import UnitSettings

DIGEST_SIZES: Final = {name: int(name[-3:]) // 8 for name in KNOWN_DIGESTS}
"""Octets of a digest, by its hashlib name."""

_WEAK: Final = {
    "1.2.840.113549.2.5": "MD5",
    "1.3.14.3.2.26": "SHA-1",
    "2.16.840.1.101.3.4.2.4": "SHA-224",
    "1.3.36.3.2.1": "RIPEMD-160",
}


class _Digest(NamedTuple):
    size: int
    imprint_head: bytes
    """All of a MessageImprint but the digest itself."""


class RequestPolicy:
    """The rules that a request must meet before the unit signs (RFC 3161 §2.1 items 6, 7 and 11, §2.4.1)."""

    def __init__(self, settings: UnitSettings) -> None:
        self._accepted = ", ".join(
            name.upper().replace("SHA", "SHA-").replace("-3_", "3-") for name in settings.digests
        )
        self._digests: dict[bytes, _Digest] = {}
        for name in settings.digests:
            # RFC 5754 §2: both forms of the parameters are in use, both must be taken, and each comes back as it came.
            for algorithm in (der.oid(KNOWN_DIGESTS[name]), der.oid(KNOWN_DIGESTS[name]) + der.NULL):
                size = DIGEST_SIZES[name]
                imprint = der.sequence(der.sequence(algorithm), der.octet_string(bytes(size)))
                self._digests[algorithm] = _Digest(size, imprint[:-size])
        self._policies: dict[str | None, bytes] = {oid: der.oid(oid) for oid in (settings.policy, *settings.policies)}
        self._policies[None] = self._policies[settings.policy]

    def check(self, request: TimeStampRequest) -> tuple[bytes, bytes]:
        """The policy to issue under and the MessageImprint, both DER. Raises BadRequest, BadAlgorithm, BadDataFormat,
        UnacceptedPolicy or UnacceptedExtension.
        """
        if request.version != 1:
            raise BadRequest("Only requests of version 1 are answered.")
        digest = self._digests.get(request.algorithm)
        if digest is None:
            raise self._unaccepted(request.algorithm)
        if len(request.digest) != digest.size:
            raise BadDataFormat(f"The imprint must have the {digest.size} octets that its algorithm makes.")
        if request.extensions:
            raise UnacceptedExtension("No extension of a request is supported.")
        policy = self._policies.get(request.policy)
        if policy is None:
            raise UnacceptedPolicy("The policy asked for is not one of this unit's.")
        return policy, digest.imprint_head + request.digest

    def _unaccepted(self, algorithm: bytes) -> BadAlgorithm:
        name = _WEAK.get(decode_algorithm(algorithm), "The imprint's hash algorithm")
        return BadAlgorithm(f"{name} is not accepted here. Use {self._accepted}.")
