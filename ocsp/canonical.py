"""The plain OCSPRequest about a certificate, as nearly every client writes it: DER without any extension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca_store import der

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ca_store.types import Issuer


def plain_request(cert_ids: Iterable[bytes]) -> bytes:
    """OCSPRequest (RFC 6960 §4.1.1) about encoded CertIDs, with nothing that is optional."""
    return der.sequence(der.sequence(der.sequence(*[der.sequence(cert_id) for cert_id in cert_ids])))


def plain_requests(issuer: Issuer, serial: int) -> Iterator[bytes]:
    """Every plain request about one certificate: under each hash algorithm that names its issuer, with the algorithm's
    parameters NULL, as most clients have them, and absent (RFC 5754 §2 allows both).
    """
    for each in issuer.hashes:
        algorithm = der.oid(each.algorithm.value)
        for parameters in (der.NULL, b""):
            yield plain_request(
                [
                    der.sequence(
                        der.sequence(algorithm, parameters),
                        der.octet_string(each.name_hash),
                        der.octet_string(each.key_hash),
                        der.integer(serial),
                    )
                ]
            )
