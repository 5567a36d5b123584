"""The client's preferred signature algorithms (RFC 6960 §4.4.7): which of an issuer's delegates it would rather hear.

A preference chooses among the delegates there are and nothing else. Each of them signs with SHA-2, so whoever prefers
SHA-1 gets what everybody gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from ca_store import der
from ocsp.errors import MalformedRequest

if TYPE_CHECKING:
    from ca_store.signing import Signer

_SEQUENCE = b"\x30"
_FIELDS = 2
"""The most members of an AlgorithmIdentifier, of an SMIMECapability, and of what holds one of each."""


class Preference(NamedTuple):
    """One PreferredSignatureAlgorithm: a signature algorithm, and a kind of key when the client named one."""

    algorithm: ObjectIdentifier
    key: tuple[bytes, bytes] | None = None
    """OID and parameters of pubKeyAlgIdentifier, each a TLV; no parameters are empty."""

    def accepts(self, signer: Signer) -> bool:
        """Whether this signer's signatures are what the client wants."""
        if _algorithm(signer.algorithm.identifier) != self.algorithm:
            return False
        if self.key is None:
            return True
        algorithm, _ = _members(signer.public_key)
        oid, parameters = self.key
        own, *owns = _members(algorithm)
        return oid == own and parameters in (b"", der.NULL, *owns)


def decode_preferences(value: bytes) -> tuple[Preference, ...]:
    """PreferredSignatureAlgorithms, the most preferred first. Raises ValueError, and MalformedRequest among them."""
    return tuple([_preference(member) for member in _members(value)])


def _preference(encoded: bytes) -> Preference:
    algorithm, *key = _fields(encoded)
    preference = Preference(_algorithm(algorithm))
    if not key:
        return preference
    oid, *parameters = _fields(key[0])
    asn1.decode_der(ObjectIdentifier, oid)
    return preference._replace(key=(oid, b"".join(parameters)))


def _algorithm(identifier: bytes) -> ObjectIdentifier:
    return asn1.decode_der(ObjectIdentifier, _fields(identifier)[0])


def _fields(encoded: bytes) -> list[bytes]:
    found = _members(encoded)
    if not 0 < len(found) <= _FIELDS:
        raise MalformedRequest(f"{len(found)} fields in a preferred signature algorithm")
    return found


@asn1.sequence
class _Members:
    # A SEQUENCE OF cannot be decoded by itself; it is wrapped into this one.
    members: list[asn1.TLV]


def _members(encoded: bytes) -> list[bytes]:
    if encoded[:1] != _SEQUENCE:
        raise MalformedRequest("a preferred signature algorithm is not made of SEQUENCEs")
    found = asn1.decode_der(_Members, der.sequence(encoded)).members
    return [each.tag_bytes + der.length(len(each.data)) + bytes(each.data) for each in found]
