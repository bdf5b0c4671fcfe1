"""`trio-logs token`: the token, for scripts that send HTTP requests."""

from __future__ import annotations

from .connection import Connect, find_connection
from .exits import UsageError

__all__ = ["token"]


def token(*, connect: Connect = None) -> int:
    """Print the token that the other commands send."""
    connection = find_connection(connect)
    if connection.token is None:
        raise UsageError(
            f"no token for {connection.server}: give --token, set TRIO_LOGS_TOKEN, or start the"
            " service here with `trio-logs serve`"
        )
    print(connection.token)
    return 0
