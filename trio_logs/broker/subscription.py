"""The place of a reader in a log."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal

import trio

from ..errors import WorkloadNotFoundError
from ..records import Batch, Detached, Gap, Record, Reset
from .bell import Bell
from .history import READ_BYTES, contiguous
from .iteration import OneByOne
from .seat import Seat
from .topic import Life, Topic
from .topics import Topics

__all__ = ["Subscription"]

RETRY_SECONDS = 0.1
"""Seconds until a reader looks again for a line that a failover has lost."""


class Subscription(Seat, OneByOne[Record]):
    """Delivers a log from a position on: a contiguous run of batches, gaps in the place of lines
    that are missing, and one `End` after the last line.

    Use it as a context manager; it holds nothing before it is entered. It buffers nothing: its
    whole state is the number of the next line. With `position` None, it delivers new lines only.
    A reader of many logs gives all subscriptions the same `bell`, and calls `ready` of each.

    With several nodes, a `Reset` says that delivered lines are lost with the node that owned the
    log; then the log follows from `position`.
    """

    def __init__(
        self,
        topics: Topics,
        workload_id: str,
        position: int | None,
        *,
        must_exist: bool = False,
        bell: Bell | None = None,
    ) -> None:
        OneByOne.__init__(self)
        Seat.__init__(self, topics, workload_id, position, bell)
        self._must_exist = must_exist
        self._ended = False
        self.max_bytes = READ_BYTES

    async def load(
        self, *, settled: bool = False, after: int | Literal["end"] | None = None
    ) -> int:
        """Look the log up, unless another reader has; return `head`. With `settled`, it has all
        lines that the store has now. `after` is where the reader was, perhaps at another node: wait
        until it is known whether the log has that line.

        Raises StoreError, and WorkloadNotFoundError if there is no such log and the subscription
        has `must_exist`.
        """
        topic = await self._look_up()
        if settled or after == "end":
            await topic.settle()
        if isinstance(after, int) and after > topic.head:
            topic = await self._reach(after)
        if self._cursor is None:
            # From the head at the time of the look-up: all later lines are new.
            self._cursor = self._first = topic.state.lines + 1
        if self._must_exist and topic.life is Life.ABSENT:
            raise WorkloadNotFoundError(f"there is no workload {topic.workload_id!r}")
        return topic.head

    async def _look_up(self) -> Topic:
        while self._topic.successor is not None:
            self._follow(self._topic.successor)
        topic = self._topic
        await topic.load()
        self._topics.attend(topic)
        return topic

    async def _reach(self, line: int) -> Topic:
        """Wait for a line that the reader was told, perhaps at another node."""
        topic, goes_on = self._topic, True
        while goes_on and topic.head < line and topic.extender is not None:
            goes_on = await topic.extender.reach(line)
            goes_on = goes_on or topic.successor is not None
            topic = await self._look_up()
        return topic

    @property
    def head(self) -> int:
        """The number of the last line known now; valid once the log was looked up."""
        return self._topic.head

    @property
    def is_behind(self) -> bool:
        """Whether the next line is in the store, and not in memory."""
        topic = self._topic
        if self._topics.detached or topic.detached or self.position >= topic.durable:
            return False
        return topic.window.first is None or topic.window.first > self.position + 1

    def skip_to(self, line: int, delivered: Sequence[Batch | Gap]) -> None:
        self._topics.counters.deliver(delivered)
        self._cursor = line

    def rewind(self, line: int, records: Sequence[object]) -> None:
        """Go back to a line. `records` were delivered from there on, and will be again."""
        self._topics.counters.deliver(records, -1)
        self._cursor = line
        self._ended = False

    @property
    def is_over(self) -> bool:
        """Whether no line is left, so that the end comes next."""
        return self._topic.end is not None and self.position >= self._topic.head

    def skip_to_end(self) -> bool:
        """If the log has ended, skip all lines, so that the end comes next. False if it has not."""
        if self._topic.end is None:
            return False
        self._cursor = self._topic.head + 1
        return True

    async def receive(self) -> Sequence[Record]:
        """Wait for the next records; return those that are ready, about 64 KiB and at least one.

        The last record is `End`, a gap with reason `deleted`, or `Detached` when the server ends
        the subscription; after it, raises trio.EndOfChannel. Raises as `load`, and StoreError if
        the reader is behind the window and the store can't be read. If it is cancelled or raises,
        nothing is lost: call it again.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._cursor is None or self._topic.life is Life.UNKNOWN or self._must_exist:
            await self.load()
            self._must_exist = False
        while not self._ended:
            records = self._take()
            if self._reset is not None:
                records = [self._go_back(self._reset)]
            if records or self.is_round_due:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return records
            assert self._cursor is not None
            topic, head = self._topic, self._topic.durable
            if self._cursor > head:
                await self._wait()
                continue
            # The head is of before the read: lines that arrive during it are not missing.
            found = await self._read(topic, head)
            if found and found[0].first <= self._cursor:
                return self._close_hole(found, head)
            if await topic.check_missing(self._cursor):
                if not found and self._topics.may_fail_over:
                    # The owner may have stored again what a failover had lost at the read.
                    self._topics.history.drop(topic.workload_id, self._cursor, found)
                    found = await self._read(topic, head)
                return self._close_hole(found, head)
            if topic.detached:
                # The next reader looks the log up anew.
                self._topics.replace(topic)
            elif self._cursor <= topic.durable:
                # What mends it is under way, and may hang: no ring tells of it.
                await trio.sleep(RETRY_SECONDS)
        raise trio.EndOfChannel

    def _go_back(self, reset: Reset) -> Reset:
        """Go back to the first line asked for, or to the first new one."""
        assert self._first is not None
        self._reset = None
        self._cursor = min(self._first, self._topic.state.lines + 1)
        return reset

    @property
    def is_reset(self) -> bool:
        """Whether a `Reset` comes next, which only `receive` returns."""
        return self._reset is not None

    @property
    def is_round_due(self) -> bool:
        """Whether `receive` returns without a record: see `UnfinishedSubscription`."""
        return False

    async def check(self) -> None:
        """Read the next records from the store if memory does not have them, without moving on.
        Raises StoreError. Call it after `load`."""
        assert self._cursor is not None
        if self.is_behind:
            await self._read(self._topic, self._topic.durable)

    def _read(self, topic: Topic, head: int) -> Awaitable[list[Batch | Gap]]:
        """What the store has from the cursor on; `head` is the last line that it is known to
        have."""
        assert self._cursor is not None
        return self._topics.history.read(topic.workload_id, self._cursor, self.max_bytes, head)

    def ready(self) -> Sequence[Record]:
        """The next records that memory has, without waiting; may be empty."""
        if self._ended or self._cursor is None or self._topic.life is Life.UNKNOWN:
            return ()
        return self._take()

    def _take(self) -> Sequence[Record]:
        """The records that memory has for the cursor: the end, batches of the window, or a gap."""
        while self._topic.successor is not None:
            self._follow(self._topic.successor)
        topic = self._topic
        assert self._cursor is not None
        if self._reset is not None:
            return ()
        at_head = self._cursor > topic.head
        if at_head and topic.end is not None:
            self._ended = True
            return [topic.end]
        if self._topics.detached or topic.detached or (at_head and topic.abandoned):
            self._ended = True
            return [Detached()]
        batches = topic.window.read(self._cursor, self.max_bytes)
        if not batches and (lost := topic.lost_at(self._cursor)):
            self._cursor = lost.last + 1
            return [lost]
        return self._advance(batches)

    def _close_hole(self, found: Sequence[Batch | Gap], head: int) -> Sequence[Record]:
        """The records that the store had for the cursor; a gap for lines that it has no more."""
        assert self._cursor is not None
        # A record that is durable but not published yet is delivered after its own ring.
        found = [record for record in found if record.first <= head]
        if found and found[0].first <= self._cursor:
            return self._advance(found)
        last = found[0].first - 1 if found else head
        gap = Gap(self._cursor, last, self._topic.gap_reason)
        if gap.reason == "deleted":
            # Neither lines nor an end can follow; a client that returns gets 404.
            self._ended = True
            return [Gap(gap.first, head, gap.reason)]
        self._cursor = gap.last + 1
        return [gap, *self._advance(found)]

    def _advance(self, found: Sequence[Batch | Gap]) -> list[Record]:
        """Move past these records; the first one begins at the cursor or holds it."""
        assert self._cursor is not None
        records = contiguous(found, self._cursor)
        if records:
            self.skip_to(records[-1].last + 1, records)
        return [*records]
