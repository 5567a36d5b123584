"""A demo home that submits its server certificates to logs of this process."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ct_log import make_logs, running_logs
from issuance_world import copy_home, read_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ct_log import CTLog


@contextmanager
def logging_home(demo_home: Path, folder: Path) -> Iterator[tuple[Path, list[CTLog]]]:
    """A copy of the demo home with Certificate Transparency on, and its three logs as long as the block lasts."""
    home = copy_home(demo_home, folder)
    logs = make_logs()
    for log in logs:
        log.roots.append(read_certificate(home / "certs" / "root.pem"))
    with running_logs(*logs):
        toml = home / "responders.toml"
        text = toml.read_text()
        assert "[ct]\nenabled = false" in text
        text = text.replace("[ct]\nenabled = false", "[ct]\nenabled = true")
        for log in logs:
            key = base64.b64encode(log.public_key).decode()
            text += f'\n[[ct.logs]]\nurl = "{log.url}"\noperator = "{log.operator}"\nkey = "{key}"\n'
        toml.write_text(text)
        yield home, logs
