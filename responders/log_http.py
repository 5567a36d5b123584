"""``GET /log``: the log of tokens for the world, as far as ``[log] publish`` says (C2SP tlog-tiles)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from responders.body import Refused
from responders.counters import DOCUMENTS, counter_index
from responders.prepared import PreparedResponse, head
from tsa.log_files import CHECKPOINT, log_folders, pack, unpack
from tsa.merkle import HASH_SIZE, TILE_HEIGHT, TILE_WIDTH

if TYPE_CHECKING:
    from pathlib import Path

    from responders.prepared import Second
    from responders.shared_state import Row
    from tsa.log_settings import LogSettings

_PATH: Final = re.compile(
    r"(?P<log>\d{8}T\d{6}Z-[0-9a-f]{8})/"
    r"(?:(?P<checkpoint>checkpoint)|tile/(?P<level>entries|0|[1-7])/(?P<index>(?:x\d{3}/){0,3}\d{3})"
    r"(?:\.p/(?P<width>[1-9]\d{0,2}))?)"
)
_JSON: Final = b"Content-Type: application/json\r\nCache-Control: no-cache\r\n"
_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-cache\r\n"
_TILE: Final = b"Content-Type: application/octet-stream\r\nCache-Control: max-age=31536000, public, immutable\r\n"
_COUNTER: Final = counter_index(DOCUMENTS, "log")
_MOST: Final = 1000
"""Logs in the list: the newest."""


class PublishedLog:
    """Reads what any worker of this home has written. Files are small, and the page cache has them."""

    def __init__(self, folder: Path, settings: LogSettings, second: Second, row: Row) -> None:
        self._folder = folder
        self._settings = settings
        self._second = second
        self._row = row

    def get(self, path: str) -> PreparedResponse:
        """``path`` is what follows ``/log/``. Raises Refused: 404."""
        if self._settings.publish == "nothing":
            raise Refused(404)
        if not path.strip("/"):
            return self._respond(_JSON, self._list())
        match = _PATH.fullmatch(path)
        if match is None or (match["checkpoint"] is None and self._settings.publish != "all"):
            raise Refused(404)
        try:
            if match["checkpoint"]:
                return self._respond(_TEXT, (self._folder / match["log"] / CHECKPOINT).read_bytes())
            width = TILE_WIDTH if match["width"] is None else int(match["width"])
            return self._respond(_TILE, self._tile(match["log"], match["level"], match["index"], width))
        except OSError:
            raise Refused(404) from None

    def _list(self) -> bytes:
        names = [each.name for each in log_folders(self._folder)][-_MOST:]
        listed = [
            {"origin": f"{self._settings.origin}/{name}", "checkpoint": f"/log/{name}/checkpoint"} for name in names
        ]
        return json.dumps(listed, indent=2).encode() + b"\n"

    def _tile(self, log: str, level: str, index: str, width: int) -> bytes:
        """The first members of a tile, which must be under the checkpoint. Raises Refused, OSError."""
        folder = self._folder / log
        size = int((folder / CHECKPOINT).read_text("utf-8").split("\n")[1])
        number = int(index.replace("x", "").replace("/", ""))
        height = 0 if level == "entries" else int(level)
        if number * TILE_WIDTH + width > size >> (TILE_HEIGHT * height):
            raise Refused(404)
        octets = (folder / "tile" / level / index).read_bytes()
        if level == "entries":
            return b"".join(map(pack, unpack(octets, width)))
        return octets[: width * HASH_SIZE]

    def _respond(self, fields: bytes, body: bytes) -> PreparedResponse:
        self._row.count(_COUNTER)
        return PreparedResponse(head(self._second, fields, len(body)), body)
