"""The broker: topics by workload, and the nursery of their tasks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial

import trio

from ..errors import LogClosedError
from ..records import End, Outcome, Status
from ..store import LogStore
from ..store.memory import MemoryStore
from .counters import Counters
from .history import History, HistoryStatistics
from .subscription import Subscription
from .topic import CHANNEL_ITEMS, Topic
from .writer import LogWriter, as_line

__all__ = ["BrokerLimits", "BrokerStatistics", "LogBroker", "open_broker"]


SUCCEEDED = Outcome(Status.SUCCEEDED)

FLUSH_SECONDS = 10.0
"""How long an end waits for a store that hangs."""


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """Bounds in bytes: of one topic's window, and of all windows together.

    A window has room for several turns of its topic: a reader that is held up for a moment goes on
    in memory. From the store, it would take twice the CPU time a line, and stay behind.
    """

    window_bytes: int = 4 * 1024 * 1024
    windows_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BrokerStatistics:
    """`topics` are logs in memory, `live` those with a task. `channel_items` are writes that wait
    in the channels of all workloads, `channel_items_max` in the fullest of them, whose bound is
    `channel_capacity`.

    The rest counts since the start. Lines and bytes, line ends included, are published once and
    delivered to each subscription; `batches_pushed` were taken by a sink, so that nobody was woken,
    and `rings_skipped` found a ring already waiting.
    """

    topics: int
    live: int
    subscriptions: int
    window_bytes: int
    channel_items: int
    channel_items_max: int
    channel_capacity: int
    lines_published: int
    bytes_published: int
    lines_delivered: int
    bytes_delivered: int
    batches_pushed: int
    rings_skipped: int
    history: HistoryStatistics


class LogBroker:
    """Fans the lines of each workload out to its subscribers.

    Start it in a nursery, `await nursery.start(broker.run)`, or use `open_broker`. All methods are
    for Trio's thread; from another thread, call them through `trio.from_thread.run`.
    """

    def __init__(self, store: LogStore, limits: BrokerLimits | None = None) -> None:
        self._store = store
        self._history = History(store)
        self._limits = limits or BrokerLimits()
        # Least recently published first. A topic is here while something holds it.
        self._topics: OrderedDict[str, Topic] = OrderedDict()
        # Those of deleted logs, while somebody still reads them.
        self._forgotten: set[Topic] = set()
        self._nursery: trio.Nursery
        self._counters = Counters()
        self._window_bytes = 0
        self._detached = False
        self._ending = False
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the topics' tasks until cancelled. The store must run, and be cancelled later."""
        self._context = copy_context()
        try:
            async with trio.open_nursery() as self._nursery:
                try:
                    task_status.started()
                    await trio.sleep_forever()
                finally:
                    # Before the nursery closes: nothing can be started any more.
                    self._ending = True
        finally:
            self._ended.set()

    def subscribe(
        self, workload_id: str, position: int | None = None, *, must_exist: bool = False
    ) -> Subscription:
        """A reader of the log from line `position` on, or live only.

        The workload need not exist yet, unless `must_exist` says so.
        """

        def enter(subscription: Subscription) -> Topic:
            topic = self._acquire(workload_id)
            topic.subscribers.add(subscription)
            topic.listening.add(subscription)
            if topic.loaded:
                subscription.locate(topic.head)
            if self._detached:
                subscription.detach()
            return topic

        return Subscription(
            enter,
            self._leave,
            self._store,
            self._history,
            self._counters,
            position if position is None else max(1, position),
            must_exist,
        )

    async def open(self, workload_id: str) -> LogWriter:
        """A writer for the log, which goes on where the store has it. Close the writer after use.

        Raises LogClosedError if the log has ended.
        """
        topic = self._acquire(workload_id)
        try:
            if not topic.loaded:
                await topic.load()
            if topic.end is not None or topic.outcome is not None:
                raise LogClosedError(f"the log of {workload_id!r} has ended")
            await self._start(topic)
            return LogWriter(topic.send.clone())
        finally:
            self._release(topic)

    async def publish(self, workload_id: str, line: bytes | str, stream: str = "stdout") -> None:
        """Add one line to the log; waits while its channel is full.

        Raises LogClosedError if the log has ended.
        """
        with await self.open(workload_id) as log:
            await log.write(as_line(line), stream)

    async def close(self, workload_id: str, outcome: Outcome = SUCCEEDED) -> End:
        """End the log after what has been written, and every subscription after its last line.

        Returns when all lines and the outcome are durable. Writers that are still open get
        LogClosedError. Closing again returns the first end.
        """
        topic = self._acquire(workload_id)
        try:
            await topic.load()
            if topic.end is None and topic.outcome is None:
                await self._start(topic)
                topic.close(outcome)
            await topic.finished.wait()
            assert topic.end is not None
            return topic.end
        finally:
            self._release(topic)

    def forget(self, workload_id: str) -> None:
        """The log was deleted: who still reads it is told so, in the place of its lines."""
        self._history.forget(workload_id)
        topic = self._topics.get(workload_id)
        if topic is not None:
            topic.gap_reason = "deleted"
            if topic.holds == len(topic.subscribers):
                # Nobody but readers has it: who comes next finds another log, if there is one.
                self._drop(topic)
                self._forgotten.add(topic)

    async def flush(self) -> None:
        """Wait until what was written before is durable, of all logs; for a store that hangs, not
        longer than 10 s."""
        with trio.move_on_after(FLUSH_SECONDS):
            for topic in tuple(self._topics.values()):
                if topic.outcome is not None:
                    await topic.finished.wait()
                elif topic.running:
                    with LogWriter(topic.send.clone()) as log, suppress(LogClosedError):
                        await log.flush()

    def detach(self) -> None:
        """End every subscription, also those to come, where it is; readers may resume there
        later."""
        self._detached = True
        for topic in (*self._topics.values(), *self._forgotten):
            for subscription in topic.subscribers:
                subscription.detach()

    def statistics(self) -> BrokerStatistics:
        """A snapshot, and counters since the start."""
        topics = self._topics.values()
        fills = [topic.send.statistics().current_buffer_used for topic in topics if topic.running]
        counters = self._counters
        return BrokerStatistics(
            topics=len(topics),
            live=len(fills),
            subscriptions=sum(len(topic.subscribers) for topic in (*topics, *self._forgotten)),
            window_bytes=self._window_bytes,
            channel_items=sum(fills),
            channel_items_max=max(fills, default=0),
            channel_capacity=CHANNEL_ITEMS,
            lines_published=counters.lines_published,
            bytes_published=counters.bytes_published,
            lines_delivered=counters.lines_delivered,
            bytes_delivered=counters.bytes_delivered,
            batches_pushed=counters.batches_pushed,
            rings_skipped=counters.rings_skipped,
            history=self._history.statistics(),
        )

    def _acquire(self, workload_id: str) -> Topic:
        topic = self._topics.get(workload_id)
        if topic is None:
            topic = Topic(workload_id, self._store, self._counters, self._published)
            self._topics[workload_id] = topic
        topic.holds += 1
        return topic

    def _release(self, topic: Topic) -> None:
        topic.holds -= 1
        if not topic.holds:
            self._forgotten.discard(topic)
            if self._topics.get(topic.workload_id) is topic:
                self._drop(topic)

    def _drop(self, topic: Topic) -> None:
        del self._topics[topic.workload_id]
        self._window_bytes -= topic.window.bytes

    def _leave(self, subscription: Subscription, topic: Topic) -> None:
        topic.subscribers.discard(subscription)
        topic.listening.discard(subscription)
        self._release(topic)

    def _published(self, topic: Topic, added: int) -> None:
        """Keep the windows within their bounds; the topic that was quiet longest gives way."""
        self._topics.move_to_end(topic.workload_id)
        self._window_bytes += added - topic.window.shrink(self._limits.window_bytes)
        for coldest in self._topics.values():
            excess = self._window_bytes - self._limits.windows_bytes
            if excess <= 0:
                break
            self._window_bytes -= coldest.window.shrink(max(coldest.window.bytes - excess, 0))

    async def _start(self, topic: Topic) -> None:
        if self._ending:
            # Who ends for the same reason is cancelled meanwhile, and has nothing to complain of.
            await self._ended.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ending:
            raise LogClosedError("the broker has ended: nothing can be written any more")
        if not topic.running:
            topic.running = topic.exists = True
            topic.holds += 1
            # Not with the context variables of whoever opens it, such as a request.
            name = f"topic {topic.workload_id}"
            self._context.run(partial(self._nursery.start_soon, self._run_topic, topic, name=name))

    async def _run_topic(self, topic: Topic) -> None:
        try:
            await topic.run()
        except BaseException:
            self._ending = True
            raise
        finally:
            topic.running = False
            self._release(topic)


@asynccontextmanager
async def open_broker(
    store: LogStore | None = None, limits: BrokerLimits | None = None
) -> AsyncIterator[LogBroker]:
    """A running broker with its store, by default one in memory.

    When its block ends, though not when it raises, what was written is made durable. Then its
    subscriptions end; logs that were not closed stay open in the store.
    """
    store = store or MemoryStore()
    broker = LogBroker(store, limits)
    async with trio.open_nursery() as store_nursery:
        await store_nursery.start(store.run)
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            yield broker
            await broker.flush()
            broker.detach()
            nursery.cancel_scope.cancel()
        store_nursery.cancel_scope.cancel()
