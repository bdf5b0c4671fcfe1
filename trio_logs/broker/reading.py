"""A subscription with a selection: only the records of a log that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

import trio

from ..errors import StoreError
from ..records import Batch, Detached, End, Gap, Record, Reset, now
from ..selection import Selection, Start, Tail
from ..store import LogStore
from .audience import Outlet
from .iteration import OneByOne
from .subscription import Subscription

__all__ = ["Reading"]

SCAN_ROWS = 1000
"""Batches of the store that one call looks at, to find where a tail begins."""

CHECK_SECONDS = 5.0
"""Seconds that a failing store has to answer the read before a request gets an error."""

UNTIL_SLACK = 1.0
"""Seconds that a reader waits after `until` for lines which were written before it."""


class Reading(OneByOne[Record | Reset]):
    """Delivers the records of a log that a selection asks for, from `after` on if it is given.

    Use it as a context manager. `after` is the number of the last line that the reader has, or
    "end". With `after`, a tail does not apply, and the first record is a `Reset` if the log does
    not have that position. Without `follow`, the reading ends at the last line known when it
    starts.
    """

    def __init__(
        self,
        subscription: Subscription,
        store: LogStore,
        selection: Selection,
        *,
        after: int | Literal["end"] | None = None,
        follow: bool = True,
    ) -> None:
        super().__init__()
        self._subscription = subscription
        self._store = store
        # A reader that resumes gets all lines that it missed, which may be more than the tail.
        self._selection = selection if after is None else replace(selection, tail=None)
        self._after = after
        self._follow = follow
        self._start: Start | None = None
        # Whether all later records pass unchanged.
        self._is_plain = False
        # The last line of a reader that does not follow, or follows no more; None while it follows.
        self._stop_after: int | None = None
        self._done = False
        self._outlet: Outlet | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self._subscription.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._subscription.__exit__(exc_type, exc_value, traceback)

    def write_to(self, outlet: Outlet, port: int) -> None:
        """Have the publisher write to this port while `receive` waits: see `Subscription.write_to`.
        It has no effect if the selection hides lines. Call it before `receive`."""
        self._outlet = outlet
        self._port = port

    @property
    def position(self) -> int:
        """The last line that was delivered or hidden; valid after the first record."""
        return self._subscription.position

    @property
    def written_at(self) -> float:
        return self._subscription.written_at

    async def receive(self) -> Sequence[Record | Reset]:
        """Wait for the next records that were asked for, at least one.

        The last record is that of `Subscription.receive`, unless the selection ends before it;
        after it, raises trio.EndOfChannel. Raises as `Subscription.receive`. A call that is
        cancelled or raises loses nothing: call again.
        """
        if self._start is None:
            reset = await self._locate()
            if reset is not None:
                return [reset]
        while not self._done:
            if self._stop_after is not None and self._subscription.passed(self._stop_after):
                break
            records = await self._receive()
            admitted = self._admit(records)
            if admitted:
                return admitted
        self._done = True
        await trio.lowlevel.checkpoint()
        raise trio.EndOfChannel

    async def check(self) -> None:
        """Return if the first records can be read now. Raises StoreError if they need a store that
        fails or does not answer within 5 s, and otherwise as `receive`."""
        with trio.move_on_after(CHECK_SECONDS) as waiting:
            if self._start is None:
                await self._locate()
            await self._subscription.check()
        if waiting.cancelled_caught:
            raise StoreError("the store does not answer: try again later")

    def ready(self) -> Sequence[Record]:
        """The next records that memory has, without waiting; may be empty."""
        if self._start is None or self._done or self._stop_after is not None:
            return ()
        return self._admit(self._subscription.ready())

    async def _receive(self) -> Sequence[Record]:
        if self._selection.until is None or self._stop_after is not None:
            return await self._subscription.receive()
        left = (self._selection.until - now()) / 1_000_000 + UNTIL_SLACK
        if left > 0:
            with trio.move_on_after(left):
                return await self._subscription.receive()
        # All lines that were written before `until` are known now, and this reader gets them.
        self._stop_after = self._subscription.head
        return ()

    async def _locate(self) -> Reset | None:
        """Find the first line that is asked for. After a cancellation or an error, call it
        again."""
        selection, subscription = self._selection, self._subscription
        head = await subscription.load()
        stop_after = None if self._follow else head
        start = Start(1)
        reset = None
        if self._after == "end":
            detail = "the log has not ended yet; it follows from its first line"
            reset = Reset("not_ended", detail)
        elif self._after is not None:
            start = Start(self._after + 1)
            if self._after > head:
                detail = f"this log goes to line {head} only; it follows from its first line"
                reset = Reset("beyond_head", detail)
                start = Start(1)
        if selection.since is not None and selection.tail != 0:
            first = await self._first_since(selection.since, head)
            start = Start(max(start.line, first))
        if selection.tail:
            start = await self._locate_tail(start.line, head)
        # No await from here on: a cancellation must not leave half of this.
        if selection.tail != 0:
            subscription.move(start.first)
        self._stop_after = stop_after
        self._is_plain = not selection.hides_lines and not start.earlier and self._follow
        if self._outlet is not None and self._follow and not selection.hides_lines:
            subscription.write_to(self._outlet, self._port)
        self._start = start
        return reset

    async def _locate_tail(self, first: int, head: int) -> Start:
        topic = self._subscription.topic
        last = head
        if self._selection.until is not None:
            last = await self._last_until(self._selection.until, head)
        tail = Tail(self._selection, first, last)
        tail.feed(topic.window.newest_first())
        while not tail.done:
            runs = await self._store.scan(topic.workload_id, tail.next, SCAN_ROWS)
            if not runs:
                break
            tail.feed(runs)
        return tail.start()

    # The window is asked before the store: it may hold lines that retention has removed from the
    # store, and it answers while the store fails.

    async def _first_since(self, time: int, head: int) -> int:
        """The number of the first line up to `head` that is not older than `time`."""
        topic = self._subscription.topic
        if (first := topic.window.first_since(time)) is not None:
            return min(first, head + 1)
        return await self._store.find(topic.workload_id, time, head)

    async def _last_until(self, time: int, head: int) -> int:
        """The number of the last line up to `head` that is not newer than `time`."""
        topic = self._subscription.topic
        for batch in topic.window.newest_first():
            if batch.time <= time and batch.last <= head:
                return batch.last
        if topic.window.first is not None:
            head = min(head, topic.window.first - 1)
        return await self._store.find(topic.workload_id, time + 1, head) - 1

    def _admit(self, records: Sequence[Record]) -> Sequence[Record]:
        if self._is_plain:
            return records
        admitted: list[Record] = []
        for record in records:
            match record:
                case Batch():
                    if self._is_past(record.first) or self._is_late(record):
                        break
                    if kept := self._cut(record):
                        admitted.append(kept)
                case Gap(first, last, reason):
                    if self._is_past(first):
                        break
                    if self._stop_after is not None and last > self._stop_after:
                        record = Gap(first, self._stop_after, reason)
                    admitted.append(record)
                case End() | Detached():
                    admitted.append(record)
        return admitted

    def _is_past(self, line: int) -> bool:
        """Whether the reader stops before this line; if so, it is done."""
        if self._stop_after is not None and line > self._stop_after:
            self._done = True
        return self._done

    def _is_late(self, batch: Batch) -> bool:
        """Whether the batch arrived after `until`, and with it all lines behind it."""
        until = self._selection.until
        if until is None or batch.time <= until:
            return False
        # Times of a log never step back: only the end can still be asked for.
        self._done = not self._subscription.skip_to_end()
        return True

    def _cut(self, batch: Batch) -> Batch | None:
        if not self._selection.admits(batch):
            return None
        assert self._start is not None
        if self._start.earlier and batch.first < self._start.line:
            return self._start.cut(batch)
        return batch
