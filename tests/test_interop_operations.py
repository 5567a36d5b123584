"""What is deployed around the responders, run from Debian's packages with the very files that are deployed: nginx in
front of two nodes that share nothing but PostgreSQL, and Prometheus with the alerts and the queries of the dashboard.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
from base64 import b64encode
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import pytest
from confinement import confined_server
from cryptography.x509 import ocsp as x509_ocsp
from daemons import daemon
from http_caches import nginx, rendered
from issuance_world import without_dns, without_logs
from ocsp_wire import extension, request
from ports import free_port
from postgres_server import postgres_server
from running_server import running_server, until
from strangers import TIMESTAMP_QUERY, ask, certificate, issuance, issue, ocsp_request, revoke, run
from test_interop_caches import paths, requests
from tsa_reader import open_reply
from tsa_server import query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from running_server import Server

DOCKER: Final = Path(__file__).parent.parent / "docker"
ALERTS: Final = DOCKER.parent / "docs" / "alerts.yaml"
PREFERRED: Final = "06092b0601050507300108"
"""id-pkix-ocsp-pref-sig-algs (RFC 6960 §4.4.7)."""


@dataclass(frozen=True)
class Deployment:
    """Two nodes, and nginx before them."""

    nodes: tuple[Server, Server]
    port: int

    @property
    def home(self) -> Path:
        return self.nodes[0].home


@dataclass(frozen=True)
class Told:
    """What a client was told, and how nginx came by it."""

    body: bytes
    etag: str | None
    cache: str | None

    @property
    def status(self) -> str:
        return x509_ocsp.load_der_ocsp_response(self.body).certificate_status.name


def furnish(home: Path) -> None:
    """What the demo home has, as far as it is asked for here, with keys that are quickly made."""
    place = ("--country", "JP", "--state", "Tokyo", "--locality", "Chiyoda-ku")
    issuance(home, "institution", "add", *place, "--domain", "example.ac.jp", "Example University")
    for label, purpose, key in (
        ("root", "root", "p384"),
        ("server-ecc", "server", "p384"),
        ("client", "client", "p384"),
        ("timestamp", "timestamp", "rsa-3072"),
    ):
        above = () if label == "root" else ("--parent", "root")
        named = ("--common-name", f"Test {label}", "--organization", "Example University", "--country", "JP")
        issuance(home, "ca", "create", label, "--purpose", purpose, "--key", key, *above, *named)
    issuance(home, "signer", "renew", "--unit", "p256", "--key", "p256")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("operations")
    port = free_port()
    settings = (
        f'\n[purge]\ncaches = ["http://127.0.0.1:{port}"]\nposts = true\n[tsa.units.p256]\npolicy = "2.999.3161.2"\n'
    )
    with postgres_server() as database, ExitStack() as running:
        home = folder / "home"
        issuance(home, "init", "--database", database, "--base-url", f"http://127.0.0.1:{free_port()}")
        without_dns(home)
        without_logs(home)
        furnish(home)
        with (home / "responders.toml").open("a") as file:
            file.write(settings)
        run("cp", "-r", home, folder / "second")
        first, second = (running.enter_context(running_server(each, workers=1)) for each in (home, folder / "second"))
        running.enter_context(nginx(folder, port, first.port, second.port))
        yield Deployment((first, second), port)


def tell(port: int, asked: bytes, method: str, target: str = "/ocsp") -> Told:
    """One OCSP request over a fresh connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        if method == "POST":
            connection.request("POST", target, asked, {"Content-Type": "application/ocsp-request"})
        else:
            connection.request("GET", f"/ocsp/{quote(b64encode(asked), safe='')}")
        answer = connection.getresponse()
        assert answer.status == 200
        return Told(answer.read(), answer.getheader("ETag"), answer.getheader("X-Cache"))
    finally:
        connection.close()


@pytest.mark.interop("nginx")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nginx_answers_what_is_asked_again_by_itself(deployment: Deployment, tmp_path: Path, method: str) -> None:
    issued = issue(deployment.home, tmp_path, "server-ecc", "server")
    asked = ocsp_request(issued.certificate, certificate(deployment.home, issued.ca))
    told = [tell(deployment.port, asked, method) for _ in range(200)]
    assert [each.cache for each in told] == ["MISS"] + ["HIT"] * 199
    assert {each.body for each in told} == {told[0].body}


@pytest.mark.interop("nginx")
def test_the_etags_of_both_nodes_and_of_the_cache_agree(deployment: Deployment, tmp_path: Path) -> None:
    issued = issue(deployment.home, tmp_path, "server-ecc", "server")
    for asked in requests(deployment.home, issued):
        ports = (*(node.port for node in deployment.nodes), deployment.port)
        told = [tell(port, asked, method) for port in ports for method in ("GET", "POST")]
        assert len({(each.etag, each.body) for each in told}) == 1
        assert told[0].etag


