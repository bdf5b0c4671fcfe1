"""`trio-logs token`: the token, for scripts that send HTTP requests."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from .connection import Connect, find_connection, find_read_only_token
from .exits import UsageError

__all__ = ["token"]


def token(
    *,
    read_only: Annotated[
        bool, Parameter(negative="", help="Print the token that only reads, to share logs.")
    ] = False,
    connect: Connect = None,
) -> int:
    """Print the token that the other commands send."""
    connection = find_connection(connect)
    if read_only:
        found = find_read_only_token(connection)
        if found is None:
            raise UsageError(
                f"no read-only token for {connection.server}: set TRIO_LOGS_READ_ONLY_TOKEN, or"
                " start the service here with `trio-logs serve`"
            )
    else:
        found = connection.token
        if found is None:
            raise UsageError(
                f"no token for {connection.server}: give --token, set TRIO_LOGS_TOKEN, or start the"
                " service here with `trio-logs serve`"
            )
    print(found)
    return 0
