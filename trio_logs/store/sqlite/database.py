"""The database: writes that are committed together, and reads beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import apsw
import structlog
import trio

from ..group import GroupCommit
from .failures import FAILURES, store_error
from .file import File
from .log_care import look_after_log
from .logs import Logs
from .readers import Readers
from .reserve import Reserve
from .writer import Writer

__all__ = ["Database"]

T = TypeVar("T")

CLOSE_SECONDS = 5.0
"""Seconds that a close takes at most. If reads, the commit under way or the file hang for longer,
the close leaves the store to its threads."""

READS_SECONDS = 3.0
"""Seconds after which a close no longer waits for reads, so that `CLOSE_SECONDS` has some left for
the commit and the file."""

_log = structlog.get_logger("trio_logs.store")


class Database:
    """A file, the one thread that writes to it, and the threads that read it.

    Open it with `open`, and have `run` run meanwhile.
    """

    def __init__(self, file: File, logs: Logs, reserve: Reserve) -> None:
        self._file = file
        self.writer = Writer(file, logs, reserve)
        self.group = GroupCommit(file.path.name, self.writer)
        self.readers = Readers(file)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start the threads and open the file; close it in the end. Raises StoreError."""
        try:
            self.group.thread.start()
            self.readers.start()
        except RuntimeError as error:
            # A limit on processes stops the start of a thread.
            self.group.thread.close()
            raise store_error("open", self._file.path, error) from error
        try:
            await self._open()
            yield
        finally:
            await self._close()

    async def run(self) -> None:
        """Commit writes, and look after the write-ahead log, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.group.run)
            nursery.start_soon(look_after_log, self.group.thread, self.writer)

    async def write(
        self,
        change: Callable[[apsw.Connection], T],
        *,
        committed: Callable[[T], object] | None = None,
        frees: bool = False,
    ) -> T:
        """The result of a change, once it is durable; see `GroupCommit.write`."""
        return await self.group.write(change, committed, frees=frees)

    async def read(self, query: Callable[[apsw.Connection], T]) -> T:
        """The result of a query. Raises StoreError."""
        return await self.readers.read(query)

    async def _open(self) -> None:
        try:
            await self.group.open(self._connect)
        except FAILURES as error:
            raise store_error("open", self._file.path, error) from error

    def _connect(self) -> None:
        self.writer.open()
        self.readers.open()

    def _disconnect(self) -> None:
        try:
            self.readers.close()
        finally:
            # Last: the last connection that is closed copies the WAL into the file.
            self.writer.close()

    async def _close(self) -> None:
        self._file.closing.set()
        self.group.refuse()
        start = trio.current_time()
        with trio.CancelScope(deadline=start + READS_SECONDS, shield=True):
            await self.readers.wait_closed()
        with trio.CancelScope(deadline=start + CLOSE_SECONDS, shield=True) as scope:
            try:
                # A disk that hangs may answer late: then the thread closes the file.
                await self.group.close(self._disconnect)
            except apsw.Error as error:
                path = str(self._file.path)
                _log.warning("store not closed in order", path=path, error=str(error))
        if scope.cancelled_caught:
            unknown = self.group.give_up("the disk does not answer")
            _log.warning(
                "the disk does not answer: the store is left to its threads",
                path=str(self._file.path),
                unknown_writes=unknown,
            )
