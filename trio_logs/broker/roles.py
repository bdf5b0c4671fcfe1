"""What extends each log at this node: a source if the node owns the log, else a feed.

A topic that has a source never gets a feed, and the other way round. When the owner of the log
changes, a new topic takes the place of the old one in one step, and the readers move to it.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from ..errors import FencedError
from ..store import LogStore
from ..store.shared import SharedStore
from .feed import FEED_READS, Feed, Verdict
from .news import News
from .retries import until_done
from .source import Source
from .tasks import Tasks
from .topic import Life, Topic
from .topics import Topics

__all__ = ["Roles"]


class Roles:
    """The sources and feeds of a broker. Without a shared store, there are no feeds."""

    def __init__(
        self,
        topics: Topics,
        store: LogStore,
        patience: float,
        tasks: Tasks,
        shared: SharedStore | None,
    ) -> None:
        self._topics = topics
        self._store = store
        self._patience = patience
        self._tasks = tasks
        self._news = None if shared is None else News(shared, topics.history)
        # At most one for each topic.
        self._sources: dict[Topic, Source] = {}
        self._feeds: dict[Topic, Feed] = {}
        # The topics with readers whose successors are looked up.
        self._handing_over: dict[Topic, trio.CancelScope] = {}
        self._reads = trio.CapacityLimiter(FEED_READS)
        if self._news is not None:
            topics.attend = self._attend
            topics.may_fail_over = True

    @property
    def sources(self) -> dict[Topic, Source]:
        """The source of each topic that has one."""
        return self._sources

    @property
    def feeds(self) -> Iterator[Feed]:
        """The feeds that run."""
        return iter(tuple(self._feeds.values()))

    def fence(self, workload_id: str | None = None) -> None:
        """End the source of a log now, or all sources: another node owns the log."""
        for topic, source in self._sources.items():
            if workload_id in (None, topic.workload_id):
                source.fence()

    async def head(self, topic: Topic, *, settled: bool) -> int:
        """The number of the last line known now. With `settled`, these are all lines that the store
        has. Raises StoreError."""
        is_known = topic.life in (Life.OPEN, Life.ABSENT)
        await topic.load()
        if settled and self._news is not None and topic.extender is None and is_known:
            # Nothing keeps the topic up to date.
            state = await self._store.log(topic.workload_id)
            return topic.head if state is None else max(topic.head, state.lines)
        if settled:
            await topic.settle()
        return topic.head

    async def own(self, workload_id: str, epoch: int | None) -> Topic:
        """The topic of a log, with its end or with a source. `epoch` is that of the log's owner; a
        log that no node has owned needs none. Raises as `LogBroker.open`, but returns an end."""
        if self._news is not None:
            return await self._take(workload_id, epoch)
        topic = self._topics.acquire(workload_id)
        try:
            await topic.load()
            if topic.end is None:
                await self._tasks.check()
                if topic.detached:
                    # Its head is not where the store has the log, so its lines would get wrong
                    # numbers.
                    raise _taken(workload_id)
                if topic not in self._sources:
                    self._begin(topic)
            return topic
        finally:
            self._topics.release(topic)

    async def _take(self, workload_id: str, epoch: int | None) -> Topic:
        while True:
            await self._tasks.check()
            if (topic := self._owned(workload_id)) is not None:
                source = self._sources[topic]
                if epoch in (None, source.epoch):
                    return topic
                if epoch is not None and epoch < source.epoch:
                    raise _taken(workload_id)
                source.fence()
                await source.over.wait()
            fresh = self._topics.make(workload_id)
            try:
                await fresh.load()
                await self._tasks.check()
                # No await from here on: the roles change in one step.
                if self._owned(workload_id) is not None:
                    continue
                if fresh.state.epoch != (epoch or 0):
                    raise _taken(workload_id)
                if fresh.end is None:
                    self._put(fresh)
                    self._begin(fresh)
                return fresh
            finally:
                self._topics.release(fresh)

    def _owned(self, workload_id: str) -> Topic | None:
        """The topic of the log, if this node extends it."""
        topic = self._topics.current(workload_id)
        return topic if topic in self._sources else None

    def _put(self, fresh: Topic) -> None:
        """Have this topic take the place of the one that the log has now."""
        before = self._topics.current(fresh.workload_id)
        if before is not None:
            self._stop_feed(before)
        self._topics.put(fresh)

    def _begin(self, topic: Topic) -> None:
        source = Source(topic, self._store, self._patience, self._news)
        self._sources[topic] = source
        topic.life = Life.OPEN
        self._topics.hold(topic)
        self._tasks.start(self._run_source, topic, source, name=f"topic {topic.workload_id}")

    async def _run_source(self, topic: Topic, source: Source) -> None:
        try:
            await source.run()
        except BaseException:
            self._tasks.refuse()
            raise
        finally:
            del self._sources[topic]
            self._topics.counters.fenced += source.is_fenced
            if source.is_fenced:
                self._hand_over(topic)
            elif topic.end is None:
                # The broker ends: have the next reader look the log up anew.
                self._topics.replace(topic)
            self._topics.release(topic)

    def _attend(self, topic: Topic) -> None:
        """Run a feed while a topic that this node does not extend has readers."""
        if not topic.audience:
            self._stop_feed(topic)
            if topic in self._handing_over:
                self._handing_over.pop(topic).cancel(reason="no reader is left")
        elif self._is_stranded(topic):
            self._hand_over(topic)
        elif topic.life is Life.DELETED:
            # An earlier topic may lead readers to it after it was deleted.
            is_extended = topic in self._feeds or topic in self._sources
            if not is_extended and not topic.abandoned:
                self._topics.replace(topic)
                topic.abandon()
        elif topic.extender is None and topic.life in (Life.OPEN, Life.ABSENT):
            is_current = self._topics.current(topic.workload_id) is topic
            if is_current and self._news is not None and self._tasks.accepts:
                feed = Feed(topic, self._store, self._topics.history, self._news, self._reads)
                self._feeds[topic] = topic.extender = feed
                self._tasks.start(self._run_feed, topic, feed, name=f"feed {topic.workload_id}")

    def _is_stranded(self, topic: Topic) -> bool:
        """Whether a topic of a log with another owner leads its readers nowhere: it had none when
        it lost its place, and a reader has come since from an earlier topic."""
        return (
            topic.life is Life.OPEN
            and topic.successor is None
            and not (topic.detached or topic.abandoned)
            and self._topics.current(topic.workload_id) is not topic
            and topic not in self._sources
            and topic not in self._handing_over
            and self._tasks.accepts
        )

    def _stop_feed(self, topic: Topic) -> None:
        feed = self._feeds.pop(topic, None)
        if feed is not None:
            feed.stop()
            topic.extender = None

    async def _run_feed(self, topic: Topic, feed: Feed) -> None:
        try:
            verdict = await feed.run()
        except BaseException:
            self._tasks.refuse()
            raise
        if verdict is None:
            # It was stopped, and another one may run by now.
            return
        del self._feeds[topic]
        if verdict is Verdict.LOST:
            # It stays the extender: until there is a successor, readers wait for what is missing.
            self._hand_over(topic)
            return
        topic.extender = None
        if verdict is Verdict.DELETED:
            topic.delete()
            self._topics.replace(topic)
            topic.abandon()

    def _hand_over(self, topic: Topic) -> None:
        """Another node owns the log: have the readers go on where the store has it."""
        self._topics.replace(topic)
        if self._news is None or not self._tasks.accepts:
            topic.detach()
        elif topic.audience:
            scope = self._handing_over[topic] = trio.CancelScope()
            name = f"successor of {topic.workload_id}"
            self._tasks.start(self._find_successor, topic, scope, name=name)

    async def _find_successor(self, topic: Topic, scope: trio.CancelScope) -> None:
        successor = self._topics.acquire(topic.workload_id)
        try:
            with scope:
                await until_done(successor.load)
                del self._handing_over[topic]
                if successor.life is Life.ABSENT:
                    topic.delete()
                    topic.abandon()
                else:
                    self._topics.supersede(topic, successor)
        finally:
            self._topics.release(successor)


def _taken(workload_id: str) -> FencedError:
    return FencedError(f"another writer has the log of {workload_id!r} now")
