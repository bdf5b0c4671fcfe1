"""The task that extends a log: numbers, stores and publishes what a workload writes."""

from __future__ import annotations

import math
from contextlib import suppress
from enum import Enum, auto

import trio

from ..errors import FencedError, LogClosedError, StoreError
from ..records import Batch, End, Outcome, now
from ..store import LogStore
from .numbering import Numbering
from .topic import Life, Topic
from .writer import Flush, LogWriter, Written

__all__ = ["CHANNEL_ITEMS", "Source"]

CHANNEL_ITEMS = 8
"""Writes that wait in a workload's channel, of at most 128 KiB each. When the channel is full, the
workload waits."""

TURN_BYTES = 512 * 1024
"""About how many bytes a source takes from its channel at once. So one commit, with the round trip
to the store's thread, is paid by many lines. With their frames, they take a third of a window."""

OVERDUE_SECONDS = 1.0
"""Seconds without an answer after which the store counts as failing."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before a failed append is tried again: the first delay, and the bound of doubling."""


class Storing(Enum):
    """Whether the store takes the lines of a source."""

    WORKS = auto()
    """Lines are stored, then delivered."""

    LOST = auto()
    """The store failed for longer than the patience: lines are delivered from memory."""

    CATCHING_UP = auto()
    """The store is back: the workload waits while the store takes the lines of the window."""


