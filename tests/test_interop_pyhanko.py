"""pyHanko signs and time-stamps a PDF, asks the running server about every certificate in it, and validates it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from asn1crypto import pem
from asn1crypto import x509 as raw_x509
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter
from pyhanko.sign import signers
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.timestamps import HTTPTimeStamper
from pyhanko.sign.validation import (
    DocumentSecurityStore,
    async_validate_pdf_signature,
    async_validate_pdf_timestamp,
)
from pyhanko.sign.validation.settings import KeyUsageConstraints
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.fetchers.aiohttp_fetchers import AIOHttpFetcherBackend
from strangers import certificate, issue, revoke

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from running_server import Server
    from strangers import Issued

KEY_USAGE = {"digital_signature"}
"""pyHanko's default is nonRepudiation, which no profile here has."""
USAGE = KeyUsageConstraints(key_usage=KEY_USAGE)

# These are not typed there.
_writer: Any = PdfFileWriter
_page: Any = PageObject
_load_signer: Any = signers.SimpleSigner.load


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def read(path: Path) -> raw_x509.Certificate:
    return raw_x509.Certificate.load(pem.unarmor(path.read_bytes())[2])


def asking(home: Path, session: aiohttp.ClientSession) -> Any:
    """Trust in the root, and in no certificate below it without revocation information fetched from the server."""
    return ValidationContext(
        trust_roots=[read(certificate(home, "root"))],
        allow_fetching=True,
        revocation_mode="require",
        fetcher_backend=AIOHttpFetcherBackend(session),
    )


def silent(home: Path, root: str = "root") -> Any:
    """Trust in one certificate, and no network."""
    return ValidationContext(trust_roots=[read(certificate(home, root))], allow_fetching=False)


def page() -> IncrementalPdfFileWriter:
    """A PDF of one empty page, ready for an update."""
    writer = _writer()
    contents = writer.add_object(generic.StreamObject(stream_data=b""))
    writer.insert_page(_page(contents=contents, media_box=(0, 0, 100, 100)))
    octets = io.BytesIO()
    writer.write(octets)
    return IncrementalPdfFileWriter(octets)


@pytest.mark.parametrize(("path", "unit", "digest"), [("/tsa", "tsa", "sha256"), ("/tsa/p256", "tsa-p256", "sha512")])
async def test_a_document_time_stamp(
    server: Server, session: aiohttp.ClientSession, path: str, unit: str, digest: str
) -> None:
    """pyHanko fills a hole in the PDF that it sized by an earlier token: sizes must not wander."""
    stamper = signers.PdfTimeStamper(HTTPTimeStamper(server.url + path, session=session))
    stamped = await stamper.async_timestamp_pdf(page(), digest, asking(server.home, session))
    (signature,) = PdfFileReader(stamped).embedded_timestamp_signatures
    status = await async_validate_pdf_timestamp(signature, asking(server.home, session))
    assert status.valid
    assert status.intact
    assert status.trusted
    assert status.signing_cert.dump() == read(certificate(server.home, unit)).dump()
    (signature,) = PdfFileReader(stamped).embedded_timestamp_signatures
    other = await async_validate_pdf_timestamp(signature, silent(server.home, "server-rsa"))
    assert not other.trusted


async def sign(server: Server, signer: Issued, session: aiohttp.ClientSession) -> io.BytesIO:
    """A PAdES signature with its time-stamp and with all revocation information inside (B-LT)."""
    metadata = signers.PdfSignatureMetadata(
        field_name="Signature",
        md_algorithm="sha256",
        subfilter=SigSeedSubFilter.PADES,
        signer_key_usage=KEY_USAGE,
        validation_context=asking(server.home, session),
        embed_validation_info=True,
    )
    credentials = _load_signer(
        str(signer.key), str(signer.certificate), ca_chain_files=(str(certificate(server.home, "client")),)
    )
    signed: io.BytesIO = await signers.PdfSigner(
        metadata, credentials, timestamper=HTTPTimeStamper(f"{server.url}/tsa", session=session)
    ).async_sign_pdf(page())
    return signed


async def test_a_signature_that_carries_its_own_revocation_information(
    server: Server, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """What was fetched from the server while signing is enough to validate without it, as PAdES-LT wants."""
    signer = issue(server.home, tmp_path, "client", "smime")
    signed = await sign(server, signer, session)
    reader = PdfFileReader(signed)
    (signature,) = reader.embedded_regular_signatures
    inside = DocumentSecurityStore.read_dss(reader)
    assert len(inside.ocsps) >= 4, "of the signer, the time-stamping unit and the CA of each"
    offline = inside.as_validation_context(
        {
            "trust_roots": [read(certificate(server.home, "root"))],
            "allow_fetching": False,
            "revocation_mode": "require",
        }
    )
    status = await async_validate_pdf_signature(signature, offline, key_usage_settings=USAGE)
    assert status.bottom_line
    assert status.timestamp_validity is not None
    assert status.timestamp_validity.trusted


async def test_a_revoked_signer_is_refused(server: Server, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    signer = issue(server.home, tmp_path, "client", "smime")
    signed = await sign(server, signer, session)
    revoke(server.home, signer)
    (signature,) = PdfFileReader(signed).embedded_regular_signatures
    status = await async_validate_pdf_signature(
        signature, asking(server.home, session), key_usage_settings=USAGE, skip_diff=True
    )
    assert status.revoked
    assert not status.bottom_line
