"""``responders serve``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvloop

from ca_store.errors import StoreError
from ca_store.home import Home
from responders.config import ConfigError, open_config, parse_address, usable_cores
from responders.log_key import ensure_log_key
from responders.process import configure_logging
from responders.supervisor import Plan, StartFailed, Supervisor

if TYPE_CHECKING:
    import argparse


def serve(options: argparse.Namespace) -> int:
    """Run the server until SIGTERM or SIGINT. 0 after a clean stop, 1 when it cannot start."""
    configure_logging()
    try:
        home = Home.open(options.home)
        config = open_config(home, options.config)
        plan = Plan(
            home=options.home,
            config_file=options.config,
            config=config,
            listen=options.listen or parse_address(config.server.listen),
            admin=options.admin or parse_address(config.server.admin),
            workers=options.workers or config.server.workers or usable_cores(),
        )
        if config.tsa.units and config.log.enabled:
            ensure_log_key(home, config.log)
        uvloop.run(Supervisor(plan).run())
    except (ConfigError, StoreError, StartFailed) as error:
        print(f"responders serve: {error}", file=sys.stderr)
        return 1
    return 0
