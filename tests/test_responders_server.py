"""The whole server: processes that die, hang, stop and are told of changes."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from running_server import Server, running_server, stop

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

QUICK = """
[server]
header_seconds = 1
hang_seconds = 6
[tsa]
default_unit = "rsa"
[tsa.units.rsa]
policy = "2.999.3161.1"
[tsa.units.p256]
policy = "2.999.3161.2"
"""


@pytest.fixture
def quick(demo_home: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of one's own, which gives up on hanging workers soon."""
    file = tmp_path / "quick.toml"
    file.write_text(QUICK)
    with running_server(demo_home, 2, arguments=("--config", str(file))) as server:
        yield server


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def demo(home: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "certs" / f"{name}.pem").read_bytes())


def request_for(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303 - names an issuer
    return builder.build().public_bytes(Encoding.DER)


def ask(server: Server, method: str, path: str, body: bytes | None = None) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def status_of(server: Server, request: bytes) -> str:
    _, answer = ask(server, "POST", "/ocsp", request)
    return x509_ocsp.load_der_ocsp_response(answer).certificate_status.name


def good_request(home: Path) -> bytes:
    return request_for(demo(home, "demo-good"), demo(home, "server-rsa"))


def issuance(home: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "issuance", *arguments, "--home", str(home)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def test_every_way_to_ask_gives_the_same_octets(server: Server) -> None:
    request = good_request(server.home)
    path = quote(base64.b64encode(request).decode(), safe="")
    answers = {
        ask(server, "POST", "/ocsp", request)[1],
        ask(server, "POST", "/ocsp/", request)[1],
        ask(server, "POST", "/", request)[1],
        *(ask(server, "GET", f"{prefix}{path}")[1] for prefix in ("/ocsp/", "/ocsp//", "/", "//")),
        # As often as it takes to have met both workers.
        *(ask(server, "GET", f"/ocsp/{path}")[1] for _ in range(20)),
    }
    assert len(answers) == 1
    answer = x509_ocsp.load_der_ocsp_response(answers.pop())
    assert answer.certificate_status is x509_ocsp.OCSPCertStatus.GOOD


def test_the_etag_is_the_digest_of_what_is_sent(server: Server) -> None:
    response, body = ask(server, "POST", "/ocsp", good_request(server.home))
    assert response.headers["ETag"] == f'"{hashlib.sha256(body).hexdigest()}"'


@pytest.mark.parametrize("label", ["root", "server-rsa", "server-ecc", "client", "code-signing", "timestamp"])
def test_certificates_and_crls_are_where_pointers_say(server: Server, label: str) -> None:
    certificate = demo(server.home, label)
    response, body = ask(server, "GET", f"/ca/{label}.cer")
    assert (response.headers["Content-Type"], body) == ("application/pkix-cert", certificate.public_bytes(Encoding.DER))
    response, body = ask(server, "GET", f"/ca/{label}.pem")
    assert response.headers["Content-Type"] == "application/x-pem-file"
    assert x509.load_pem_x509_certificate(body) == certificate
    response, body = ask(server, "GET", f"/crl/{label}.crl")
    assert response.headers["Content-Type"] == "application/pkix-crl"
    assert x509.load_der_x509_crl(body).is_signature_valid(certificate.public_key())  # type: ignore[arg-type]  # RSA or EC
    etag = response.headers["ETag"]
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request("GET", f"/crl/{label}.crl", headers={"If-None-Match": etag})
    assert connection.getresponse().status == 304
    connection.close()


def test_head_of_a_crl_has_its_length(server: Server) -> None:
    response, body = ask(server, "GET", "/crl/root.crl")
    head, nothing = ask(server, "HEAD", "/crl/root.crl")
    assert (head.headers["Content-Length"], nothing) == (str(len(body)), b"")
    assert head.headers["ETag"] == response.headers["ETag"]


def test_a_revocation_puts_out_a_new_crl(server: Server, tmp_path: Path) -> None:
    serial, _ = issue(server.home, tmp_path)

    def listed() -> bool:
        crl = x509.load_der_x509_crl(ask(single, "GET", "/crl/server-rsa.crl")[1])
        return crl.get_revoked_certificate_by_serial_number(int(serial, 16)) is not None

    # One worker, which has the old one at hand.
    with running_server(server.home, 1) as single:
        assert not listed()
        issuance(server.home, "cert", "revoke", "--ca", "server-rsa", "--serial", serial, "--reason", "superseded")
        until(listed, "the old CRL goes on")


@pytest.mark.parametrize("path", ["/ca/none.cer", "/ca/root.crl", "/ca/root", "/crl/root.cer", "/crl/none.crl", "/ca/"])
def test_documents_that_do_not_exist_are_404(server: Server, path: str) -> None:
    assert ask(server, "GET", path)[0].status == 404


def test_a_unit_describes_itself(server: Server) -> None:
    response, body = ask(server, "GET", "/tsa")
    assert response.headers["Content-Type"] == "application/json"
    assert b'"policy": "2.999.3161.1"' in body
    assert ask(server, "GET", "/tsa/p256")[1] != body
    assert ask(server, "GET", "/tsa/none")[0].status == 404


def test_health_and_metrics(server: Server) -> None:
    assert server.admin("/healthz") == (200, "ok\n")
    assert server.admin("/readyz") == (200, "ready\n")
    before = server.metric('responders_ocsp_answers_total{outcome="good"}')
    for _ in range(10):
        ask(server, "POST", "/ocsp", good_request(server.home))
    assert server.metric('responders_ocsp_answers_total{outcome="good"}') >= before + 10
    assert server.metric("responders_workers_ready") == 2


def test_a_killed_worker_is_replaced_and_nothing_is_lost(quick: Server) -> None:
    request = good_request(quick.home)
    path = "/ocsp/" + quote(base64.b64encode(request).decode(), safe="")
    for _ in range(20):
        ask(quick, "GET", path)
    counted = quick.metric('responders_ocsp_answers_total{outcome="good"}')
    before = quick.worker_pids()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    for _ in range(50):  # the other one answers meanwhile
        try:
            assert ask(quick, "GET", path)[0].status == 200
        except ConnectionResetError:
            continue  # this connection was already the dead one's
        time.sleep(0.01)
    until(lambda: len(set(quick.worker_pids()) - set(before)) == 1 and quick.ready(), "no new worker")
    assert before[1] in quick.worker_pids()
    assert quick.metric('responders_ocsp_answers_total{outcome="good"}') > counted
    assert quick.metric("responders_worker_restarts_total") == 1


def test_a_worker_that_hangs_is_replaced(quick: Server) -> None:
    before = quick.worker_pids()
    os.kill(before[1], signal.SIGSTOP)
    until(
        lambda: before[1] not in quick.worker_pids() and len(quick.worker_pids()) == 2 and quick.ready(), "it hangs on"
    )


def test_workers_end_with_their_supervisor(quick: Server) -> None:
    workers = quick.worker_pids()
    os.kill(quick.process.pid, signal.SIGKILL)
    quick.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "orphans go on")


@contextmanager
def half_a_request(server: Server) -> Iterator[tuple[socket.socket, bytes]]:
    """A connection whose request has arrived up to the middle of its body, and the rest of it."""
    request = good_request(server.home)
    with server.connect() as client:
        client.sendall(b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(request) + request[:40])
        time.sleep(0.3)
        yield client, request[40:]


def everything(client: socket.socket) -> bytes:
    octets = b""
    while part := client.recv(65_536):
        octets += part
    return octets


def test_a_clean_stop_finishes_what_is_in_hand(quick: Server) -> None:
    with half_a_request(quick) as (client, rest), quick.connect() as idle:
        quick.process.send_signal(signal.SIGTERM)
        assert everything(idle) == b""
        until(lambda: not accepts(quick), "still accepting")
        assert quick.process.poll() is None
        client.sendall(rest)
        response = everything(client)
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in response
    assert quick.process.wait(30) == 0
    assert "Traceback" not in quick.log.read_text()


def accepts(server: Server) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_second_signal_ends_at_once(quick: Server) -> None:
    workers = quick.worker_pids()
    with half_a_request(quick):
        quick.process.send_signal(signal.SIGINT)
        until(lambda: not accepts(quick), "still accepting")
        time.sleep(1.1)  # one that comes sooner is taken for the same wish
        quick.process.send_signal(signal.SIGINT)
        assert quick.process.wait(5) == 1
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers go on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_twice_at_once_still_finishes_what_is_in_hand(
    quick: Server, number: signal.Signals
) -> None:
    """A terminal sends it to the whole group, and the shell that started the server passes it on."""
    with half_a_request(quick) as (client, rest):
        for process in (quick.process.pid, *quick.worker_pids(), quick.process.pid):
            os.kill(process, number)
        until(lambda: not accepts(quick), "still accepting")
        client.sendall(rest)
        assert everything(client).startswith(b"HTTP/1.1 200 OK\r\n")
    assert quick.process.wait(30) == 0


def test_a_worker_that_cannot_be_replaced_yet_takes_nobody_with_it(quick: Server) -> None:
    first, second = quick.worker_pids()
    descriptors = max(int(each.name) for each in Path(f"/proc/{quick.process.pid}/fd").iterdir()) + 1
    before = resource.prlimit(quick.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(quick.process.pid, resource.RLIMIT_NOFILE, (descriptors, before[1]))
    os.kill(first, signal.SIGKILL)
    until(lambda: "could not be started: Too many open files" in quick.log.read_text(), "nothing was logged")
    assert quick.worker_pids() == [second]
    with quick.connect() as client:
        client.sendall(b"GET /crl/root.crl HTTP/1.0\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 200 OK\r\n")
    resource.prlimit(quick.process.pid, resource.RLIMIT_NOFILE, before)
    until(lambda: len(quick.worker_pids()) == 2 and quick.ready(), "it was not replaced")
    assert "Traceback" not in quick.log.read_text()


def test_a_second_server_on_the_same_port_is_refused_and_the_first_goes_on(server: Server) -> None:
    second = subprocess.run(
        [
            *(sys.executable, "-m", "responders", "serve", "--home", str(server.home)),
            *("--listen", f"{server.host}:{server.port}", "--admin", "127.0.0.1:0"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "the port is taken" in second.stderr
    assert server.ready()


def test_a_revocation_is_answered_by_every_worker_and_never_taken_back(server: Server, tmp_path: Path) -> None:
    """Two clients poll while another process revokes: each sees good, then revoked, and nothing else."""
    serial, certificate = issue(server.home, tmp_path)
    request = request_for(certificate, demo(server.home, "server-rsa"))
    assert status_of(server, request) == "GOOD"
    seen: list[list[tuple[float, str]]] = [[], []]
    over = threading.Event()

    def poll(sightings: list[tuple[float, str]]) -> None:
        while not over.is_set():
            sent = time.monotonic()
            sightings.append((sent, status_of(server, request)))

    pollers = [threading.Thread(target=poll, args=(each,)) for each in seen]
    for poller in pollers:
        poller.start()
    issuance(server.home, "cert", "revoke", "--ca", "server-rsa", "--serial", serial, "--reason", "keyCompromise")
    committed = time.monotonic()
    time.sleep(1.5)
    over.set()
    for poller in pollers:
        poller.join()
    merged = sorted(sighting for sightings in seen for sighting in sightings)
    assert {status for sent, status in merged if sent > committed + 1} == {"REVOKED"}
    for sightings in seen:
        states = [status for _, status in sightings]
        assert states == sorted(states), "revoked was taken back"


def issue(home: Path, folder: Path) -> tuple[str, x509.Certificate]:
    """A server certificate for a name of the institution that the demo home knows."""
    key, csr, out = (folder / name for name in ("key.pem", "request.csr", "certificate.pem"))
    subprocess.run(
        [
            *("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(csr)),
            *("-subj", "/CN=revoked.example.ac.jp", "-addext", "subjectAltName=DNS:revoked.example.ac.jp"),
        ],
        check=True,
        capture_output=True,
    )
    serial = issuance(
        home, "cert", "issue", "--ca", "server-rsa", "--profile", "server", "--csr", str(csr), "--out", str(out)
    ).strip()
    return serial, x509.load_pem_x509_certificate(out.read_bytes())


def test_a_worker_that_cannot_start_again_is_tried_again_and_says_why(quick: Server, demo_home: Path) -> None:
    passphrase = demo_home / "keys" / "passphrase"
    mode = passphrase.stat().st_mode
    try:
        passphrase.chmod(0o644)
        os.kill(quick.worker_pids()[0], signal.SIGKILL)
        until(lambda: "can be read by others" in quick.log.read_text(), f"nobody was told:\n{quick.log.read_text()}")
        assert not quick.ready()
        assert status_of(quick, good_request(quick.home)) == "GOOD"
    finally:
        passphrase.chmod(mode)
    until(quick.ready, "it never came back")
    assert stop(quick.process) == 0
