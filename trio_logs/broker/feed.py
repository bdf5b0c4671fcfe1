"""The feed of a log: what its owner at another node appends, read from the shared store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from functools import partial

import trio

from ..records import Batch, Gap
from ..store import LogState, LogStore
from .asking import Asking
from .extender import SETTLE_SECONDS
from .history import History
from .looks import Looks
from .news import News
from .retries import until_done
from .topic import Life, Topic

__all__ = ["FEED_READS", "Feed", "Verdict"]

READ_BYTES = 512 * 1024
"""About how many bytes on the wire a feed reads and publishes at once, as a source does."""

FEED_READS = 4
"""Reads of all feeds at once. A store serves twice as many at once, so half of them are left for
readers behind their windows."""

LOOK_SECONDS = 5.0
"""Seconds from one look at the store to the next, at most: news may be lost."""


class Verdict(Enum):
    """Why a feed has ended."""

    OVER = auto()
    """The log has ended."""

    DELETED = auto()
    """The log was deleted."""

    LOST = auto()
    """The store has lost lines that readers have, and the log has another owner or an end since."""


class Feed:
    """Publishes one topic from the store. It must be run once.

    The order loses nothing: the store watches the log, then the feed reads the head, then it reads
    from its own head on. News says only that the log has changed; the store is the truth.
    """

    def __init__(
        self,
        topic: Topic,
        store: LogStore,
        history: History,
        news: News,
        reads: trio.CapacityLimiter,
    ) -> None:
        self._topic = topic
        self._store = store
        self._history = history
        self._news = news
        self._reads = reads
        self._asking = Asking(topic, news)
        self._looks = Looks()
        self._scope = trio.CancelScope()
        # On Trio's clock, or `inf`: when the oldest news since the beginning of the last look came,
        # and when the oldest news that this look reads came.
        self._news_since = math.inf
        self._looking_since = trio.current_time()

    def ring(self) -> bool:
        """There may be news."""
        self._news_since = min(self._news_since, trio.current_time())
        return self._looks.ring()

    @property
    def waiting_since(self) -> float:
        """When the oldest news that readers lack has come, on Trio's clock; `inf` if none."""
        return min(self._news_since, self._looking_since)

    def asked(self) -> None:
        """Another node follows the log, too."""

    def shown(self, content: bytes) -> None:
        self._asking.shown(content)

    def stop(self) -> None:
        """Publish nothing from now on."""
        self._scope.cancel(reason="no reader, or another role")

    async def settle(self) -> None:
        """Return once a look at the store is done that began after the call; after 1 s anyway."""
        with trio.move_on_after(SETTLE_SECONDS):
            await self._looks.next()

    async def show(self) -> None:
        await self._asking.answer()

    async def reach(self, line: int) -> bool:
        """Wait for a look at the store, however long it is away. Another node has told the reader
        this line, so the store has the line at that look, or has lost it."""
        if self._topic.head < line:
            await self._looks.next()
        return False

    def fall_behind(self, lines: int) -> bool:
        """The database has failed over to a replica that has only `lines` lines. Readers wait until
        the owner has appended the others again."""
        self._topic.lack(lines)
        self._history.forget(self._topic.workload_id)
        return True

    async def run(self) -> Verdict | None:
        """Publish until nothing can follow; None if it was stopped."""
        topic = self._topic
        topic.unfinished.on_watch = self.ring
        try:
            with self._news.heard_by(topic.workload_id, self), self._scope:
                await until_done(partial(self._news.watch, topic.workload_id))
                while (verdict := await self._look()) is None:
                    await self._asking.ask()
                    await self._looks.wait(LOOK_SECONDS)
                return verdict
        finally:
            self._looks.close()
        return None

    async def _look(self) -> Verdict | None:
        """Publish what the store has. Returns a verdict if nothing can follow."""
        topic = self._topic
        self._looks.begin()
        self._looking_since = min(self._looking_since, self._news_since)
        self._news_since = math.inf
        state = await until_done(partial(self._store.log, topic.workload_id))
        if state is not None and await self._is_replaced(state):
            # Nobody knows since which line.
            topic.kept = 0
            return Verdict.LOST
        if (verdict := self._judge(state)) is not None:
            return verdict
        if state is not None:
            while topic.head < state.lines:
                await self._publish(await self._read(topic.head + 1), state)
            if state.end is not None:
                topic.publish((), state.streams, state.end)
                self._asking.skipped()
                await topic.audience.tell_all()
                return Verdict.OVER
        self._looking_since = math.inf
        self._looks.finish()
        return None

    def _judge(self, state: LogState | None) -> Verdict | None:
        topic = self._topic
        if topic.life is Life.DELETED or (state is None and topic.life is Life.OPEN):
            return Verdict.DELETED
        if state is None:
            return None
        if state.lines < topic.head:
            if state.epoch != topic.epoch or state.end is not None:
                # Another owner may have other lines there soon.
                topic.kept = state.lines
                return Verdict.LOST
            self.fall_behind(state.lines)
            return None
        if topic.is_lacking:
            topic.have_all()
        topic.life = Life.OPEN
        topic.epoch = state.epoch
        return None

    async def _is_replaced(self, state: LogState) -> bool:
        """Whether a failover has lost the last line that readers may have, and a new owner has
        stored another one in its place, all since the last look."""
        topic = self._topic
        if topic.life is not Life.OPEN or state.epoch == topic.epoch:
            return False
        if not 0 < topic.head <= state.lines:
            return False
        found = await self._read(topic.head, 1)
        if not found or isinstance(found[0], Gap) or found[0].first > topic.head:
            # A line that is a gap now, or was removed, is no other line.
            return False
        return found[0].time != topic.time

    async def _read(self, first: int, max_bytes: int = READ_BYTES) -> Sequence[Batch | Gap]:
        topic = self._topic

        async def read() -> Sequence[Batch | Gap]:
            async with self._reads:
                return await self._store.read(topic.workload_id, first, max_bytes)

        return await until_done(read)

    async def _publish(self, records: Sequence[Batch | Gap], state: LogState) -> None:
        """Publish what the store has from the next line on. Readers find gaps in the store by
        themselves."""
        topic = self._topic
        batches: list[Batch] = []
        for record in records:
            due = (batches[-1].last if batches else topic.head) + 1
            if isinstance(record, Batch) and record.first <= due:
                batches.append(record.since(due))
                continue
            await self._tell(batches, state)
            batches = [record] if isinstance(record, Batch) else []
            self._skip(record.first - 1 if isinstance(record, Batch) else record.last)
        await self._tell(batches, state)
        if not records:
            self._skip(state.lines)

    def _skip(self, line: int) -> None:
        self._topic.skip(line)
        self._asking.skipped()

    async def _tell(self, batches: Sequence[Batch], state: LogState) -> None:
        if batches:
            topic = self._topic
            topic.publish(batches, state.streams)
            self._asking.published(batch.stream for batch in batches)
            await topic.audience.tell(batches)
