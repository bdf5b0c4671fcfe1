"""The state of a log that its readers see: its head, its newest batches, and its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum, auto

import trio

from ..records import Batch, End, Gap
from ..store import LogState, LogStore, StreamState
from .audience import Audience
from .counters import Counters
from .extender import Extender
from .tasks import Tasks
from .unfinished import UnfinishedLines
from .window import Window, Windows

__all__ = ["Life", "Topic"]


class Life(Enum):
    """Where a topic is in its life."""

    UNKNOWN = auto()
    """The store was not asked yet, so head and end are unknown."""

    ABSENT = auto()
    """The store has no such log, and no source has begun one."""

    OPEN = auto()
    """Lines may come."""

    ENDED = auto()
    """The end is known."""

    DELETED = auto()
    """The log is gone: its readers get the lines that the window still holds."""


class Topic:
    """One log in memory. Its state changes in plain functions only: on Trio, each is atomic.

    `head` is the number of the last line that may be delivered, `bytes` the length of the log up to
    it, and `streams` the state of its streams there. `end` is set in the same step as the last
    head. While the store fails, `unstored` is the first line that readers may have and the store
    does not; otherwise it is None.

    With a shared store, `extender` publishes the topic: its source, also once that has ended, or
    its feed. When the log gets another owner, another topic takes the place of this one: its
    `successor`, to which the readers go on.
    """

    def __init__(
        self,
        workload_id: str,
        store: LogStore,
        windows: Windows,
        counters: Counters,
        tasks: Tasks,
    ) -> None:
        self.workload_id = workload_id
        self.life = Life.UNKNOWN
        self.head = 0
        self.bytes = 0
        self.streams: Mapping[str, StreamState] = {}
        self.end: End | None = None
        self.unstored: int | None = None
        self.window = Window()
        self.extender: Extender | None = None
        self.successor: Topic | None = None
        # Readers that were told lines after this one were told lines that the successor lacks.
        self.kept: float = math.inf
        # `unstored` lines come again: their owner at another node appends them anew.
        self.is_lacking = False
        self.audience = Audience(counters)
        self.unfinished = UnfinishedLines(workload_id, self.audience, tasks)
        # The state of the log at the look-up, and the epoch with which the head was appended.
        self.state = LogState()
        self.epoch = 0
        # Another writer has the log, and its lines can't be followed here: all subscriptions end
        # where they are.
        self.detached = False
        # Nothing will be published any more: its subscriptions end once they have every line.
        self.abandoned = False
        # The time of the last line, in microseconds since the Unix epoch.
        self.time = 0
        self._store = store
        self._windows = windows
        self._counters = counters
        self._loading = trio.Lock()

    @property
    def durable(self) -> int:
        """The number of the last line that the store has."""
        return self.head if self.unstored is None else self.unstored - 1

    @property
    def gap_reason(self) -> str:
        """Why the store does not have lines any more, as a wire value."""
        return "deleted" if self.life is Life.DELETED else "retention"

    async def load(self) -> None:
        """Ask the store for the state of the log, once. Raises StoreError."""
        if self.life is Life.UNKNOWN:
            async with self._loading:
                if self.life is Life.UNKNOWN:
                    self._learn(await self._store.log(self.workload_id))
        else:
            await trio.lowlevel.checkpoint()

    def _learn(self, state: LogState | None) -> None:
        if state is None:
            self.life = Life.ABSENT
        else:
            self.state = state
            self.epoch = state.epoch
            self.head, self.bytes, self.end = state.lines, state.bytes, state.end
            self.streams, self.time = state.streams, state.time
            self.life = Life.OPEN if state.end is None else Life.ENDED

    async def settle(self) -> None:
        """Have the head be that of each record that the caller has read from the store before: wait
        for an append that is under way, or for a feed; at most 1 s for a store that hangs."""
        if self.extender is not None:
            await self.extender.settle()

    async def check_missing(self, line: int) -> bool:
        """Ask the store why it lacks a line that it had: it deletes a log before the broker hears
        of it. False if a failover has lost the line, which may be mended: look again later. Raises
        StoreError.
        """
        state = await self._store.log(self.workload_id)
        if state is None:
            self.delete()
        elif state.lines < line and self.life is not Life.DELETED:
            return self._is_gone(line, state)
        return True

    def _is_gone(self, line: int, state: LogState) -> bool:
        """Whether a line stays lost that the log does not reach any more."""
        if self.end is not None:
            # The owner stores lines and end again. Nobody else gives the log the same end.
            if state.end is not None or state.epoch != self.epoch:
                self.detach()
            return False
        if self.extender is None:
            return self.successor is None
        # Another reader may have found it out first: then `durable` is lower already.
        return line <= self.durable and not self.extender.fall_behind(state.lines)

    def publish(
        self,
        batches: Sequence[Batch],
        streams: Mapping[str, StreamState],
        end: End | None = None,
    ) -> None:
        """Change head, window and end in one step, and mark the members of groups as behind. The
        caller has to tell the audience next. `streams` is their state after the batches."""
        if batches:
            self.streams = streams
            size = sum(len(batch.data) for batch in batches)
            self._counters.lines_published += batches[-1].last - self.head
            self._counters.bytes_published += size
            self.head = batches[-1].last
            self.bytes += size
            self.time = batches[-1].time
            self._windows.append(self.window, batches)
            if self.unfinished.screen.texts:
                self.unfinished.replace(batch.stream for batch in batches)
            self.audience.begin(batches)
        if end is not None:
            self.end = end
            self.life = Life.ENDED

    def skip(self, line: int) -> None:
        """The head moves past lines up to `line`, which memory does not have."""
        self._windows.discard(self.window)
        self.window.clear()
        self.audience.skip()
        self.head = line

    def lack(self, lines: int) -> None:
        """The store has lost the lines after `lines`, and their owner will append them again."""
        self.unstored = lines + 1
        self.is_lacking = True

    def have_all(self) -> None:
        """The store has all lines again: readers behind the window can go on."""
        self.unstored = None
        self.is_lacking = False
        self.audience.ring_all()

    def delete(self) -> None:
        """The log is gone from the store."""
        # Of one that was not looked up yet, the store will say so by itself.
        if self.life is not Life.UNKNOWN:
            self.life = Life.DELETED

    def give_way(self, successor: Topic) -> None:
        """Nothing will be published any more: readers go on with the successor, which was looked
        up."""
        if self.life is not Life.UNKNOWN:
            self.kept = min(self.kept, self.durable, successor.state.lines)
        self.successor = successor

    def detach(self) -> None:
        """The lines of the log can't be followed here: its readers end where they are."""
        self.detached = True
        self.audience.ring_all()

    def abandon(self) -> None:
        """Nothing will be published any more."""
        self.abandoned = True
        self.audience.ring_all()

    def lost_at(self, line: int) -> Gap | None:
        """The gap that holds this line, if neither window nor store has the line: it arrived while
        the store failed, and the window had no room for it."""
        if self.unstored is None or self.is_lacking or not self.unstored <= line <= self.head:
            return None
        first = self.window.first
        last = self.head if first is None else first - 1
        return Gap(line, last, "store") if line <= last else None

    def unstored_records(self) -> list[Batch | Gap]:
        """What the store lacks: a gap for what the window has no room for, and the batches that it
        holds. The gap is as late as the line after it, or else as the last line in it: times of a
        log never step back."""
        if self.unstored is None:
            return []
        batches = self.window.since(self.unstored)
        lost = self.lost_at(self.unstored)
        if lost is None:
            return [*batches]
        time = batches[0].time if batches else self.time
        return [Gap(lost.first, lost.last, "store", time), *batches]
