"""A small HTTP server inside a test, which says whatever the test wants it to."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Say = Callable[[bytes], Awaitable[bytes]]

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "liar")])


@asynccontextmanager
async def liar(say: Say) -> AsyncIterator[int]:
    """The port of a server that answers each body (of a GET: the decoded path) with the octets that ``say`` returns;
    none closes the connection.
    """

    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while octets := await say(await _request(reader)):
                writer.write(octets)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"GET "):
        return base64.b64decode(unquote(head.split()[1].decode()).rpartition("/ocsp/")[2])
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return await reader.readexactly(int(length.partition(b":")[2]))


def http(body: bytes, content_type: str = "application/ocsp-response", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Forger:
    """Answers with the right form under a key that nobody trusts."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(NAME)
            .issuer_name(NAME)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )

    def answer(
        self,
        request: bytes,
        *,
        nonce: bytes | None = None,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        age: timedelta = timedelta(minutes=1),
        serial: int | None = None,
    ) -> bytes:
        """An answer to a request, an hour valid from ``age`` ago, with its nonce unless another one is given."""
        asked = ocsp.load_der_ocsp_request(request)
        then = datetime.now(UTC) - age
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                asked.issuer_name_hash,
                asked.issuer_key_hash,
                asked.serial_number if serial is None else serial,
                hashes.SHA1(),  # noqa: S303 - as it was asked
                status,
                then,
                then + timedelta(hours=1),
                then if revoked else None,
                x509.ReasonFlags.key_compromise if revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self._certificate)
            .certificates([self._certificate])
        )
        sent = [each.value.nonce for each in asked.extensions if isinstance(each.value, x509.OCSPNonce)]
        for each in sent if nonce is None else [nonce]:
            builder = builder.add_extension(x509.OCSPNonce(each), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)


def refusal(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
