"""News of other nodes: a connection that listens, and the changes of records that it announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio
from psycopg import sql

from ...errors import StoreError
from ...records import Change
from ...threads import Threads
from . import changes
from .bells import hear
from .connection import Connection
from .failures import FAILURES
from .link import Link
from .readers import Readers
from .server import Server
from .transaction import Committed

__all__ = ["News"]

RETRY = 0.1, 2.0
"""Seconds from a failed connection to the next try: the first delay, and the bound of doubling."""

PAGE_BYTES = 1024 * 1024


class News:
    """Tells what other nodes do; see `SharedStore` for what is told. `sender` is the name of this
    store in bells.

    A notification comes after its commit, and none comes while there is no connection: so a new
    connection tells that everything may have changed.
    """

    def __init__(self, server: Server, readers: Readers, link: Link, sender: str) -> None:
        self._server = server
        self._readers = readers
        self._link = link
        self._sender = sender
        self._threads = Threads("store news", 1)
        self._connection: Connection | None = None
        self._is_closed = False
        # The position up to which changes were told.
        self._told = 0
        self._untold = trio.Event()
        self.watched: set[str] = set()
        self.listener: Callable[[Change], object] = _ignore
        self.lost: Callable[[int], object] = _ignore
        self.ring_log: Callable[[str | None], object] = _ignore
        self.ring_work: Callable[[], object] = _ignore_all
        self.asked: Callable[[str], object] = _ignore
        self.shown: Callable[[str, bytes], object] = _ignore_all

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that listens."""
        return self._connection is not None

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the system refuses it."""
        self._threads.start()

    def open(self) -> None:
        """In a thread: listen for the first time. Raises psycopg.Error or OSError."""
        self._connection = self._connect()
        self._told = changes.newest(self._connection)

    async def run(self) -> None:
        """Tell news until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._tell_others)

    def committed(self, committed: Committed) -> None:
        """This store has committed a transaction: tell its changes, in the order of positions.

        On a new timeline, `before` is above all that an earlier one has given.
        """
        if committed.before == self._told:
            self._told = committed.position
            for change in committed.changes:
                self.listener(change)
        elif committed.changes:
            self.look()

    def look(self) -> None:
        """There may be changes that were not told yet."""
        self._untold.set()

    def close(self) -> None:
        """In a thread: stop listening."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def give_up(self) -> None:
        """Let the thread end, before it has connected."""
        self._threads.close()

    async def wait_closed(self) -> None:
        """Wait until the thread has ended: give it a deadline."""
        self._is_closed = True
        await self._threads.wait_closed()

    def _connect(self) -> Connection:
        connection = self._server.connect()
        try:
            channel = sql.Identifier(self._server.schema)
            # Once it returns, the notification of each later commit comes.
            connection.execute(sql.SQL("LISTEN {}").format(channel))
        except BaseException:
            connection.close()
            raise
        return connection

    def _reconnect(self) -> None:
        """In the thread."""
        connection = self._connect()
        self._connection = connection
        if self._is_closed:
            self.close()

    async def _listen(self) -> None:
        delay, longest = RETRY
        while True:
            if self._connection is None:
                began = time.monotonic()
                try:
                    await self._threads.run(self._reconnect, abandon_on_cancel=True)
                except FAILURES as error:
                    self._link.failed(error, began)
                    await trio.sleep(delay)
                    delay = min(2 * delay, longest)
                    continue
                self._link.answered(began)
                self.ring_log(None)
                self.ring_work()
                self.look()
            delay = RETRY[0]
            connection = self._connection
            if connection is None:
                # The store closes.
                await trio.sleep_forever()
            try:
                await self._hear(connection)
            except FAILURES:
                # Whether the database is away is for the next connection to say.
                self._connection = None
                with suppress(*FAILURES):
                    connection.close()

    async def _hear(self, connection: Connection) -> None:
        """Tell what the connection hears. Raises psycopg.Error or OSError once it fails."""
        while True:
            await trio.lowlevel.wait_readable(connection.fileno())
            # It never blocks: the socket is readable.
            connection.pgconn.consume_input()
            while (notification := connection.pgconn.notifies()) is not None:
                self._tell(notification.extra.decode())

    def _tell(self, payload: str) -> None:
        heard = hear(payload, self._sender)
        if heard.changes:
            self.look()
        if heard.logs is None:
            self.ring_log(None)
        else:
            for workload_id in heard.logs & self.watched:
                self.ring_log(workload_id)
        if heard.work:
            self.ring_work()
        if heard.asked is not None:
            self.asked(heard.asked)
        if heard.shown is not None and heard.shown[0] in self.watched:
            self.shown(*heard.shown)

    async def _tell_others(self) -> None:
        """Tell the changes of other nodes, read from the database."""
        delay, longest = RETRY
        while True:
            await self._untold.wait()
            self._untold = trio.Event()
            try:
                await self._tell_page()
            except StoreError:
                await trio.sleep(delay)
                delay = min(2 * delay, longest)
                self._untold.set()
            else:
                delay = RETRY[0]

    async def _tell_page(self) -> None:
        page = await self._readers.read(
            partial(changes.since, after=self._told, max_bytes=PAGE_BYTES)
        )
        if not page.is_known:
            # A failover has lost changes that were told; it may have undone some in records, which
            # have no change after `_told`.
            self._told = page.newest
            self.lost(page.newest)
            return
        for change in page.changes:
            # Commits of this store may have been told meanwhile.
            if change.position > self._told:
                self._told = change.position
                self.listener(change)
        self._told = max(self._told, page.position)
        if self._told < page.newest:
            self._untold.set()


def _ignore(_: object) -> None:
    pass


def _ignore_all(*_: object) -> None:
    pass