class Source:
    """Extends one topic from one channel. The broker runs each source once.

    `waiting_since`: when the oldest append that is not durable was first tried, on Trio's clock;
    `inf` if none waits. `failure`: the last error of the store, while it fails.
    """

    def __init__(self, topic: Topic, store: LogStore, patience: float) -> None:
        # Bound: 8 items of at most 128 KiB. When it is full, writers wait.
        self._send, self._receive = trio.open_memory_channel[Written | Flush](CHANNEL_ITEMS)
        self.waiting_since = math.inf
        self.failure: StoreError | None = None
        self._topic = topic
        self._store = store
        self._patience = patience
        self._epoch = topic.state.epoch
        self._numbering = Numbering(topic.state)
        self._outcome: Outcome | None = None
        self._finished_at = 0
        self._receiving = trio.CancelScope()
        # The marks of this turn. Bound: the items of one turn.
        self._marks: list[Flush] = []
        self._storing = Storing.WORKS
        # Set and replaced whenever `_storing` changes or the source ends: wakes the tasks that
        # wait.
        self._news = trio.Event()
        self._over = False

    def writer(self) -> LogWriter:
        """A new writer of this log."""
        return LogWriter(self._send.clone())

    @property
    def channel_items(self) -> int:
        """How many writes wait in the channel."""
        return self._send.statistics().current_buffer_used

    @property
    def is_failing(self) -> bool:
        """Whether the store is known to fail, or its answer is overdue."""
        overdue = trio.current_time() - self.waiting_since > OVERDUE_SECONDS
        return overdue or self.failure is not None or self._storing is not Storing.WORKS

    @property
    def lines_unsaved(self) -> int:
        """How many lines have a number but are not in the store."""
        return self._numbering.next - 1 - self._topic.durable

    def close(self, outcome: Outcome) -> None:
        """End the log with this outcome, after all earlier writes. Later writes are refused."""
        self._outcome = outcome
        self._finished_at = now()
        self._topic.life = Life.CLOSING
        self._send.close()
        self._receiving.cancel()

    async def ended(self) -> None:
        """Return once the end is durable and published.

        Raises StoreError if the store fails for longer than the patience; the source goes on
        trying, so the caller may wait again. Raises LogClosedError if the source ends before.
        """
        while self._topic.end is None:
            if self._over:
                raise LogClosedError(f"the broker ended before the log of {self._name} did")
            if self._storing is Storing.LOST:
                raise self._error(f"the end of the log of {self._name} is not stored yet")
            await self._news.wait()

    async def run(self) -> None:
        """Publish all writes until the log is closed, and then its end."""
        try:
            async with trio.open_nursery() as self._nursery:
                await self._extend()
                await self._finish()
        except* FencedError:
            # Another writer has the log now. Readers find its lines when they resume.
            self._topic.detached = True
            self._topic.audience.ring_all()
        finally:
            self._over = True
            self._refuse()
            self._tell_news()

    async def _extend(self) -> None:
        while taken := await self._take():
            if self._outcome is not None:
                # All earlier writes are taken; from now on, writers get LogClosedError.
                self._receive.close()
            self._marks += [item for item in taken if isinstance(item, Flush)]
            batches = self._numbering.number([item for item in taken if isinstance(item, Written)])
            if batches:
                await self._publish(batches)
            for mark in self._marks:
                self._answer(mark)
            self._marks.clear()
        self._receive.close()

    async def _publish(self, batches: list[Batch]) -> None:
        if self._storing is Storing.CATCHING_UP:
            await self._until_not(Storing.CATCHING_UP)
        if self._storing is Storing.WORKS and not await self._append(batches):
            self._lose_store(batches[0].first)
        self._topic.publish(batches)
        await self._topic.audience.tell(batches)

    async def _finish(self) -> None:
        # The channel is closed by now, so no later write is dropped in silence.
        assert self._outcome is not None
        rest = self._numbering.rest(now())
        if self._storing is not Storing.WORKS and rest:
            await self._publish(rest)
            rest = []
        while True:
            await self._until(Storing.WORKS)
            if await self._append(rest, self._outcome):
                break
            # The lines are delivered from memory, the end only once it is durable.
            self._lose_store(self._numbering.next - sum(batch.count for batch in rest))
            if rest:
                self._topic.publish(rest)
                await self._topic.audience.tell(rest)
                rest = []
        size = self._topic.bytes + sum(len(batch.data) for batch in rest)
        self._topic.publish(rest, End(self._outcome, self._numbering.next - 1, size))
        self._tell_news()
        await self._topic.audience.tell_all()

    async def _append(self, batches: list[Batch], outcome: Outcome | None = None) -> bool:
        """Commit batches, and the end; False if the patience is over before that."""
        topic = self._topic
        self.waiting_since = min(self.waiting_since, trio.current_time())
        delay = FIRST_DELAY
        # The deadline is also for a store that hangs and raises nothing.
        with trio.CancelScope(deadline=trio.current_time() + self._patience):
            while True:
                try:
                    await self._store.append(
                        topic.workload_id,
                        batches,
                        expected=topic.head + 1,
                        epoch=self._epoch,
                        size=topic.bytes + sum(len(batch.data) for batch in batches),
                        outcome=outcome,
                        finished_at=self._finished_at,
                    )
                except StoreError as error:
                    self.failure = error
                else:
                    self.failure = None
                    self.waiting_since = math.inf
                    return True
                await trio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY)
        return False

    def _lose_store(self, first: int) -> None:
        """Deliver from memory, from line `first` on, while a task retries the store."""
        self._topic.unstored = first
        self._set_storing(Storing.LOST)
        self._nursery.start_soon(self._recover, name=f"recovery of {self._topic.workload_id}")

    async def _recover(self) -> None:
        """Store the lines of the window, and gaps for lines without room there, until the store has
        every line up to the head."""
        topic = self._topic
        delay = FIRST_DELAY
        while topic.unstored is not None:
            records = topic.unstored_records(now())
            try:
                # Without a deadline: a call that hangs delays only this task.
                await self._store.append(
                    topic.workload_id,
                    records,
                    expected=topic.unstored,
                    epoch=self._epoch,
                    size=topic.bytes,
                )
            except StoreError as error:
                self.failure = error
                self._set_storing(Storing.LOST)
                await trio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY)
            else:
                self._stored(records[-1].last if records else topic.head)

    def _stored(self, last: int) -> None:
        """The store has every line, or a gap for it, up to `last`."""
        if last < self._topic.head:
            # Lines that were published during the append are left: store them before any others.
            self._topic.unstored = last + 1
            self._set_storing(Storing.CATCHING_UP)
        else:
            self._topic.unstored = None
            self.failure = None
            self.waiting_since = math.inf
            self._set_storing(Storing.WORKS)

    def _set_storing(self, storing: Storing) -> None:
        if storing is not self._storing:
            self._storing = storing
            self._tell_news()

    def _tell_news(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _until(self, wanted: Storing) -> None:
        while self._storing is not wanted:
            await self._news.wait()

    async def _until_not(self, unwanted: Storing) -> None:
        while self._storing is unwanted:
            await self._news.wait()

    async def _take(self) -> list[Written | Flush]:
        """The items that are ready, about one turn of them; empty at the end."""
        taken: list[Written | Flush] = []
        if self._outcome is None:
            with trio.CancelScope() as self._receiving, suppress(trio.EndOfChannel):
                taken.append(await self._receive.receive())
        size = _size(taken[0]) if taken else 0
        # After `close`, take all items in one step: a writer that goes on would delay the end.
        while size < TURN_BYTES or self._outcome is not None:
            try:
                taken.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                break
            size += _size(taken[-1])
        return taken

    def _answer(self, mark: Flush) -> None:
        """Tell the task that waits for the mark: earlier writes are durable, or can't be for
        now."""
        if self._storing is Storing.WORKS:
            mark.durable = self._topic.bytes
        else:
            mark.error = self._error(f"the log of {self._name} is not stored yet")
        mark.done.set()

    def _error(self, what: str) -> StoreError:
        error = StoreError(f"{what}: {self.failure or 'the store does not answer'}")
        error.__cause__ = self.failure
        return error

    def _refuse(self) -> None:
        """The source has ended: refuse writes, and end all waits for a flush."""
        # A close discards the items in the channel: take them first.
        with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            while True:
                item = self._receive.receive_nowait()
                if isinstance(item, Flush):
                    self._marks.append(item)
        self._receive.close()
        for mark in self._marks:
            mark.error = LogClosedError("the log is closed: nothing more can be made durable")
            mark.done.set()

    @property
    def _name(self) -> str:
        return repr(self._topic.workload_id)


def _size(item: Written | Flush) -> int:
    return len(item.data) if isinstance(item, Written) else 0
