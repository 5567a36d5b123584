"""The requests that are sent."""

from __future__ import annotations

import base64
import hashlib
import itertools
import secrets
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp as x509_ocsp
from scenarios import CEILING_GET, CEILING_POST, Scenario
from servers import WORKERS

from ca_store import der
from ca_store.issuers import issuer_hashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from servers import Servers

OCSP = "application/ocsp-request"
TSA = "application/timestamp-query"
GREATEST_RATE = "ocsp-get"
"""The key of the scenario that no other is faster than."""
NONCES = 1000
HASHES = (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())  # noqa: S303 - they name an issuer
DISTINCT_A_RUN = 35_000
"""More than a worker answers in one run of three seconds."""


def ocsp_request(
    issuer: Path,
    serial: int,
    nonce: bytes | None = None,
    algorithm: hashes.HashAlgorithm = HASHES[0],
) -> bytes:
    """An OCSPRequest with a SHA-1 CertID, as most clients send, unless another algorithm is given."""
    certificate = x509.load_pem_x509_certificate(issuer.read_bytes())
    named = next(
        each
        for each in issuer_hashes(certificate.public_bytes(serialization.Encoding.DER))
        if each.algorithm.name.lower() == algorithm.name
    )
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate_by_hash(named.name_hash, named.key_hash, serial, algorithm)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(serialization.Encoding.DER)


def distinct_requests(issuer: Path, serials: Iterable[int], *, all_hashes: bool = False) -> Iterator[bytes]:
    """One request for each serial, of 20 octets; with CertIDs of each hash algorithm in turn if ``all_hashes``."""
    marker = 1 << 152 | int.from_bytes(b"serial-marker", "big")
    placed = der.contents(der.integer(marker))
    requests = [ocsp_request(issuer, marker, algorithm=each) for each in (HASHES if all_hashes else HASHES[:1])]
    parts = itertools.cycle([request.split(placed) for request in requests])
    return (
        before + serial.to_bytes(len(placed), "big") + after
        for serial, (before, after) in zip(serials, parts, strict=False)
    )


def answer_to(url: str, request: bytes) -> bytes:
    """The OCSPResponse to a POST."""
    posted = urllib.request.Request(url, request, {"Content-Type": OCSP})  # noqa: S310 - a URL of this machine
    with urllib.request.urlopen(posted, timeout=10) as answer:  # noqa: S310 - the same
        octets: bytes = answer.read()
        return octets


def timestamp_request(*, cert_req: bool) -> bytes:
    """A TimeStampReq over a SHA-256 digest with a 64-bit nonce."""
    algorithm = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.NULL)
    imprint = der.sequence(algorithm, der.octet_string(hashlib.sha256(b"bench").digest()))
    wanted = der.TRUE if cert_req else b""
    return der.sequence(der.integer(1), imprint, der.integer(0x0123456789ABCDEF), wanted)


