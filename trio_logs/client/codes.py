"""Codes that sign a browser in."""

from __future__ import annotations

import httpx2
import msgspec

from .answers import check, decode
from .connection import Connection
from .records import Code

__all__ = ["is_unused", "make"]


async def make(connection: Connection) -> Code:
    """See `Client.make_code`."""
    answer = await connection.ask("POST", "/v1/session/codes")
    code = decode(answer, connection.address, Code)
    return msgspec.structs.replace(code, location=answer.headers.get("Location", ""))


async def is_unused(connection: Connection, code: Code) -> bool:
    """See `Client.is_unused`."""
    answer = await connection.ask("GET", code.location)
    if answer.status_code == httpx2.codes.NOT_FOUND:
        return False
    check(answer, connection.address)
    return True
