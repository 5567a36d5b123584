"""Real HTTP caches in front of a server, set up as ``docs/http-caches.md`` says."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from running_server import START_SECONDS, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "http-caches.md"
_AROUND: Final = """
user root;
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{snippet}
}}
"""


def documented(language: str, replaced: Mapping[str, str]) -> str:
    """The example in this language, with what this machine calls otherwise; each name must occur in it."""
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    text = found[1]
    for name, other in replaced.items():
        assert name in text, f"{name} is not in the example"
        text = text.replace(name, other)
    return text


@contextmanager
def nginx(folder: Path, port: int, upstream: int) -> Iterator[None]:
    """The documented nginx on this port, before the responders on another."""
    snippet = documented(
        "nginx",
        {
            "/var/cache/nginx/responders": f"{folder}/cache",
            "127.0.0.1:8080": f"127.0.0.1:{upstream}",
            "127.0.0.1:80;": f"127.0.0.1:{port};",
        },
    )
    file = folder / "nginx.conf"
    file.write_text(_AROUND.format(folder=folder, snippet=snippet))
    with _running(["nginx", "-p", str(folder), "-e", "stderr", "-c", str(file)], port, folder / "nginx.log"):
        yield


@contextmanager
def varnish(folder: Path, port: int, upstream: int) -> Iterator[None]:
    """The documented Varnish on this port, before the responders on another."""
    file = folder / "responders.vcl"
    file.write_text(documented("vcl", {'"8080"': f'"{upstream}"'}))
    command = ["varnishd", "-F", "-j", "none", "-a", f"127.0.0.1:{port}", "-f", str(file)]
    options = ["-n", str(folder / "varnish"), "-s", "malloc,16m", "-T", f"127.0.0.1:{free_port()}"]
    with _running([*command, *options], port, folder / "varnish.log"):
        yield


@contextmanager
def _running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _accepts(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
