"""Registration officers: who may apply for an institution, known by a client certificate that was issued here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca_store.errors import NotFound
from ca_store.types import CertificateState, Officer, format_serial
from issuance.domain import normalise
from issuance.errors import AccessRefused, SetupRefused
from issuance.naming import check_text
from issuance.period import format_time
from issuance.profile import CLIENT

if TYPE_CHECKING:
    from ca_store.types import Certificate
    from issuance.core import Core

_PEM: Final = b"-----BEGIN"
_MAX_MAIL: Final = 78
"""Characters of a mail address, by the columns of applications."""


def enrol(core: Core, name: str, *, institution: str, mail: str, certificate: bytes) -> Officer:
    """Register the holder of a client certificate (PEM or DER) as an officer of an institution. Raises AccessRefused,
    SetupRefused, NameRefused, NotFound, Conflict.
    """
    check_text("name of an officer", name)
    check_mail(mail)
    if institution not in {known.name for known in core.store.institutions()}:
        raise SetupRefused(f"no institution is registered under the name {institution!r}")
    row = _valid(core, certificate)
    _check_organization(row, institution)
    officer = Officer(name, mail, institution, row.issuer, row.serial)
    core.store.add_officer(officer, core.now())
    return officer


def authenticate(core: Core, certificate: bytes) -> Officer:
    """The officer whose certificate this is, valid now. Raises AccessRefused.

    Whoever takes it from another machine must have seen the key at work, as TLS does; a command's file is its word.
    """
    row = _valid(core, certificate)
    for officer in core.store.officers():
        if (officer.issuer, officer.serial) == (row.issuer, row.serial):
            _check_organization(row, officer.institution)
            return officer
    raise AccessRefused(f"the certificate {format_serial(row.serial)} is no officer's")


def check_mail(address: str) -> str:
    """A mail address as applications may state it: letters, digits and ``- _ @ .``. Raises SetupRefused."""
    local, at, host = address.partition("@")
    fits = len(address) <= _MAX_MAIL and all(
        (character.isascii() and character.isalnum()) or character in "-_." for character in local
    )
    if not (at and local and fits) or local.startswith(".") or local.endswith(".") or ".." in local:
        raise SetupRefused(f"{address!r} is no mail address of letters, digits and - _ @ . ({_MAX_MAIL} at most)")
    normalise(host)
    return address


def _valid(core: Core, encoded: bytes) -> Certificate:
    """The row of a client certificate that is in force. It was issued here when its very octets are on record."""
    try:
        certificate = (
            x509.load_pem_x509_certificate(encoded) if _PEM in encoded else x509.load_der_x509_certificate(encoded)
        )
        der, serial = certificate.public_bytes(Encoding.DER), certificate.serial_number
    except (ValueError, TypeError):
        raise AccessRefused("this is no certificate that can be read") from None
    row = _row(core, der, serial)
    shown = format_serial(serial)
    if row.profile != CLIENT.name:
        raise AccessRefused(f"the certificate {shown} is a {row.profile} certificate: an officer has one for clients")
    if row.status.state is not CertificateState.GOOD:
        raise AccessRefused(f"the certificate {shown} is {row.status.state.name.lower()}")
    if not row.not_before <= core.now() <= row.not_after:
        raise AccessRefused(
            f"the certificate {shown} is valid from {format_time(row.not_before)} to {format_time(row.not_after)}"
        )
    return row


def _row(core: Core, der: bytes, serial: int) -> Certificate:
    for issuer in core.store.issuers():
        try:
            row = core.store.certificate(issuer.id, serial)
        except NotFound:
            continue
        if row.der == der:
            return row
    raise AccessRefused(f"the certificate {format_serial(serial)} was not issued here")


def _check_organization(row: Certificate, institution: str) -> None:
    assert row.der is not None  # noqa: S101 - its octets were compared
    stated = x509.load_der_x509_certificate(row.der).subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if [attribute.value for attribute in stated] != [institution]:
        raise AccessRefused(f"the certificate {format_serial(row.serial)} is not of {institution}")
