"""The writer's connection and its transactions, all in the writer's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import apsw
import outcome
import trio

from ..durations import Durations
from .failures import FAILURES, store_error
from .file import LOG_BYTES, File
from .logs import Logs

__all__ = ["Write", "Writer"]

T = TypeVar("T")

APART_SECONDS = 5.0
"""Seconds for which the writes of a group are tried one by one while the disk fails."""

CHECKPOINT_PAGES = 1000
"""Pages of the write-ahead log after which it is copied into the file, as SQLite does by itself."""

UPKEEP_SECONDS = 0.02
"""Seconds after which upkeep lets waiting writes have their turn."""

REST_SECONDS = 1.0
"""Seconds without upkeep after an error."""


@dataclass(slots=True, eq=False)
class Write(Generic[T]):
    """One task's part of a group commit. The task has waited since `since`, on Trio's clock.

    `apply` runs in the transaction. Once the transaction is durable, `committed` is called in
    Trio's thread with the result, whether or not the task still waits.
    """

    apply: Callable[[apsw.Connection], T]
    since: float
    committed: Callable[[T], object] | None = None
    done: trio.Event = field(default_factory=trio.Event)
    result: outcome.Outcome[T] | None = None


class Writer:
    """Commits groups of writes that change `logs`, and gives each write its own result."""

    def __init__(self, file: File, logs: Logs) -> None:
        self._file = file
        self._logs = logs
        self._connection: apsw.Connection | None = None
        self.commits = Durations()
        # Pages of the write-ahead log after the last commit; 0 once a checkpoint has been tried.
        self._log_pages = 0
        # Whether readers kept the last checkpoint from copying all pages.
        self._is_behind = False
        # Why the last checkpoint failed.
        self._failure: Exception | None = None
        self._rests_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has a connection. Any thread may ask."""
        return self._connection is not None

    @property
    def checkpoint_error(self) -> Exception | None:
        """Why the last checkpoint failed; None if it did not. Any thread may ask."""
        return self._failure

    def open(self) -> None:
        """Open the file. Raises apsw.Error or OSError."""
        self._logs.load(self._connect())

    def close(self) -> None:
        """Close the file. Raises apsw.Error."""
        if self._connection is not None:
            self._connection.close()

    def _connect(self) -> apsw.Connection:
        if self._connection is None:
            connection = self._file.open_writer()
            # It takes the place of SQLite's own checkpoints, which ignore the errors of a disk.
            connection.set_wal_hook(self._note_log)
            self._connection = connection
        return self._connection

    def _note_log(self, connection: apsw.Connection, database: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    @property
    def is_upkeep_due(self) -> bool:
        """Whether `keep_up` has something to do. Any thread may ask, between calls."""
        if time.monotonic() < self._rests_until:
            return False
        logs = self._logs
        log_is_long = self._log_pages >= CHECKPOINT_PAGES
        return logs.is_over or logs.has_free or logs.is_shrinking or log_is_long

    def keep_up(self) -> None:
        """After a commit: remove lines beyond the bound, give free space back, and copy the log
        into the file, for a bounded time. It raises nothing; after an error, it rests."""
        try:
            self._keep_up(time.monotonic() + UPKEEP_SECONDS)
        except FAILURES:
            # The next commit, or `look_after_log`, meets the error again and reports it.
            self._rests_until = time.monotonic() + REST_SECONDS

    def _keep_up(self, deadline: float) -> None:
        logs = self._logs
        while logs.is_over and time.monotonic() < deadline:
            self._transaction(logs.keep_within)
        if logs.has_free:
            logs.look_for_free(self._connect())
        was_shrinking = logs.is_shrinking
        while logs.is_shrinking and time.monotonic() < deadline:
            if self._log_pages >= CHECKPOINT_PAGES:
                self._checkpoint()
            self._transaction(logs.shrink)
        # The end of the file goes with the checkpoint after the last page that was given back.
        if self._log_pages >= CHECKPOINT_PAGES or (was_shrinking and not logs.is_shrinking):
            self._checkpoint()

    def look_after_log(self) -> None:
        """Try again to copy the write-ahead log into the file if that failed or was not complete,
        and cut the log if it is too large, unless a reader needs it now. Raises apsw.Error or
        OSError."""
        if self._connection is None:
            return
        if self._file.log_size() > LOG_BYTES:
            # SQLite cuts its log by itself at a later write, which may never come.
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        elif self._is_behind or self._failure is not None:
            self._checkpoint()

    def _checkpoint(self, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> None:
        """Copy the write-ahead log into the file, and sync both. Raises apsw.Error.

        A failure means that the disk may lose what was committed. So no later write succeeds before
        a checkpoint has.
        """
        connection = self._connect()
        # Wait for no reader: commits wait for this thread.
        connection.set_busy_handler(None)
        try:
            pages, copied = connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            self._is_behind = True
        except Exception as error:
            self._failure = error
            raise
        else:
            self._is_behind = copied < pages
            self._failure = None
            self._rests_until = 0.0
        finally:
            self._log_pages = 0
            connection.set_busy_handler(self._file.lock_waiter())

    def commit(self, writes: Sequence[Write[Any]]) -> None:
        """Apply all writes in one transaction. If that fails, apply each in a transaction of its
        own.

        An error becomes the result of its write; the method raises nothing.
        """
        error = self._try(writes)
        if error is None:
            return
        # Another program's lock stops every write, and each try would wait for it again.
        if len(writes) == 1 or isinstance(error, apsw.BusyError):
            for write in writes:
                self._fail(write, error)
            return
        deadline = time.monotonic() + APART_SECONDS
        failure: Exception | None = None
        for write in writes:
            if failure is None or time.monotonic() < deadline:
                error = self._try([write])
                if error is None:
                    continue
                if isinstance(error, FAILURES):
                    failure = error
            else:
                error = failure
            self._fail(write, error)

    def _try(self, writes: Sequence[Write[Any]]) -> Exception | None:
        """Commit these writes together; return the error that stopped all of them."""
        results: list[outcome.Value[Any]] = []

        def apply(connection: apsw.Connection) -> None:
            results.extend(outcome.Value(write.apply(connection)) for write in writes)

        try:
            self._transaction(apply)
        except Exception as error:
            return error
        for write, result in zip(writes, results, strict=True):
            write.result = result
        return None

    def _transaction(self, apply: Callable[[apsw.Connection], object]) -> None:
        """Call `apply` in a transaction. If it fails, undo it and raise the error."""
        start = time.perf_counter()
        try:
            connection = self._connect()
            if self._failure is not None:
                self._checkpoint()
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

    def _fail(self, write: Write[Any], error: Exception) -> None:
        if isinstance(error, FAILURES):
            error = store_error("commit to", self._file.path.name, error)
        write.result = outcome.Error(error)
