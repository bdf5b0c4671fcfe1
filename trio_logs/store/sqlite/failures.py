"""Errors of SQLite in words: what happened, to which file, and what to do."""

from __future__ import annotations

from pathlib import Path

import apsw

from ...errors import StoreError

__all__ = ["FAILURES", "store_error"]

FAILURES = (apsw.Error, OSError)
"""The errors that the disk, the file or another program can cause. All other exceptions are
programming errors."""

_ADVICE: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (apsw.FullError, "Make room on its disk."),
    (apsw.BusyError, "End the transaction of the other program that holds the file."),
    (
        (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, PermissionError),
        "Let the service read and write the file and its folder.",
    ),
    ((apsw.CorruptError, apsw.NotADBError), "Restore the file from a backup."),
    (apsw.IOError, "Check its disk."),
)


def store_error(what: str, file: Path | str, cause: Exception) -> StoreError:
    """The StoreError for an error of `FAILURES`; `what` reads as in "commit to". Give the path of
    the file only before there are clients: they get this text, and must not learn the path."""
    advice = next((f". {text}" for kind, text in _ADVICE if isinstance(cause, kind)), "")
    error = StoreError(f"could not {what} {file}: {cause}{advice}")
    error.__cause__ = cause
    return error
