"""A process that signs the CRL of a CA once and says as JSON what that took: signed_crl.py HOME LABEL."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from ca_store.clock import SystemClock
from issuance.crl import sign_crl
from issuance.home import open_core


def main() -> None:
    """Seconds, octets of the CRL, and by how much the process grew at the most, in KiB."""
    home, label = sys.argv[1:]
    with open_core(Path(home), SystemClock()) as core:
        issuer = core.store.issuer(label)
        core.signer(issuer)  # opening the key is made to be slow
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        crl = sign_crl(core, issuer)
        seconds = time.perf_counter() - started
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": seconds, "octets": len(crl.der), "grown": grown}))


if __name__ == "__main__":
    main()
