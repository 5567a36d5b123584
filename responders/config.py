"""The responders' sections of ``responders.toml``: typed, complete with defaults, refused where they cannot work.

``[ocsp]`` is ``ocsp.settings.Settings``, ``[purge]`` ``responders.purge_settings.Purge``, ``[clock]``
``tsa.settings.ClockSettings``, ``[log]`` ``tsa.log_settings.LogSettings``; ``[tsa]`` is
``tsa.settings.Settings`` with ``default_unit`` and one ``[tsa.units.NAME]`` (``tsa.settings.UnitSettings``) for each
time-stamping unit. What belongs to other packages is left alone, and a section that belongs to nobody is refused.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from ca_store.home import CONFIGURATION
from ocsp.settings import Settings as OCSPSettings
from responders.client_addresses import parse_networks
from responders.purge_settings import Purge
from tsa.log_settings import LogSettings
from tsa.settings import ClockSettings, UnitSettings
from tsa.settings import Settings as TSASettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ca_store.home import Home

OTHERS: Final = frozenset({"database", "keys", "issuance", "ct"})
"""Sections of other packages."""

_OWN: Final = frozenset({"server", "signing", "ocsp", "tsa", "clock", "log", "purge"})
_MAX_PORT: Final = 65_535

_T = TypeVar("_T")


class ConfigError(Exception):
    """A configuration that cannot work; one sentence that names the file and the field."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens."""

    host: str
    port: int
    """0 takes a free one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > _MAX_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return Address(host, int(port))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Server:
    """``[server]``: listeners, processes and what a client may cost. Durations are seconds."""

    listen: str = "127.0.0.1:8080"
    """The public listener, ``HOST:PORT``. Plain HTTP: the signing tools of Windows speak nothing else."""
    admin: str = "127.0.0.1:8081"
    """Health and metrics. Never make it public."""
    workers: int | None = None
    """Processes that answer; the usable cores by default. More than cores gains nothing."""
    ocsp_body: int = 16 * 1024
    """The most octets of an OCSP request body; a request for one certificate has about 80."""
    tsa_body: int = 64 * 1024
    """The most octets of a time-stamp request body; a usual one has about 60."""
    header_seconds: float = 10.0
    """A request's header must be complete this long after its first octet, or after the connection was made."""
    body_seconds: float = 10.0
    """A request's body must be complete this long after its header."""
    keep_alive_seconds: float = 75.0
    """How long a connection may be idle between requests. Keep it above that of the proxy in front."""
    drain_seconds: float = 15.0
    """How long a clean stop waits for requests in hand. Keep it above ``body_seconds`` plus ``[signing] deadline``."""
    hang_seconds: float = 10.0
    """A worker that has shown no sign of life for this long is killed and replaced."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of the HTTP proxies in front: whose ``X-Forwarded-For`` says who asks. It matters where
    ``[ocsp] nonce_rate`` is set.
    """

    prepared_responses: bool = True
    """Send ready-made octets instead of aiohttp's response objects, and answer requests that came before to the octet
    without its parser. False costs three quarters of the speed of answers from memory; it is there for an aiohttp on
    whose insides this does not work.
    """

    def __post_init__(self) -> None:
        for name in ("listen", "admin"):
            try:
                parse_address(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be HOST:PORT") from error
        if self.workers is not None:
            _check("workers", self.workers, 1, 1024)
        _check("ocsp_body", self.ocsp_body, 1024, 1 << 24)
        _check("tsa_body", self.tsa_body, 1024, 1 << 24)
        _check("header_seconds", self.header_seconds, 0.1, 3600)
        _check("body_seconds", self.body_seconds, 0.1, 3600)
        _check("keep_alive_seconds", self.keep_alive_seconds, 1, 86_400)
        _check("drain_seconds", self.drain_seconds, 0, 3600)
        _check("hang_seconds", self.hang_seconds, 1, 3600)
        try:
            parse_networks(self.proxies)
        except ValueError as error:
            raise ValueError(f"proxies: {error}") from None


@dataclass(frozen=True, slots=True)
class Signing:
    """``[signing]``: the bounds of each worker's signing gate. Past them OCSP says tryLater and the TSA 503."""

    in_flight: int | None = None
    """Signatures under way at once in one worker; by default its share of the cores and one more."""
    waiters: int = 200
    """Signatures that may wait: ``in_flight`` times ``deadline`` divided by the time of one signature is sensible."""
    deadline: float = 2.0
    """Seconds a signature may wait; a client's patience is about five."""

    def __post_init__(self) -> None:
        if self.in_flight is not None:
            _check("in_flight", self.in_flight, 1, 1024)
        _check("waiters", self.waiters, 0, 1_000_000)
        _check("deadline", self.deadline, 0.01, 60)


@dataclass(frozen=True, slots=True)
class TSA:
    """``[tsa]`` with its units."""

    default_unit: str | None = None
    """The unit behind ``/tsa``. May be left out when there is only one."""
    units: Mapping[str, UnitSettings] = field(default_factory=dict)
    """``[tsa.units.NAME]``, each served at ``/tsa/NAME``; none switches time-stamping off."""
    settings: TSASettings = TSASettings()  # noqa: RUF009 - immutable

    @property
    def default(self) -> str:
        """The name of the default unit; there must be a unit."""
        return self.default_unit or next(iter(self.token_units))

    @property
    def token_units(self) -> Mapping[str, UnitSettings]:
        """The units that answer RFC 3161."""
        return {name: unit for name, unit in self.units.items() if unit.protocol == "rfc3161"}

    @property
    def authenticode(self) -> str | None:
        """The name of the unit that answers Authenticode's own protocol."""
        return next((name for name, unit in self.units.items() if unit.protocol == "authenticode"), None)

    def __post_init__(self) -> None:
        if self.default_unit is not None and self.default_unit not in self.token_units:
            raise ValueError(
                f"default_unit is {self.default_unit!r}: there is no [tsa.units.{self.default_unit}] for RFC 3161"
            )
        if self.default_unit is None and len(self.token_units) > 1:
            raise ValueError("default_unit is missing: there are several units")
        if len(self.units) - len(self.token_units) > 1:
            raise ValueError("units: only one can have protocol authenticode")
        if self.units and not self.token_units:
            raise ValueError("units: none has protocol rfc3161")
        for name in self.units:
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"units.{name}: a unit's name is part of its URL: letters, digits, - and _")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the responders were told."""

    server: Server
    signing: Signing
    ocsp: OCSPSettings
    tsa: TSA
    clock: ClockSettings
    log: LogSettings
    purge: Purge

    def in_flight(self, workers: int) -> int:
        """Signatures under way at once in one of so many workers."""
        return self.signing.in_flight or max(1, usable_cores() // workers) + 1


def open_config(home: Home, file: Path | None) -> Config:
    """The configuration of a home, or the one in ``file``, which then has the responders' sections and no others: where
    database and keys are is the home's own matter. Raises ConfigError.
    """
    if file is None:
        return load_config(home.document, home.path / CONFIGURATION)
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    foreign = sorted(document.keys() & OTHERS)
    if foreign:
        raise ConfigError(f"{file}: [{foreign[0]}] must stand in {home.path / CONFIGURATION}")
    return load_config(document, file)


def load_config(document: Mapping[str, Any], path: Path) -> Config:
    """Make the configuration of a parsed document; ``path`` is for the sentences. Raises ConfigError."""
    unknown = sorted(document.keys() - _OWN - OTHERS)
    if unknown:
        raise ConfigError(f"{path}: [{unknown[0]}] is not a section known here")
    tables = {name: document.get(name, {}) for name in sorted(_OWN)}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name} must be a section")
    tsa = dict(tables["tsa"])
    own = {name: tsa.pop(name) for name in ("default_unit", "units") if name in tsa}
    return Config(
        server=_section(tables["server"], Server, path, "server"),
        signing=_section(tables["signing"], Signing, path, "signing"),
        ocsp=_section(tables["ocsp"], OCSPSettings, path, "ocsp"),
        tsa=_tsa(own, _section(tsa, TSASettings, path, "tsa"), path),
        clock=_section(tables["clock"], ClockSettings, path, "clock"),
        log=_section(tables["log"], LogSettings, path, "log"),
        purge=_section(tables["purge"], Purge, path, "purge"),
    )


def _tsa(own: Mapping[str, Any], settings: TSASettings, path: Path) -> TSA:
    tables = own.get("units", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError(f"{path}: [tsa] units must be sections [tsa.units.NAME]")
    units = {name: _section(table, UnitSettings, path, f"tsa.units.{name}") for name, table in tables.items()}
    default = own.get("default_unit")
    if default is not None and not isinstance(default, str):
        raise ConfigError(f"{path}: [tsa] default_unit must be the name of a unit")
    try:
        return TSA(default_unit=default, units=units, settings=settings)
    except ValueError as error:
        raise ConfigError(f"{path}: [tsa] {error}") from error


def _section(table: Mapping[str, Any], kind: type[_T], path: Path, name: str) -> _T:
    known = {each.name for each in dataclasses.fields(kind)}  # type: ignore[arg-type]  # every kind is a dataclass
    unknown = sorted(table.keys() - known)
    if unknown:
        raise ConfigError(f"{path}: [{name}] {unknown[0]} is not a setting known here")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        sentence, _, where = str(error).partition(" - at `$.")
        raise ConfigError(f"{path}: [{name}] {where.removesuffix('`')}{': ' if where else ''}{sentence}") from error


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}: it must lie between {least} and {most}")
