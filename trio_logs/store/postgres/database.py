"""The database: writes that are committed together, reads beside them, and news of other nodes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
import trio

from ...errors import StoreError
from ..group import GroupCommit
from ..shared import Node
from . import nodes
from .appends import Append
from .connection import Connection
from .failures import FAILURES, store_error
from .link import Link
from .news import News
from .readers import MAX_READERS, Readers
from .server import Server
from .transaction import Transaction
from .writer import Writer

__all__ = ["Database", "Part"]

T = TypeVar("T")

CLOSE_SECONDS = 5.0
"""Seconds that a close waits for a commit that hangs, and for the connections to close."""

READS_SECONDS = 3.0
"""Seconds, of CLOSE_SECONDS, that a close waits for reads that hang."""

BEAT_SECONDS = 3.0
"""Seconds that a beat may take."""

STEP_SECONDS = 2
"""Seconds that a beat may take to connect, or for one statement: the next beat needs its thread."""

_log = structlog.get_logger("trio_logs.store")


class Database:
    """A database, the one thread that writes to it, and the threads that read it.

    Open it with `open`, and have `run` run meanwhile.
    """

    def __init__(self, server: Server) -> None:
        sender = secrets.token_hex(6)
        self.link = Link()
        self.writer = Writer(server, sender)
        self.group = GroupCommit("the database", self.writer, self._settled)
        self.readers = Readers(server, self.link, "store reads", MAX_READERS)
        # Its own connection, so that neither long commits nor long reads delay a beat.
        self.beats = Readers(server.impatient(STEP_SECONDS), self.link, "store beats", 1)
        self.news = News(server, self.readers, self.link, sender)
        self.sender = sender
        # The bytes of all batches, as far as this node knows, and how many batches it has removed.
        self.bytes = 0
        self.trimmed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start the threads and connect; close all in the end. Raises StoreError."""
        try:
            self.group.thread.start()
            self.readers.start()
            self.beats.start()
            self.news.start()
        except RuntimeError as error:
            # A limit on processes stops the start of a thread.
            self.group.thread.close()
            for each in (self.readers, self.beats, self.news):
                each.give_up()
            raise store_error("open", error, detailed=True) from error
        try:
            await self._open()
            yield
        finally:
            await self._close()

    async def run(self) -> None:
        """Commit writes and tell news, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.group.run)
            nursery.start_soon(self.news.run)

    async def write(
        self,
        change: Append | Callable[[Transaction], T],
        committed: Callable[[T], object] | None = None,
    ) -> T:
        """The result of a change, once it is durable; see `GroupCommit.write`."""
        return await self.group.write(change, committed)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """The result of a query. Raises StoreError."""
        return await self.readers.read(query)

    @property
    def node(self) -> str | None:
        """The id of this node, once it has joined."""
        return self.writer.node

    async def beat(self, *, address: str | None, draining: bool) -> Sequence[Node]:
        """See `SharedStore.beat`."""
        with trio.move_on_after(BEAT_SECONDS):
            return await self.beats.read(
                lambda connection: nodes.beat(connection, self.node, address, draining)
            )
        raise StoreError(f"the database has not answered a beat for {BEAT_SECONDS:g} s")

    def _settled(self) -> None:
        """In Trio's thread, after each group."""
        began = self.writer.began
        committed, failure = self.writer.take()
        for each in committed:
            if each.held is not None:
                # Other nodes add and remove batches, too.
                self.bytes = each.held
            self.bytes += each.added
            self.trimmed += each.trimmed
            self.news.committed(each)
        if failure is not None:
            self.link.failed(failure, began)
            # It may have been committed all the same.
            self.news.look()
        elif committed:
            self.link.answered(began)

    async def _open(self) -> None:
        try:
            await self.group.open(self._connect)
        except FAILURES as error:
            raise store_error("open", error, detailed=True) from error

    def _connect(self) -> None:
        self.bytes = self.writer.open()
        self.readers.open()
        self.beats.open()
        self.news.open()

    def _disconnect(self) -> None:
        for each in (self.news, self.beats, self.readers, self.writer):
            each.close()

    async def _close(self) -> None:
        self.group.refuse()
        start = trio.current_time()
        reads = (self.readers, self.beats, self.news)
        with trio.CancelScope(deadline=start + READS_SECONDS, shield=True) as scope:
            async with trio.open_nursery() as nursery:
                for each in reads:
                    nursery.start_soon(each.wait_closed)
        if scope.cancelled_caught:
            self.readers.interrupt()
            self.beats.interrupt()
        with trio.CancelScope(deadline=start + CLOSE_SECONDS, shield=True) as scope:
            await self.group.close(self._disconnect)
        if scope.cancelled_caught:
            self.writer.interrupt()
            unknown = self.group.give_up("the database does not answer")
            _log.warning(
                "the database does not answer: the store is left to its threads",
                unknown_writes=unknown,
            )


class Part:
    """A part of the methods of a store, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
