"""What every client looks at in an answer of the authority, for tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asn1crypto import core
from tsa_reader import open_reply

from ca_store import der

if TYPE_CHECKING:
    from http_wire import Answer

REPLY = "application/timestamp-reply"
OCTETS = "application/octet-stream"
QUERY = "Content-Type: application/timestamp-query"
NONCES = [der.integer(number) for number in range(1000, 1040)]


def check_granted(answer: Answer, nonce: bytes = b"") -> None:
    """Everything that the strictest client looks at."""
    check_reply(answer)
    opened = open_reply(answer.body)
    assert opened.status == 0, opened.text
    found = opened.tst_info["nonce"]
    assert (b"" if isinstance(found, core.Void) else found.dump()) == nonce


def check_reply(answer: Answer) -> None:
    assert re.fullmatch(r"HTTP/1\.[01] 200 OK", answer.line)
    assert answer.field("Content-Type") == REPLY
    assert answer.field("Content-Length") == str(len(answer.body))
    assert answer.body[:1] == b"0"
    assert answer.names <= {"content-type", "content-length", "date", "connection"}


def check_refused(answer: Answer, status: int) -> None:
    """A short text and no page."""
    assert answer.status == status
    assert answer.field("Content-Type") == "text/plain; charset=utf-8"
    assert len(answer.body) < 300
    assert b"<" not in answer.body
