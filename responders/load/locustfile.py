"""A Locust file, for more load than one machine makes: the questions, checks and arguments of ``responders load``.

``locust -f responders/load/locustfile.py --host http://HOST:8080 OCSPUser TSAUser``, with ``--master`` and ``--worker``
for several machines. ``RESPONDERS_LOAD_OCSP`` and ``RESPONDERS_LOAD_TSA`` hold arguments of ``responders load`` about
what is asked, for instance ``--nonce 0.5``. A wrong answer is a failure under its own name.
"""

from __future__ import annotations

import functools
import os
import shlex
import socket
from typing import TYPE_CHECKING, ClassVar, Final

from locust import User, task

from ca_store.clock import SystemClock
from responders.cli import build_parser
from responders.cli_load import make_plan
from responders.load.connection import Garbled, ResponseReader
from responders.load.process import make_asker
from responders.load.verdict import Bad, Response

if TYPE_CHECKING:
    from responders.load.plan import Plan
    from responders.load.verdict import Asker

_CLOCK: Final = SystemClock()
_CHUNK: Final = 1 << 16


@functools.cache
def _plan(protocol: str, host: str) -> Plan:
    """One for all users of a process: it may hold many serials."""
    given = shlex.split(os.environ.get(f"RESPONDERS_LOAD_{protocol.upper()}", ""))
    url = f"{host.rstrip('/')}/{protocol}"
    return make_plan(build_parser("load").parse_args(["load", protocol, "--url", url, "--duration", "1", *given]))


@functools.cache
def _asker(protocol: str, host: str, number: int) -> Asker:
    return make_asker(_plan(protocol, host), number)


class _ProtocolUser(User):
    abstract = True
    protocol: ClassVar[str]

    def on_start(self) -> None:
        """See Locust."""
        host = self.host or "http://127.0.0.1:8080"
        runner = self.environment.runner
        self._plan = _plan(self.protocol, host)
        self._asker = _asker(self.protocol, host, getattr(runner, "worker_index", 0))
        self._socket: socket.socket | None = None

    def on_stop(self) -> None:
        """See Locust."""
        self._close()

    @task
    def ask(self) -> None:
        """One question and its check."""
        inquiry = next(self._asker)
        began, octets = _CLOCK.monotonic(), 0
        problem: Exception | None = None
        try:
            response = self._exchange(inquiry.octets)
            octets = len(response.body)
        except (OSError, Garbled) as error:
            self._close()
            problem = error
        took = _CLOCK.monotonic() - began
        if problem is None:
            try:
                inquiry.check(response, _CLOCK.now())
            except Bad as error:
                problem = error
        self.environment.events.request.fire(
            request_type=self.protocol,
            name=inquiry.kind,
            response_time=took * 1000,
            response_length=octets,
            exception=problem,
            context={},
        )

    def _exchange(self, request: bytes) -> Response:
        target = self._plan.target
        if self._socket is None:
            self._socket = socket.create_connection((target.host, target.port), self._plan.pace.timeout)
        self._socket.sendall(request)
        reader = ResponseReader()
        while True:
            data = self._socket.recv(_CHUNK)
            response = reader.feed(data) if data else reader.end()
            if response is not None:
                if response.closes:
                    self._close()
                return response
            if not data:
                raise ConnectionError("the connection was lost")

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class OCSPUser(_ProtocolUser):
    """Asks ``/ocsp``."""

    protocol = "ocsp"


class TSAUser(_ProtocolUser):
    """Asks ``/tsa``."""

    protocol = "tsa"
