"""The image's recipe without a container engine: its own commands build the wheel and install it into an empty virtual
environment; what comes of it makes a home, serves on its own listeners, is found healthy and answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from cryptography.x509 import ocsp as x509_ocsp
from daemons import daemon
from ports import free_port
from running_server import Server
from strangers import ask, certificate, ocsp_request

from ca_store.home import Home
from responders.config import open_config

ROOT: Final = Path(__file__).parent.parent
RECIPE: Final = (ROOT / "docker" / "Dockerfile").read_text()
CONTEXT: Final = ROOT / "docker" / "Dockerfile.dockerignore"
INSTALL_SECONDS: Final = 250


def instructions(name: str) -> list[str]:
    """What follows each such instruction, without its mounts."""
    return [re.sub(r"--mount=\S+ ", "", line) for line in re.findall(rf"^{name} (.*)$", RECIPE, re.MULTILINE)]


def carried_out(command: str, folder: Path) -> None:
    """Run one RUN of the first stage, its folders in this one."""
    for path in ("/opt/responders", "/wheels"):
        command = command.replace(path, f"{folder}{path}")
    command = re.sub("^(pip|python -m venv)", lambda found: f"{sys.executable} -m {found[1].split()[-1]}", command)
    command = command.replace("[lint]", "")  # to be quick
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder / "src",
        env={**os.environ, "PIP_NO_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/opt/responders/bin of the image."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "src").mkdir()
    copied = [part for line in instructions("COPY") if not line.startswith("--from") for part in line.split()[:-1]]
    assert {f"!{part}" for part in copied} == {line for line in CONTEXT.read_text().split() if line.startswith("!")}
    for part in copied:
        subprocess.run(["cp", "-r", ROOT / part, folder / "src"], check=True)
    wheel, install = (each for each in instructions("RUN") if "/wheels" in each)
    carried_out(wheel, folder)  # with this environment's setuptools: the recipe takes the same one, by constraints.txt
    carried_out(install, folder)
    return folder / "opt" / "responders" / "bin"


@pytest.mark.timeout(600)
def test_what_the_recipe_installs_serves(installed: Path, tmp_path: Path) -> None:
    """Nothing of this checkout is on its path, and nothing is missing."""
    home, port, admin = tmp_path / "home", free_port(), free_port()
    environment = {
        "PATH": f"{installed}:{os.environ['PATH']}",
        "RESPONDERS_HOME": str(home),
        "PYTHONPATH": "",
    }
    made = ["env", *(f"{name}={value}" for name, value in environment.items())]
    subprocess.run([*made, "issuance", "init", "--demo"], check=True, cwd=tmp_path, timeout=60)
    [command] = re.findall(r"^CMD (.*)$", RECIPE, re.MULTILINE)
    serve = [
        part.replace("0.0.0.0:8080", f"127.0.0.1:{port}").replace("0.0.0.0:8081", f"127.0.0.1:{admin}")
        for part in json.loads(command)
    ]
    log = tmp_path / "serve.log"
    with daemon([*made, *serve, "--workers", "1"], port, log) as process:
        server = Server(home, "127.0.0.1", port, admin, process, log)
        server.wait_ready()
        asked = ocsp_request(certificate(home, "demo-good"), certificate(home, "server-rsa"))
        answer = x509_ocsp.load_der_ocsp_response(ask(f"{server.url}/ocsp", asked).body)
        assert answer.certificate_status.name == "GOOD"
        [check] = re.findall(r"^HEALTHCHECK .* CMD (.*)$", RECIPE, re.MULTILINE)
        healthy = json.loads(check.replace("127.0.0.1:8081", f"127.0.0.1:{admin}"))
        assert subprocess.run([*made, *healthy], check=False, timeout=20).returncode == 0
    assert subprocess.run([*made, *healthy], check=False, timeout=20, stderr=subprocess.DEVNULL).returncode != 0
    unmade = subprocess.run(
        [*made, "python", "-c", "import responders; print(responders.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert Path(unmade.stdout.strip()).is_relative_to(installed.parent)


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert RECIPE.index("\nUSER 10001:10001") > RECIPE.rindex("\nFROM")
    for line in RECIPE.splitlines():
        assert "://" not in line.replace("http://127.0.0.1:8081", "")  # no registry, no index


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    return found


def test_every_container_has_a_read_only_root_and_no_privileges() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].split(":")[0] != "0", name


def test_only_the_front_is_published_and_files_exist() -> None:
    """Admin listeners, database and Prometheus stay inside or on loopback."""
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published.pop("nginx") == ["8080:8080"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    for service in services().values():
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) else volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / "docker" / source).exists(), source


def test_the_nodes_read_the_configuration_that_is_mounted(demo_home: Path) -> None:
    """It knows the names by which nginx and the nodes find each other."""
    config = open_config(Home.open(demo_home), ROOT / "docker" / "responders.toml")
    assert config.purge.caches == ("http://nginx:8080",)
    assert config.purge.posts
    named = re.findall(r"server (\w+):(\d+);", (ROOT / "docker" / "nginx.conf").read_text())
    assert [name for name, _ in named] == [name for name in services() if name.startswith("node")]
    assert {port for _, port in named} == {config.server.listen.rpartition(":")[2]}
    prometheus = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())
    targets = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"{name}:{config.server.admin.rpartition(':')[2]}" for name, _ in named]


def test_the_demo_of_the_containers_is_the_demo_of_the_home(demo_home: Path) -> None:
    """Units and their policies are those that `issuance init --demo` wrote."""
    config = open_config(Home.open(demo_home), ROOT / "docker" / "responders.toml")
    assert config.tsa == open_config(Home.open(demo_home), None).tsa
