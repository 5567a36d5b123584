"""What the tools need to ask as a relying party: HTTP, files of certificates, and whom to trust."""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import TYPE_CHECKING, Final

import aiohttp
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import AuthorityInformationAccessOID
from oscrypto import trust_list
from yarl import URL

from ca_store.path import PathError, check_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TIMEOUT_SECONDS: Final = 15.0
_HTTP: Final = ("http", "https")
_MOST: Final = 1 << 20
"""Octets of an answer; the largest ones have some kilobytes."""


class ToolError(Exception):
    """Why there is no result; one sentence. ``usage`` tells a wrong argument from a bad answer."""

    def __init__(self, sentence: str, *, usage: bool = False) -> None:
        super().__init__(sentence)
        self.usage = usage


def exchange(url: str, body: bytes | None, content_type: str | None = None) -> bytes:
    """The body of the answer to a POST (without ``body``: a GET), which must be HTTP 200. Raises ToolError."""
    try:
        target = URL(url, encoded=True)
        usable = target.scheme in _HTTP and target.host is not None and target.port is not None
    except ValueError:  # a port that none can have, characters that no URL has
        usable = False
    if not usable:
        raise ToolError(f"{url!r} is not an HTTP URL", usage=True)
    return asyncio.run(_exchange(target, body, content_type))


async def _exchange(url: URL, body: bytes | None, content_type: str | None) -> bytes:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    headers = {} if content_type is None else {"Content-Type": content_type}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request("GET" if body is None else "POST", url, data=body, headers=headers) as response,
        ):
            if response.status != 200:  # noqa: PLR2004 - HTTP's own number
                raise ToolError(f"{url} answered HTTP {response.status} {response.reason}")
            answer = bytearray()
            async for part in response.content.iter_any():
                answer += part
                if len(answer) > _MOST:
                    raise ToolError(f"{url} answered more than {_MOST} octets")
            return bytes(answer)
    except TimeoutError:
        raise ToolError(f"{url} did not answer within {_TIMEOUT_SECONDS:g} s") from None
    except aiohttp.ClientConnectorError as error:
        # A failed look-up of a name has a negative number of its own.
        number = error.os_error.errno or 0
        raise ToolError(f"{url} cannot be reached: {os.strerror(number) if number > 0 else error.strerror}") from None
    except aiohttp.ClientError as error:
        raise ToolError(f"{url} did not answer properly: {error}") from None


def load_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM or DER file. Raises ToolError."""
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}", usage=True) from None
    try:
        if b"-----BEGIN" in octets:
            return x509.load_pem_x509_certificates(octets)
        return [x509.load_der_x509_certificate(octets)]
    except ValueError:
        raise ToolError(f"{path} is not a certificate in PEM or DER", usage=True) from None


def home_certificates(home: Path) -> list[x509.Certificate]:
    """Every certificate in ``certs/`` of a home; none when there is no home."""
    try:
        paths = sorted((home / "certs").glob("*.pem"))
    except OSError as error:
        raise ToolError(f"{home} cannot be read: {error.strerror}", usage=True) from None
    return [each for path in paths for each in load_certificates(path)]


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether it is a trust anchor rather than a link of a chain."""
    return _issued(certificate, certificate)


def find_issuer(certificate: x509.Certificate, known: Sequence[x509.Certificate]) -> x509.Certificate:
    """The certificate of who issued ``certificate``: among ``known``, or where it says itself. Raises ToolError."""
    for candidate in known:
        if _issued(certificate, candidate):
            return candidate
    for url in _access(certificate, AuthorityInformationAccessOID.CA_ISSUERS):
        try:
            candidate = x509.load_der_x509_certificate(exchange(url, None))
        except (ValueError, ToolError):  # another place may have it
            continue
        if _issued(certificate, candidate):
            return candidate
    raise ToolError("the issuer's certificate was not found: name it with --issuer")


def responder_url(certificate: x509.Certificate) -> str:
    """Where the certificate says that its status is answered. Raises ToolError."""
    urls = _access(certificate, AuthorityInformationAccessOID.OCSP)
    if not urls:
        raise ToolError("the certificate names no OCSP responder: give --url")
    return urls[0]


def check_trust(certificate: x509.Certificate, known: Sequence[x509.Certificate], at: int) -> list[x509.Certificate]:
    """The path from ``certificate`` to a self-signed one of ``known``, or to an anchor of the operating system.
    Raises ToolError.
    """
    own = [each for each in known if is_self_signed(each)]
    others = [each for each in known if each not in own]
    try:
        return check_path(certificate, others, own, at)
    except PathError as error:
        refusal = error
    try:
        return check_path(certificate, others, system_anchors(), at)
    except PathError:
        raise ToolError(f"not trusted: {refusal}") from None


def system_anchors() -> list[x509.Certificate]:
    """The operating system's trust anchors; none where it has no such list."""
    try:
        entries = trust_list.get_list()
    except (OSError, trust_list.CACertsError):
        return []
    found = []
    with warnings.catch_warnings():
        # Some systems still trust roots that cryptography frowns upon; they are theirs to judge.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for certificate, _, _ in entries:
            try:
                found.append(x509.load_der_x509_certificate(certificate.dump()))
            except ValueError:
                continue
    return found


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _access(certificate: x509.Certificate, method: x509.ObjectIdentifier) -> list[str]:
    """The HTTP URLs of one access method; others, LDAP's for instance, are for other clients."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [
        each.access_location.value
        for each in access
        if each.access_method == method
        and isinstance(each.access_location, x509.UniformResourceIdentifier)
        and each.access_location.value.partition(":")[0].lower() in _HTTP
    ]
