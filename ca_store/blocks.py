"""Blocks of time-stamp serials."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert

from ca_store.schema import serial_block
from ca_store.types import SerialBlock

if TYPE_CHECKING:
    from sqlalchemy import Insert

PREFIX_OCTETS: Final = 9

ATTEMPTS: Final = 3
"""Fresh prefixes tried before giving up: a second collision of 70 random bits is not chance."""

INSERT: Final[Insert] = insert(serial_block)


def draw_block(size: int) -> SerialBlock:
    """A block with a fresh random prefix: first octet 0x40 to 0x7f, so that serials are positive and of one length."""
    drawn = bytearray(secrets.token_bytes(PREFIX_OCTETS))
    drawn[0] = 0x40 | drawn[0] & 0x3F
    return SerialBlock(bytes(drawn), size)


def block_row(tsa_name: bytes, block: SerialBlock, now: int) -> dict[str, Any]:
    """The parameters of INSERT."""
    return {"tsa_name": tsa_name, "prefix": block.prefix, "size": block.size, "reserved_at": now}
