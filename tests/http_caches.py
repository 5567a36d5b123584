"""Real HTTP caches in front of a server: nginx with the very file that is deployed, Varnish as documented."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemons import daemon
from ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT: Final = Path(__file__).parent.parent
DOCUMENT: Final = _ROOT / "docs" / "http-caches.md"
CONFIGURATION: Final = _ROOT / "docker" / "nginx.conf"
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
    return rendered(found[1], replaced)


def rendered(text: str, replaced: Mapping[str, str]) -> str:
    """A configuration with what this machine calls otherwise; each name must occur in it."""
    for name, other in replaced.items():
        assert name in text, f"{name} is not in the configuration"
        text = text.replace(name, other)
    return text


@contextmanager
def nginx(folder: Path, port: int, *nodes: int, purgers: str = "127.0.0.1") -> Iterator[None]:
    """The deployed nginx on this port, before the one or two nodes of responders on others."""
    snippet = rendered(
        CONFIGURATION.read_text(),
        {
            "/var/cache/nginx/responders": f"{folder}/cache",
            "node1:8080": f"127.0.0.1:{nodes[0]}",
            "node2:8080": f"127.0.0.1:{nodes[-1]}",
            "listen 8080;": f"listen 127.0.0.1:{port};",
            "allow 127.0.0.1;": f"allow {purgers};",
        },
    )
    file = folder / "nginx.conf"
    file.write_text(_AROUND.format(folder=folder, snippet=snippet))
    with daemon(["nginx", "-p", str(folder), "-e", "stderr", "-c", str(file)], port, folder / "nginx.log"):
        yield


@contextmanager
def varnish(folder: Path, port: int, upstream: int) -> Iterator[None]:
    """The documented Varnish on this port, before the responders on another."""
    file = folder / "responders.vcl"
    file.write_text(documented("vcl", {'"8080"': f'"{upstream}"'}))
    command = ["varnishd", "-F", "-j", "none", "-a", f"127.0.0.1:{port}", "-f", str(file)]
    options = ["-n", str(folder / "varnish"), "-s", "malloc,16m", "-T", f"127.0.0.1:{free_port()}"]
    with daemon([*command, *options], port, folder / "varnish.log"):
        yield
