"""pyHanko signs and time-stamps a PDF, fetching revocation information from the running server, and validates it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from asn1crypto import x509 as raw_x509
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter
from pyhanko.sign import signers
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.timestamps import HTTPTimeStamper
from pyhanko.sign.validation import async_validate_pdf_signature, async_validate_pdf_timestamp
from pyhanko.sign.validation.settings import KeyUsageConstraints
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.fetchers.aiohttp_fetchers import AIOHttpFetcherBackend

from strangers import certificate, issue, load

if TYPE_CHECKING:
    from pathlib import Path

    from running_server import Server

UNITS = pytest.mark.parametrize(("path", "unit"), [("/tsa", "tsa"), ("/tsa/p256", "tsa-p256")])


def context(home: Path, *, root: str = "root", fetch: bool = False) -> Any:
    """Trust in one certificate. With ``fetch``, no certificate is believed without revocation information."""
    return ValidationContext(
        trust_roots=[_raw(certificate(home, root))],
        allow_fetching=fetch,
        revocation_mode="require" if fetch else "soft-fail",
        fetcher_backend=AIOHttpFetcherBackend() if fetch else None,
    )


def _raw(path: Path) -> raw_x509.Certificate:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return raw_x509.Certificate.load(load(path).public_bytes(Encoding.DER))


def page() -> IncrementalPdfFileWriter:
    """A PDF of one empty page, ready for an update."""
    writer = PdfFileWriter()
    contents = writer.add_object(generic.StreamObject(stream_data=b""))
    writer.insert_page(PageObject(contents=contents, media_box=(0, 0, 100, 100)))
    octets = io.BytesIO()
    writer.write(octets)
    return IncrementalPdfFileWriter(octets)


@UNITS
async def test_a_document_time_stamp(server: Server, path: str, unit: str) -> None:
    stamper = signers.PdfTimeStamper(HTTPTimeStamper(server.url + path))
    stamped = await stamper.async_timestamp_pdf(page(), "sha256", validation_context=context(server.home))
    (signature,) = PdfFileReader(stamped).embedded_timestamp_signatures
    status = await async_validate_pdf_timestamp(signature, context(server.home, fetch=True))
    assert status.bottom_line
    assert status.signing_cert.dump() == _raw(certificate(server.home, unit)).dump()
    other = await async_validate_pdf_timestamp(signature, context(server.home, root="server-rsa"))
    assert not other.bottom_line
