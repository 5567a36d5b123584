"""The log of tokens of a running server: recorded, proved to a stranger, found to be whole, and after a kill."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from running_server import running_server, until
from strangers import TIMESTAMP_QUERY, ask, certificate, run

from ca_store import der
from tsa.client import Query, encode_query, fresh_nonce
from tsa.log_reader import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from running_server import Server

GO = Path(__file__).parent / "interop" / "tlogcheck.go"
TOKENS = 600


def log(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """One ``responders log`` command."""
    return subprocess.run(
        [sys.executable, "-m", "responders", "log", *map(str, arguments), "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stamp(url: str, number: int) -> bytes:
    """A granted reply."""
    digest = number.to_bytes(32, "big")
    answer = ask(url, encode_query(Query(digest, "sha256", fresh_nonce())), TIMESTAMP_QUERY)
    assert b"\x30\x03\x02\x01\x00" in answer.body[:12], answer
    return answer.body


def entries(home: Path) -> int:
    return sum(each["entries"] for each in json.loads(log(home, "list", "--json").stdout))


@pytest.fixture(scope="module")
def log_home(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home like the demo's, with nothing in its log and the whole log for everybody."""
    home = tmp_path_factory.mktemp("log") / "home"
    run("cp", "-r", demo_home, home)
    run("rm", "-rf", home / "log")
    with (home / "responders.toml").open("a") as file:
        file.write('\n[log]\norigin = "tsa.example.ac.jp/log"\npublish = "all"\ncommit_milliseconds = 50\n')
    return home


@pytest.fixture(scope="module")
def replies(log_home: Path) -> Iterator[tuple[Server, list[bytes]]]:
    """Some hundred tokens, and the server that made them, which still runs."""
    with running_server(log_home, workers=2) as server:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda number: stamp(f"{server.url}/tsa/p256", number), range(TOKENS)))
        until(lambda: entries(log_home) >= TOKENS, "the log does not fill")
        yield server, found


def test_every_token_is_in_the_log_once(log_home: Path, replies: tuple[Server, list[bytes]]) -> None:
    assert log(log_home, "verify").returncode == 0
    lines = log(log_home, "find", "--json").stdout.splitlines()
    wanted = {recorded(reply) for reply in replies[1]}
    assert len(wanted) == TOKENS
    digests = [json.loads(line)["digest"] for line in lines]
    assert sorted(digests) == [number.to_bytes(32, "big").hex() for number in range(TOKENS)]


def test_a_token_is_found_by_digest_by_serial_and_by_time(log_home: Path, replies: tuple[Server, list[bytes]]) -> None:
    assert replies
    digest = (77).to_bytes(32, "big").hex()
    (by_digest,) = log(log_home, "find", "--json", "--digest", digest).stdout.splitlines()
    record = json.loads(by_digest)
    assert log(log_home, "find", "--json", "--serial", f"0x{record['serial'].upper()}").stdout.splitlines() == [
        by_digest
    ]
    assert by_digest in log(log_home, "find", "--json", "--from", record["time"], "--to", record["time"]).stdout
    assert log(log_home, "find", "--to", "2020-01-01T00:00:00Z").returncode == 1
    assert log(log_home, "find", "--digest", "00" * 31).returncode == 1
    for wrong in (
        ("--digest", "xy"),
        ("--serial", "-"),
        ("--from", "yesterday"),
        ("--to", "2026-01-01T00:00:00+09:00"),
    ):
        refused = log(log_home, "find", *wrong)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr


def test_a_proof_needs_the_public_key_alone(
    log_home: Path, replies: tuple[Server, list[bytes]], tmp_path: Path
) -> None:
    token, proof, key = tmp_path / "token.tsr", tmp_path / "token.tlog-proof", log_home / "log" / "public-key.pem"
    token.write_bytes(replies[1][123])
    assert log(log_home, "prove", token, "--out", proof).returncode == 0
    nowhere = tmp_path / "nowhere"
    assert log(nowhere, "check", token, proof, "--key", key).returncode == 0
    token.write_bytes(replies[1][124])
    refused = log(nowhere, "check", token, proof, "--key", key)
    assert (refused.returncode, "does not lead to the root" in refused.stderr) == (1, True)
    token.write_bytes(b"0\x03\x02\x01\x00")
    refused = log(log_home, "prove", token)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


@pytest.mark.interop("go")
def test_a_stranger_reads_the_exported_log(log_home: Path, replies: tuple[Server, list[bytes]], tmp_path: Path) -> None:
    """golang.org/x/mod/sumdb verifies the checkpoint, proves every tile to it, and an entry to both."""
    assert log(log_home, "export", tmp_path / "out").returncode == 0
    keys = {line.partition("+")[0].rpartition("/")[2]: line for line in log(log_home, "key").stdout.splitlines()}
    program = tmp_path / "tlogcheck"
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    subprocess.run(
        ["go", "build", "-o", program, GO],
        check=True,
        env={**environment, "GOCACHE": str(tmp_path / "cache")},
        timeout=300,
    )
    wanted = {number.to_bytes(32, "big").hex(): recorded(replies[1][number]) for number in range(0, TOKENS, 50)}
    checked = 0
    for line in log(log_home, "find", "--json").stdout.splitlines():
        found = json.loads(line)
        if found["digest"] in wanted:
            folder, octets = tmp_path / "out" / found["log"], wanted[found["digest"]]
            told = run(str(program), keys[folder.name], str(folder), octets.hex(), str(found["entry"]))
            assert told.startswith("ok tsa.example.ac.jp/log/")
            checked += 1
    assert checked == len(wanted)


