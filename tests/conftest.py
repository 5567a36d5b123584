"""Fixtures that many tests share, and the rule about strangers' programs.

A test marked ``interop("program")`` needs a program that no one here wrote. Where it is missing the test is skipped and
listed at the end of the run; with ``CI=true`` any skip fails the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from ports import free_port, keep_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from running_server import Server

SKIPPED: list[str] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip an interoperability test whose program is missing, and remember it."""
    for mark in item.iter_markers("interop"):
        for program in mark.args:
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the name of every skipped test."""
    if report.skipped and not hasattr(report, "wasxfail"):
        SKIPPED.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failed run."""
    if SKIPPED and os.environ.get("CI") == "true" and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was not tested."""
    if SKIPPED:
        terminalreporter.section("NOT TESTED (programs missing)", red=True)
        for name in SKIPPED:
            terminalreporter.line(name)


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo home made by the real command, whose pointers name a free port of this machine.

    Tests may add to it; none may break what the tour relies on.
    """
    home = tmp_path_factory.mktemp("demo") / "home"
    port = free_port()
    keep_port(port, home)
    base_url = f"http://127.0.0.1:{port}"
    subprocess.run(
        [sys.executable, "-m", "issuance", "init", "--demo", "--home", str(home), "--base-url", base_url],
        check=True,
        capture_output=True,
        timeout=110,
    )
    shutil.copytree(home, home.with_name("pristine"))
    return home


@pytest.fixture(scope="session")
def pristine_home(demo_home: Path) -> Path:
    """The demo home as it was made, for copies that nothing was issued in before; not to be changed."""
    return demo_home.with_name("pristine")


@pytest.fixture(scope="session")
def tsa_home(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo home with a time-stamping unit of every kind, on a port of its own."""
    from tsa_server import furnish  # noqa: PLC0415 - only the tests that serve pay for the import

    return furnish(demo_home, tmp_path_factory.mktemp("tsa") / "home")


@pytest.fixture(scope="session")
def tsa_server(tsa_home: Path, demo_server: Server) -> Iterator[Server]:
    """The home of many units served by two workers, and the demo home's server, where all its certificates point."""
    from running_server import running_server  # noqa: PLC0415 - the same

    with running_server(tsa_home, workers=2) as running:
        yield running


@pytest.fixture(scope="session")
def server(demo_server: Server) -> Server:
    """The demo home served by two workers."""
    return demo_server


@pytest.fixture(scope="session")
def demo_server(demo_home: Path) -> Iterator[Server]:
    """What ``server`` is wherever no module has one of its own."""
    from running_server import running_server  # noqa: PLC0415 - only the tests that serve pay for the import

    with running_server(demo_home, workers=2) as running:
        yield running