@pytest.mark.interop("nginx")
def test_nginx_keeps_no_answer_that_was_made_for_one_client(deployment: Deployment, tmp_path: Path) -> None:
    """A nonce, an extension or a second certificate: whatever PURGE could not name is asked for each time."""
    issued = issue(deployment.home, tmp_path, "server-ecc", "server")
    about = issued.certificate, certificate(deployment.home, issued.ca)
    plain = ocsp_request(*about)
    cert_id = plain[plain.index(b"\x30", 6) :]  # behind the SEQUENCEs of request, TBSRequest and list
    assert request(cert_id[2:]) == plain
    nonces = [secrets.token_bytes(size) for size in (1, 16, 32)]
    for nonce in nonces:
        for _ in range(3):
            for method in ("GET", "POST"):
                told = tell(deployment.port, ocsp_request(*about, nonce=nonce), method)
                assert told.cache == {"GET": "MISS", "POST": "BYPASS"}[method]
                assert nonce in told.body
    others = {
        "preferred algorithms": request(cert_id[2:], extensions=(extension(PREFERRED, b"\x30\x00"),)),
        "single extension": request(cert_id[2:], single_extensions=(extension("06032a0304", b"\x05\x00"),)),
        "two certificates": request(cert_id[2:], cert_id[2:]),
        "octets behind": plain + b"\x00",
        "nothing": b"",
    }
    for name, asked in others.items():
        assert {tell(deployment.port, asked, "POST").cache for _ in range(3)} == {"BYPASS"}, name
    small = ocsp_request(*about, serial=5)
    short = request(small[small.index(b"\x30", 6) + 2 :], extensions=(extension("06032a0304", b""),))
    assert {tell(deployment.port, short, "POST").cache for _ in range(3)} == {"BYPASS"}
    unknown = ocsp_request(*about, serial=secrets.randbits(120))
    assert {tell(deployment.port, unknown, "POST").cache for _ in range(3)} == {"MISS"}  # an error is not stored


