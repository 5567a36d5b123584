"""What ``doctor`` sees without the database: files, configuration, the clock, and whether a server runs."""

from __future__ import annotations

import http.client
import ipaddress
import stat
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ca_store.errors import KeyUnavailable
from ca_store.home import CONFIGURATION
from ca_store.keys import check_private
from responders.finding import Finding, Level
from responders.kernel_clock import read_clock_estimate
from tsa.settings import GRANULARITY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca_store.home import Home
    from responders.config import Address, Config

_DEMO: Final = "certs/demo-good.pem"
_DAY: Final = 86_400
_MICROSOFT_VALIDITY: Final = 7 * _DAY
_HTTP_SECONDS: Final = 5.0
_FEWEST_OPERATORS: Final = 2
_MOST: Final = 1 << 16
_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, not bound


def is_demo(home: Home) -> bool:
    """Whether ``issuance init --demo`` made the home."""
    return (home.path / _DEMO).exists()


def examine_home(home: Home) -> Iterator[Finding]:
    """Who may read and write what."""
    private = [home.passphrase_file, *sorted((home.path / "keys").glob("*.key"))]
    faults = 0
    for path in private:
        try:
            check_private(path)
        except KeyUnavailable as error:
            faults += 1
            yield Finding(Level.FAULT, "home", str(error))
    for path in (home.path, home.path / "keys", home.path / CONFIGURATION):
        mode = path.stat().st_mode
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            faults += 1
            yield Finding(Level.FAULT, "home", f"{path} can be written by others: its mode is {mode & 0o777:04o}")
    configuration = home.path / CONFIGURATION
    secret = any(urlsplit(url).password for url in (home.database_url, home.read_url or ""))
    if secret and configuration.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        faults += 1
        yield Finding(Level.FAULT, "home", f"{configuration} holds a password and can be read by others")
    if not faults:
        count = len(private) - 1
        yield Finding(Level.OK, "home", f"{count} keys and their passphrase are readable by their owner alone")


def examine_pointers(home: Home) -> Iterator[Finding]:
    """Where the certificates send relying parties, and what the demo leaves out."""
    section = home.document.get("issuance", {})
    issuance = section if isinstance(section, dict) else {}
    caa, logs = issuance.get("caa", True) is True, _logs(home)
    if is_demo(home) and not caa and logs is None:
        yield Finding(Level.NOTE, "issuance", "this is the demo home: CAA look-ups and CT submission are off")
    else:
        yield _examine_caa(home, looked_up=caa)
        yield _examine_ct(home, logs)
    base_url = issuance.get("base_url", "")
    host = (urlsplit(base_url).hostname or "") if isinstance(base_url, str) else ""
    if host and not _is_loopback(host):
        yield Finding(Level.OK, "issuance", f"certificates point to {base_url}")
    elif is_demo(home):
        yield Finding(Level.NOTE, "issuance", "certificates point to this machine, as the demo's do")
    else:
        where = repr(base_url) if host else "nowhere, which is 127.0.0.1"
        yield Finding(
            Level.FAULT,
            "issuance",
            f"[issuance] base_url points to {where}: nobody elsewhere can follow the pointers in certificates",
        )


def _examine_caa(home: Home, *, looked_up: bool) -> Finding:
    if looked_up:
        return Finding(Level.OK, "issuance", "CAA is looked up before certificates are issued")
    if is_demo(home):
        return Finding(Level.NOTE, "issuance", "this is the demo home: CAA look-ups are off")
    return Finding(
        Level.WARNING, "issuance", "[issuance] caa is off: certificates are issued whatever CAA says (BR §3.2.2.8)"
    )


def _logs(home: Home) -> list[str] | None:
    """The operator of each configured log; None where Certificate Transparency is off."""
    section = home.document.get("ct")
    if not isinstance(section, dict) or section.get("enabled", True) is not True:
        return None
    logs = section.get("logs", [])
    return [str(log.get("operator")) for log in logs if isinstance(log, dict)] if isinstance(logs, list) else []


