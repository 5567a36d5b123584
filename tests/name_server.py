"""BIND on loopback: the whole name space, from a root zone of its own to zones that are broken in every way.

One server is asked; it answers for its own zones, validates, and asks a second one about ``bogus.jp``, whose zone is
not signed though its key is known.
"""

from __future__ import annotations

import shutil
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from daemons import daemon
from ports import free_port
from running_server import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import Popen

US = "certs.example.jp"
_RUNNING = " running\n"

_OPTIONS = """
options {{
    directory "{folder}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile none;
    managed-keys-directory "{folder}";
    allow-query {{ any; }};
    recursion {recursion};
    dnssec-validation {validation};
    notify no;
    empty-zones-enable no;
}};
controls {{ }};
"""
_ZONE = 'zone "{zone}" {{ type primary; file "{file}"; }};\n'
_SOA = "$TTL 300\n@ SOA ns.jp. root.jp. 1 3600 600 86400 60\n@ NS ns.jp.\n"

ZONES = {
    ".": "ns.jp. A 127.0.0.1\nbogus.jp. NS ns.bogus.jp.\nns.bogus.jp. A 127.0.0.1\nbare.test. A 192.0.2.1\n",
    "example.ac.jp": f"""
@ A 192.0.2.1
none.nothing A 192.0.2.1
ours CAA 0 issue "{US}"
theirs CAA 0 issue "letsencrypt.org"
*.wildcard A 192.0.2.1
both CAA 0 issue "letsencrypt.org"
both CAA 0 issue "{US}"
nobody CAA 0 issue ";"
spaced CAA 0 issue "  {US} ; a=b"
upper CAA 0 ISSUE "{US.upper()}"
upper-other CAA 0 IsSuE "letsencrypt.org"
part CAA 0 issue "{US}.evil.example"
broken CAA 0 issue "{US} is ours"
reserved CAA 1 issue "{US}"
reserved CAA 127 tbs "x"
critical CAA 128 tbs "x"
critical CAA 0 issue "{US}"
report CAA 128 iodef "mailto:security@example.ac.jp"
mailonly CAA 0 issuemail ";"
mailours CAA 0 issuemail "{US}"
wild CAA 0 issuewild "{US}"
wild CAA 0 issue "letsencrypt.org"
notwild CAA 0 issuewild ";"
notwild CAA 0 issue "{US}"
onlywild CAA 0 issuewild ";"
alias CNAME target.other.ac.jp.
empty-alias CNAME empty.other.ac.jp.
a.ours-parent A 192.0.2.1
ours-parent CAA 0 issue "{US}"
below.ours-parent CNAME empty.other.ac.jp.
below.theirs-parent CNAME empty.other.ac.jp.
theirs-parent CAA 0 issue "letsencrypt.org"
lost-alias CNAME nowhere.other.ac.jp.
bogus-alias CNAME www.bogus.jp.
dead-alias CNAME www.dead.jp.
loop CNAME loop2
loop2 CNAME loop
tree DNAME tree.other.ac.jp.
"""
    + "".join(f"chain{number} CNAME chain{number + 1}\n" for number in range(8))
    + 'chain8 CAA 0 issue "letsencrypt.org"\n'
    + "".join(f"long{number} CNAME long{number + 1}\n" for number in range(200))
    + 'changing CAA 0 issue "letsencrypt.org"\n',
    "other.ac.jp": 'target CAA 0 issue "letsencrypt.org"\nempty A 192.0.2.1\nwww.tree CAA 0 issue "letsencrypt.org"\n',
    "closed.ac.jp": '@ CAA 0 issue "letsencrypt.org"\n@ A 192.0.2.1\n',
}
DEAD = ("dead.jp", "dead.ac.jp")


@dataclass(frozen=True)
class NameServer:
    """A server that is up. ``authoritative`` is the port of the second one, which asks nobody."""

    port: int
    authoritative: int
    folder: Path
    process: Popen[bytes]

    def change(self, zone: str, text: str) -> None:
        """Replace the records of a zone, and wait until they are served."""
        log = self.folder / "log"
        before = log.read_text().count(_RUNNING)
        _write(self.folder / _file(zone), text)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: log.read_text().count(_RUNNING) > before, "the zones are not loaded again")


@contextmanager
def name_servers(folder: Path) -> Iterator[NameServer]:
    """Both of them, as long as the block lasts."""
    program = shutil.which("named")
    if program is None:
        pytest.skip("named is not installed")
    port, second = free_port(), free_port()
    asked, other = folder / "asked", folder / "other"
    for each in (asked, other):
        each.mkdir()
    zones = "".join(_zone(asked, zone, text) for zone, text in ZONES.items())
    zones += "".join(_ZONE.format(zone=zone, file="missing") for zone in DEAD)
    zones += f'zone "bogus.jp" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {second}; }}; }};\n'
    zones += f'trust-anchors {{ "bogus.jp." static-ds 12345 13 2 "{"00" * 32}"; }};\n'
    _configure(asked, port, zones, recursion="yes", validation="yes")
    bogus = _zone(other, "bogus.jp", "ns A 127.0.0.1\nwww A 192.0.2.1\n")
    _configure(other, second, bogus, recursion="no", validation="no")
    with (
        daemon([program, "-g", "-c", other / "named.conf"], second, other / "log"),
        daemon([program, "-g", "-c", asked / "named.conf"], port, asked / "log") as process,
    ):
        until(lambda: _RUNNING in (asked / "log").read_text(), "the zones are not loaded")
        yield NameServer(port, second, asked, process)


def _configure(folder: Path, port: int, zones: str, *, recursion: str, validation: str) -> None:
    options = _OPTIONS.format(folder=folder, port=port, recursion=recursion, validation=validation)
    (folder / "named.conf").write_text(options + zones)


def _zone(folder: Path, zone: str, text: str) -> str:
    _write(folder / _file(zone), text)
    return _ZONE.format(zone=zone, file=_file(zone))


def _write(file: Path, text: str) -> None:
    file.write_text(_SOA + text)


def _file(zone: str) -> str:
    return f"{zone.strip('.') or 'root'}.zone"