@pytest.mark.interop("nginx")
def test_a_revocation_empties_the_cache_of_gets_and_posts(deployment: Deployment, tmp_path: Path) -> None:
    """Under every hash, with parameters NULL and absent."""
    issued = issue(deployment.home, tmp_path, "client", "client")
    ways = [(asked, method) for asked in requests(deployment.home, issued) for method in ("GET", "POST")]

    def told() -> list[Told]:
        return [tell(deployment.port, *way) for way in ways]

    told()
    assert {(each.status, each.cache) for each in told()} == {("GOOD", "HIT")}
    sent = 'responders_cache_purges_total{outcome="sent"}'
    both_rounds = 2 * (len(paths(deployment.home, issued)) + len(ways) // 2)  # GETs as they are spelled, and bodies
    wanted = [(node, node.metric(sent) + both_rounds) for node in deployment.nodes]
    revoke(deployment.home, issued)
    until(lambda: {each.status for each in told()} == {"REVOKED"}, "the cache goes on with good")
    # The second round comes seconds later and must not bring the old answer back.
    until(lambda: all(node.metric(sent) >= count for node, count in wanted), "no second round")
    assert {(each.status, each.cache) for each in told()} == {("REVOKED", "HIT")}


@pytest.mark.interop("nginx")
def test_time_stamps_pass_through_nginx(deployment: Deployment) -> None:
    replies = [ask(f"http://127.0.0.1:{deployment.port}/tsa", query(), TIMESTAMP_QUERY) for _ in range(4)]
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 4


@pytest.mark.interop("nginx")
def test_nobody_notices_a_node_that_is_away(deployment: Deployment, tmp_path: Path) -> None:
    issued = issue(deployment.home, tmp_path, "server-ecc", "server")
    about = issued.certificate, certificate(deployment.home, issued.ca)
    port = free_port()
    with nginx(tmp_path, port, deployment.nodes[1].port, free_port()):
        for _ in range(20):
            assert tell(port, ocsp_request(*about, nonce=secrets.token_bytes(16)), "POST").status == "GOOD"


@pytest.mark.interop("nginx")
def test_only_the_nodes_may_purge(deployment: Deployment, tmp_path: Path) -> None:
    """Whoever else says PURGE is refused, and the inner addresses are not to be had by a plain request."""
    text = (DOCKER / "nginx.conf").read_text()
    assert text.count("allow ") == 2
    asked = quote(b64encode(b"anything"), safe="")
    for target in (f"/refresh/ocsp/{asked}", "/refresh/ocsp", "/refresh/crl/root.crl"):
        assert ask(f"http://127.0.0.1:{deployment.port}{target}").status == 404
    strict = tmp_path / "strict"
    strict.mkdir()
    port = free_port()
    with nginx(strict, port, deployment.nodes[0].port, purgers="192.0.2.1"):
        for target in (f"/ocsp/{asked}", "/ocsp"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("PURGE", target, b"anything")
            assert connection.getresponse().status == 403
            connection.close()


def test_a_node_writes_nothing_but_its_log(deployment: Deployment, tmp_path: Path) -> None:
    """As the containers have it: the home is read-only, the log is elsewhere with a key of its own."""
    unit = tmp_path / "node.service"
    read_only = {
        "ReadWritePaths=/var/lib/responders\n": "ReadWritePaths=/var/lib/responders/log\n",
        "ReadOnlyPaths=/var/lib/responders/responders.toml /var/lib/responders/certs\n": "ReadOnlyPaths=\n",
    }
    unit.write_text(rendered((DOCKER / "systemd" / "responders.service").read_text(), read_only))
    home = tmp_path / "home"
    run("cp", "-r", deployment.home, home)
    run("rm", "-r", home / "log", home / "keys" / "token-log.key")
    (home / "log").mkdir()
    with (home / "responders.toml").open("a") as file:
        file.write('\n[log]\nkey = "file:log/keys/token-log.key"\n')
    before = {path for path in home.rglob("*") if not path.is_relative_to(home / "log")}
    with confined_server(home, tmp_path, unit) as server:
        open_reply(ask(f"{server.url}/tsa", query(), TIMESTAMP_QUERY).body)
        until(lambda: server.metric("responders_tsa_log_entries_total") == 1, "the log of tokens is not written")
    assert {path for path in home.rglob("*") if not path.is_relative_to(home / "log")} == before
    assert (home / "log" / "public-key.pem").exists()


def panels() -> dict[str, list[str]]:
    """The dashboard's queries, panel by panel, with what Grafana fills in."""
    dashboard = json.loads((DOCKER / "grafana" / "responders.json").read_text())
    return {
        panel["title"]: [
            each["expr"].replace("$__rate_interval", "1m").replace("$node", ".*") for each in panel["targets"]
        ]
        for panel in dashboard["panels"]
    }


def metric_names(text: str) -> set[str]:
    return set(re.findall(r"\bresponders_[a-z_]+\b", text))


@pytest.mark.interop("prometheus", "promtool")
def test_prometheus_scrapes_both_nodes_and_knows_every_name(deployment: Deployment, tmp_path: Path) -> None:
    """Targets are up, the alerts are loaded and silent, and each panel's queries have something to show."""
    port = free_port()
    first, second = deployment.nodes
    replaced = {
        "node1:8081": f"127.0.0.1:{first.admin_port}",
        "node2:8081": f"127.0.0.1:{second.admin_port}",
        "scrape_interval: 15s": "scrape_interval: 500ms",
        "evaluation_interval: 15s": "evaluation_interval: 1s",
    }
    file = tmp_path / "prometheus.yml"
    file.write_text(rendered((DOCKER / "prometheus.yml").read_text(), replaced))
    (tmp_path / "alerts.yaml").write_text(ALERTS.read_text())
    assert "SUCCESS" in run("promtool", "check", "config", file)

    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with daemon([*command, f"--web.listen-address=127.0.0.1:{port}"], port, tmp_path / "prometheus.log"):

        def api(path: str, form: bytes | None = None) -> Any:
            reply = ask(f"http://127.0.0.1:{port}/api/v1/{path}", form, "application/x-www-form-urlencoded")
            assert reply.status == 200, reply.body
            return json.loads(reply.body)["data"]

        def query_result(expression: str) -> list[Any]:
            found: list[Any] = api("query", urlencode({"query": expression}).encode())["result"]
            return found

        until(lambda: ask(f"http://127.0.0.1:{port}/-/ready").status == 200, "Prometheus does not get ready")
        until(
            lambda: [each["health"] for each in api("targets")["activeTargets"]] == ["up", "up"],
            "the nodes are not scraped",
        )
        rules = [rule for group in api("rules")["groups"] for rule in group["rules"]]
        assert {rule["name"] for rule in rules} == set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
        until(lambda: all(rule["health"] == "ok" for rule in api("rules")["groups"][0]["rules"]), "a rule does not run")

        exposed = {name for node in deployment.nodes for name in metric_names(node.admin("/metrics")[1])}
        named = {name for expressions in panels().values() for each in expressions for name in metric_names(each)}
        assert named <= exposed
        assert metric_names(ALERTS.read_text()) <= exposed
        for node in deployment.nodes:  # something for every panel to show
            refused = http.client.HTTPConnection(node.host, node.port, timeout=20)
            refused.request("PUT", "/ocsp")
            assert refused.getresponse().status == 405
            refused.close()
            assert ask(f"{node.url}/crl/root.crl").status == 200
        issued = issue(deployment.home, tmp_path, "server-ecc", "server")
        revoke(deployment.home, issued)
        asked = ocsp_request(issued.certificate, certificate(deployment.home, issued.ca))

        def shown() -> bool:
            for node in deployment.nodes:
                assert tell(node.port, asked, "POST").status == "REVOKED"
                assert ask(f"{node.url}/tsa/p256", query(), TIMESTAMP_QUERY).status == 200
                ask(f"{node.url}/nowhere")
            empty[:] = [title for title, expressions in panels().items() if not query_result(expressions[0])]
            return not empty

        empty: list[str] = []
        until(shown, f"a panel stays empty: {empty}")
        for title, expressions in panels().items():
            for each in expressions:
                assert "NaN" not in str(query_result(each)), title
