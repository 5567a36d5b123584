"""OCSP requests without a pause, by a few clients, while something is done to what the server stands on."""

from __future__ import annotations

import http.client
import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from client_threads import running
from cryptography.x509 import ocsp as x509_ocsp
from strangers import OCSP_REQUEST, ocsp_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from running_server import Server

PAUSE = 0.01
TRY_LATER = x509_ocsp.OCSPResponseStatus.TRY_LATER


@dataclass(frozen=True)
class Question:
    """What is asked over and over; with a fresh nonce each time nothing ready-made can answer it."""

    leaf: Path
    issuer: Path
    nonce: bool = False

    def encoded(self) -> bytes:
        return ocsp_request(self.leaf, self.issuer, nonce=secrets.token_bytes(16) if self.nonce else None)


@dataclass(frozen=True)
class Said:
    """One answer. Times are monotonic seconds."""

    question: Question
    sent: float
    received: float
    status: x509_ocsp.OCSPCertStatus | None
    """None for tryLater."""
    retry_after: str | None


@contextmanager
def asking(server: Server, questions: Sequence[Question], clients: int = 2) -> Iterator[Load]:
    """Ask until the block ends. Each client asks every question in turn and keeps its connection."""
    made = Load(server)
    with running([partial(made.client, each) for each in questions for _ in range(clients)], made.stop):
        yield made
    assert made.broken == []
    # Any other status, an unauthorized above all, would be a wrong answer.
    assert all(each.retry_after for each in made.said if each.status is None)


class Load:
    """What was said; complete when the block has ended."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.stop = threading.Event()
        self.said: list[Said] = []
        self.broken: list[Exception] = []

    def client(self, question: Question) -> None:
        fixed = None if question.nonce else question.encoded()
        connection = http.client.HTTPConnection(self._server.host, self._server.port, timeout=30)
        try:
            while not self.stop.wait(PAUSE):
                self._ask(connection, question, fixed or question.encoded())
        except Exception as error:  # noqa: BLE001 - the test that waits for the thread tells of it
            self.broken.append(error)
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, question: Question, body: bytes) -> None:
        sent = time.monotonic()
        connection.request("POST", "/ocsp", body, {"Content-Type": OCSP_REQUEST})
        answer = connection.getresponse()
        response = x509_ocsp.load_der_ocsp_response(answer.read())
        # The status of any other response that is not successful raises.
        status = None if response.response_status is TRY_LATER else response.certificate_status
        self.said.append(Said(question, sent, time.monotonic(), status, answer.getheader("Retry-After")))

    def of(self, question: Question, *, since: float = 0.0, until: float = float("inf")) -> Sequence[Said]:
        """The answers to one question that was asked within a time."""
        return [each for each in self.said if each.question == question and since <= each.sent < until]

    def wait(self, condition: Callable[[Said], bool], seconds: float = 20) -> float:
        """Until such an answer comes, counted from now on; when it came."""
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            for each in self.said[-100:]:
                if each.sent >= begun and condition(each):
                    return each.received
            time.sleep(0.02)
        raise AssertionError("it never came")
