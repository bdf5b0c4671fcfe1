"""The broker: logs by workload, and the nursery of the tasks that extend them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Literal

import trio

from ..errors import LogClosedError, StoreError
from ..records import Batch, End, Outcome, Reason, Status
from ..selection import Selection
from ..store import LogStore
from ..store.shared import SharedStore
from .bell import Bell
from .merge_turns import MergeTurns
from .merging import Merging
from .places import EVERYTHING, LogPlace
from .reading import Reading
from .roles import Roles
from .searches import Searches
from .stages import StagedReading
from .statistics import BrokerStatistics, snapshot
from .subscription import Subscription
from .tasks import Tasks
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

    `shared` is the store again if other nodes share it. Then the broker also follows logs that
    other nodes extend. Such a log has one owner, whose epoch it is opened and closed with.
    """

    def __init__(
        self,
        store: LogStore,
        limits: BrokerLimits | None = None,
        *,
        patience: float = PATIENCE,
        shared: SharedStore | None = None,
    ) -> None:
        self._store = store
        self._tasks = Tasks()
        self._topics = Topics(store, limits or BrokerLimits(), self._tasks)
        self._roles = Roles(self._topics, store, patience, self._tasks, shared)
        self.searches = Searches(store)
        self._merges = MergeTurns()

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
            return await self._roles.head(topic, settled=settled)
        finally:
            self._topics.release(topic)

    async def open(self, workload_id: str, epoch: int | None = None) -> LogWriter:
        """A writer for the log, which goes on after its last line. Close it after use.

        `epoch` is that of the owner if nodes own the log. Raises LogClosedError if the log has
        ended, FencedError if it has another epoch, and StoreError if it can't be looked up.
        """
        topic = await self._roles.own(workload_id, epoch)
        if topic.end is not None:
            raise LogClosedError(f"the log of {workload_id!r} has ended")
        return self._roles.sources[topic].writer()

    async def publish(self, workload_id: str, line: bytes | str, stream: str = "stdout") -> None:
        """Add one line to the log; wait while its channel is full. Raises as `open`."""
        with await self.open(workload_id) as log:
            await log.write(as_line(line), stream)

    async def close(
        self, workload_id: str, outcome: Outcome = SUCCEEDED, epoch: int | None = None
    ) -> End:
        """End the log after all earlier writes, and every subscription after the last line.

        Returns once all lines and the outcome are durable. Writers that are still open get
        LogClosedError. A second call returns the first end. Raises StoreError if the store fails
        for longer than the patience. The broker goes on trying, so close again to wait on. `epoch`
        and FencedError are those of `open`.
        """
        known = self._topics.current(workload_id)
        if known is not None and known.end is not None and epoch in (None, known.state.epoch):
            # A failover may have lost the end since.
            return known.end
        topic = await self._roles.own(workload_id, epoch)
        if topic.end is None:
            source = self._roles.sources[topic]
            source.close(outcome)
            await source.ended()
        assert topic.end is not None
        return topic.end

    @contextmanager
    def keeping(self, workload_id: str) -> Iterator[None]:
        """Keep what is in memory of the log, so that `close` knows its end."""
        topic = self._topics.current(workload_id)
        if topic is None:
            yield
            return
        self._topics.hold(topic)
        try:
            yield
        finally:
            self._topics.release(topic)

    def fence(self, workload_id: str | None = None) -> None:
        """End the source of a log at once, or all sources: another node owns the log. Writers and
        flushes get FencedError, and readers follow the new owner."""
        self._roles.fence(workload_id)

    def forget(self, workload_id: str) -> None:
        """The log was deleted: its readers get a gap with reason `deleted` for the missing
        lines."""
        self._topics.delete(workload_id)

    def held(self, workload_id: str, first: int) -> Sequence[Batch]:
        """The lines of an ended log from line `first` on, as far as they are in memory here."""
        topic = self._topics.current(workload_id)
        return () if topic is None or topic.end is None else topic.window.since(first)

    async def flush(self) -> None:
        """Wait until all earlier writes to all logs are durable, but at most 10 s for a store that
        fails or hangs. `statistics().lines_unsaved` says how many lines are not durable then."""
        with trio.move_on_after(FLUSH_SECONDS):
            for source in tuple(self._roles.sources.values()):
                with suppress(LogClosedError, StoreError):
                    await source.flush()

    def written(self) -> Iterator[tuple[str, int, int]]:
        """Of each log that is written now: its workload's id, its lines, and its bytes."""
        return ((topic.workload_id, topic.head, topic.bytes) for topic in self._roles.sources)

    def detach(self) -> None:
        """End every subscription where it is, later ones too; readers may resume there."""
        self._topics.detach()

    @property
    def is_failing(self) -> bool:
        """Whether the store is known to fail now, for at least one log."""
        return self._topics.history.failing or any(
            source.commits.is_failing for source in self._roles.sources.values()
        )

    def statistics(self) -> BrokerStatistics:
        """A snapshot, and counters since the start."""
        return snapshot(self._topics, self._roles, self._merges.statistics())
