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

    @property
    def is_open(self) -> bool:
        """Whether it has a connection. Any thread may ask."""
        return self._connection is not None

    def open(self) -> None:
        """Open the file. Raises apsw.Error or OSError."""
        self._connection = self._file.open_writer()
        self._logs.load(self._connection)

    def close(self) -> None:
        """Close the file. Raises apsw.Error."""
        if self._connection is not None:
            self._connection.close()

    def shrink_log(self) -> None:
        """Copy a write-ahead log that is too large into the file, and cut it, unless a reader needs
        it now. Raises apsw.Error or OSError.

        SQLite cuts its log by itself at a later write, which may never come.
        """
        if self._connection is None or self._file.log_size() <= LOG_BYTES:
            return
        # Wait for no reader: commits wait for this thread.
        self._connection.set_busy_handler(None)
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._connection.set_busy_handler(self._file.lock_waiter())

    def commit(self, writes: Sequence[Write[Any]]) -> None:
        """Apply all writes in one transaction. If that fails, apply each in a transaction of its
        own.

        An error becomes the result of its write; the method raises nothing.
        """
        error = self._transaction(writes)
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
                error = self._transaction([write])
                if error is None:
                    continue
                if isinstance(error, FAILURES):
                    failure = error
            else:
                error = failure
            self._fail(write, error)

    def _transaction(self, writes: Sequence[Write[Any]]) -> Exception | None:
        """Commit these writes together. If that fails, undo them all and return the error."""
        start = time.perf_counter()
        try:
            if self._connection is None:
                self._connection = self._file.open_writer()
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            results = [outcome.Value(write.apply(connection)) for write in writes]
            connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            return error
        self.commits.add(time.perf_counter() - start)
        self._logs.committed()
        for write, result in zip(writes, results, strict=True):
            write.result = result
        return None

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
