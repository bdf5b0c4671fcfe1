"""Why a server did not answer as the service does."""

from __future__ import annotations

import os
from collections.abc import Sequence

import trio

from ..addresses import API_VERSION
from ..client.errors import ClientError, RefusedError, UnreachableError
from ..data_folder import default_data_folder
from ..errors import TrioLogsError
from .config_file import config_path
from .connection import BY_DEFAULT, FROM_DATA_FOLDER, Connection, connection_of

__all__ = ["explain", "explain_answer"]

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
    return told or explain_answer(connection, error)


def explain_answer(connection: Connection, error: BaseException) -> str:
    """The message of the error. If the service refuses the token, only the connection knows where
    the token came from, and how to find the right one."""
    match error:
        case RefusedError(status=401, is_problem=True):
            return _refusal(connection)
        case RefusedError(status=403, is_problem=True) if connection.token is not None:
            return f"{error}; this command sends the token {_place_of_token(connection)}"
    return str(error)


def _refusal(connection: Connection) -> str:
    server, folder = connection.server, default_data_folder()
    if connection.token is None:
        places = f"--token, TRIO_LOGS_TOKEN, {config_path(os.environ)}, {folder}"
        why = f"{server} needs a token, and none for it is in {places}"
    else:
        why = f"{server} refuses the token {_place_of_token(connection)}: it is wrong"
    if connection.server_source == BY_DEFAULT and connection.token_source in (FROM_DATA_FOLDER, ""):
        # Whatever listens on the default port answered, such as another user's service.
        return (
            f"{why}; the command asked this server because no service has left its address in"
            f" {folder}: start one with that data folder, or name another server with"
            " TRIO_LOGS_SERVER and TRIO_LOGS_TOKEN"
        )
    return (
        f"{why}; run `trio-logs token` where the service runs, with TRIO_LOGS_DATA set to its"
        " --data"
    )


def _place_of_token(connection: Connection) -> str:
    is_file = connection.token_source == FROM_DATA_FOLDER
    return (
        f"{connection.token_source} {default_data_folder()}" if is_file else connection.token_source
    )


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
