"""Queries, each in a thread with a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

import apsw
import trio

from ...errors import StoreError
from ...threads import Threads
from .failures import FAILURES, store_error
from .file import File

__all__ = ["MAX_READERS", "Readers"]

T = TypeVar("T")

STEPS = 10_000
"""Instructions of SQLite between two looks whether a query is abandoned, some 0.1 ms."""

MAX_READERS = 8
"""Queries at once; more wait for their turn, and leave the queue when they are cancelled."""


class Readers:
    """A fixed number of threads and connections for queries. `reads` counts queries."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._threads = Threads("store reads", MAX_READERS)
        # One for each idle thread. None stands for a failed connection: its next user opens
        # another.
        self._idle: list[apsw.Connection | None] = []
        self._is_closed = False
        self._is_left = False
        self.reads = 0

    def start(self) -> None:
        """Start the threads. Raises RuntimeError if the system refuses one."""
        self._threads.start()

    def open(self) -> None:
        """In a thread: open all connections. Raises apsw.Error.

        Open all now: later, clients may have taken every file descriptor, and reads would fail.
        """
        for _ in range(MAX_READERS):
            self._idle.append(self._file.open_reader())

    async def read(self, query: Callable[[apsw.Connection], T]) -> T:
        """The result of a query. A cancellation stops the query, in its thread. Raises
        StoreError."""
        # Callers in the same shutdown get Cancelled here; all others get StoreError below.
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_closed:
            raise self._closed()
        self.reads += 1
        abandoned = threading.Event()
        call = partial(self._query, query, abandoned)
        try:
            return await self._threads.run(call, abandon_on_cancel=True)
        except FAILURES as error:
            raise store_error("read", self._file.path.name, error) from error
        finally:
            # If the query still runs, nobody waits for it any more.
            abandoned.set()

    async def wait_closed(self) -> None:
        """Refuse new queries, and wait for those under way: give it a deadline."""
        self._is_closed = True
        await self._threads.wait_closed()

    def close(self) -> None:
        """In a thread: close the connections that no query uses. Raises apsw.Error."""
        self._is_left = True
        with ExitStack() as stack, suppress(IndexError):
            while True:
                # `pop` is atomic: a query that ends late may be here at the same time.
                connection = self._idle.pop()
                if connection is not None:
                    stack.callback(connection.close)

    def _take(self) -> apsw.Connection | None:
        """An idle connection. Raises StoreError once `close` has taken them: a query that hung
        until then lets one that waited begin after it."""
        # `list.pop` and `append` are atomic, and there are as many connections as threads.
        if not self._is_left:
            with suppress(IndexError):
                return self._idle.pop()
        raise self._closed()

    def _query(self, query: Callable[[apsw.Connection], T], abandoned: threading.Event) -> T:
        connection = self._take()
        try:
            if connection is None:
                connection = self._file.open_reader()
            # Not `interrupt`, which could meet the next query on this connection.
            connection.set_progress_handler(abandoned.is_set, STEPS)
            return query(connection)
        except apsw.InterruptError:
            raise  # abandoned: the connection is as good as before
        except FAILURES:
            if connection is not None:
                with suppress(apsw.Error):
                    connection.close()
                connection = None
            raise
        finally:
            self._idle.append(connection)
            if self._is_left:
                self.close()

    def _closed(self) -> StoreError:
        return StoreError(f"could not read {self._file.path.name}: the store is closed")
