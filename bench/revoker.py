"""The process that revokes while others watch: ``python bench/revoker.py HOME LABEL``, serials in hex on its input.

It is what ``issuance cert revoke`` does, without a new process and a new CRL for each. For each serial it prints when
its commit had returned: nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ca_store.clock import SystemClock
from ca_store.types import Reason, parse_serial
from issuance.home import open_core
from issuance.revocation import revoke


def main() -> None:
    """Revoke until the input ends."""
    home, label = Path(sys.argv[1]), sys.argv[2]
    with open_core(home, SystemClock()) as core:
        issuer = core.store.issuer(label)
        print("ready", flush=True)
        for line in sys.stdin:
            revoke(core, issuer, parse_serial(line), Reason.keyCompromise)
            print(time.monotonic_ns(), flush=True)


if __name__ == "__main__":
    main()
