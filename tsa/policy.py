"""What one unit accepts: digests, policies, and no extension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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


class RequestPolicy:
    """The rules that a request must meet before the unit signs (RFC 3161 §2.1 items 6, 7 and 11, §2.4.1)."""

    def __init__(self, settings: UnitSettings) -> None:
        self._accepted = ", ".join(
            name.upper().replace("SHA", "SHA-").replace("-3_", "3-") for name in settings.digests
        )
        self._sizes: dict[bytes, int] = {}
        for name in settings.digests:
            oid = der.oid(KNOWN_DIGESTS[name])
            # RFC 5754 §2: both forms of the parameters are in use, and both must be taken.
            self._sizes[oid] = self._sizes[oid + der.NULL] = DIGEST_SIZES[name]
        self._policies: dict[str | None, bytes] = {oid: der.oid(oid) for oid in (settings.policy, *settings.policies)}
        self._policies[None] = self._policies[settings.policy]

    def check(self, request: TimeStampRequest) -> bytes:
        """The policy to issue under, as a DER OID. Raises BadRequest, BadAlgorithm, BadDataFormat, UnacceptedPolicy or
        UnacceptedExtension.
        """
        if request.version != 1:
            raise BadRequest("Only requests of version 1 are answered.")
        size = self._sizes.get(request.algorithm)
        if size is None:
            raise self._unaccepted(request.algorithm)
        if len(request.digest) != size:
            raise BadDataFormat(f"The imprint's algorithm makes {size} octets; the request has another number of them.")
        if request.extensions:
            raise UnacceptedExtension("No extension of a request is supported.")
        policy = self._policies.get(request.policy)
        if policy is None:
            raise UnacceptedPolicy("The policy asked for is not one of this unit's.")
        return policy

    def _unaccepted(self, algorithm: bytes) -> BadAlgorithm:
        name = _WEAK.get(decode_algorithm(algorithm), "The imprint's hash algorithm")
        return BadAlgorithm(f"{name} is not accepted here. Use {self._accepted}.")
