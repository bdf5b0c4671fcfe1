"""A subscription with a selection: only the records of a log that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, Self

import trio

from ..errors import StoreError
from ..picking import Picker
from ..records import Position, Record, Reset, Stop, now
from ..selection import Selection, Start
from ..store import LogStore
from .group import Outlet
from .iteration import OneByOne
from .locating import Locator
from .pending import Found, Pending
from .searches import Searches
from .sieve import Sieve, pick_slice
from .subscription import Subscription

__all__ = ["Found", "Reading"]

CHECK_SECONDS = 5.0
"""Seconds that a failing store has to answer the read before a request gets an error."""

UNTIL_SLACK = 1.0
"""Seconds that a reader waits after `until` for lines which were written before it."""


class Reading(OneByOne[Found]):
    """Delivers the records of a log that a selection asks for, from `after` on if it is given.

    Use it as a context manager. `after` is the number of the last line that the reader has, or
    "end". With `after`, a tail does not apply. A `Reset` comes first if the log does not have that
    position, and later as in `Subscription`. Without `follow`, the reading ends at the last line
    known when it starts. A `Position` comes before the first line of a tail or a time, and while
    lines are hidden. A `Stop` is the last record if `last` or `limit` end it before the log ends.
    """

    def __init__(
        self,
        subscription: Subscription,
        store: LogStore,
        searches: Searches,
        selection: Selection,
        *,
        after: int | Literal["end"] | None = None,
        follow: bool = True,
    ) -> None:
        super().__init__()
        self._subscription = subscription
        self._store = store
        self._searches = searches
        # A reader that resumes gets all lines that it missed, which may be more than the tail.
        self.selection = selection if after is None else replace(selection, tail=None)
        self._after = after
        self._follow = follow
        self._start = Start(1)
        self._pending: Pending | None = None
        # Whether all later records pass unchanged.
        self._is_plain = False
        self._ends_early = True
        # The last line of a reader that does not follow, or follows no more; None while it follows.
        self._stop_after: int | None = selection.last
        self._done = self.is_restarted = False
        self._reset: Reset | None = None  # told when it restarts: lines that it delivered are lost
        self._outlet: Outlet | None = None
        self._port = 0

    def __enter__(self) -> Self:
        self._subscription.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._subscription.__exit__(*exc_info)

    def write_to(self, outlet: Outlet, port: int) -> None:
        """Have the publisher write to this port while `receive` waits: see `Subscription.write_to`.
        The outlet hides what the selection hides. It has no effect if the selection ends before
        the log. Call it before `receive`."""
        self._outlet = outlet
        self._port = port

    @property
    def position(self) -> int | None:
        """The last line that was delivered or hidden; None until the start is known."""
        if self._pending is None:
            return None
        following = self._pending.next_line or self._subscription.position + 1
        return min(following - 1, self._subscription.head)

    @property
    def written_at(self) -> float:
        return self._subscription.written_at

    async def receive(self) -> Sequence[Found]:
        """Wait for the next records that were asked for, at least one.

        The last record is that of `Subscription.receive`, unless the selection ends before it;
        after it, raises trio.EndOfChannel. Raises as `Subscription.receive`. A call that is
        cancelled or raises loses nothing: call again.
        """
        while not self._done:
            if self._pending is None:
                found = await self._begin()
            elif not (found := self._stop()) and not self._done:
                found = await self._next()
            if found:
                return found
        await trio.lowlevel.checkpoint()
        raise trio.EndOfChannel

    async def check(self) -> None:
        """Return if the first records can be read now. Raises StoreError, after 5 s at most."""
        with trio.move_on_after(CHECK_SECONDS) as waiting:
            if self._pending is None:
                await self._begin()
            await self._subscription.check()
        if waiting.cancelled_caught:
            raise StoreError("the store does not answer: try again later")

    def ready(self) -> Sequence[Found]:
        """The next records that memory has, without waiting; may be empty."""
        if self._pending is None or self._done or self._ends_early:
            return ()
        if self._is_plain:
            return self._subscription.ready()
        if not self._pending:
            self._pending.add(self._subscription.ready())
        return self._picked(self._pending.pick())

    async def _begin(self) -> Sequence[Found]:
        """Find the first line asked for. Call it again after a cancellation or an error."""
        selection, subscription = self.selection, self._subscription
        head = await subscription.load(settled=not self._follow, after=self._after)
        locate = Locator(subscription.topic, self._store, self._searches).locate
        place = await locate(selection, self._after, head, self._reset)
        # No await from here on: a cancellation must not leave half of this.
        start = place.start
        if selection.tail == 0:
            # Lines that came since the reader was there are new.
            start = Start(max(selection.first, subscription.position + 1))
        subscription.move(start.first)
        self._start, self._reset = start, None
        self._begin_stage(head)
        if self._outlet is not None and not self._ends_early:
            subscription.write_to(self._outlet, self._port)
        found: list[Found] = [] if place.reset is None else [place.reset]
        if selection.since is not None or selection.tail is not None:
            found.append(Position(min(start.first - 1, subscription.head)))
        return found

    def _begin_stage(self, head: int) -> None:
        selection, start = self.selection, self._start
        if not self._follow:
            self._stop_after = head if selection.last is None else min(head, selection.last)
        self._pending = Pending(Picker(selection, start, self._stop_after), self._stop_after)
        self._ends_early = not self._follow or selection.is_bounded
        self._is_plain = not (self._ends_early or selection.hides_lines or start.earlier)

    def _stop(self) -> Sequence[Found]:
        """The last record, if the selection ends here and the log does not; sets `_done`."""
        pending, subscription = self._pending, self._subscription
        assert pending is not None
        last = self._stop_after
        if (following := pending.picker.next) is not None:
            if following > subscription.head and subscription.skip_to_end():
                return ()
            self._done = True
            return [Stop("limit", following)]
        if last is None or pending.next_line is not None or subscription.is_reset:
            return ()
        is_over = subscription.is_over and subscription.head <= last
        if subscription.position >= last and not is_over:
            self._done = True
            if self.selection.last is not None:
                return [Stop("to", max(last + 1, self._start.first))]
        return ()

    async def _next(self) -> Sequence[Found]:
        pending = self._pending
        assert pending is not None
        if (batch := pending.slow) is not None:
            search = partial(pick_slice, pending.picker, batch)
            return pending.picked(*await self._searches.call(search))
        if not pending:
            if self._is_searchable():
                return await self._search(pending)
            records = await self._receive()
            if self._is_plain or self._pending is None:
                return records
            pending.add(records)
        return self._picked(pending.pick())

    async def _receive(self) -> Sequence[Record]:
        if self.selection.until is None or self._stop_after is not None:
            return self._accepted(await self._subscription.receive())
        left = (self.selection.until - now()) / 1_000_000 + UNTIL_SLACK
        if left > 0:
            with trio.move_on_after(left):
                return self._accepted(await self._subscription.receive())
        # All lines that were written before `until` are known now, and this reader gets them.
        self._stop_after = self._subscription.head
        return ()

    def _accepted(self, records: Sequence[Record]) -> Sequence[Record]:
        if records and isinstance(records[0], Reset):
            # Begin anew, without a tail, as for a reader that resumes.
            tail = 0 if self.selection.tail == 0 else None
            self.selection, self._pending = replace(self.selection, tail=tail), None
            self._reset, self.is_restarted, records = records[0], True, ()
        return records

    def _is_searchable(self) -> bool:
        """Whether the next lines are searched in the store: they are not in the window, and a
        filter or a stream may hide most of them."""
        hides = self.selection.filter is not None or self.selection.stream is not None
        return hides and self._subscription.is_behind

    async def _search(self, pending: Pending) -> Sequence[Found]:
        subscription = self._subscription
        topic, first, last = subscription.topic, subscription.position + 1, self._stop_after
        last = topic.durable if last is None else min(topic.durable, last)
        sieve = Sieve(pending.picker.copy(), first, subscription.max_bytes, pending.hidden_left)
        await self._searches.slice(topic.workload_id, first, last, sieve)
        if sieve.next == first and not sieve.is_late:
            # The lines are trimmed or deleted: the subscription finds out.
            pending.add(await self._receive())
            return ()
        # No await from here on: a cancellation must not leave half of this.
        pending.picker, pending.is_late = sieve.picker, sieve.is_late
        subscription.skip_to(sieve.next, sieve.found)
        return self._picked(pending.settle(sieve.next - 1, sieve.found, sieve.seen))

    def _picked(self, found: Sequence[Found]) -> Sequence[Found]:
        """The records that were picked. If a line arrived after `until`, pass over all later lines:
        only the end can still be asked for."""
        pending, subscription = self._pending, self._subscription
        assert pending is not None
        if pending.is_late:
            pending.is_late = False
            if self._stop_after is not None:
                subscription.move(max(self._stop_after, subscription.position) + 1)
            elif not subscription.skip_to_end():
                self._done = True
        return found
