"""From the CertID of a request to the issuer it names, and from there to the delegate that speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.x509 import ObjectIdentifier

from ocsp.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ca_store.types import Issuer, IssuerID
    from ocsp.codec import CertID
    from ocsp.delegate import Delegate
    from ocsp.preference import Preference


class Directory:
    """The issuers known here and their delegates, as they were at one moment. Immutable."""

    def __init__(self, issuers: Sequence[Issuer], delegates: Sequence[Delegate]) -> None:
        # Name hash and key hash both count: a CA keeps its name when it changes its key.
        self._issuers: Mapping[tuple[ObjectIdentifier, bytes, bytes], Issuer] = {
            (ObjectIdentifier(each.algorithm.value), each.name_hash, each.key_hash): issuer
            for issuer in issuers
            for each in issuer.hashes
        }
        self._delegates: Mapping[IssuerID, Sequence[Delegate]] = {
            issuer.id: sorted(
                (each for each in delegates if each.issuer.id == issuer.id),
                key=lambda each: (each.active_from, each.serial),
            )
            for issuer in issuers
        }

    def issuer(self, cert_ids: Sequence[CertID]) -> Issuer:
        """The one issuer that all of ``cert_ids`` name, under whatever hash algorithms.

        Raises Unauthorized when one of them is not known here, or when they name several: a delegate speaks for one
        issuing key only, so no one could sign that answer (RFC 6960 §4.2.2.2).
        """
        issuer = self._issuer(cert_ids[0])
        for cert_id in cert_ids[1:]:
            if self._issuer(cert_id) is not issuer:
                raise Unauthorized("several issuers in one request")
        return issuer

    def _issuer(self, cert_id: CertID) -> Issuer:
        try:
            return self._issuers[cert_id.algorithm, cert_id.name_hash, cert_id.key_hash]
        except KeyError:
            raise Unauthorized("no such issuer") from None

    def delegate(self, issuer: IssuerID, begins: int, now: int, preferences: Sequence[Preference] = ()) -> Delegate:
        """Who speaks for ``issuer`` in a window that began at ``begins``: the newest that was active by then, so that
        all nodes change over at the same moment; if none was yet, the first that is active by ``now``.

        Of several algorithms the client's preferences choose one in which a delegate speaks, in their order; else it
        is the issuer's default, and another one where that is silent (RFC 6960 §4.4.7.2).

        Raises Unauthorized when no delegate can speak for as long as an answer has to be valid.
        """
        active = [each for each in self._delegates[issuer] if each.speaks(begins, now)]
        if not active:
            raise Unauthorized("the issuer has no delegate")
        if len(active) == 1:
            return active[0]
        settled = [each for each in reversed(active) if each.active_from <= begins]
        for preference in preferences:
            for each in settled:
                if preference.accepts(each.signer):
                    return each
        for found in (settled, active):
            for each in found:
                if each.default:
                    return each
        return settled[0] if settled else active[0]
