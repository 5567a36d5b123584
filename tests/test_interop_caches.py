"""nginx and Varnish in front of a running server, as documented: they cache, and they forget what was revoked."""

from __future__ import annotations

import http.client
import os
import re
import secrets
import signal
import threading
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp as x509_ocsp
from http_caches import nginx, varnish
from ports import free_port
from running_server import running_server, until
from strangers import SHA1, SHA256, certificate, issuance, issue, ocsp_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server
    from strangers import Issued

ALGORITHMS = (SHA1, SHA256, hashes.SHA384(), hashes.SHA512())


def get(port: int, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest("GET", path)  # as it is, whatever is in it
        connection.endheaders()
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def status(port: int, path: str) -> str:
    return x509_ocsp.load_der_ocsp_response(get(port, path)[1]).certificate_status.name


def is_hit(response: http.client.HTTPResponse) -> bool:
    """nginx says so as the documented configuration makes it; Varnish names two transactions."""
    return response.headers.get("X-Cache") == "HIT" or len(response.headers.get("X-Varnish", "").split()) == 2


def without_parameters(request: bytes) -> bytes:
    """The same request, its hash algorithm's parameters left out."""
    asked = asn1_ocsp.OCSPRequest.load(request)
    algorithm = asked["tbs_request"]["request_list"][0]["req_cert"]["hash_algorithm"]
    algorithm["parameters"] = None
    del algorithm["parameters"]
    encoded: bytes = asked.dump(force=True)
    return encoded


def requests(home: Path, issued: Issued) -> list[bytes]:
    """Under every hash, its parameters NULL and absent."""
    null = [
        ocsp_request(issued.certificate, certificate(home, issued.ca), digest=algorithm) for algorithm in ALGORITHMS
    ]
    absent = [without_parameters(each) for each in null]
    assert all(len(few) == len(many) - 2 for few, many in zip(absent, null, strict=True))
    return null + absent


def paths(home: Path, issued: Issued) -> list[str]:
    """Every canonical GET, written here by other means than the server's own."""
    found = []
    for request in requests(home, issued):
        text = b64encode(request).decode()
        lower = re.sub("%..", lambda escape: escape[0].lower(), quote(text, safe=""))
        found += [text, quote(text, safe=""), quote(text), lower, quote(text, safe="+=")]
    return [f"/ocsp/{each}" for each in dict.fromkeys(found)]


@contextmanager
def serving(home: Path, folder: Path, settings: str, workers: int = 2) -> Iterator[Server]:
    file = folder / "other.toml"
    file.write_text(settings)
    with running_server(home, workers, arguments=("--config", str(file))) as server:
        yield server


def revoke(home: Path, issued: Issued) -> None:
    issuance(home, "cert", "revoke", "--ca", issued.ca, "--serial", issued.serial, "--reason", "keyCompromise")


def check_forgets(server: Server, port: int, issued: Issued) -> None:
    """Cached before, every canonical spelling says revoked soon after the revocation, and the CRL is the new one."""
    spelled = paths(server.home, issued)
    crl = get(port, f"/crl/{issued.ca}.crl")[1]
    cached = [*spelled, f"/crl/{issued.ca}.crl"]
    # Not at once: the server begins with what was revoked lately, and with CRLs.
    until(lambda: all(is_hit(get(port, path)[0]) for path in cached), "the cache keeps nothing")
    assert {status(port, path) for path in spelled} == {"GOOD"}
    failed = server.metric('responders_cache_purges_total{outcome="failed"}')  # before the cache was there
    revoke(server.home, issued)
    until(lambda: all(status(port, path) == "REVOKED" for path in spelled), "the cache goes on with good")
    until(lambda: get(port, f"/crl/{issued.ca}.crl")[1] != crl, "the cache goes on with the old CRL")
    assert server.metric('responders_cache_purges_total{outcome="sent"}') >= 1
    assert server.metric('responders_cache_purges_total{outcome="failed"}') == failed
    assert f"has forgotten {issued.serial} of {issued.ca}" in server.log.read_text()


@pytest.mark.interop("nginx")
def test_nginx_forgets_a_revoked_certificate(demo_home: Path, tmp_path: Path) -> None:
    port = free_port()
    issued = issue(demo_home, tmp_path, "server-rsa", "server")
    with (
        serving(demo_home, tmp_path, f'[purge]\ncaches = ["http://127.0.0.1:{port}"]\n') as server,
        nginx(tmp_path, port, server.port),
    ):
        check_forgets(server, port, issued)


@pytest.mark.interop("nginx")
def test_nginx_keeps_neither_nonce_answers_nor_errors(demo_home: Path, tmp_path: Path) -> None:
    """A nonce request leaves the shared entry alone, whichever comes first."""
    port = free_port()
    about = certificate(demo_home, "demo-good"), certificate(demo_home, "server-rsa")
    plain = "/ocsp/" + quote(b64encode(ocsp_request(*about)).decode(), safe="")
    unknown = "/ocsp/" + quote(b64encode(ocsp_request(*about, serial=secrets.randbits(120))).decode(), safe="")
    nonce = secrets.token_bytes(32)
    with_nonce = "/ocsp/" + quote(b64encode(ocsp_request(*about, nonce=nonce)).decode(), safe="")
    with serving(demo_home, tmp_path, "") as server, nginx(tmp_path, port, server.port):
        for path in (with_nonce, plain, with_nonce, plain, unknown, unknown):
            response, body = get(port, path)
            answer = x509_ocsp.load_der_ocsp_response(body)
            if path is unknown:
                assert (answer.response_status.name, is_hit(response)) == ("UNAUTHORIZED", False)
            elif path is with_nonce:
                assert not is_hit(response)
                assert nonce in body
            else:
                assert len(answer.extensions) == 0
        assert is_hit(get(port, plain)[0])


@pytest.mark.interop("nginx")
def test_nginx_fetches_the_next_window_when_max_age_is_over(demo_home: Path, tmp_path: Path) -> None:
    """Neither a cached nor a fresh answer is ever fresh beyond its window, counted from the Date it carries."""
    window, skew, port = 3, 2, free_port()
    path = "/ocsp/" + quote(
        b64encode(ocsp_request(certificate(demo_home, "demo-good"), certificate(demo_home, "server-rsa"))), safe=""
    )
    seen: dict[str, set[bool]] = {}
    settings = f"[ocsp]\nwindow = {window}\nskew = {skew}\nunknown_window = 1\n"
    with serving(demo_home, tmp_path, settings) as server, nginx(tmp_path, port, server.port):

        def three_windows() -> bool:
            response, body = get(port, path)
            header = response.headers
            began = x509_ocsp.load_der_ocsp_response(body).this_update_utc.timestamp() + skew
            found = re.match(r"max-age=(\d+),", header["Cache-Control"])
            assert found is not None
            assert _posix(header["Date"]) + int(found[1]) == began + window
            seen.setdefault(header["ETag"], set()).add(is_hit(response))
            return sum(True in hits for hits in seen.values()) >= 3

        until(three_windows, "the cache goes on with the first window")


def _posix(date: str) -> float:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - the only use

    return parsedate_to_datetime(date).timestamp()


@pytest.mark.interop("varnishd")
@pytest.mark.parametrize("by", ["url", "tag"])
def test_varnish_forgets_a_revoked_certificate(demo_home: Path, tmp_path: Path, by: str) -> None:
    """Its key is the URL as it was written, with the host: by URL each spelling needs a PURGE of its own."""
    port = free_port()
    settings = {
        "url": f'caches = ["http://localhost:{port}/"]\nhosts = ["127.0.0.1:{port}"]',
        "tag": f'tag_caches = ["http://127.0.0.1:{port}"]\ntag_header = "Cache-Tag"',
    }[by]
    issued = issue(demo_home, tmp_path, "server-rsa", "server")
    with (
        serving(demo_home, tmp_path, f"[purge]\n{settings}\n") as server,
        varnish(tmp_path, port, server.port),
    ):
        check_forgets(server, port, issued)


@contextmanager
def recording(port: int) -> Iterator[list[tuple[str, str | None]]]:
    """A cache that holds nothing and remembers what it was told: paths and tags."""
    heard: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PURGE(self) -> None:
            heard.append((self.path, self.headers["xkey"]))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()


def test_a_purge_outlives_a_cache_that_is_away_and_the_worker_that_sends_it(demo_home: Path, tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    settings = (
        f'[purge]\ncaches = ["http://127.0.0.1:{first}/base/"]\n'
        f'tag_caches = ["http://127.0.0.1:{second}/tags"]\ntag_header = "xkey"\n'
    )
    issued = issue(demo_home, tmp_path, "server-ecc", "server")
    wanted = {f"/base{path}" for path in paths(demo_home, issued)}
    tag = f"ocsp-{issued.ca}-{issued.serial}"
    with serving(demo_home, tmp_path, settings) as server:
        revoke(demo_home, issued)
        until(lambda: server.metric('responders_cache_purges_total{outcome="failed"}') > 0, "nothing was sent")
        before = server.worker_pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: server.ready() and not set(before) & set(server.worker_pids()), "no new workers")
        # Each cache on its own: one that is away holds up no other.
        with recording(second) as heard:
            until(lambda: ("/tags", tag) in heard, "the purge by tag was lost")
        with recording(first) as heard:
            until(lambda: wanted <= {path for path, _ in heard}, "a purge by URL was lost")
            unrelated = {path for path, _ in heard if path.startswith("/base/ocsp/")} - wanted
            assert not any(issued.serial in path for path in unrelated)
        assert "is told again" in server.log.read_text()


def test_every_purge_is_sent_twice(demo_home: Path, tmp_path: Path) -> None:
    """An answer may have been on its way into the cache when the first one came."""
    port = free_port()
    issued = issue(demo_home, tmp_path, "client", "client")
    settings = f'[purge]\ntag_caches = ["http://127.0.0.1:{port}"]\ntag_header = "xkey"\n'
    tag = f"ocsp-{issued.ca}-{issued.serial}"
    with recording(port) as heard, serving(demo_home, tmp_path, settings):
        assert ("/", tag) not in heard
        revoke(demo_home, issued)
        until(lambda: heard.count(("/", tag)) == 2, "not twice")
