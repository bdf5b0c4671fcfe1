"""Why a server did not answer as the service does."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ..addresses import API_VERSION
from ..client.errors import ClientError, RefusedError, UnreachableError
from ..errors import TrioLogsError
from .connection import Connection, connection_of

__all__ = ["explain"]

ASK_SECONDS = 5.0
"""Seconds that the server may take to tell its version."""

_UNKNOWN = (404, 405, 410, 501)
"""How a server refuses a path or a method that it does not have."""


def explain(arguments: Sequence[str], error: BaseException) -> str:
    """The message of the error of a command with these arguments. If the server speaks another
    version of the HTTP interface, name that."""
    if not isinstance(error, ClientError):
        # It may be about the connection itself.
        return str(error)
    connection = connection_of(arguments)
    told = trio.run(_name_version, connection) if _may_be_other_version(error) else None
    return told or connection.explain(error)


def _may_be_other_version(error: ClientError) -> bool:
    if isinstance(error, RefusedError):
        return error.status in _UNKNOWN
    return not isinstance(error, UnreachableError)


async def _name_version(found: Connection) -> str | None:
    """The sentence on a server with another version of the interface; None if it is not one."""
    version = None
    with trio.move_on_after(ASK_SECONDS):
        try:
            async with found.client() as client:
                version = await client.version()
        except TrioLogsError:
            return None
    if version is None or version.api == API_VERSION:
        return None
    return (
        f"{found.server} runs trio_logs {version.version} with version {version.api} of the HTTP"
        f" interface, and this command speaks version {API_VERSION}: install that trio_logs here"
    )