def test_the_log_is_published(log_home: Path, replies: tuple[Server, list[bytes]], tmp_path: Path) -> None:
    server = replies[0]
    assert log(log_home, "export", tmp_path / "out").returncode == 0
    listed = json.loads(ask(f"{server.url}/log").body)
    assert {each["origin"].rpartition("/")[2] for each in listed} == {
        each.name for each in (tmp_path / "out").iterdir()
    }
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            shown = ask(f"{server.url}/log/{file.relative_to(tmp_path / 'out')}")
            assert shown.body == file.read_bytes(), file
    name = listed[0]["origin"].rpartition("/")[2]
    for path in ("../keys/token-log.key", f"{name}/../checkpoint", f"{name}/tile/0/999", f"{name}/tile/0/000.p/0"):
        assert ask(f"{server.url}/log/{path}").status == 404


def test_countersignatures_are_recorded_too(
    log_home: Path, replies: tuple[Server, list[bytes]], tmp_path: Path
) -> None:
    server = replies[0]
    request = bytes.fromhex("3021060a2b060104018237030201301306092a864886f70d010701a006040401020304")
    reply = ask(f"{server.url}/tsa", base64.b64encode(request), "application/octet-stream")
    assert reply.status == 200
    token, proof = tmp_path / "token.p7", tmp_path / "proof"
    token.write_bytes(base64.b64decode(reply.body))
    until(lambda: log(log_home, "prove", token, "--out", proof).returncode == 0, "the countersignature is not logged")
    assert log(log_home, "check", token, proof).returncode == 0


def test_a_token_that_no_bundle_can_hold_is_refused_and_stops_nobody(
    log_home: Path, replies: tuple[Server, list[bytes]]
) -> None:
    """An entry has a length of two octets (C2SP tlog-tiles); the body of a request may be as long as that."""
    server = replies[0]
    query = encode_query(Query(bytes(32), "sha256", None))[2:]
    for octets in (65_300, 65_440):
        nonce = der.tlv(der.INTEGER, b"\x7f" * octets)
        body = der.sequence(query.removesuffix(der.TRUE), nonce, der.TRUE)
        assert len(body) <= 65_536
        answer = ask(f"{server.url}/tsa/p256", body, TIMESTAMP_QUERY)
        assert (b"\x03\x02\x01\x00" in answer.body[:12]) is (octets == 65_300)
        if octets != 65_300:
            assert bytes.fromhex("03020204") in answer.body  # badDataFormat
    stamp(f"{server.url}/tsa/p256", 1 << 200)
    digest = (1 << 200).to_bytes(32, "big").hex()
    until(lambda: log(log_home, "find", "--digest", digest).returncode == 0, "the log has ended")
    assert log(log_home, "verify").returncode == 0


def test_a_kill_loses_nothing_that_was_promised_and_no_log_forks(demo_home: Path, tmp_path: Path) -> None:
    """Tokens are answered only when they are on the disk; the workers are killed while they answer."""
    home = tmp_path / "home"
    run("cp", "-r", demo_home, home)
    run("rm", "-rf", home / "log")
    with (home / "responders.toml").open("a") as file:
        file.write("\n[log]\ncommit_before_answer = true\n")
    answered: list[int] = []
    kept = tmp_path / "kept"
    with running_server(home, workers=2) as server:
        stop = time.monotonic() + 6

        def client(number: int) -> None:
            while time.monotonic() < stop:
                number += 10_000
                try:
                    stamp(f"{server.url}/tsa/p256", number)
                    answered.append(number)
                except (OSError, AssertionError):
                    time.sleep(0.02)

        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client, number) for number in range(4)]
            time.sleep(1.5)
            for note in (home / "log").glob("*/checkpoint"):
                (kept / note.parent.name).mkdir(parents=True)
                (kept / note.parent.name / "checkpoint").write_bytes(note.read_bytes())
            for pid in server.worker_pids():
                os.kill(pid, signal.SIGKILL)
            for each in clients:
                each.result()
    assert len(answered) > 20
    checkpoints = [str(each) for each in kept.glob("*/checkpoint")]
    assert checkpoints
    verified = log(home, "verify", *(part for each in checkpoints for part in ("--checkpoint", each)))
    assert verified.returncode == 0, verified.stdout
    assert len(json.loads(log(home, "list", "--json").stdout)) >= 3
    digests = {json.loads(line)["digest"] for line in log(home, "find", "--json").stdout.splitlines()}
    assert {number.to_bytes(32, "big").hex() for number in answered} <= digests
    serials = [json.loads(line)["serial"] for line in log(home, "find", "--json").stdout.splitlines()]
    assert len(set(serials)) == len(serials)
    assert certificate(home, "root").exists()