def make_scenarios(servers: Servers, certificates: int) -> Sequence[Scenario]:
    """Everything that the table shows, ceilings first."""
    issuer = servers.home / "certs" / "server-rsa.pem"
    first, *others = (servers.population.serial(number) for number in range(certificates))
    repeated = ocsp_request(issuer, first)
    distinct = distinct_requests(issuer, others)
    nonced = [ocsp_request(issuer, first, secrets.token_bytes(32)) for _ in range(NONCES)]
    path = b"/ocsp/" + quote(base64.b64encode(repeated), safe="").encode()
    servers.start_peers(answer_to(f"{servers.url('responders')}/ocsp", repeated))
    cfssl, cfssl_pid = servers.url("cfssl"), servers.pids["cfssl"]
    openssl = servers.openssl
    openssl_request = ocsp_request(openssl.issuer, openssl.leaf, secrets.token_bytes(32))
    token, bare_token = timestamp_request(cert_req=True), timestamp_request(cert_req=False)
    unlogged = servers.url("no-log")
    ours, pid = servers.url("responders"), servers.pids["responders"]
    ceiling, ceiling_pid = servers.url("ceiling"), servers.pids["ceiling"]
    peer, peer_url, peer_pid = servers.peer, servers.url("certomancer"), servers.pids["certomancer"]
    leaf = x509.load_pem_x509_certificate(peer.leaf.read_bytes()).serial_number
    peer_request = ocsp_request(peer.issuer, leaf)
    ocsp_url = f"{ours}/ocsp"
    return [
        Scenario(CEILING_POST, "ceiling, POST", ceiling, "POST", OCSP, [repeated], ceiling_pid),
        Scenario(CEILING_GET, "ceiling, GET", ceiling, "GET", "", [path], ceiling_pid),
        Scenario("ocsp-post", "OCSP POST, same request", ocsp_url, "POST", OCSP, [repeated], pid,
                 CEILING_POST, target=0.82, times=(("cfssl-ocsp-post", 5),)),
        Scenario(GREATEST_RATE, "OCSP GET, same request", ours, "GET", "", [path], pid, CEILING_GET, target=0.8,
                 times=(("cfssl-ocsp-post", 5), ("nginx-static", 0.5))),
        Scenario("ocsp-distinct", "OCSP POST, distinct serials (P-256)", ocsp_url, "POST", OCSP, distinct, pid,
                 CEILING_POST, "p256", 0.16, "signing", fresh=DISTINCT_A_RUN),
        Scenario("ocsp-nonce", "OCSP POST, with nonce (P-256)", ocsp_url, "POST", OCSP, nonced, pid,
                 CEILING_POST, "p256", 0.24, "signing", times=(("openssl-ocsp", 3),)),
        Scenario("cfssl-ocsp-post", "cfssl ocspserve, POST", f"{cfssl}/", "POST", OCSP, [repeated], cfssl_pid,
                 CEILING_POST),
        Scenario("openssl-ocsp", "openssl ocsp, nonce (P-256)", f"{servers.url('openssl')}/", "POST", OCSP,
                 [openssl_request], servers.pids["openssl"], CEILING_POST, "p256", bound="signing", tool="ab"),
        Scenario("tsa-p256-no-log", "TSA P-256, certReq, log off", f"{unlogged}/tsa/p256", "POST", TSA, [token],
                 servers.pids["no-log"], CEILING_POST, "p256", 0.5, "combined"),
        Scenario("tsa-p256", "TSA P-256, certReq, log on", f"{ours}/tsa/p256", "POST", TSA, [token], pid,
                 CEILING_POST, "p256", 0.38, "combined", times=(("peer-tsa", 80),)),
        Scenario("tsa-p256-bare", "TSA P-256, no certificates, log on", f"{ours}/tsa/p256", "POST", TSA,
                 [bare_token], pid, CEILING_POST, "p256", 0.38, "combined"),
        Scenario("tsa-rsa-no-log", "TSA RSA-3072, certReq, log off", f"{unlogged}/tsa/rsa", "POST", TSA, [token],
                 servers.pids["no-log"], CEILING_POST, "rsa-3072", bound="signing"),
        Scenario("tsa-rsa", "TSA RSA-3072, certReq, log on", f"{ours}/tsa/rsa", "POST", TSA, [token], pid,
                 CEILING_POST, "rsa-3072", 0.95, "signing"),
        Scenario("peer-ocsp", "certomancer OCSP (P-256)", peer_url + peer.ocsp_path, "POST", OCSP, [peer_request],
                 peer_pid, CEILING_POST, "p256", bound="combined"),
        Scenario("peer-tsa", "certomancer TSA (P-256)", peer_url + peer.tsa_path, "POST", TSA, [token], peer_pid,
                 CEILING_POST, "p256", bound="combined"),
        Scenario("nginx-static", "nginx, the same answer as a file, GET", servers.url("nginx"), "GET", "", [b"/answer"],
                 servers.pids["nginx"], CEILING_GET),
        *_both_numbers_of_workers(servers, path, nonced, token),
    ]  # fmt: skip


def _both_numbers_of_workers(
    servers: Servers, path: bytes, nonced: Sequence[bytes], token: bytes
) -> Iterator[Scenario]:
    """On all cores, which they share with wrk: what a request costs does not depend on how many there are to share."""
    first = WORKERS[0]
    for workers in WORKERS:
        url, pid = servers.url(f"workers-{workers}"), servers.pids[f"workers-{workers}"]
        many = f"{workers} worker{'s' * (workers > 1)}"
        for key, name, where, method, kind, requests in (
            ("get", "OCSP GET, same request", "", "GET", "", [path]),
            ("nonce", "OCSP POST, with nonce", "/ocsp", "POST", OCSP, nonced),
            ("tsa", "TSA P-256, certReq, log on", "/tsa/p256", "POST", TSA, [token]),
        ):
            costs = None if workers == first else (f"workers-{first}-{key}", 1.1)
            yield Scenario(
                f"workers-{workers}-{key}", f"{name}, {many}", url + where, method, kind, requests, pid, costs=costs
            )
