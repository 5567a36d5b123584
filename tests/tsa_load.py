"""Requests without a pause, as of many programs that sign at once."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

from client_threads import running
from strangers import TIMESTAMP_QUERY
from tsa_reader import open_reply, signer_of
from tsa_server import query

from ca_store import der

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography import x509
    from running_server import Server
    from tsa_reader import Opened


@dataclass(frozen=True)
class Answered:
    """One request and its answer. Times are monotonic seconds."""

    client: int
    sent: float
    received: float
    nonce: bytes
    status: int
    body: bytes

    @property
    def opened(self) -> Opened:
        """The TimeStampResp."""
        assert self.status == 200, self.body
        return open_reply(self.body)

    def token(self) -> tuple[int, x509.Certificate]:
        """genTime (POSIX seconds) of a token that is there and whole, and who signed it."""
        opened = self.opened
        assert opened.status == 0, opened.text
        assert opened.tst_info["nonce"].dump() == self.nonce
        return int(opened.tst_info["gen_time"].native.timestamp()), signer_of(opened)


@contextmanager
def load(server: Server, targets: Sequence[str], clients: int = 4, *, pause: float = 0.0) -> Iterator[Load]:
    """Ask for time-stamps until the block ends; each client keeps one connection, or makes a new one."""
    made = Load(server, targets, pause)
    with running([partial(made.client, number) for number in range(clients)], made.stop):
        yield made
    assert len(made.turned_away) <= max(4, len(made.answered) // 20)


class Load:
    """What came of it; complete when the block has ended."""

    def __init__(self, server: Server, targets: Sequence[str], pause: float) -> None:
        self._server = server
        self._targets = targets
        self._pause = pause
        self._numbers = count(1 << 40)
        self.stop = threading.Event()
        self.answered: list[Answered] = []
        self.broken: list[Exception] = []
        """Connections that ended without an answer."""
        self.turned_away: list[Answered] = []
        """503: a machine that stood still for a second has no time left to state. Few of all, whatever the machine."""

    def client(self, number: int) -> None:
        while not self.stop.is_set():
            connection = http.client.HTTPConnection(self._server.host, self._server.port, timeout=30)
            try:
                while not self.stop.is_set():
                    self._ask(connection, number)
                    time.sleep(self._pause)
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(error)
                time.sleep(0.02)
            finally:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        serial = next(self._numbers)
        nonce, sent = der.integer(serial), time.monotonic()
        target = self._targets[serial % len(self._targets)]
        body = query(nonce=nonce, certificates=True)
        connection.request("POST", target, body, {"Content-Type": TIMESTAMP_QUERY})
        answer = connection.getresponse()
        octets = answer.read()
        made = Answered(number, sent, time.monotonic(), nonce, answer.status, octets)
        (self.turned_away if answer.status == HTTPStatus.SERVICE_UNAVAILABLE else self.answered).append(made)
