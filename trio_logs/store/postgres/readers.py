"""Queries, each in a thread with a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Generic, TypeVar

import psycopg
import trio

from ...errors import StoreError
from ...threads import Threads
from .connection import Connection
from .failures import FAILURES, store_error
from .link import Link
from .server import Server

__all__ = ["MAX_READERS", "Query", "Readers"]

T = TypeVar("T")

MAX_READERS = 8
"""Queries at once; more wait for their turn, and leave the queue when they are cancelled."""


class _UnusedError(psycopg.OperationalError):
    """A query that was interrupted before it used its connection."""


class Query(Generic[T]):
    """A query that may be interrupted while it runs in its thread."""

    def __init__(self, function: Callable[[Connection], T]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._is_interrupted = False

    def run(self, connection: Connection) -> T:
        """In a thread: its result. Raises what it raises."""
        with self._lock:
            if self._is_interrupted:
                raise _UnusedError("the query was interrupted")
            self._connection = connection
        try:
            return self._function(connection)
        finally:
            with self._lock:
                self._connection = None
                if self._is_interrupted:
                    # The next query must not find the interruption.
                    connection.close()

    def interrupt(self) -> None:
        """In any thread: have it end, also in the server."""
        with self._lock:
            self._is_interrupted = True
            if self._connection is not None:
                self._connection.interrupt()


class Readers:
    """A fixed number of threads and connections for queries. `reads` counts queries."""

    def __init__(self, server: Server, link: Link, name: str, count: int) -> None:
        self._server = server
        self._link = link
        self._count = count
        self._threads = Threads(name, count)
        # One for each idle thread. None stands for a failed connection: its next user opens
        # another.
        self._idle: list[Connection | None] = []
        self._running: set[Query[Any]] = set()
        self._is_closed = False
        self._is_left = False
        self.reads = 0

    def start(self) -> None:
        """Start the threads. Raises RuntimeError if the system refuses one."""
        self._threads.start()

    def open(self) -> None:
        """In a thread: open all connections. Raises psycopg.Error or OSError.

        Open all now: later, clients may have taken every file descriptor, and reads would fail.
        """
        for _ in range(self._count):
            self._idle.append(self._server.connect())

    async def read(self, function: Callable[[Connection], T]) -> T:
        """The result of a query. After a cancellation, the query ends by itself. Raises
        StoreError."""
        # Callers in the same shutdown get Cancelled here; all others get StoreError below.
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_closed:
            raise self._closed()
        self.reads += 1
        began = time.monotonic()
        query = Query(function)
        self._running.add(query)
        try:
            result = await self._threads.run(lambda: self._run(query), abandon_on_cancel=True)
        except trio.Cancelled:
            query.interrupt()
            raise
        except FAILURES as error:
            self._link.failed(error, began)
            raise store_error("read", error) from error
        finally:
            self._running.discard(query)
        self._link.answered(began)
        return result

    def give_up(self) -> None:
        """Let the threads end, before they have connected."""
        self._threads.close()

    async def wait_closed(self) -> None:
        """Refuse new queries, and wait for those under way: give it a deadline."""
        self._is_closed = True
        await self._threads.wait_closed()

    def interrupt(self) -> None:
        """Have the queries under way fail."""
        for query in self._running:
            query.interrupt()

    def close(self) -> None:
        """In a thread: close the connections that no query uses."""
        self._is_left = True
        with ExitStack() as stack, suppress(IndexError):
            while True:
                # `pop` is atomic: a query that ends late may be here at the same time.
                connection = self._idle.pop()
                if connection is not None:
                    stack.callback(connection.close)

    def _take(self) -> Connection | None:
        """An idle connection. Raises StoreError once `close` has taken them: a query that hung
        until then lets one that waited begin after it."""
        # `list.pop` and `append` are atomic, and there are as many connections as threads.
        if not self._is_left:
            with suppress(IndexError):
                return self._idle.pop()
        raise self._closed()

    def _run(self, query: Query[T]) -> T:
        connection = self._take()
        try:
            if connection is not None and connection.is_stale():
                connection.close()
                connection = None
            if connection is None:
                connection = self._server.connect()
            return query.run(connection)
        except _UnusedError:
            # Keep the connection: the caller may have given up because it was slow to make, and
            # the next caller would give up over another one.
            raise
        except FAILURES:
            if connection is not None:
                connection.close()
            raise
        finally:
            if connection is not None and connection.closed:
                connection.close()
                connection = None
            self._idle.append(connection)
            if self._is_left:
                self.close()

    def _closed(self) -> StoreError:
        return StoreError("could not read the database: the store is closed")
