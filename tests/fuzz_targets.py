"""The readers of requests, in this process, each behind one call that raises when an invariant does not hold.

Ours are the real ones down to the signature; rows and clock are in memory.
"""

from __future__ import annotations

import asyncio
import base64
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from countersignatures import lines
from fakes import NOW as OCSP_NOW
from fakes import TINY
from fuzz_checks import GOOD, REVOKED, check_countersignature, check_ocsp, check_timestamp
from fuzz_seeds import countersign_seeds, ocsp_seeds, path_seeds, timestamp_seeds
from mutation import Mutator
from ocsp_world import World as OCSPWorld
from tsa_world import MemorySigner, Profile, issue, key
from tsa_world import World as TSAWorld

from ca_store import der
from ocsp import codec
from ocsp.errors import MalformedRequest
from ocsp.forms import Decoder
from responders.body import Refused
from responders.config import Server as Settings
from responders.ocsp_http import decode_path
from responders.prepared import Second
from responders.public import _is_request
from responders.shared_state import SharedState
from responders.tsa_http import TSAEndpoint
from tsa.authenticode import MAX_BODY, looks_like_request
from tsa.settings import UnitSettings
from tsa.unit import load_authenticode_unit

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from aiohttp import web

    from ca_store.types import IssuerHash
    from tsa.authority import Authority

TARGETS: Final = ("ocsp", "tsa", "authenticode", "path")
ASSIGNED, TAKEN_BACK = 0x5EA1, 0x5EA2


class Target(Protocol):
    """One reader."""

    seeds: Sequence[bytes]
    """What real clients send."""
    inner: Sequence[bytes]
    """The DER within, where that is a text; else none."""
    answered: int
    """Mutants that were still requests."""

    def wrap(self, octets: bytes) -> bytes:
        """The text that stands for DER."""
        ...

    def check(self, octets: bytes) -> None:
        """Have it read them; raises when an invariant does not hold."""
        ...


class _Loop:
    """Runs what the readers await."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self.answered = 0
        self.seeds: Sequence[bytes] = ()
        self.inner: Sequence[bytes] = ()

    def wrap(self, octets: bytes) -> bytes:
        return octets

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self._runner.close()


class OCSPTarget(_Loop):
    """The responder, and its two readers held against each other."""

    def __init__(self) -> None:
        super().__init__()
        self._world = OCSPWorld()
        self._world.store.issue(TINY, ASSIGNED)
        self._world.store.issue(TINY, TAKEN_BACK)
        self._world.store.revoke(TINY, TAKEN_BACK, OCSP_NOW - 100)
        self._world.deliver()
        self._decoder = Decoder(cert_ids=32, nonce=128)
        hashes = self._world.ca.issuer.hashes
        cert_ids = [_cert_id(each, serial) for each in hashes for serial in (ASSIGNED, TAKEN_BACK, 0x77)]
        self.seeds = ocsp_seeds([*cert_ids, *(_cert_id(each, ASSIGNED, b"") for each in hashes)])

    def check(self, octets: bytes) -> None:
        """Nothing but a well-formed answer about what is in the request."""
        fresh = read = None
        with suppress(MalformedRequest):
            fresh = codec.decode_request(octets, cert_ids=32, nonce=128)
        with suppress(MalformedRequest):
            read = self._decoder.decode(octets)
        assert read == fresh, "a form that was learnt reads otherwise"
        responder = self._world.responder
        answer = responder.cached(octets) or self.run(responder.answer(octets))
        signed = check_ocsp(octets, answer.der, {ASSIGNED: GOOD, TAKEN_BACK: REVOKED})
        assert fresh is not None or not signed
        self.answered += signed


class TimestampTarget(_Loop):
    """The authority for RFC 3161, and for Authenticode's older protocol as HTTP brings it."""

    def __init__(self, *, older: bool = False) -> None:
        super().__init__()
        world = TSAWorld()
        authority = world.authority(world.unit())
        if older:
            authority.use({"p256": world.unit()}, _older_unit(world))
        self._authority: Authority = authority
        second, row = Second(world.clock), SharedState.create(1).row(0)
        self._endpoint = TSAEndpoint(authority, Settings(), second, row)
        self.seeds = timestamp_seeds()
        if older:
            self.inner = countersign_seeds(self.run(authority.answer(self.seeds[0])).der)
            self.seeds = [lines(each, end) + end for each in self.inner for end in (b"\n", b"\r\n", b"\0")]

    def wrap(self, octets: bytes) -> bytes:
        return lines(octets) if self.inner else octets

    def check(self, octets: bytes) -> None:
        """A token for this imprint, a rejection, or HTTP 400 to what is nearly the older protocol."""
        try:
            response = cast("web.Response", self.run(self._endpoint.answer(octets, None)).plain())
        except Refused as refused:
            assert refused.status == 400, f"HTTP {refused.status}: {refused.text}"  # noqa: PT017 - the status is the point
            assert looks_like_request(octets)
            return
        assert isinstance(response.body, bytes)
        if looks_like_request(octets):
            assert len(octets) <= MAX_BODY
            check_countersignature(octets, response.body)
            self.answered += 1
        else:
            self.answered += check_timestamp(octets, response.body)


class PathTarget(OCSPTarget):
    """The paths of GET: what they stand for is what anybody reads in them, or nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seeds = self.seeds, path_seeds(self.seeds)

    def wrap(self, octets: bytes) -> bytes:
        return base64.b64encode(octets)

    def check(self, octets: bytes) -> None:
        """The request in the path, if there is one, gets an answer of its own."""
        path = octets.decode("utf-8", "surrogateescape")
        _is_request(path)
        try:
            found = decode_path(path)
        except ValueError:
            return
        assert found == _read_path(octets), "another request than the one in the path"
        super().check(found)


def _cert_id(issuer: IssuerHash, serial: int, parameters: bytes = der.NULL) -> bytes:
    return der.sequence(
        der.sequence(der.oid(issuer.algorithm.value), parameters),
        der.octet_string(issuer.name_hash),
        der.octet_string(issuer.key_hash),
        der.integer(serial),
    )


def _read_path(octets: bytes) -> bytes:
    """Percent escapes, then base64 in either alphabet, by another road."""
    plain = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), octets.lstrip(b"/"))
    plain = plain.replace(b"-", b"+").replace(b"_", b"/").replace(b" ", b"+").rstrip(b"=")
    return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)


def _older_unit(world: TSAWorld) -> Any:
    private_key = key("rsa-3072")
    certificate = issue("rsa-3072", private_key.public_key(), "sha256", Profile())
    return load_authenticode_unit(
        "authenticode",
        UnitSettings(protocol="authenticode"),
        world.credential("authenticode", certificate),
        [ca.issuer for ca in world.chain],
        MemorySigner(private_key),
        int(world.clock.now()),
    )


def make_target(name: str) -> OCSPTarget | TimestampTarget:
    """One of ``TARGETS``."""
    match name:
        case "ocsp":
            return OCSPTarget()
        case "tsa":
            return TimestampTarget()
        case "authenticode":
            return TimestampTarget(older=True)
        case _:
            return PathTarget()


def mutator(target: Target, number: int) -> Mutator:
    """Of the requests that a target reads."""
    return Mutator(target.seeds, number, target.inner, target.wrap)
