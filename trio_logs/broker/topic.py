"""One log in memory: its head, its window, its subscribers, and the task that extends it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import trio

from ..lines import Lines, LineSplitter
from ..records import Batch, End, Outcome, now
from ..store import LogState, LogStore
from .counters import Counters
from .group import Group, Render, SendEach
from .window import Window
from .writer import Flush, Written

if TYPE_CHECKING:
    from .subscription import Subscription

__all__ = ["CHANNEL_ITEMS", "Topic"]

CHANNEL_ITEMS = 8
"""Writes that wait in a workload's channel, of at most 128 KiB each; when full, the workload
waits."""

TURN_BYTES = 512 * 1024
"""About what a topic takes from its channel at once: a commit, with its way to the store's thread
and back, for so much. With its frames, a third of its window."""

RINGS_AT_ONCE = 64
"""Subscribers that are rung in one step."""


class Topic:
    """The state is changed in plain functions only, so each change is atomic on Trio.

    `head` is the number of the last line that is durable and may be delivered; `end` is set
    together with the head that it belongs to, once the outcome is durable too. Both are unknown
    until `load`. `published_at` is when the head moved, on Trio's clock.
    """

    def __init__(
        self,
        workload_id: str,
        store: LogStore,
        counters: Counters,
        published: Callable[[Topic, int], None],
    ) -> None:
        self.workload_id = workload_id
        self.head = 0
        self.bytes = 0
        self.end: End | None = None
        self.exists = False
        self.window = Window()
        self.subscribers: set[Subscription] = set()
        # Those who are rung; the others are members of a group.
        self.listening: set[Subscription] = set()
        # While somebody is in them, or will be again.
        self._groups: WeakValueDictionary[tuple[Render, SendEach], Group] = WeakValueDictionary()
        self.holds = 0
        self.running = False
        self.finished = trio.Event()
        self.outcome: Outcome | None = None
        self.gap_reason = "retention"
        self.published_at = -math.inf
        self.send, self.receive = trio.open_memory_channel[Written | Flush](CHANNEL_ITEMS)
        self._store = store
        self._counters = counters
        self._published = published
        self._receiving = trio.CancelScope()
        self._loading = trio.Lock()
        self._loaded = False
        self._splitters: dict[str, LineSplitter] = {}
        self._next = 1
        self._time = 0

    async def load(self) -> None:
        """Learn from the store where the log stands, once."""
        async with self._loading:
            if not self._loaded:
                self._load(await self._store.log(self.workload_id))

    def _load(self, state: LogState | None) -> None:
        if state is not None:
            self.exists = True
            self.head, self.bytes, self.end = state.lines, state.bytes, state.end
            self._next = self.head + 1
            self._time = state.time
            if state.unfinished is not None:
                self._splitters[state.unfinished] = LineSplitter(continues=True)
        if self.end is not None:
            self.finished.set()
        self._loaded = True
        for subscription in self.subscribers:
            subscription.locate(self.head)

    def group(self, render: Render, send_each: SendEach) -> Group:
        """The group of those who want lines in this form, sent in this way; keep it."""
        way = (render, send_each)
        group = self._groups.get(way)
        if group is None:
            group = self._groups[way] = Group(self, render, send_each, self._counters)
        return group

    @property
    def loaded(self) -> bool:
        """Whether `head` and `end` are known."""
        return self._loaded

    async def run(self) -> None:
        """Number, store and publish what is written; after `close`, what was written before it, and
        then the end."""
        with self.receive:
            while True:
                try:
                    taken = await self._take()
                except trio.EndOfChannel:
                    break
                if self.outcome is not None:
                    # Who writes on is told so.
                    self.receive.close()
                batches = self._number([item for item in taken if isinstance(item, Written)])
                if batches:
                    await self._store.append(self.workload_id, batches)
                    self._publish(batches)
                    await self._tell(batches)
                for item in taken:
                    if isinstance(item, Flush):
                        item.durable = self.bytes
                        item.done.set()
        # Closed by now: what came later would be dropped, and its writer has to be told.
        batches = self._number_rest()
        await self._store.append(self.workload_id, batches, outcome=self.outcome, finished_at=now())
        self._publish(batches, ended=True)
        await self._ring(self.subscribers)

    def close(self, outcome: Outcome) -> None:
        """Have the log end with this outcome. Writers that are still open can't write any more."""
        self.outcome = outcome
        self.send.close()
        self._receiving.cancel()

    async def _take(self) -> list[Written | Flush]:
        """About a turn's worth of what is ready. Raises trio.EndOfChannel at the end."""
        taken: list[Written | Flush] = []
        if self.outcome is None:
            with trio.CancelScope() as self._receiving:
                taken.append(await self.receive.receive())
        size = _size(taken[0]) if taken else 0
        # After `close`, all there is, in one step: a writer that goes on would never let it end.
        while size < TURN_BYTES or self.outcome is not None:
            try:
                taken.append(self.receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                break
            size += _size(taken[-1])
        if not taken:
            raise trio.EndOfChannel
        return taken

    def _number(self, written: list[Written]) -> list[Batch]:
        batches: list[Batch] = []
        start = 0
        for stop in range(1, len(written) + 1):
            # Neighbours on the same stream become one run: the number of batches is the cost.
            if stop < len(written) and written[stop].stream == written[start].stream:
                continue
            first = written[start]
            pieces = [item.data for item in written[start:stop]]
            runs = self._splitter(first.stream).feed(*pieces)
            self._append(runs, first.stream, first.time, batches)
            start = stop
        return batches

    def _number_rest(self) -> list[Batch]:
        batches: list[Batch] = []
        for stream, splitter in self._splitters.items():
            self._append(splitter.close(), stream, now(), batches)
        return batches

    def _splitter(self, stream: str) -> LineSplitter:
        if stream not in self._splitters:
            self._splitters[stream] = LineSplitter()
        return self._splitters[stream]

    def _append(self, runs: Iterable[Lines], stream: str, time: int, batches: list[Batch]) -> None:
        # The wall clock may step back; times of a log never do, so `since` cuts cleanly.
        self._time = max(self._time, time)
        for run in runs:
            batches.append(
                Batch(
                    self._next, run.count, self._time, stream, run.data, run.partial, run.continues
                )
            )
            self._next += run.count

    def _publish(self, batches: list[Batch], *, ended: bool = False) -> None:
        """Head, window and end in one step: who looks from now on sees them."""
        if batches:
            size = sum(len(batch.data) for batch in batches)
            self._counters.lines_published += batches[-1].last - self.head
            self._counters.bytes_published += size
            self.head = batches[-1].last
            for group in self._groups.values():
                group.begin(batches)
            self.bytes += size
            self.published_at = trio.current_time()
            self._published(self, self.window.append(batches))
        if ended:
            assert self.outcome is not None
            self.end = End(self.outcome, self.head, self.bytes)
            self.finished.set()

    async def _tell(self, published: Sequence[Batch]) -> None:
        for group in tuple(self._groups.values()):
            await group.send(published)
        await self._ring(self.listening)

    async def _ring(self, subscribers: Collection[Subscription]) -> None:
        """Wake those who are there; one who comes meanwhile looks for itself."""
        for count, subscription in enumerate(tuple(subscribers), 1):
            # Not if it left meanwhile.
            if subscription in subscribers and not subscription.ring():
                self._counters.rings_skipped += 1
            if count % RINGS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()


def _size(item: Written | Flush) -> int:
    return len(item.data) if isinstance(item, Written) else 0
