"""What is in the containers, run from Debian's packages: the replica copies the primary and follows it; the home is
made by its command, and a node and issuance work under their roles, the node reading from the replica.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
import yaml
from cryptography.x509 import ocsp as x509_ocsp
from daemons import daemon
from http_caches import rendered
from ports import free_port
from postgres_server import postgres_folder
from running_server import running_server, until
from strangers import ask, certificate, load, ocsp_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from running_server import Server

DOCKER: Final = Path(__file__).parent.parent / "docker"
SCRIPTS: Final = DOCKER / "postgres"
PASSWORD, REPLICATION_PASSWORD = "one", "it's two"
SETTINGS: Final = {
    "DATABASE_PASSWORD": PASSWORD,
    "REPLICATION_PASSWORD": REPLICATION_PASSWORD,
    "RESPONDERS_PASSWORD": 'three"',
    "ISSUANCE_PASSWORD": "four'; --",
    "GRAFANA_PASSWORD": "five",
}
"""docker/.env."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Within reach of whoever may run PostgreSQL; the scripts lie there, too."""
    postgres_folder()
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        for script in SCRIPTS.iterdir():
            (Path(name) / script.name).write_text(script.read_text())
        (Path(name) / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(name, account.pw_uid, account.pw_gid)
        yield Path(name)


def as_postgres(folder: Path, data: str, port: int, *command: str | Path) -> list[str]:
    """A command with the environment of a container; ``port`` is the primary's. PostgreSQL refuses to run as root."""
    programs = postgres_folder()
    account = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups") if os.geteuid() == 0 else ()
    values = {
        **environment_of(data),
        "PGDATA": str(folder / data),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGPASSWORD": PASSWORD,
        "PRIMARY_CONNINFO": f"host=127.0.0.1 port={port} user=replication",
    }
    environment = [f"{name}={value}" for name, value in values.items()]
    return [*account, "env", "-C", "/", *environment, *map(str, command)]


def service(name: str) -> dict[str, Any]:
    """One service of compose.yaml."""
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"][name]
    return found


def environment_of(name: str) -> dict[str, str]:
    """What a service is told, with what docker/.env sets."""
    told = {}
    for variable, text in service(name)["environment"].items():
        told[variable] = re.sub(r"\$\{(\w+):\?.*?\}", lambda found: SETTINGS[found[1]], text)
        assert "$" not in told[variable]
    return told


def options(folder: Path, port: int) -> list[str]:
    return ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]


@contextmanager
def connection(port: int, user: str = "ca", password: str = PASSWORD) -> Iterator[psycopg.Connection[Any]]:
    told = {"host": "127.0.0.1", "port": port, "user": user, "password": password, "dbname": "ca"}
    with psycopg.connect(**told, autocommit=True) as opened:  # type: ignore[arg-type]  # a keyword of libpq's each
        yield opened


def value(port: int, query: str) -> object:
    """The one value of a query; None as long as the server does not answer it."""
    with suppress(psycopg.Error), connection(port) as opened:
        row = opened.execute(query.encode()).fetchone()
        return None if row is None else row[0]
    return None


@dataclass(frozen=True)
class Cluster:
    """A running primary, and how its replica is started; ports."""

    folder: Path
    primary: int
    replica: int

    @contextmanager
    def following(self) -> Iterator[None]:
        follow = as_postgres(
            self.folder, "replica", self.primary, "sh", self.folder / "replica.sh", *options(self.folder, self.replica)
        )
        with daemon(follow, self.replica, self.folder / "replica.log"):
            until(lambda: value(self.replica, "SELECT pg_is_in_recovery()") is True, "the replica does not start")
            yield


@pytest.fixture
def cluster(folder: Path) -> Iterator[Cluster]:
    """The primary, made as the image makes it: a database for its owner, then the script."""
    made = Cluster(folder, free_port(), free_port())
    first = as_postgres(folder, "primary", made.primary)
    initdb = ("initdb", "-U", "ca", "-A", "scram-sha-256", "--pwfile", folder / "password", "-E", "UTF8", "--no-sync")
    subprocess.run([*first, *map(str, initdb)], check=True, capture_output=True)
    with daemon([*first, "postgres", *options(folder, made.primary)], made.primary, folder / "primary.log"):
        create = [*first, "createdb", "-U", "ca", "ca"]
        until(lambda: value(made.primary, "SELECT 1") == 1 or not run_quietly(create), "the primary does not start")
        subprocess.run([*first, "sh", str(folder / "primary.sh")], check=True, capture_output=True)
        assert value(made.primary, "SELECT pg_reload_conf()") is True
        yield made


