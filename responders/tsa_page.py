"""What ``GET /tsa`` shows: a page for people, JSON for programs."""

from __future__ import annotations

import json
import re
import ssl
from html import escape
from typing import TYPE_CHECKING, Any, Final

from responders.prepared import iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsa.unit import UnitDescription

_AUTHORITY: Final = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Time-stamp authority</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
pre, code {{ font-family: ui-monospace, monospace; background: #f3f3f3; }}
pre {{ padding: .75rem; overflow-x: auto; }}
th {{ text-align: left; vertical-align: top; padding-right: 1.5rem; font-weight: 600; }}
</style>
</head>
<body>
<h1>Time-stamp authority</h1>
<p>RFC 3161 over HTTP, without a limit of use. Programs get this page as JSON.</p>
{units}
<h2>How to call it</h2>
{calls}
</body>
</html>
"""
_CALLS: Final = (
    ("OpenSSL", ("openssl ts -query -data FILE -sha256 -cert -out q.tsq\n"
     "curl -H 'Content-Type: application/timestamp-query' --data-binary @q.tsq {url} -o r.tsr\n"
     "openssl ts -verify -queryfile q.tsq -in r.tsr -CAfile root.pem")),
    ("signtool", "signtool sign /fd SHA256 /tr {url} /td SHA256 FILE"),
    ("osslsigncode", "osslsigncode sign -certs CERT -key KEY -ts {url} -in IN -out OUT"),
    ("jarsigner", "jarsigner -tsa {url} FILE.jar ALIAS"),
    ("PowerShell", "Set-AuthenticodeSignature FILE -Certificate $cert -HashAlgorithm SHA256 -TimestampServer {url}"),
)  # fmt: skip
_OLD_CALLS: Final = (
    ("The protocol from before RFC 3161, at the same address", ("signtool sign /fd SHA256 /t {url} FILE\n"
     "osslsigncode sign -certs CERT -key KEY -t {url} -in IN -out OUT")),
)  # fmt: skip


def document(described: UnitDescription, units: Sequence[str], *, authenticode: bool) -> dict[str, Any]:
    """What programs are told about a unit."""
    return {
        "unit": described.name,
        "units": list(units),
        "subject": described.subject,
        "policy": described.policy,
        "policies": described.policies,
        "accuracy_seconds": described.accuracy_seconds,
        "gen_time": described.gen_time,
        "digests": described.digests,
        "signature_algorithm": described.signature_algorithm,
        "max_token_size": described.max_token_size,
        "not_after": iso_time(described.not_after),
        "code_signing_baseline_requirements": described.baseline,
        "windows": described.windows,
        "authenticode": authenticode,
        "certificates": [ssl.DER_cert_to_PEM_cert(each) for each in described.certificates],
    }


def encode_json(described: UnitDescription, units: Sequence[str], *, authenticode: bool) -> bytes:
    """The document's octets."""
    return json.dumps(document(described, units, authenticode=authenticode), indent=2).encode() + b"\n"


def encode_page(described: Sequence[UnitDescription], default: str, host: str | None, *, authenticode: bool) -> bytes:
    """The page. ``host`` is what the client called this server (its Host header), for addresses to copy."""
    origin = f"http://{host if host is not None and _AUTHORITY.fullmatch(host) else '127.0.0.1:8080'}"
    first = described[0]
    url = f"{origin}/tsa" if first.name == default else f"{origin}/tsa/{first.name}"
    calls = (*_CALLS, *(_OLD_CALLS if authenticode else ()))
    return _PAGE.format(
        units="\n".join(_unit(each, default) for each in described),
        calls="\n".join(f"<h3>{escape(name)}</h3>\n<pre>{escape(call.format(url=url))}</pre>" for name, call in calls),
    ).encode()


def _unit(described: UnitDescription, default: str) -> str:
    path = "/tsa" if described.name == default else f"/tsa/{described.name}"
    granularity = "whole seconds" if described.gen_time == "second" else "milliseconds"
    rows = (
        ("Address", path),
        ("Signed by", described.subject),
        ("Algorithm", described.signature_algorithm),
        ("Policies", ", ".join(described.policies)),
        ("Accuracy", f"{described.accuracy_seconds:g} s, genTime in {granularity}"),
        ("Digests", ", ".join(described.digests)),
        ("Largest token", f"{described.max_token_size} octets, for nonces of at most 32 octets"),
        ("Signs until", iso_time(described.not_after)),
        ("Windows", "yes" if described.windows else "no: Windows takes RSA only"),
        ("Code Signing Baseline Requirements", "within" if described.baseline else "outside: a kind of key not listed"),
    )
    table = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    chain = escape("".join(ssl.DER_cert_to_PEM_cert(each) for each in described.certificates))
    return (
        f"<h2>{escape(described.name)}</h2>\n<table>\n{table}\n</table>\n"
        f"<details><summary>Certificates, the unit's own first</summary>\n<pre>{chain}</pre></details>"
    )
