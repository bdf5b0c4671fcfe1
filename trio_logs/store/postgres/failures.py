"""Errors of PostgreSQL in words: what happened, and what to do."""

from __future__ import annotations

import errno

import psycopg
from psycopg import errors

from ...errors import StoreError

__all__ = ["FAILURES", "is_away", "is_out_of_files", "one_line", "store_error"]

FAILURES = (psycopg.Error, OSError)
"""The errors that the database, the network or another program can cause. All other exceptions are
programming errors."""

_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (errors.DiskFull, "Make room on its disk."),
    (errors.InsufficientPrivilege, "Grant the role of the service its rights."),
    (errors.ReadOnlySqlTransaction, "Have the URL name the primary, too."),
    (errors.LockNotAvailable, "End the transaction of the other program that holds the rows."),
    (errors.QueryCanceled, "Find in pg_stat_activity what slows the database down."),
)


def is_out_of_files(error: BaseException) -> bool:
    """Whether this node has no file descriptor left for a connection, which says nothing about the
    database."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def is_away(error: Exception) -> bool:
    """Whether an error of `FAILURES` says that the database can't be reached, or is going down."""
    state = getattr(error, "sqlstate", None)
    if state is None:
        is_outside = isinstance(error, psycopg.OperationalError | OSError)
        return is_outside and not is_out_of_files(error)
    # 08: connection exception; 57P: shutdown, crash, not yet started; 53300: too many connections.
    return bool(state.startswith(("08", "57P")) or state == "53300")


def store_error(what: str, cause: Exception, *, detailed: bool = False) -> StoreError:
    """The StoreError for an error of `FAILURES`; `what` reads as in "commit to". It has details
    only before there are clients: they get this text, and must not learn addresses and roles."""
    advice = next((f". {text}" for kind, text in _ADVICE if isinstance(cause, kind)), "")
    if is_out_of_files(cause):
        text = "this node has too many open files"
        advice = ". Raise its limit on open files (ulimit -n)."
    elif detailed:
        text = one_line(cause)
    elif is_away(cause):
        text = "it does not answer"
    else:
        text = _message(cause)
    error = StoreError(f"could not {what} the database: {text}{advice}")
    error.__cause__ = cause
    return error


def one_line(cause: Exception) -> str:
    """The text of an error: that of libpq has several lines."""
    return " ".join(str(cause).split())


def _message(cause: Exception) -> str:
    """The first line of the server's message."""
    message = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return message or (str(cause).strip().splitlines() or [type(cause).__name__])[0]
