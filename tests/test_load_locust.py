"""The Locust file, with a real master and two workers."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ports import free_port

import responders.load

if TYPE_CHECKING:
    from running_server import Server

FILE = Path(responders.load.__file__).with_name("locustfile.py")
SECONDS = 60


def test_a_master_and_two_workers_ask_and_check(server: Server, tmp_path: Path) -> None:
    port = str(free_port())
    locust = [sys.executable, "-m", "locust", "-f", str(FILE)]
    environment = {
        **os.environ,
        "RESPONDERS_HOME": str(server.home),
        "RESPONDERS_LOAD_OCSP": "--nonce 0.5 --verify 0.2",
        "RESPONDERS_LOAD_TSA": "--unit p256 --verify 0.2",
    }
    master = [
        *(*locust, "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--headless"),
        *("--expect-workers", "2", "--expect-workers-max-wait", "40", "--host", server.url, "--users", "4"),
        *("--spawn-rate", "4", "--run-time", "2s", "--stop-timeout", "5", "--only-summary"),
        *("--csv", str(tmp_path / "load"), "OCSPUser", "TSAUser"),
    ]
    worker = [*locust, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    processes = [
        subprocess.Popen(each, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for each in (master, worker, worker)
    ]
    try:
        said = [each.communicate(timeout=SECONDS)[0] for each in processes]
    finally:
        for each in processes:
            each.kill()
            each.wait()
    assert [each.returncode for each in processes] == [0, 0, 0], said
    rows = list(csv.DictReader((tmp_path / "load_stats.csv").read_text().splitlines()))
    asked = {row["Type"] for row in rows if int(row["Request Count"])}
    assert {"ocsp", "tsa"} <= asked
    (total,) = [row for row in rows if row["Name"] == "Aggregated"]
    assert int(total["Request Count"]) > 20
    assert total["Failure Count"] == "0"