def _examine_ct(home: Home, operators: list[str] | None) -> Finding:
    if operators is None and is_demo(home):
        return Finding(Level.NOTE, "issuance", "this is the demo home: CT submission is off")
    if operators is None:
        return Finding(
            Level.WARNING, "issuance", "[ct] is off: browsers refuse server certificates without SCTs (RFC 6962)"
        )
    count = len(set(operators))
    if count < _FEWEST_OPERATORS:
        sentence = f"[ct] names logs of {count} operators: too few for any server certificate to be issued"
        return Finding(Level.FAULT, "issuance", sentence)
    return Finding(Level.OK, "issuance", f"server certificates are submitted to {len(operators)} CT logs")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def examine_settings(config: Config) -> Iterator[Finding]:
    """What is allowed by this program and not by everybody's rules."""
    ocsp = config.ocsp
    if ocsp.validity >= _MICROSOFT_VALIDITY:
        yield Finding(
            Level.WARNING,
            "settings",
            f"[ocsp] validity is {ocsp.validity} s: Microsoft wants less than {_MICROSOFT_VALIDITY} s",
        )
    else:
        yield Finding(
            Level.OK, "settings", f"answers hold for {ocsp.validity} s and are made again every {ocsp.window} s"
        )


def examine_clock(config: Config) -> Iterator[Finding]:
    """The kernel's estimate of its clock, held against what the units state, and who judges it while serving."""
    if config.tsa.units and config.clock.source == "host":
        yield Finding(
            Level.NOTE,
            "clock",
            "[clock] source is host: time-stamps trust the host's clock, and only steps and backward jumps stop them",
        )
    estimate = read_clock_estimate()
    if estimate is None:
        yield Finding(Level.NOTE, "clock", "the kernel does not say how good its clock is")
        return
    if not estimate.synchronised:
        yield Finding(
            Level.WARNING, "clock", "the kernel says that nothing disciplines its clock: is an NTP client running?"
        )
        return
    errors = f"{estimate.estimated_error:.3f} s, at most {estimate.maximum_error:.3f} s"
    yield Finding(Level.OK, "clock", f"the kernel's clock is disciplined; it puts its error at {errors}")
    for name, unit in config.tsa.units.items():
        # A part of the accuracy is lost to the cutting of genTime.
        if estimate.maximum_error > unit.accuracy_seconds - GRANULARITY_SECONDS[unit.gen_time]:
            yield Finding(
                Level.WARNING,
                "clock",
                f"time-stamping unit {name} states an accuracy of {unit.accuracy_seconds:g} s, and the clock may be"
                f" wrong by {estimate.maximum_error:.3f} s",
            )


def examine_server(admin: Address) -> Iterator[Finding]:
    """What a running server says of itself."""
    try:
        status, lines = _readiness(admin)
    except (OSError, http.client.HTTPException, ValueError):
        yield Finding(Level.NOTE, "server", f"no server answers on {admin}: only the home was looked at")
        return
    if status == http.client.OK and lines[:1] == ["ready"]:
        yield Finding(Level.OK, "server", f"the server on {admin} is ready")
        for line in lines[1:]:
            yield Finding(Level.WARNING, "server", line)
    elif status == http.client.SERVICE_UNAVAILABLE:
        for line in lines:
            yield Finding(Level.FAULT, "server", f"the server on {admin} is not ready: {line}")
    else:
        yield Finding(Level.WARNING, "server", f"what answers on {admin} is another program")


def _readiness(admin: Address) -> tuple[int, list[str]]:
    connection = http.client.HTTPConnection(_ANY_HOST.get(admin.host, admin.host), admin.port, timeout=_HTTP_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        text = response.read(_MOST).decode("utf-8")
    finally:
        connection.close()
    return response.status, ["".join(each for each in line if each.isprintable()) for line in text.splitlines()]
