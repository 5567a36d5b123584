"""Threads that ask while a test does something else."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_SECONDS: Final = 60


@contextmanager
def running(clients: Sequence[Callable[[], None]], stop: threading.Event) -> Iterator[None]:
    """Each client in a thread until the block ends, which sets ``stop``. Raises AssertionError when one hangs."""
    threads = [threading.Thread(target=each) for each in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(_SECONDS)
    assert not any(thread.is_alive() for thread in threads), "a request hangs"
