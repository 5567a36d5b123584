"""Clients of both protocols that go on through whatever happens, and judge every answer at once.

An answer is right, a refusal that the protocol has for it (tryLater, a rejection, HTTP 503), or wrong. A connection
that ends without an answer is failed, and the client makes a new one.
"""

from __future__ import annotations

import http.client
import secrets
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from client_threads import running
from cryptography.x509 import ocsp as x509_ocsp
from fuzz_checks import GOOD, REVOKED
from strangers import OCSP_REQUEST, TIMESTAMP_QUERY, certificate, ocsp_request
from tsa_reader import open_reply, signer_of
from tsa_server import query

from ca_store import der

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from running_server import Server

OCSP_CLIENTS, TSA_CLIENTS = 4, 3
_VERIFIED: Final = 20
"""Of so many tokens the signature of one is verified."""
_FRESH: Final = 24
"""So many fresh connections reach every worker."""
_HEAL_SECONDS: Final = 120.0
_PAUSE: Final = 0.002


class WrongAnswer(Exception):  # noqa: N818 - named as its meaning
    """What no client may get."""


@dataclass
class Counts:
    """Of one protocol."""

    sent: int = 0
    right: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    wrong: list[str] = field(default_factory=list)


class ChaosLoad:
    """Counts and serials; complete when the block of ``asking`` has ended."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.stop = threading.Event()
        self.ocsp, self.tsa = Counts(), Counts()
        self.serials: list[int] = []
        self._lock = threading.Lock()
        home, issuer = server.home, certificate(server.home, "server-rsa")
        self._leaves = {
            status: (certificate(home, name), issuer)
            for name, status in (("demo-good", GOOD), ("demo-revoked", REVOKED))
        }
        self._fixed = {status: ocsp_request(*leaf) for status, leaf in self._leaves.items()}

    def client(self, counts: Counts, ask: Callable[[http.client.HTTPConnection], str | None]) -> None:
        """Ask until the end, over one connection as long as it lasts."""
        while not self.stop.is_set():
            connection = self._connect()
            try:
                while not self.stop.wait(_PAUSE):
                    self._count(counts, ask, connection)
            except (OSError, http.client.HTTPException):
                with self._lock:
                    counts.failed += 1
                time.sleep(0.05)
            finally:
                connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._server.host, self._server.port, timeout=30)

    def _count(
        self,
        counts: Counts,
        ask: Callable[[http.client.HTTPConnection], str | None],
        connection: http.client.HTTPConnection,
    ) -> None:
        with self._lock:
            counts.sent += 1
        try:
            refusal = ask(connection)
        except (WrongAnswer, ValueError, AssertionError) as error:
            with self._lock:
                counts.wrong.append(repr(error))
            return
        with self._lock:
            if refusal is None:
                counts.right += 1
            else:
                counts.refused[refusal] += 1

    def ask_ocsp(self, connection: http.client.HTTPConnection) -> str | None:
        """About a good or a revoked certificate, every other time with a nonce; the refusal, if it is one."""
        status = secrets.choice((GOOD, REVOKED))
        nonce = secrets.token_bytes(16) if secrets.randbits(1) else None
        body = self._fixed[status] if nonce is None else ocsp_request(*self._leaves[status], nonce=nonce)
        connection.request("POST", "/ocsp", body, {"Content-Type": OCSP_REQUEST})
        answer = connection.getresponse()
        encoded = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise WrongAnswer(f"OCSP: HTTP {answer.status}")
        response = x509_ocsp.load_der_ocsp_response(encoded)
        if response.response_status is x509_ocsp.OCSPResponseStatus.TRY_LATER:
            return "tryLater"
        if response.certificate_status is not status:
            raise WrongAnswer(f"OCSP: {response.certificate_status} instead of {status}")
        if nonce is not None and nonce not in encoded:
            raise WrongAnswer("OCSP: another nonce")
        return None

    def ask_tsa(self, connection: http.client.HTTPConnection) -> str | None:
        """For a token of the P-256 unit; the refusal, if it is one."""
        nonce, seed = der.integer(secrets.randbits(64)), secrets.token_bytes(8)
        body = query(seed=seed, nonce=nonce, certificates=True)
        connection.request("POST", "/tsa/p256", body, {"Content-Type": TIMESTAMP_QUERY})
        answer = connection.getresponse()
        encoded = answer.read()
        if answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            return "503"
        if answer.status != http.HTTPStatus.OK:
            raise WrongAnswer(f"TSA: HTTP {answer.status}")
        opened = open_reply(encoded)
        if opened.status:
            return opened.text
        if opened.tst_info["nonce"].dump() != nonce or opened.tst_info["message_imprint"].dump() not in body:
            raise WrongAnswer("TSA: a token for another request")
        with self._lock:
            self.serials.append(opened.tst_info["serial_number"].native)
            verified = not len(self.serials) % _VERIFIED
        if verified:
            signer_of(opened)
        return None

    def heal(self) -> float:
        """Seconds until both protocols have answered rightly over so many fresh connections without a break."""
        began, in_turn = time.monotonic(), 0
        first = began
        while in_turn < _FRESH:
            if time.monotonic() > began + _HEAL_SECONDS:
                raise TimeoutError("it does not heal")
            connection = self._connect()
            try:
                fine = self.ask_ocsp(connection) is None and self.ask_tsa(connection) is None
            except (OSError, http.client.HTTPException):
                fine = False
            finally:
                connection.close()
            if fine and not in_turn:
                first = time.monotonic()
            in_turn = in_turn + 1 if fine else 0
            if not fine:
                time.sleep(0.02)
        return first - began


@contextmanager
def asking(server: Server) -> Iterator[ChaosLoad]:
    """Clients of both protocols until the block ends."""
    made = ChaosLoad(server)
    clients = [
        *(partial(made.client, made.ocsp, made.ask_ocsp) for _ in range(OCSP_CLIENTS)),
        *(partial(made.client, made.tsa, made.ask_tsa) for _ in range(TSA_CLIENTS)),
    ]
    with running(clients, made.stop):
        yield made
