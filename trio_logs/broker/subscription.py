"""A reader's place in a log."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self, TypeVar

import trio

from ..errors import WorkloadNotFoundError
from ..records import Batch, Detached, Gap, Record
from ..store import LogStore, Selection
from .counters import Counters
from .group import Group
from .history import History
from .topic import Topic

__all__ = ["Subscription"]

T = TypeVar("T")

READ_BYTES = 64 * 1024
"""About how much a reader gets at once, by weight, so that one that catches up leaves room for
others."""


class Subscription:
    """Delivers a log from a position on: a contiguous run of batches, or a gap in the place of what
    retention has removed, and one `End` after the last line.

    Use it as a context manager; it holds nothing before it is entered. It buffers nothing: its
    whole state is the number of the next line. The broker rings through a channel of one item; a
    full channel means that a ring is already waiting in it.
    """

    def __init__(
        self,
        enter: Callable[[Subscription], Topic],
        leave: Callable[[Subscription, Topic], None],
        store: LogStore,
        history: History,
        counters: Counters,
        position: int | None,
        must_exist: bool,
    ) -> None:
        self._enter = enter
        self._leave = leave
        self._store = store
        self._history = history
        self._counters = counters
        self._cursor = position
        self._must_exist = must_exist
        self._detached = False
        self._ended = False
        self._group: Group | None = None
        self._target = 0
        self._topic: Topic
        # What iteration has received but not yet handed out; bound: one `receive`.
        self._ready: deque[Record] = deque()
        # Bound: 1 item, of no size.
        self._bell, self._rings = trio.open_memory_channel[None](1)

    def __enter__(self) -> Self:
        self._topic = self._enter(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave(self, self._topic)
        self._bell.close()
        self._rings.close()

    async def load(self) -> int:
        """Look the log up, if nobody has yet; return `head`."""
        await self._topic.load()
        return self._topic.head

    @property
    def head(self) -> int:
        """The number of the last line that is known now, once the log was looked up."""
        return self._topic.head

    async def seek(self, selection: Selection, head: int) -> int:
        """The number of the first selected line of those up to `head`; see `LogStore.seek`."""
        topic, left = self._topic, selection.tail
        if left is not None and (selection.stream or selection.until is not None):
            # First in the window: it may hold what retention has removed from the store.
            for batch in topic.window.up_to(head):
                if selection.since is not None and batch.time < selection.since:
                    return batch.last + 1
                if selection.admits(batch):
                    if batch.count >= left:
                        return batch.last - left + 1
                    left -= batch.count
                head = batch.first - 1
            selection = replace(selection, tail=left)
        return await self._store.seek(topic.workload_id, selection, head)

    def move(self, position: int) -> None:
        """Move to a line number."""
        self._cursor = position

    def passed(self, line: int) -> bool:
        """Whether all up to that line was delivered, and it is not the log's last."""
        topic = self._topic
        passed = self._cursor is not None and self._cursor > line
        return passed and (topic.end is None or topic.head > line)

    def skip_to_end(self) -> bool:
        """Skip all lines if the log has ended, so that its end comes next; False if it has not."""
        if self._topic.end is None:
            return False
        self._cursor = self._topic.head + 1
        return True

    async def receive(self) -> Sequence[Record]:
        """Wait for what comes next; return what is ready, about 64 KiB, and never nothing.

        The last record is `End` or, when the server ends the subscription, `Detached`; after it,
        raises trio.EndOfChannel. Raises WorkloadNotFoundError if there is no such log and the
        subscription was made for one that exists. If it is cancelled, nothing is lost: call it
        again. Iterating gives the same records one by one; use one of the two.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        topic = self._topic
        if not topic.loaded:
            await topic.load()
        if self._must_exist and not topic.exists:
            raise WorkloadNotFoundError(f"there is no workload {topic.workload_id!r}")
        while not self._ended:
            records = self._take()
            if records:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return records
            assert self._cursor is not None
            if self._cursor <= topic.head:
                # The head of now: what comes while the store reads is not missing from its answer.
                head = topic.head
                found = await self._history.read(topic.workload_id, self._cursor, READ_BYTES)
                return self._close_hole(found, head)
            if self._group is None or self._cursor != topic.head + 1:
                await self._rings.receive()
                continue
            self._group.add(self._target, self)
            try:
                await self._rings.receive()
            finally:
                self._group.discard(self._target)
        raise trio.EndOfChannel

    def push_to(
        self,
        target: int,
        render: Callable[[Batch], T],
        send_each: Callable[[Sequence[int], T], Sequence[int]],
    ) -> None:
        """From now on, have what is published while `receive` waits sent in the publisher's step.
        Where a write needs no waiting, that spares the wake-up, which costs many times as much.

        Subscriptions that give the same `render` and `send_each` are sent to together:
        `send_each(targets, render(batch))` sends to each of some targets, and returns those to
        which it can't at the moment; their readers are woken for it. Both must be quick, and raise
        nothing. No two subscriptions may have the same target. Call it after `load`.
        """
        self._target = target
        self._group = self._topic.group(render, send_each)

    @property
    def pushed_at(self) -> float:
        """When the newest lines were sent without the reader, on Trio's clock; -inf if those were
        not, or it can't be known."""
        topic = self._topic
        at_head = self._cursor == topic.head + 1
        return topic.published_at if self._group is not None and at_head else -math.inf

    def ready(self) -> Sequence[Record]:
        """What can be had without waiting for a writer or the store; may be nothing."""
        return self._take() if self._topic.loaded and not self._ended else ()

    def _take(self) -> Sequence[Record]:
        """What memory has for the cursor: the end, or batches of the window."""
        topic = self._topic
        assert self._cursor is not None
        if self._cursor > topic.head and topic.end is not None:
            self._ended = True
            return [topic.end]
        if self._detached:
            self._ended = True
            return [Detached()]
        return self._advance(topic.window.read(self._cursor, READ_BYTES))

    def _close_hole(self, batches: list[Batch], head: int) -> Sequence[Record]:
        """Take what the store had for the cursor, or a gap for what it has no more."""
        assert self._cursor is not None
        # What is durable but not published yet comes with its own ring.
        batches = [batch for batch in batches if batch.first <= head]
        if batches and batches[0].first <= self._cursor:
            return self._advance(batches)
        last = batches[0].first - 1 if batches else head
        gap = Gap(self._cursor, last, self._topic.gap_reason)
        self._cursor = gap.last + 1
        return [gap, *self._advance(batches)]

    def _advance(self, batches: list[Batch]) -> list[Batch]:
        """Move past these batches, which continue at the cursor or hold it."""
        assert self._cursor is not None
        records: list[Batch] = []
        start, size = self._cursor, 0
        for batch in batches:
            if batch.first > self._cursor:
                # A hole between two stored batches: the next read reports it.
                break
            record = batch.since(self._cursor)
            records.append(record)
            size += len(record.data)
            self._cursor = batch.last + 1
        self._counters.lines_delivered += self._cursor - start
        self._counters.bytes_delivered += size
        return records

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        if self._ready:
            await trio.lowlevel.checkpoint()
        else:
            try:
                self._ready.extend(await self.receive())
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
        return self._ready.popleft()

    # Called by the topic, its groups and the broker, between two steps of the reader.

    def locate(self, head: int) -> None:
        """A live-only reader starts after the head."""
        if self._cursor is None:
            self._cursor = head + 1

    def ring(self) -> bool:
        """Wake the reader; False if a ring is waiting already."""
        try:
            self._bell.send_nowait(None)
        except trio.WouldBlock:
            return False
        return True

    def detach(self) -> None:
        """Let the reader know that nothing more will be delivered here."""
        self._detached = True
        self.ring()
