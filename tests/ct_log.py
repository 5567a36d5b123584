"""A Certificate Transparency log on loopback (RFC 6962): it checks what it is given by itself, and signs real SCTs.

It shares no code with ``issuance``: chains are verified with cryptography, poison is cut out with asn1crypto, and
leaves, tree heads and signatures are made here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from issuance_world import private_key

from issuance.ct_log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POISON = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.3")
EXTENSIONS = b"log's own"


@dataclass
class Entry:
    """One leaf with what is served beside it."""

    leaf: bytes
    extra: bytes
    answer: dict[str, Any]


@dataclass
class CTLog:
    """One log, and what tests may make it do: ``spoil`` is given each answer before it is sent."""

    operator: str
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    now: Callable[[], float] = time.time
    port: int = 0
    roots: list[x509.Certificate] = field(default_factory=list)
    entries: dict[bytes, Entry] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    seen: list[list[bytes]] = field(default_factory=list)
    spoil: Callable[[dict[str, Any]], dict[str, Any] | web.Response] | None = None
    delay: float = 0.0
    refuse: Callable[[str, int], int | None] | None = None
    """Given the method and how often it was called: the HTTP status to answer with."""

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def log_id(self) -> bytes:
        return hashlib.sha256(self.public_key).digest()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def described(self, **dates: int) -> Log:
        """As issuance is told of it."""
        return Log(self.url, self.operator, self.public_key, **dates)

    def reset(self) -> None:
        """Honest again, and nobody has asked."""
        self.spoil = self.refuse = None
        self.delay = 0.0
        self.asked.clear()
        self.seen.clear()

    def sign(self, octets: bytes) -> bytes:
        """A digitally-signed struct."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            algorithm, signature = 1, self.key.sign(octets, padding.PKCS1v15(), hashes.SHA256())
        else:
            algorithm, signature = 3, self.key.sign(octets, ec.ECDSA(hashes.SHA256()))
        return struct.pack(">BBH", 4, algorithm, len(signature)) + signature

    def add(self, chain: list[bytes], *, pre: bool) -> dict[str, Any]:
        """Check a chain, keep it, and promise it. The same entry gets the same SCT. Raises ValueError."""
        certificates = [x509.load_der_x509_certificate(each) for each in chain]
        self._check_chain(certificates)
        if pre != _is_poisoned(certificates[0]):
            raise ValueError("this is for precertificates, and those are for nothing else")
        if pre:
            issuer_key = asn1_x509.Certificate.load(chain[1]).public_key.dump()
            body = struct.pack(">H", 1) + hashlib.sha256(issuer_key).digest() + _vector(_unpoisoned(chain[0]), 3)
        else:
            body = struct.pack(">H", 0) + _vector(chain[0], 3)
        known = self.entries.get(body)
        if known is not None:
            return known.answer
        timestamp = int(self.now() * 1000)
        stamped = struct.pack(">Q", timestamp) + body + _vector(EXTENSIONS, 2)
        answer = {
            "sct_version": 0,
            "id": _b64(self.log_id),
            "timestamp": timestamp,
            "extensions": _b64(EXTENSIONS),
            "signature": _b64(self.sign(b"\0\0" + stamped)),
        }
        extra = _vector(b"".join(_vector(each, 3) for each in chain[1:]), 3)
        self.entries[body] = Entry(b"\0\0" + stamped, (_vector(chain[0], 3) if pre else b"") + extra, answer)
        return answer

    def tree_head(self) -> dict[str, Any]:
        """get-sth."""
        root = _tree([hashlib.sha256(b"\0" + entry.leaf).digest() for entry in self.entries.values()])
        timestamp = int(self.now() * 1000)
        signature = self.sign(b"\0\1" + struct.pack(">QQ", timestamp, len(self.entries)) + root)
        return {
            "tree_size": len(self.entries),
            "timestamp": timestamp,
            "sha256_root_hash": _b64(root),
            "tree_head_signature": _b64(signature),
        }

    def _check_chain(self, chain: list[x509.Certificate]) -> None:
        for below, above in itertools.pairwise(chain):
            try:
                below.verify_directly_issued_by(above)
            except (InvalidSignature, TypeError, ValueError) as error:
                raise ValueError("the chain does not hold") from error
            if not above.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                raise ValueError("an issuer is no CA")
        if chain[-1] not in self.roots:
            raise ValueError("the chain ends at no root that is accepted here")