def run_quietly(command: list[str]) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_the_replica_copies_the_primary_and_follows_it(cluster: Cluster) -> None:
    for turn in (1, 2):  # the second time it has its data already
        with cluster.following():
            with connection(cluster.primary) as opened:
                opened.execute("CREATE TABLE IF NOT EXISTS told (turn int)")
                opened.execute("INSERT INTO told VALUES (%s)", [turn])
            until(lambda: value(cluster.replica, "SELECT max(turn) FROM told") == turn, "no row arrives")  # noqa: B023 - at once
            active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'replica'"
            assert value(cluster.primary, active) is True
    assert not (cluster.folder / "replica.copy").exists()


def as_service(name: str, home: Path, *command: str) -> str:
    """Carry out a command as in the container of this name; what it prints."""
    environment = {**os.environ, **environment_of(name), "RESPONDERS_HOME": str(home)}
    done = subprocess.run(command, check=False, cwd=home, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def home(cluster: Cluster, tmp_path: Path) -> Path:
    """Made by the command of the service of that name, and made sure of once more, as at every start."""
    made = tmp_path / "home"
    made.mkdir()
    [shell, flags, text] = service("home")["command"]
    module = f"{sys.executable} -m issuance "
    places = {
        "issuance migrate": f"{module}migrate",
        "issuance init": f"{module}init",
        "issuance roles": f"{module}roles",
        "primary,replica": f"127.0.0.1:{cluster.primary},127.0.0.1:{cluster.replica}",
        "//replica/": f"//127.0.0.1:{cluster.replica}/",
        "http://localhost:8080": f"http://127.0.0.1:{free_port()}",
    }
    for _ in range(2):
        as_service("home", made, shell, flags, rendered(text, places))
    assert (made / "log" / "node1").is_dir()
    return made


@pytest.fixture
def node(cluster: Cluster, home: Path, tmp_path: Path) -> Iterator[Server]:
    """By the configuration that is mounted; its log is in the home, which can be written here."""
    told = service("node1")
    assert told["environment"] == service("node2")["environment"]
    assert told["command"][:2] == ["responders", "serve"]
    file = tmp_path / Path(told["command"][3]).name
    file.write_text(
        rendered((DOCKER / file.name).read_text(), {"http://nginx:8080": f"http://127.0.0.1:{free_port()}"})
    )
    with ExitStack() as running:
        running.enter_context(cluster.following())
        yield running.enter_context(
            running_server(home, 2, arguments=("--config", str(file)), environment=environment_of("node1"))
        )


LOOKED_UP: Final = "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'certificate_status'"
"""How often status rows were looked for in this server; it counts some seconds late."""


@pytest.mark.timeout(300)
def test_nodes_read_from_the_replica_and_everybody_has_a_role_of_their_own(cluster: Cluster, node: Server) -> None:
    leaf, issuer = (certificate(node.home, label) for label in ("demo-good", "server-rsa"))

    def told() -> str:
        """By a nonce: nothing that is ready-made answers that."""
        answer = ask(f"{node.url}/ocsp", ocsp_request(leaf, issuer, nonce=secrets.token_bytes(16))).body
        return x509_ocsp.load_der_ocsp_response(answer).certificate_status.name

    def looked_up() -> int:
        return int(str(value(cluster.replica, LOOKED_UP)))

    before = looked_up()
    assert {told() for _ in range(100)} == {"GOOD"}
    until(lambda: told() == "GOOD" and looked_up() >= before + 100, "the replica is not asked")

    responders, issuing = environment_of("node1"), environment_of("issuance")
    assert (responders["PGUSER"], issuing["PGUSER"]) == ("ca_responders", "ca_issuance")
    with connection(cluster.primary, responders["PGUSER"], responders["PGPASSWORD"]) as opened:
        for statement in (
            "UPDATE certificate_status SET state = 0, reason = NULL, revoked_at = NULL",
            "DELETE FROM certificate_status",
            "INSERT INTO certificate_status SELECT * FROM certificate_status",
            "SELECT subject FROM certificate",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                opened.execute(statement.encode())
    with connection(cluster.primary, issuing["PGUSER"], issuing["PGPASSWORD"]) as opened:
        for statement in ("DELETE FROM certificate_status", "DROP TABLE certificate_status"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                opened.execute(statement.encode())

    serial = f"{load(leaf).serial_number:x}"
    revocation = ("cert", "revoke", "--ca", "server-rsa", "--serial", serial, "--reason", "keyCompromise")
    as_service("issuance", node.home, sys.executable, "-m", "issuance", *revocation)
    until(lambda: told() == "REVOKED", "a revocation does not arrive")
    assert value(cluster.replica, "SELECT pg_is_in_recovery()") is True
