"""The process of the self-check: it inspects every delegate once, at idle priority, and writes what it found as JSON.

Descriptor 1 takes the result; nothing else may be printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

NICE: Final = 19
"""The kernel's least: a busy server leaves it one or two hundredths of a core, so that it ends all the same."""


def main() -> int:
    """Entry point of the process. 1 when there is no result, with the reason on standard error."""
    # Before anything is imported that takes time.
    with contextlib.suppress(OSError):
        os.nice(NICE)
    parser = argparse.ArgumentParser("responders.selfcheck_process")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    return _run(parser.parse_args())


def _run(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415 - this and all below: only at idle priority

    from ca_store.errors import StoreError  # noqa: PLC0415
    from responders.config import ConfigError  # noqa: PLC0415

    try:
        found = asyncio.run(_inspect(options.home, options.config))
    except (StoreError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


async def _inspect(path: Path, config_file: Path | None) -> object:
    from ca_store.clock import SystemClock  # noqa: PLC0415 - as above
    from ca_store.database import open_read_store  # noqa: PLC0415
    from ca_store.home import Home  # noqa: PLC0415
    from responders.config import open_config  # noqa: PLC0415
    from responders.inspection import inspect  # noqa: PLC0415

    home, clock = Home.open(path), SystemClock()
    config = open_config(home, config_file)
    store = await open_read_store(home.database_url, clock, home.read_url)
    try:
        return await inspect(store, home.keys(), config.ocsp, clock)
    finally:
        await store.close()


if __name__ == "__main__":
    sys.exit(main())