def _is_poisoned(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_oid(POISON)
    except x509.ExtensionNotFound:
        return False
    return found.critical and found.value.public_bytes() == b"\x05\x00"


def _unpoisoned(certificate: bytes) -> bytes:
    tbs = asn1_x509.Certificate.load(certificate)["tbs_certificate"]
    kept = [each for each in tbs["extensions"] if each["extn_id"].dotted != POISON.dotted_string]
    tbs["extensions"] = asn1_x509.Extensions(kept)
    return bytes(tbs.dump(force=True))


def _tree(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _tree(leaves[:split]) + _tree(leaves[split:])).digest()


def _vector(octets: bytes, length: int) -> bytes:
    return len(octets).to_bytes(length, "big") + octets


def _b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def make_logs(now: Callable[[], float] = time.time) -> list[CTLog]:
    """Three logs of two operators; one has an RSA key."""
    keys = ec.generate_private_key(ec.SECP256R1()), private_key("rsa-2048"), ec.generate_private_key(ec.SECP256R1())
    assert isinstance(keys[1], rsa.RSAPrivateKey)
    return [CTLog(operator, key, now) for operator, key in zip(("Ada", "Ada", "Grace"), keys, strict=True)]  # type: ignore[arg-type]  # seen above


@contextmanager
def running_logs(*logs: CTLog) -> Iterator[None]:
    """Serve the logs, each on a port of its own, in a thread of this process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        runners = [asyncio.run_coroutine_threadsafe(_serve(log), loop).result(20) for log in logs]
        yield
        for runner in runners:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


async def _serve(log: CTLog) -> web.AppRunner:
    async def handle(request: web.Request) -> web.StreamResponse:
        match (request.method, request.path):
            case ("POST", "/ct/v1/add-pre-chain" | "/ct/v1/add-chain"):
                return await _add(log, request, pre="pre" in request.path)
            case ("GET", "/ct/v1/get-sth"):
                return _answer(log.tree_head())
            case ("GET", "/ct/v1/get-entries"):
                return _entries(log, request)
        return web.Response(status=404)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", log.port)
    await site.start()
    log.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]  # it has started
    return runner


async def _add(log: CTLog, request: web.Request, *, pre: bool) -> web.Response:
    method = request.path.rpartition("/")[2]
    log.asked.append(method)
    chain = [base64.b64decode(each, validate=True) for each in (await request.json())["chain"]]
    log.seen.append(chain)
    await asyncio.sleep(log.delay)
    status = None if log.refuse is None else log.refuse(method, log.asked.count(method))
    if status is not None:
        return web.Response(status=status, text="<html>away</html>", content_type="text/html")
    try:
        answer: dict[str, Any] | web.Response = dict(log.add(chain, pre=pre))
    except ValueError as error:
        return web.Response(status=400, text=str(error))
    if log.spoil is not None:
        answer = log.spoil(dict(log.add(chain, pre=pre)))
    return answer if isinstance(answer, web.Response) else _answer(answer)


def _answer(answer: dict[str, Any]) -> web.Response:
    return web.Response(text=json.dumps(answer), content_type="application/json")


def _entries(log: CTLog, request: web.Request) -> web.Response:
    start, end = int(request.query["start"]), int(request.query["end"])
    chosen = list(log.entries.values())[start : end + 1]
    return _answer({"entries": [{"leaf_input": _b64(each.leaf), "extra_data": _b64(each.extra)} for each in chosen]})
