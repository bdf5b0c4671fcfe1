"""The broker: logs by workload, and the nursery of the tasks that extend them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal

import trio

from ..errors import FencedError, LogClosedError, StoreError
from ..records import End, Outcome, Reason, Status
from ..selection import Selection
from ..store import LogStore
from .bell import Bell
from .merge_turns import MergeTurns
from .merging import Merging
from .places import EVERYTHING, LogPlace
from .reading import Reading
from .searches import Searches
from .source import Source
from .stages import StagedReading
from .statistics import BrokerStatistics, snapshot
from .subscription import Subscription
from .tasks import Tasks
from .topic import Life, Topic
from .topics import Topics
from .unfinished_reading import UnfinishedReading, UnfinishedSubscription
from .window import BrokerLimits
from .writer import LogWriter, as_line

__all__ = ["PATIENCE", "LogBroker"]

SUCCEEDED = Outcome(Status.SUCCEEDED, reason=Reason.EXITED)

FLUSH_SECONDS = 10.0
"""How long the end of a broker waits for a store that fails or hangs."""

PATIENCE = 30.0
"""Seconds for which a failing store holds a workload back; then its lines are delivered from
memory."""


class LogBroker:
    """Fans the lines of each workload out to its subscribers.

    Start it in a nursery, `await nursery.start(broker.run)`, or use `open_broker`. All methods are
    for Trio's thread; from another thread, call them through `trio.from_thread.run`.

    `patience`: for how many seconds a failing store holds workloads back. After it, lines are
    delivered from memory, without being durable, until the store is back.
    """

    def __init__(
        self, store: LogStore, limits: BrokerLimits | None = None, *, patience: float = PATIENCE
    ) -> None:
        self._store = store
        self._patience = patience
        self._tasks = Tasks()
        self._topics = Topics(store, limits or BrokerLimits(), self._tasks)
        self.searches = Searches(store)
        self._merges = MergeTurns()
        # At most one for each topic.
        self._sources: dict[Topic, Source] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the sources until cancelled. The store must run, and must be cancelled later."""
        with self.searches.open():
            await self._tasks.run(task_status=task_status)

    def subscribe(
        self,
        workload_id: str,
        position: int | None = None,
        *,
        must_exist: bool = False,
        bell: Bell | None = None,
    ) -> Subscription:
        """A reader of the log from line `position` on. Omit the position to receive only new lines.

        The workload need not exist yet, unless `must_exist` says so. Subscriptions may share a
        `bell`, to wait for any of them.
        """
        if position is not None:
            position = max(1, position)
        return Subscription(self._topics, workload_id, position, must_exist=must_exist, bell=bell)

    def read(
        self,
        workload_id: str,
        selection: Selection = EVERYTHING,
        *,
        after: int | Literal["end"] | None = None,
        follow: bool = True,
        unfinished: bool = False,
        must_exist: bool = False,
        bell: Bell | None = None,
    ) -> Reading:
        """A reader of the lines that `selection` asks for.

        `after` is the number of the last line that the reader has, or "end"; the reading resumes
        behind it. Without `follow`, the reading ends at the last line known when it starts. With
        `unfinished`, it also has lines that have not ended, as `Unfinished` records.
        """
        subscription_type, reading_type = Subscription, Reading
        if unfinished:
            subscription_type, reading_type = UnfinishedSubscription, UnfinishedReading
        first = LogPlace(workload_id, selection, after).first
        subscription = subscription_type(
            self._topics, workload_id, first, must_exist=must_exist, bell=bell
        )
        return reading_type(
            subscription, self._store, self.searches, selection, after=after, follow=follow
        )

    def merge(
        self, places: Sequence[LogPlace], *, follow: bool = True, unfinished: bool = False
    ) -> Merging:
        """A reader of several logs: what is stored in the order of its arrival, then what comes.
        `follow` and `unfinished` are those of `read`, for each log."""
        read = partial(
            StagedReading, self._topics, self.searches, follows=follow, unfinished=unfinished
        )
        return Merging(places, read, self._merges, follow=follow)

    async def head(self, workload_id: str, *, settled: bool = True) -> int:
        """The number of the last line known now, 0 if there is none. With `settled`, these are all
        lines that the store has; it waits for an append that is under way. Raises StoreError."""
        topic = self._topics.acquire(workload_id)
        try:
            await topic.load()
            if settled:
                await topic.settle()
            return topic.head
        finally:
            self._topics.release(topic)

    async def open(self, workload_id: str, *, epoch: int | None = None) -> LogWriter:
        """A writer for the log, which goes on after its last line. Close it after use.

        Raises LogClosedError if the log has ended, and StoreError if it can't be looked up.
        """
        topic = self._topics.acquire(workload_id)
        try:
            await topic.load()
            if topic.end is not None:
                raise LogClosedError(f"the log of {workload_id!r} has ended")
            if epoch is not None and topic.state.epoch != epoch:
                raise FencedError(f"another node owns {workload_id!r}")
            source = await self._source(topic)
            return source.writer()
        finally:
            self._topics.release(topic)

    async def publish(self, workload_id: str, line: bytes | str, stream: str = "stdout") -> None:
        """Add one line to the log; wait while its channel is full. Raises as `open`."""
        with await self.open(workload_id) as log:
            await log.write(as_line(line), stream)

    async def close(
        self, workload_id: str, outcome: Outcome = SUCCEEDED, *, epoch: int | None = None
    ) -> End:
        """End the log after all earlier writes, and every subscription after the last line.

        Returns once all lines and the outcome are durable. Writers that are still open get
        LogClosedError. A second call returns the first end. Raises StoreError if the store fails
        for longer than the patience. The broker goes on trying, so close again to wait on.
        """
        topic = self._topics.acquire(workload_id)
        try:
            await topic.load()
            if topic.end is None:
                if epoch is not None and topic.state.epoch != epoch:
                    raise FencedError(f"another node owns {workload_id!r}")
                source = await self._source(topic)
                source.close(outcome)
                await source.ended()
            assert topic.end is not None
            return topic.end
        finally:
            self._topics.release(topic)

    def forget(self, workload_id: str) -> None:
        """The log was deleted: its readers get a gap with reason `deleted` for the missing
        lines."""
        self._topics.delete(workload_id)

    async def flush(self) -> None:
        """Wait until all earlier writes to all logs are durable, but at most 10 s for a store that
        fails or hangs. `statistics().lines_unsaved` says how many lines are not durable then."""
        with trio.move_on_after(FLUSH_SECONDS):
            for source in tuple(self._sources.values()):
                with suppress(LogClosedError, StoreError):
                    await source.flush()

    def written(self) -> Iterator[tuple[str, int, int]]:
        """Of each log that is written now: its workload's id, its lines, and its bytes."""
        return ((topic.workload_id, topic.head, topic.bytes) for topic in self._sources)

    def detach(self) -> None:
        """End every subscription where it is, later ones too; readers may resume there."""
        self._topics.detach()

    @property
    def is_failing(self) -> bool:
        """Whether the store is known to fail now, for at least one log."""
        return self._topics.history.failing or any(
            source.commits.is_failing for source in self._sources.values()
        )

    def statistics(self) -> BrokerStatistics:
        """A snapshot, and counters since the start."""
        return snapshot(self._topics, tuple(self._sources.values()), self._merges.statistics())

    async def _source(self, topic: Topic) -> Source:
        """The source of the topic; started if there is none. Raises LogClosedError once the broker
        has ended, and if another writer has taken the log over."""
        await self._tasks.check()
        if topic.detached:
            # Its head is not where the store has the log: a source would number lines wrongly.
            raise LogClosedError(
                f"another writer has taken over the log of {topic.workload_id!r}: open it again"
            )
        source = self._sources.get(topic)
        if source is None:
            source = self._sources[topic] = Source(topic, self._store, self._patience)
            topic.life = Life.OPEN
            self._topics.hold(topic)
            self._tasks.start(self._run_source, topic, source, name=f"topic {topic.workload_id}")
        return source

    async def _run_source(self, topic: Topic, source: Source) -> None:
        try:
            await source.run()
        except BaseException:
            self._tasks.refuse()
            raise
        finally:
            del self._sources[topic]
            if topic.end is None:
                # Another writer has the log: have the next reader look it up anew.
                self._topics.replace(topic)
            self._topics.release(topic)
