"""Groups of writes that are committed together, in the writer's thread."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import apsw
import outcome
import structlog

from ..group import Committer, Write
from .failures import FAILURES, store_error
from .file import File
from .logs import Logs
from .reserve import Reserve
from .transactions import Transactions

__all__ = ["Writer"]

_log = structlog.get_logger("trio_logs.store")

APART_SECONDS = 5.0
"""Seconds for which the writes of a group are tried one by one while the disk fails."""

UPKEEP_SECONDS = 0.02
"""Seconds after which upkeep lets waiting writes have their turn."""

REST_SECONDS = 1.0
"""Seconds without upkeep after an error."""

ROOM_SECONDS = 0.5
"""Seconds between two looks whether a full disk has room again."""


class Writer(Committer):
    """Commits groups of writes that change `logs`, and gives each write its own result. Afterwards
    it keeps up: it removes lines beyond the bound, and gives free space back.

    On a full disk, it releases the `reserve`, and refuses all writes but those that free something
    until there is room for the reserve again.
    """

    def __init__(self, file: File, logs: Logs, reserve: Reserve) -> None:
        self._file = file
        self._logs = logs
        self._reserve = reserve
        self._transactions = Transactions(file, logs)
        self.commits = self._transactions.commits
        self.look_after_log = self._transactions.look_after_log
        # On `time.monotonic`: when upkeep goes on after an error, and a full disk is looked at.
        self._rests_until = 0.0
        self._looks_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has a connection. Any thread may ask."""
        return self._transactions.is_open

    def open(self) -> None:
        """Open the file. Raises apsw.Error or OSError."""
        self._reserve.take()
        try:
            connection = self._transactions.connect()
        except (apsw.FullError, apsw.IOError) as error:
            # On a full disk, SQLite lacks room for the index of its log.
            if not self._release(error):
                raise
            connection = self._transactions.connect()
        self._logs.load(connection)

    def close(self) -> None:
        """Close the file. Raises apsw.Error."""
        self._transactions.close()

    def commit(self, writes: Sequence[Write[Any]]) -> None:
        """Apply all writes in one transaction. If that fails, apply each in a transaction of its
        own.

        An error becomes the result of its write; the method raises nothing.
        """
        if self._is_full():
            self._commit_removals(writes, apsw.FullError("database or disk is full"))
            return
        error = self._try(writes)
        if error is None:
            return
        if isinstance(error, apsw.FullError) and self._release(error):
            self._commit_removals(writes, error)
            return
        # Another program's lock stops every write, and each try would wait for it again.
        if len(writes) == 1 or isinstance(error, apsw.BusyError):
            for write in writes:
                self._fail(write, error)
            return
        self._commit_apart(writes)

    def _commit_apart(self, writes: Sequence[Write[Any]]) -> None:
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
            results[:] = [outcome.Value(write.change(connection)) for write in writes]

        try:
            self._transactions.run(apply)
        except Exception as error:
            return error
        for write, result in zip(writes, results, strict=True):
            write.result = result
        return None

    def _fail(self, write: Write[Any], error: Exception) -> None:
        if isinstance(error, FAILURES):
            error = store_error("commit to", self._file.path.name, error)
        write.result = outcome.Error(error)

    # A full disk.

    def _is_full(self) -> bool:
        """Whether the disk is full, and has no room for the reserve yet."""
        moment = time.monotonic()
        if self._reserve.is_released and moment >= self._looks_at:
            self._looks_at = moment + ROOM_SECONDS
            if self._reserve.take():
                self._logs.be_careful(False)
                _log.warning("the disk has room again")
        return self._reserve.is_released

    def _release(self, error: Exception) -> bool:
        """Release the reserve, if it is there. Return whether it was."""
        if not self._reserve.release():
            return False
        _log.error(
            "the disk is full: only deletions work until there is room; use `trio-logs rm` or"
            " `trio-logs prune`, or make room on the disk",
            error=str(error),
        )
        # The room is little, so each step has to be small.
        self._logs.be_careful(True)
        self._looks_at = time.monotonic() + ROOM_SECONDS
        return True

    def _commit_removals(self, writes: Sequence[Write[Any]], error: Exception) -> None:
        """Commit the writes that free something, each with a checkpoint, after which the next one
        finds the same room. The others get the error."""
        for write in writes:
            failure: Exception | None = error
            if write.frees:
                with suppress(*FAILURES):
                    self._transactions.checkpoint()
                failure = self._try([write])
            if failure is not None:
                self._fail(write, failure)

    # What is done between groups.

    @property
    def upkeep_in(self) -> float:
        """Seconds until `keep_up` has something to do; 0 if it has now, inf if nothing is known.
        Any thread may ask, between calls."""
        if self._transactions.log_is_long:
            return 0.0
        logs = self._logs
        if logs.is_over or logs.free.may_be_many or logs.free.is_shrinking:
            return max(self._rests_until - time.monotonic(), 0.0)
        return math.inf

    def keep_up(self) -> None:
        """After a commit: remove lines beyond the bound, give free space back, and copy the log
        into the file, for a bounded time. It raises nothing; after an error, it rests."""
        try:
            self._keep_up(time.monotonic() + UPKEEP_SECONDS)
        except FAILURES as error:
            if not (isinstance(error, apsw.FullError) and self._release(error)):
                # The next commit, or `look_after_log`, meets the error again and reports it.
                self._rests_until = time.monotonic() + REST_SECONDS

    def _keep_up(self, deadline: float) -> None:
        logs, free, transactions = self._logs, self._logs.free, self._transactions
        while logs.is_over and time.monotonic() < deadline:
            transactions.run(logs.keep_within)
            if free.is_careful:
                transactions.checkpoint()
        if free.may_be_many:
            free.look(transactions.connect())
        was_shrinking = free.is_shrinking
        while free.is_shrinking and time.monotonic() < deadline:
            if transactions.log_is_long or free.is_careful:
                transactions.checkpoint()
            transactions.run(free.shrink)
        # The end of the file goes with the checkpoint after the last page that was given back.
        if transactions.log_is_long or (was_shrinking and not free.is_shrinking):
            transactions.checkpoint()
