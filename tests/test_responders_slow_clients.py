"""Two thousand clients that do not finish what they began, and what the others notice of it: nothing."""

from __future__ import annotations

import resource
import select
import statistics
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from ocsp_wire import cert_id, request, serial_of
from running_server import running_server, until
from strangers import certificate

from responders.config import Server as Settings

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from running_server import Server

HALF: Final = 1_000
"""So many stop within their header, and so many within their body."""
DEADLINE: Final = Settings().header_seconds
HEADER: Final = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Len"
BODY: Final = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 80\r\n\r\n0"
ASKED: Final = 200


@pytest.fixture(scope="module")
def server(demo_home: Path) -> Iterator[Server]:
    with running_server(demo_home, 2) as running:
        yield running


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip("this machine allows too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def latency(server: Server, asked: bytes) -> float:
    """Of the middle one of many requests over fresh connections, in seconds."""
    head = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(asked)
    taken = []
    for _ in range(ASKED):
        began = time.perf_counter()
        with server.connect() as connection:
            connection.sendall(head + asked)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def ended(connections: list[socket.socket]) -> list[bytes]:
    """What each was sent before the server closed it."""
    said = dict.fromkeys(connections, b"")
    poll, open_ones = select.poll(), {each.fileno(): each for each in connections}
    for descriptor in open_ones:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + 4 * DEADLINE
    while open_ones and time.monotonic() < deadline:
        for descriptor, _ in poll.poll(1000):
            connection = open_ones[descriptor]
            try:
                chunk = connection.recv(65_536)
            except ConnectionError:
                chunk = b""
            said[connection] += chunk
            if not chunk:
                poll.unregister(descriptor)
                del open_ones[descriptor]
    assert not open_ones, f"{len(open_ones)} are still waited for"
    return list(said.values())


def test_two_thousand_half_open_connections_cost_the_others_nothing(server: Server) -> None:
    """Each is ended at its deadline: within a header without a word, within a body with 408."""
    issuer = certificate(server.home, "server-rsa")
    asked = request(cert_id(issuer, serial_of(certificate(server.home, "demo-good"))))
    workers = server.worker_pids()
    alone = latency(server, asked)
    with many_descriptors(2 * HALF + 200), ExitStack() as opened:
        halves = [opened.enter_context(server.connect()) for _ in range(2 * HALF)]
        for each in halves[:HALF]:
            each.sendall(HEADER)
        for each in halves[HALF:]:
            each.sendall(BODY)
        until(lambda: server.metric("responders_connections") >= 2 * HALF, "they are not all accepted")
        beside = latency(server, asked)
        for each in halves:
            each.sendall(b"a")  # the next octet is no new beginning of the time
        assert server.ready()
        said = ended(halves)
    # A turn over all connections for each request would take a hundred times as long.
    assert beside < 5 * alone + 0.02
    assert set(said[:HALF]) == {b""}
    assert {answer.split(b"\r\n")[0] for answer in said[HALF:]} == {b"HTTP/1.1 408 Request Timeout"}
    assert server.metric('responders_http_refusals_total{status="408"}') == HALF
    until(lambda: server.metric("responders_connections") == 0, "connections are left over")
    assert server.worker_pids() == workers


def test_the_descriptor_limit_is_raised_at_the_start(server: Server) -> None:
    """A soft limit of 1,024 would refuse the thousandth client."""
    for pid in server.worker_pids():
        limits = Path(f"/proc/{pid}/limits").read_text()
        soft, hard = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5]
        assert soft == hard
