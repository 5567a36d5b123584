"""nginx, Apache httpd and HAProxy staple our answers: good, and after a revocation revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ports import free_port
from running_server import until
from strangers import attempt, certificate, issue, revoke
from tls_servers import HOST, Site, apache, haproxy, nginx, nginx_with_file, stapled

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from running_server import Server

STAPLING = [
    pytest.param(nginx_with_file, marks=pytest.mark.interop("nginx"), id="nginx"),
    pytest.param(apache, marks=pytest.mark.interop("apache2"), id="apache"),
    pytest.param(haproxy, marks=pytest.mark.interop("haproxy"), id="haproxy"),
]


@pytest.mark.interop("openssl")
@pytest.mark.parametrize("ca", ["server-rsa", "server-ecc"])
@pytest.mark.parametrize("program", STAPLING)
def test_good_and_then_revoked(
    server: Server,
    tmp_path: Path,
    ca: str,
    program: Callable[[Site], AbstractContextManager[Callable[[], None]]],
) -> None:
    site = Site(server.home, tmp_path, free_port(), issue(server.home, tmp_path, ca, "server"))
    with program(site) as ask_again:
        until(lambda: stapled(site) == "good", "it staples nothing")
        revoke(server.home, site.issued)
        ask_again()
        until(lambda: stapled(site) == "revoked", "it goes on with good")


@pytest.mark.interop("nginx", "openssl")
def test_nginx_asks_itself_and_staples_nothing_that_is_not_good(server: Server, tmp_path: Path) -> None:
    site = Site(server.home, tmp_path, free_port(), issue(server.home, tmp_path, "server-rsa", "server"))
    with nginx(site) as ask_again:
        until(lambda: stapled(site) == "good", "it staples nothing")
        revoke(server.home, site.issued)
        ask_again()
        log = site.folder / "nginx.log"
        until(lambda: stapled(site) is None and 'status "revoked"' in log.read_text(), "it has not heard of it")


@pytest.mark.interop("apache2", "curl")
def test_curl_asks_for_a_status_and_believes_it(server: Server, tmp_path: Path) -> None:
    """``--cert-status``: without a stapled answer, or with a bad one, there is no connection."""
    site = Site(server.home, tmp_path, free_port(), issue(server.home, tmp_path, "server-rsa", "server"))
    invalid_status = 91
    command = (
        "curl", "--silent", "--show-error", "--cert-status", "--cacert", certificate(server.home, "root"),
        "--resolve", f"{HOST}:{site.port}:127.0.0.1", f"https://{HOST}:{site.port}/",
    )  # fmt: skip
    with apache(site) as ask_again:
        until(lambda: attempt(*command).status == 0, "curl is not content")
        revoke(server.home, site.issued)
        ask_again()
        until(lambda: attempt(*command).status == invalid_status, "curl has not heard of it")
        assert "revocation reason: keyCompromise" in attempt(*command).output
