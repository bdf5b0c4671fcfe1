"""The writer's connection and its transactions, all in the writer's thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import outcome
import psycopg
import zstandard
from psycopg import errors

from ..durations import Durations
from ..group import Committer, Write
from . import trimming
from .appends import LOCK, Append, append_all
from .arrays import Binaries
from .connection import Connection
from .failures import FAILURES, is_away, store_error
from .quick import append_quickly, is_usual
from .server import Server
from .transaction import Committed, Transaction

__all__ = ["Writer"]

APART_SECONDS = 5.0
"""Seconds that writes of a group may take to fail one by one, beside the first that fails. The
others then fail untried: a group may have thousands of writes."""

BRIEF_LOCK_SECONDS = 0.2
"""How long each of them waits for a lock once the group, or one of them, has waited in vain."""

DEADLOCK_PAUSES = 0.0, 0.02, 0.1, 0.3
"""Seconds before each try of a write that a deadlock ended. The other side goes on meanwhile."""

_ALONE = (errors.DeadlockDetected, errors.SerializationFailure)
"""Errors of a group that say nothing about any of its writes."""

_SLOW = (errors.LockNotAvailable, errors.QueryCanceled)
"""Errors of a group that has waited for one of its writes; another try would wait again."""


class Writer(Committer):
    """Commits groups of writes, and gives each write its own result. The change of a write is an
    Append, or a function that takes the transaction: appends of all writes are made together, and
    all else one by one.

    `sender` is the name of this store in bells, and `node` the id of the node, once it has joined.
    `take` returns what was committed since the last call, and the first failure since then.
    """

    def __init__(self, server: Server, sender: str) -> None:
        self._server = server
        self._sender = sender
        self._connection: Connection | None = None
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._committed: list[Committed] = []
        self._failure: Exception | None = None
        self.node: str | None = None
        # When the last group began, on the monotonic clock.
        self.began = 0.0
        self.commits = Durations()

    def open(self) -> int:
        """Connect, and make the tables if there are none. Returns the bytes of all batches. Raises
        psycopg.Error, OSError or StoreError."""
        self._connection = self._server.open_writer()
        return trimming.held(self._connection)

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """In any thread: have a commit that hangs fail."""
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def take(self) -> tuple[list[Committed], Exception | None]:
        """What was committed since the last call, in order, and a failure of the database."""
        taken = self._committed, self._failure
        self._committed, self._failure = [], None
        return taken

    def commit(self, writes: Sequence[Write[Any]]) -> None:
        """Apply all writes in one transaction. If that fails, apply each in a transaction of its
        own.

        An error becomes the result of its write; the method raises nothing.
        """
        self.began = time.monotonic()
        error: Exception | None = None
        if all(is_usual(write.change) for write in writes):
            error = self._append_quickly(writes)
            writes = [write for write in writes if write.result is None]
        if not writes:
            return
        if not isinstance(error, _SLOW):
            error = self._transaction(writes)
        if error is not None:
            self._apart(writes, error)

    def _append_quickly(self, writes: Sequence[Write[Any]]) -> Exception | None:
        """Commit appends in one statement. Those without a result need another try; returns the
        error of the statement."""
        start = time.perf_counter()
        try:
            connection = self._connected()
            appends = [write.change for write in writes]
            committed, made = append_quickly(
                connection, appends, self.node, self._sender, self._compress
            )
        except Exception as error:
            # Whatever it is, another try finds out whose fault.
            if _is_away(error):
                self.close()
                for write in writes:
                    self._fail(write, error)
            return error
        if made:
            self.commits.add(time.perf_counter() - start)
            self._committed.append(committed)
        for place in made:
            writes[place].result = outcome.Value(None)
        return None

    def _connected(self) -> Connection:
        if self._connection is not None and self._connection.is_stale():
            self.close()
        if self._connection is None:
            self._connection = self._server.open_writer()
        return self._connection

    def _apart(self, writes: Sequence[Write[Any]], error: Exception) -> None:
        """Commit writes one by one, after they have failed together with this error."""
        # Each try would wait again for a database that is away.
        if (len(writes) == 1 and not isinstance(error, _ALONE)) or _is_away(error):
            for write in writes:
                self._fail(write, error)
            return
        brief = isinstance(error, errors.LockNotAvailable)
        failure: Exception | None = None
        lost = 0.0
        for write in writes:
            if failure is not None and (lost > APART_SECONDS or _is_away(failure)):
                self._fail(write, failure)
                continue
            began = time.monotonic()
            own = self._alone(write, BRIEF_LOCK_SECONDS if brief else None)
            if own is None:
                continue
            self._fail(write, own)
            if isinstance(own, FAILURES):
                # The first failure says nothing about the others, however long it took.
                lost += 0.0 if failure is None else time.monotonic() - began
                failure = own
                brief = brief or isinstance(own, errors.LockNotAvailable)

    def _alone(self, write: Write[Any], lock_seconds: float | None) -> Exception | None:
        """Commit one write; a deadlock is none of its faults, so try again. Returns its error."""
        error: Exception | None = None
        for pause in DEADLOCK_PAUSES:
            time.sleep(pause)
            error = self._transaction([write], lock_seconds)
            if not isinstance(error, _ALONE):
                break
        return error

    def _transaction(
        self, writes: Sequence[Write[Any]], lock_seconds: float | None = None
    ) -> Exception | None:
        """Commit these writes together. If that fails, undo them all and return the error. Without
        seconds, each statement waits for a lock as long as all do."""
        start = time.perf_counter()
        transaction: Transaction | None = None
        try:
            transaction = Transaction(self._connected(), self.node, self._sender, lock_seconds)
            results = self._apply(transaction, writes)
            committed = transaction.commit()
        except Exception as error:
            self._roll_back(transaction, error)
            return error
        self.commits.add(time.perf_counter() - start)
        self._committed.append(committed)
        for write, result in zip(writes, results, strict=True):
            if isinstance(result, outcome.Error):
                self._fail(write, result.error)
            else:
                write.result = result
        return None

    def _apply(
        self, transaction: Transaction, writes: Sequence[Write[Any]]
    ) -> list[outcome.Outcome[Any]]:
        """Apply the writes; return their results. Raises what any of them raises."""
        appends = [write.change for write in writes if isinstance(write.change, Append)]
        if not appends:
            transaction.begin()
            return [outcome.Value(write.change(transaction)) for write in writes]
        locked = transaction.begin(LOCK, [Binaries(append.id for append in appends)])
        assert locked is not None
        appended = iter(append_all(transaction, appends, locked.fetchall(), self._compress))
        return [
            next(appended)
            if isinstance(write.change, Append)
            else outcome.Value(write.change(transaction))
            for write in writes
        ]

    def _roll_back(self, transaction: Transaction | None, error: Exception) -> None:
        if transaction is None:
            return
        try:
            if _is_away(error) or isinstance(error, errors.ReadOnlySqlTransaction):
                # The next transaction connects anew: another server may be the primary now.
                self.close()
            else:
                transaction.roll_back()
        except psycopg.Error:
            self.close()

    def _fail(self, write: Write[Any], error: BaseException) -> None:
        if isinstance(error, FAILURES):
            self._failure = error
            error = store_error("commit to", error)
        write.result = outcome.Error(error)


def _is_away(error: Exception) -> bool:
    return isinstance(error, FAILURES) and is_away(error)
