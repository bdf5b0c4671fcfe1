"""Has the lines of one log stored, and remembers what the store lacks while it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import trio

from ..errors import BehindError, StoreError
from ..records import Batch, Gap, Outcome
from ..store import LogStore, StreamState
from .attempts import Attempts
from .looks import Looks
from .topic import Topic
from .writer import Fate

__all__ = ["Commits", "Ending", "Storing"]

OVERDUE_SECONDS = 1.0
"""After so long without an answer, the store is taken to fail."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before a failed append is tried again: the first delay, and the bound of doubling."""


class Storing(Enum):
    """How a log stands with its store."""

    WORKS = auto()
    """Lines are stored, then delivered."""

    LOST = auto()
    """The store failed for longer than the patience: lines are delivered from memory."""

    CATCHING_UP = auto()
    """The store is back: the workload waits while the store takes the lines of the window."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How and when the log ended; the time is in microseconds since the Unix epoch."""

    outcome: Outcome
    at: int


class Commits:
    """The appends of one source, which publishes in the same step in which one returns.

    `waiting_since`: when the oldest append that is not durable was first tried, on Trio's clock;
    `inf` if none waits. `failure`: the last error of the store, while it fails.

    `ending` and `last`, the number of the last line, are set once every line has its number. Each
    append up to that line carries the end then: the store may have it already, and would take an
    append without it for one of another writer.
    """

    def __init__(
        self,
        topic: Topic,
        store: LogStore,
        patience: float,
        fate: Fate,
        looks: Looks | None,
    ) -> None:
        self.waiting_since = math.inf
        self.failure: StoreError | None = None
        self.ending: Ending | None = None
        self.last = 0
        self.attempts = Attempts(fate, self._fall_behind, looks)
        # Where the recovery runs; the source opens it.
        self.nursery: trio.Nursery
        self._topic = topic
        self._store = store
        self._patience = patience
        self._storing = Storing.WORKS
        # Set and replaced at each change: wakes the tasks that wait for one.
        self._change = trio.Event()

    @property
    def storing(self) -> Storing:
        """How the log stands with its store."""
        return self._storing

    @property
    def is_failing(self) -> bool:
        """Whether the store is known to fail, or its answer is overdue."""
        overdue = trio.current_time() - self.waiting_since > OVERDUE_SECONDS
        return overdue or self.failure is not None or self._storing is not Storing.WORKS

    async def change(self) -> None:
        """Wait until `storing` changes, or `tell` is called."""
        await self._change.wait()

    def tell(self) -> None:
        """Wake the tasks that wait for a change."""
        self._change.set()
        self._change = trio.Event()

    async def append(self, batches: Sequence[Batch], streams: Mapping[str, StreamState]) -> None:
        """Have batches committed; `streams` is their state then. If the store fails for longer than
        the patience, return as well: the lines are delivered from memory, and stored later. Raises
        FencedError."""
        while self._storing is not Storing.LOST:
            if self._storing is Storing.CATCHING_UP:
                await self.change()
            elif await self._try(batches, streams):
                break

    async def append_end(
        self, batches: Sequence[Batch], streams: Mapping[str, StreamState]
    ) -> bool:
        """Have batches and the end committed, once the store works; False if it fails again for
        longer than the patience. Raises FencedError."""
        while True:
            while self._storing is not Storing.WORKS:
                await self.change()
            if await self._try(batches, streams):
                return True
            if self.storing is Storing.LOST:
                return False

    def _fall_behind(self, lines: int) -> None:
        """A failover has lost the lines after `lines`: store what the window holds of them again,
        and a gap for the others. An append that is under way, or due, will find out by itself."""
        if (
            self._storing is Storing.WORKS
            and not self.attempts.are_made
            and lines < self._topic.durable
        ):
            self._topic.unstored = lines + 1
            self._set(Storing.CATCHING_UP)
            self.nursery.start_soon(self._recover, name=f"recovery of {self._topic.workload_id}")

    def error(self, what: str) -> StoreError:
        """An error for callers that wait for the store."""
        why = "the store does not answer"
        if self._storing is Storing.CATCHING_UP:
            why = "earlier lines, which the store lacks, are stored first; try again"
        error = StoreError(f"{what}: {self.failure or why}")
        error.__cause__ = self.failure
        return error

    async def _try(self, batches: Sequence[Batch], streams: Mapping[str, StreamState]) -> bool:
        """Have batches committed. False if they are not, and `storing` has changed."""
        topic = self._topic
        moment = trio.current_time()
        self.waiting_since = min(self.waiting_since, moment)
        delay = FIRST_DELAY
        try:
            # The deadline is also for a store that hangs and raises nothing.
            with trio.CancelScope(deadline=moment + self._patience):
                while True:
                    self.attempts.begin()
                    try:
                        size = topic.bytes + sum(len(batch.data) for batch in batches)
                        await self._append(batches, topic.head + 1, size, streams)
                    except BehindError as error:
                        self.attempts.finish()
                        self._fall_behind(error.lines)
                        return False
                    except StoreError as error:
                        self.failure = error
                    else:
                        self.failure = None
                        self.waiting_since = math.inf
                        return True
                    finally:
                        self.attempts.end()
                    await trio.sleep(delay)
                    delay = min(2 * delay, LONGEST_DELAY)
        finally:
            self.attempts.finish()
        topic.unstored = topic.head + 1
        self._set(Storing.LOST)
        self.nursery.start_soon(self._recover, name=f"recovery of {topic.workload_id}")
        return False

    async def _append(
        self,
        records: Sequence[Batch | Gap],
        expected: int,
        size: int,
        streams: Mapping[str, StreamState],
    ) -> None:
        topic, ending = self._topic, self.ending
        if (records[-1].last if records else expected - 1) < self.last:
            # A failover has lost lines. The store would refuse what comes after an end, so the end
            # waits for the lines that are not published yet.
            ending = None
        await self._store.append(
            topic.workload_id,
            records,
            expected=expected,
            epoch=topic.state.epoch,
            size=size,
            streams=streams,
            outcome=None if ending is None else ending.outcome,
            finished_at=0 if ending is None else ending.at,
        )

    async def _recover(self) -> None:
        """Store what the window holds, and gaps for what it has no room for, until the store has
        every line up to the head."""
        topic = self._topic
        delay = FIRST_DELAY
        while topic.unstored is not None:
            records = topic.unstored_records()
            # A call that hangs while lines are lost holds up nothing but this task, so it is waited
            # for. While the log catches up, the workload waits for it, too.
            catching_up = self._storing is Storing.CATCHING_UP
            patience = self._patience if catching_up else math.inf
            try:
                with trio.move_on_after(patience) as waiting:
                    await self._append(records, topic.unstored, topic.bytes, topic.streams)
            except BehindError as error:
                # The database has failed over meanwhile.
                topic.unstored = min(topic.unstored, error.lines + 1)
            except StoreError as error:
                self.failure = error
                self._set(Storing.LOST)
                await trio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY)
            else:
                if waiting.cancelled_caught:
                    self._set(Storing.LOST)
                else:
                    self._stored(records[-1].last if records else topic.head)

    def _stored(self, last: int) -> None:
        """The store has every line, or a gap for it, up to `last`."""
        if last < self._topic.head:
            # Lines that were published during the append are left: store them before any others.
            self._topic.unstored = last + 1
            self._set(Storing.CATCHING_UP)
        else:
            self._topic.unstored = None
            self.failure = None
            self.waiting_since = math.inf
            self._set(Storing.WORKS)

    def _set(self, storing: Storing) -> None:
        if storing is not self._storing:
            self._storing = storing
            self.tell()
