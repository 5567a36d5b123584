"""Certification path validation (RFC 5280 §6.1), as far as certificates of this service and its clients need it.

Policies, name constraints and revocation are not looked at; an unknown critical extension, name constraints among
them, ends the path.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DEPTH: Final = 10

_PROCESSED: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,  # the caller's to judge: it depends on the purpose
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,  # no policy is asked for, so any is acceptable
    }
)


class PathError(Exception):
    """No valid path. The message names the certificate and the field."""


def check_path(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    at: int,
) -> list[x509.Certificate]:
    """The path from ``leaf`` to one of ``anchors``, both included, valid at POSIX second ``at``. Raises PathError."""
    path = [leaf]
    failure = PathError(f"{_name(leaf)}: issuer {leaf.issuer.rfc4514_string()} is not among the trust anchors")
    _check_certificate(leaf, at)
    while len(path) <= MAX_DEPTH:
        if path[-1] in anchors:
            return path
        candidates = [
            certificate
            for certificate in (*anchors, *intermediates)
            if certificate.subject == path[-1].issuer and certificate not in path
        ]
        for issuer in candidates:
            try:
                _check_issued(path[-1], issuer)
                _check_certificate(issuer, at)
                _check_authority(issuer, depth=len(path) - 1)
            except PathError as error:
                failure = error
            else:
                path.append(issuer)
                break
        else:
            raise failure
    raise PathError(f"{_name(leaf)}: the path is longer than {MAX_DEPTH} certificates")


def _check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        raise PathError(f"{_name(certificate)}: signature was not made by the key of {_name(issuer)}") from None


def _check_certificate(certificate: x509.Certificate, at: int) -> None:
    moment = datetime.fromtimestamp(at, UTC)
    if moment < certificate.not_valid_before_utc:
        raise PathError(
            f"{_name(certificate)}: notBefore {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} is ahead"
        )
    if moment > certificate.not_valid_after_utc:
        raise PathError(f"{_name(certificate)}: notAfter {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ} is past")
    try:
        extensions = certificate.extensions
    except ValueError as error:
        raise PathError(f"{_name(certificate)}: extensions cannot be read: {error}") from None
    for extension in extensions:
        if extension.critical and extension.oid not in _PROCESSED:
            raise PathError(f"{_name(certificate)}: critical extension {extension.oid.dotted_string} is not understood")


def _check_authority(certificate: x509.Certificate, depth: int) -> None:
    """``depth`` counts the CA certificates below this one (RFC 5280 §4.2.1.9)."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise PathError(f"{_name(certificate)}: basicConstraints is missing") from None
    if not constraints.ca:
        raise PathError(f"{_name(certificate)}: basicConstraints does not say cA")
    if constraints.path_length is not None and depth > constraints.path_length:
        raise PathError(f"{_name(certificate)}: pathLenConstraint {constraints.path_length} is exceeded")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_cert_sign:
        raise PathError(f"{_name(certificate)}: keyUsage lacks keyCertSign")


def _name(certificate: x509.Certificate) -> str:
    return f"certificate {certificate.subject.rfc4514_string() or certificate.serial_number:}"
