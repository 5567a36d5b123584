"""What nobody should send, to a real server over its socket: it gets a refusal or an end in time, others no harm."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest
from fuzz_wire import check_log, resources
from issuance_world import copy_home
from running_server import running_server, until
from strangers import certificate, ocsp_request
from test_responders_slow_clients import latency

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server

SECONDS: Final = 2.0
"""The deadlines of a header and of a body here; 10 s by default."""
ROUNDS: Final = 3
POST: Final = b"POST /ocsp HTTP/1.1\r\nHost: a\r\n"
CLIENT_HELLO: Final = bytes.fromhex(
    "16030100c4010000c00303" + "5a" * 32 + "20" + "a5" * 32 + "003e130213031301c02cc030009fcca9cca8ccaac02bc02f009e"
) + bytes(100)
MIB: Final = 1 << 20

AT_ONCE: Final = {
    "a body over the cap": (POST + b"Content-Length: 10000000\r\n\r\n" + bytes(100_000), {413}),
    "a length of 2^64": (POST + b"Content-Length: 18446744073709551616\r\n\r\n", {400, 413}),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", {400}),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n00", {400}),
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "a chunk of 2^64": (POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", {400, 408, 413}),
    "chunks without end": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n%b\r\n" % bytes(4096) * 50, {413}),
    "a chunk that lies": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n", {400}),
    "ten thousand fields": (POST + b"".join(b"X-%d: a\r\n" % number for number in range(10_000)), {0, 400}),
    "a field of a mebibyte": (POST + b"X: " + b"a" * MIB, {400}),
    "a path of a mebibyte": (b"GET /ocsp/" + b"A" * MIB + b" HTTP/1.1\r\n\r\n", {400}),
    "a method of a mebibyte": (b"A" * MIB, {400}),
    "a folded field": (POST + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", {200, 400}),
    "a field with NUL": (POST + b"X: a\0b\r\nContent-Length: 0\r\n\r\n", {400}),
    "TLS": (CLIENT_HELLO, {0, 400}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"), {400}),
    "HTTP/0.9": (b"GET /\r\n", {0, 400}),
    "SMTP": (b"EHLO a\r\nMAIL FROM:<a@b>\r\n", {400}),
    "noise": (bytes(range(256)) * 64, {400}),
    "a WebSocket": (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", {200}),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", {400, 404, 405}),
    "a compressed bomb": (
        POST + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n\x1f\x8b\x08" + bytes(17),
        {200},
    ),
    "a file of the host": (b"GET /ca/..%2f..%2fkeys%2froot.key HTTP/1.1\r\nHost: a\r\n\r\n", {404}),
}
"""What is sent in one go, and the HTTP status it gets; 0 is an end without a word."""
SLOW: Final = {
    "a header octet by octet": (b"", POST, {0}),
    "a body octet by octet": (POST + b"Content-Length: 80\r\n\r\n", bytes(80), {408}),
    "chunks octet by octet": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n0\r\n" * 100, {408}),
    "a second header octet by octet": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /" + b"a" * 995, {200}),
    "nothing": (b"", b"", {0}),
}
"""What is sent at once, and what drips after it."""


@pytest.fixture(scope="module")
def server(pristine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = copy_home(pristine_home, tmp_path_factory.mktemp("abuse"))
    file = home / "responders.toml"
    deadlines = f"[server]\nheader_seconds = {SECONDS}\nbody_seconds = {SECONDS}\n"
    file.write_text(file.read_text().replace("[server]\n", deadlines, 1))
    with running_server(home, 2) as running:
        yield running


def everything(connection: socket.socket, seconds: float) -> bytes:
    """What it is answered until the server ends the connection, or has nothing more to say for so long."""
    said, connection_ends = b"", time.monotonic() + seconds
    connection.settimeout(0.2)
    while time.monotonic() < connection_ends:
        try:
            chunk = connection.recv(65_536)
        except TimeoutError:
            if said:
                break
            continue
        except ConnectionError:
            break
        if not chunk:
            break
        said += chunk
    else:
        raise AssertionError("neither answered nor ended")
    return said


def status(said: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", said)
    assert found or not said, said[:200]
    return int(found[1]) if found else 0


def strike(server: Server, octets: bytes) -> int:
    """Send it, whatever becomes of the connection meanwhile; the status."""
    with server.connect() as connection:
        connection.settimeout(20)
        with suppress(ConnectionError):  # the answer may be there all the same
            connection.sendall(octets)
        return status(everything(connection, 20))


def drip(server: Server, at_once: bytes, slowly: bytes) -> tuple[int, float]:
    """The status, and seconds until the server had enough."""
    with server.connect() as connection:
        connection.sendall(at_once)
        began, said = time.monotonic(), b""
        connection.settimeout(0.05)
        for octet in slowly.ljust(1000, b"0") if slowly else [0] * 1000:
            try:
                if slowly:
                    connection.sendall(bytes((octet,)))
                chunk = connection.recv(65_536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not chunk:
                break
            said += chunk
        return status(said), time.monotonic() - began


@pytest.mark.parametrize(("octets", "statuses"), AT_ONCE.values(), ids=AT_ONCE)
def test_what_nobody_should_send_is_refused(server: Server, octets: bytes, statuses: set[int]) -> None:
    assert strike(server, octets) in statuses
    check_log(server.log.read_text())


@pytest.mark.parametrize(("at_once", "slowly", "statuses"), SLOW.values(), ids=SLOW)
def test_what_drips_is_ended_at_its_deadline(server: Server, at_once: bytes, slowly: bytes, statuses: set[int]) -> None:
    found, seconds = drip(server, at_once, slowly)
    assert found in statuses
    assert SECONDS * 0.9 < seconds < 5 * SECONDS
    check_log(server.log.read_text())


def test_a_thousand_requests_in_one_write_are_answered_in_turn(server: Server) -> None:
    body = ocsp_request(certificate(server.home, "demo-good"), certificate(server.home, "server-rsa"))
    one = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with server.connect() as connection:
        sender = threading.Thread(target=connection.sendall, args=(one * 1000,))
        sender.start()
        said = b""
        while said.count(b"HTTP/1.1 200 OK\r\n") < 1000:
            said += connection.recv(1 << 20)
        sender.join()


def test_all_of_it_at_once_costs_the_others_little_and_leaves_nothing_behind(server: Server) -> None:
    issuer, leaf = certificate(server.home, "server-rsa"), certificate(server.home, "demo-good")
    asked = ocsp_request(leaf, issuer)
    workers = server.worker_pids()
    over, faults = threading.Event(), list[BaseException]()

    def abuse(cases: list[tuple[bytes, set[int]]]) -> None:
        try:
            while not over.is_set():
                for octets, statuses in cases:
                    assert strike(server, octets) in statuses
                    if over.wait(0.02):
                        break
        except BaseException as fault:  # noqa: BLE001 - the test looks at them
            faults.append(fault)

    cases = list(AT_ONCE.values())
    alone = min(latency(server, asked) for _ in range(ROUNDS))
    threads = [threading.Thread(target=abuse, args=(cases[number::3],)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        before = [resources(pid) for pid in workers]
        beside = min(latency(server, asked) for _ in range(ROUNDS))
        time.sleep(1)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert faults == []
    assert beside < 10 * alone + 0.05
    until(lambda: server.metric("responders_connections") == 0, "connections are left over")
    assert server.worker_pids() == workers
    for was, now in zip(before, (resources(pid) for pid in workers), strict=True):
        assert now.descriptors <= was.descriptors + 2
        assert now.resident < was.resident + 16 * MIB
    check_log(server.log.read_text())
