"""The connection that writes, in the writer's thread: transactions and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import apsw

from ..durations import Durations
from .damage import DAMAGE
from .file import LOG_BYTES, File
from .logs import Logs

__all__ = ["Transactions"]

CHECKPOINT_PAGES = 1000
"""Pages of the write-ahead log after which it is copied into the file, as SQLite does by itself."""


class Transactions:
    """Transactions that change `logs`, and copies of the write-ahead log into the file.

    SQLite copies the log by itself, too, but ignores the errors of a disk then. So its own
    checkpoints are off, and the writer calls `checkpoint` once `log_is_long`.
    """

    def __init__(self, file: File, logs: Logs) -> None:
        self._file = file
        self._logs = logs
        self._connection: apsw.Connection | None = None
        self.commits = Durations()
        # Pages of the write-ahead log after the last commit; 0 once a checkpoint has been tried.
        self._log_pages = 0
        # Whether readers kept the last checkpoint from copying all pages, and whether it failed.
        self._is_behind = False
        self._has_failed = False

    @property
    def is_open(self) -> bool:
        """Whether it has a connection. Any thread may ask."""
        return self._connection is not None

    @property
    def log_is_long(self) -> bool:
        """Whether a checkpoint is due. Any thread may ask."""
        return self._log_pages >= CHECKPOINT_PAGES

    def connect(self) -> apsw.Connection:
        """The connection, which is opened if there is none. Raises apsw.Error or OSError."""
        if self._connection is None:
            connection = self._file.open_writer()
            connection.set_wal_hook(self._note_log)
            self._connection = connection
        return self._connection

    def _note_log(self, connection: apsw.Connection, database: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def close(self) -> None:
        """Close the file. Raises apsw.Error."""
        if self._connection is not None:
            self._connection.close()

    def run(self, apply: Callable[[apsw.Connection], object]) -> None:
        """Call `apply` in a transaction. If it fails, undo it and raise its error."""
        while True:
            try:
                self._run(apply)
            except DAMAGE:
                if not self._logs.has_learned():
                    raise
            else:
                return

    def _run(self, apply: Callable[[apsw.Connection], object]) -> None:
        start = time.perf_counter()
        try:
            connection = self.connect()
            if self._has_failed:
                self.checkpoint()
            connection.execute("BEGIN IMMEDIATE")
            apply(connection)
            connection.execute("COMMIT")
        except Exception:
            self._roll_back()
            raise
        self.commits.add(time.perf_counter() - start)
        self._logs.committed()

    def _roll_back(self) -> None:
        self._logs.rolled_back()
        connection = self._connection
        # After a full disk or an I/O error, SQLite has rolled back by itself.
        if connection is not None and connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except apsw.Error:
                # The state of this connection is unknown: the next transaction opens another.
                self._connection = None
                with suppress(apsw.Error):
                    connection.close()

    def checkpoint(self, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> None:
        """Copy the write-ahead log into the file, and sync both. Raises apsw.Error.

        A failure means that the disk may lose what was committed. So each later transaction begins
        with a checkpoint, until one is complete. The transaction fails if its checkpoint does.
        """
        connection = self.connect()
        # Wait for no reader: commits wait for this thread.
        connection.set_busy_handler(None)
        try:
            pages, copied = connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            self._is_behind = True
        except Exception:
            self._has_failed = True
            raise
        else:
            self._is_behind = copied < pages
            # SQLite syncs the file only after it has copied the last page. So a checkpoint that a
            # reader cuts short does not show that the disk works again.
            self._has_failed = self._has_failed and self._is_behind
        finally:
            self._log_pages = 0
            connection.set_busy_handler(self._file.lock_waiter())

    def look_after_log(self) -> None:
        """Repeat a checkpoint that failed or was not complete, and cut a log that is too large,
        unless a reader needs it now. Raises apsw.Error or OSError."""
        if self._connection is None:
            return
        if self._file.log_size() > LOG_BYTES:
            # SQLite cuts its log by itself at a later write, which may never come.
            self.checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        elif self._is_behind or self._has_failed:
            self.checkpoint()
