"""The database: writes that are committed together, and reads beside them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import apsw
import outcome
import structlog
import trio

from ...errors import StoreError
from ...threads import Call, Threads
from ..durations import DurationStatistics
from .failures import FAILURES, store_error
from .file import File
from .log_care import look_after_log
from .logs import Logs
from .readers import Readers
from .reserve import Reserve
from .writer import Write, Writer

__all__ = ["Database"]

T = TypeVar("T")

CLOSE_SECONDS = 5.0
"""Seconds that a close waits for a commit that hangs, and for the file to close."""

READS_SECONDS = 3.0
"""The part of these seconds that a close waits for reads that hang."""

_log = structlog.get_logger("trio_logs.store")


class Database:
    """A file, the one thread that writes to it, and the threads that read it.

    Open it with `open`, and have `commit_writes` run meanwhile.
    """

    def __init__(self, file: File, logs: Logs, reserve: Reserve) -> None:
        self._file = file
        self._writer = Writer(file, logs, reserve)
        self._readers = Readers(file)
        self._thread = Threads("store commits", 1)
        # At most one write for each task that waits: a cancelled task takes its write out.
        self._pending: dict[Write[Any], None] = {}
        self._wake = trio.Event()
        # The writes that the thread commits now, and its call.
        self._group: list[Write[Any]] = []
        self._call: Call[None] | None = None
        self._is_closed = False
        self.writes_failed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start the threads and open the file; close it in the end. Raises StoreError."""
        try:
            self._thread.start()
            self._readers.start()
        except RuntimeError as error:
            # A limit on processes stops the start of a thread.
            self._thread.close()
            raise store_error("open", self._file.path, error) from error
        try:
            await self._open()
            yield
        finally:
            await self._close()

    async def commit_writes(self) -> None:
        """Commit, in one transaction, the writes that all tasks have ready; until cancelled."""
        while True:
            pause = self._writer.upkeep_in
            if math.isinf(pause):
                # A scope would cost as much as a small write.
                await self._wake.wait()
            else:
                with trio.move_on_after(pause):
                    await self._wake.wait()
            self._wake = trio.Event()
            self._group, self._pending = list(self._pending), {}
            if not self._group:
                await self._thread.run(self._writer.keep_up, abandon_on_cancel=True)
                continue
            token = trio.lowlevel.current_trio_token()
            self._call = call = self._thread.submit(partial(self._commit, self._group, token))
            await call.wait()
            self._settle()

    def _commit(self, group: Sequence[Write[Any]], token: trio.lowlevel.TrioToken) -> None:
        """In the thread: commit a group, and keep up with it. The next group waits for both, so
        that no writer outruns the bound of the history; the tasks of this one do not."""
        self._writer.commit(group)
        if not self._writer.upkeep_in:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._settle)
            self._writer.keep_up()

    async def look_after_log(self) -> None:
        """Look after the write-ahead log now and then, until cancelled."""
        await look_after_log(self._thread, self._writer)

    async def write(
        self,
        apply: Callable[[apsw.Connection], T],
        *,
        committed: Callable[[T], object] | None = None,
        frees: bool = False,
    ) -> T:
        """Run `apply` in the next transaction; return its result once the transaction is durable.
        See `Write` for `frees`.

        `committed` is called with it then, even if this task was cancelled meanwhile: in the order
        in which the writes were applied. Raises StoreError if the store fails, and any exception of
        `apply`.
        """
        # Callers in the same shutdown get Cancelled here; all others get StoreError below.
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_closed:
            raise self._error("the store is closed")
        write = Write(apply, trio.current_time(), committed, frees)
        self._pending[write] = None
        self._wake.set()
        try:
            await write.done.wait()
        finally:
            self._pending.pop(write, None)
        assert write.result is not None
        return write.result.unwrap()

    async def read(self, query: Callable[[apsw.Connection], T]) -> T:
        """The result of a query. Raises StoreError."""
        return await self._readers.read(query)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that writes. Any thread may ask."""
        return self._writer.is_open

    @property
    def commits(self) -> DurationStatistics:
        """The transactions that were committed."""
        return self._writer.commits.statistics()

    @property
    def reads(self) -> int:
        """How many queries there were."""
        return self._readers.reads

    @property
    def writes_waiting(self) -> int:
        """How many writes are not durable yet."""
        return len(self._group) + len(self._pending)

    @property
    def oldest_wait(self) -> float:
        """Seconds that the oldest write which is not durable has waited; 0.0 without one."""
        oldest = self._group[0] if self._group else next(iter(self._pending), None)
        return 0.0 if oldest is None else trio.current_time() - oldest.since

    async def _open(self) -> None:
        self._call = self._thread.submit(self._open_connections)
        try:
            await self._call.wait()
        except Exception as error:
            # Over: only a cancelled wait leaves the call to `_close`.
            self._call = None
            if isinstance(error, FAILURES):
                raise store_error("open", self._file.path, error) from error
            raise
        self._call = None

    def _open_connections(self) -> None:
        self._writer.open()
        self._readers.open()

    def _close_connections(self) -> None:
        try:
            self._readers.close()
        finally:
            # Last: the last connection that is closed copies the WAL into the file.
            self._writer.close()

    def _settle(self) -> None:
        """The thread has committed the group, or is given up: wake the tasks that wait. A second
        call does nothing."""
        group, self._group, self._call = self._group, [], None
        for write in group:
            if write.result is None:
                write.result = outcome.Error(self._error("the disk does not answer"))
            match write.result:
                case outcome.Value(value=value):
                    if write.committed is not None:
                        write.committed(value)
                case outcome.Error(error=StoreError()):
                    self.writes_failed += 1
            write.done.set()

    async def _close(self) -> None:
        self._is_closed = True
        self._file.closing.set()
        for write in self._pending:
            write.result = outcome.Error(self._error("the store is closed"))
            write.done.set()
        self._pending = {}
        start = trio.current_time()
        with trio.CancelScope(deadline=start + READS_SECONDS, shield=True):
            await self._readers.wait_closed()
        with trio.CancelScope(deadline=start + CLOSE_SECONDS, shield=True) as scope:
            await self._close_writer()
        if scope.cancelled_caught:
            _log.warning(
                "the disk does not answer: the store is left to its threads",
                path=str(self._file.path),
                unknown_writes=len(self._group),
            )
            self._settle()

    async def _close_writer(self) -> None:
        # Submit before any wait: if a disk that hangs answers late, the thread closes the file.
        closing = self._thread.submit(self._close_connections)
        self._thread.close()
        if self._call is not None:
            with suppress(*FAILURES):
                await self._call.wait()
            self._settle()
        try:
            await closing.wait()
        except apsw.Error as error:
            _log.warning("store not closed in order", path=str(self._file.path), error=str(error))
        await self._thread.wait_closed()

    def _error(self, reason: str) -> StoreError:
        return StoreError(f"could not commit to {self._file.path.name}: {reason}")
