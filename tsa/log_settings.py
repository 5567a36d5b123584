"""``[log]``: the log of issued tokens, as an operator can set it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import Final, Literal

_ORIGIN: Final = re.compile(r"[!-*,-~]+")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Every worker keeps logs of its own below ``folder``, one after another."""

    enabled: bool = True
    """Whether issued tokens are recorded at all."""
    folder: str = "log"
    """Where, from the home; on a disk that a group of small writes a few times a second does not trouble."""
    origin: str = field(default_factory=lambda: f"{socket.gethostname()}/tsa")
    """What the origins of the logs begin with: a URL without its scheme, by which the world may know them."""
    key: str = "file:keys/token-log.key"
    """The Ed25519 key that signs checkpoints; made at the first start."""
    commit_before_answer: bool = False
    """Answer only when the token is on the disk. It costs each answer the time of a write there."""
    commit_milliseconds: int = 100
    """Otherwise a token is on the disk so long after its answer at most; those of the last moment before a crash of the
    machine are missing from the log.
    """
    rotate_hours: int = 24
    """How long one log grows before the next begins. Logs are kept or deleted whole."""
    keep_days: int = 4_840
    """A log is deleted so long after it began. 135 months of a certificate's life and two years after its end (CSBR
    §6.3.2, §5.4.3) by default; 0 keeps all.
    """
    publish: Literal["nothing", "checkpoints", "all"] = "checkpoints"
    """What ``GET /log`` shows to everybody: nothing, the signed checkpoints, from which no token can be guessed, or
    the whole logs, which hold the digest of every document.
    """

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin) or self.origin.endswith("/"):
            raise ValueError(f"origin is {self.origin!r}: no spaces, no plus sign, no slash at its end")
        for name, least, most in (
            ("commit_milliseconds", 1, 10_000),
            ("rotate_hours", 1, 8_760),
            ("keep_days", 0, 36_525),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {least} to {most}")
