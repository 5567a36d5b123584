"""What the metrics of a running server say about its clients and about the 15-minute rule."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from cryptography.x509.ocsp import OCSPCertStatus, load_der_ocsp_response
from http_wire import Wire
from running_server import until
from strangers import SEEN_SECONDS, SHA1, SHA256, ask, certificate, issue, ocsp_request, revoke, run

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm
    from running_server import Server

ALERTS = Path(__file__).parent.parent / "docs" / "alerts.yaml"


def answers(server: Server, **labels: str) -> float:
    wanted = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return server.metric(f"responders_ocsp_answers_total{{{wanted}}}")


@pytest.mark.parametrize(("digest", "name"), [(SHA1, "sha1"), (SHA256, "sha256")])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_signed_answers_are_counted_by_status_method_and_hash_algorithm_cached_or_not(
    server: Server, digest: HashAlgorithm, name: str, method: str
) -> None:
    """So that SHA-1 can be given up on evidence (RFC 9919 §3.2.1 lets a responder serve both)."""
    request = ocsp_request(
        certificate(server.home, "demo-revoked"), certificate(server.home, "server-rsa"), digest=digest
    )
    before = answers(server, outcome="revoked", method=method, cert_id_hash=name)
    for _ in range(5):
        if method == "POST":
            ask(f"{server.url}/ocsp", request)
        else:
            ask(f"{server.url}/ocsp/{quote(base64.b64encode(request).decode(), safe='')}")
    assert answers(server, outcome="revoked", method=method, cert_id_hash=name) == before + 5


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_that_came_before_to_the_octet_are_counted_and_hear_of_a_revocation(
    server: Server, tmp_path: Path, method: str
) -> None:
    """Over one connection, as a client repeats itself, with the parser's own way (a field more) held beside it."""
    issued = issue(server.home, tmp_path, "server-ecc", "server")
    time.sleep(SEEN_SECONDS)
    request = ocsp_request(issued.certificate, certificate(server.home, "server-ecc"))
    encoded = quote(base64.b64encode(request).decode(), safe="").encode()
    line = b"POST /ocsp" if method == "POST" else b"GET /ocsp/" + encoded
    body = b"Content-Length: %d\r\n\r\n%b" % (len(request), request) if method == "POST" else b"\r\n"
    octets, other = (line + b" HTTP/1.1\r\nHost: a\r\n" + more + body for more in (b"", b'If-None-Match: "x"\r\n'))
    counted = 'responders_ocsp_cache_total{event="repeat"}'
    before = server.metric(counted)
    with Wire(server) as wire:
        first = wire.ask(octets).body
        # A worker that sees only now that another has answered with a revocation trusts its memory after the next look.
        time.sleep(SEEN_SECONDS)
        assert {wire.ask(each).body for each in (octets, octets, octets, octets, other)} == {first}
        # The second was learned from; a worker shows what it counts a few times a second.
        until(lambda: server.metric(counted) >= before + 3, "they are not counted")
        assert server.metric(counted) == before + 3
        revoke(server.home, issued)
        time.sleep(SEEN_SECONDS)
        after = wire.ask(octets).body
        assert load_der_ocsp_response(first).certificate_status is OCSPCertStatus.GOOD
        assert load_der_ocsp_response(after).certificate_status is OCSPCertStatus.REVOKED
        assert {wire.ask(each).body for each in (octets, other, octets)} == {after}


def test_an_unsigned_answer_has_no_hash_algorithm(server: Server) -> None:
    before = answers(server, outcome="malformedRequest", method="POST", cert_id_hash="none")
    ask(f"{server.url}/ocsp", b"0")
    assert answers(server, outcome="malformedRequest", method="POST", cert_id_hash="none") == before + 1


def test_the_time_from_issuance_and_from_revocation_to_the_answer_is_measured_by_every_worker(
    server: Server, tmp_path: Path
) -> None:
    """BR §4.9.9: authoritative answers at most 15 minutes after the certificate was published."""
    kinds = ("issuance", "revocation")
    before = {kind: server.metric(f"responders_ocsp_{kind}_lag_seconds_count") for kind in kinds}
    issued = issue(server.home, tmp_path, "server-ecc", "server")
    time.sleep(SEEN_SECONDS)
    revoke(server.home, issued)
    request = ocsp_request(certificate(server.home, "demo-good"), certificate(server.home, "server-rsa"))
    assert ask(f"{server.url}/ocsp", request).status == 200
    for kind in kinds:
        name = f"responders_ocsp_{kind}_lag_seconds"
        count = server.metric(f"{name}_count") - before[kind]
        assert count >= 1
        assert server.metric(f'{name}_bucket{{le="900.0"}}') == server.metric(f"{name}_count")
        assert server.metric(f"{name}_sum") < 900
    revoked = server.metric("responders_ocsp_revocation_lag_seconds_count") - before["revocation"]
    assert revoked == 2, "each of two workers heard of it once"


def test_every_metric_that_an_alert_watches_exists(server: Server) -> None:
    watched = set(re.findall(r"responders_[a-z_]+", ALERTS.read_text()))
    assert "responders_ocsp_issuance_lag_seconds_bucket" in watched
    text = server.admin("/metrics")[1]
    shown = set(re.findall(r"^(?:# TYPE )?(responders_[a-z_]+)", text, re.MULTILINE))
    assert watched <= shown
    assert 'le="900.0"' in text


@pytest.mark.interop("promtool")
def test_the_fifteen_minute_rule_is_an_alert_that_prometheus_understands_and_fires() -> None:
    run("promtool", "check", "rules", ALERTS)
    assert "SUCCESS" in run("promtool", "test", "rules", Path(__file__).parent / "alerts_test.yaml")
