"""The place of a reader among the changes of workload records."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeAlias

import trio

from ..broker import Bell
from ..records import Change, Detached, Position, Progress, Reset
from ..store import ChangePage
from .change_feed import ChangeFeed

__all__ = ["ChangeReader", "ChangeRecord"]

PROGRESS_SECONDS = 1.0
"""The least seconds from one progress of a reader to the next."""

ChangeRecord: TypeAlias = Change | Progress | Position | Reset | Detached


class ChangeReader:
    """Delivers the changes after a position, in order: first the position, then each change.

    A reader at the head gets each change. A reader that is behind the window gets at least the last
    change of each workload. After a position that can't be resumed from, and after a failover that
    has lost changes, a `Reset` comes, and then the position from which the reader goes on.
    `Progress` has no position, and comes at most once a second: once of each running workload if
    the reader resumes, then of those whose logs have grown. `Detached` is the last record, when the
    service shuts down.

    Use it as a context manager; it is told of changes only while it is entered. Its own buffer is
    one page of the store, about 64 KiB. With `after` None, it delivers new changes only. A reader
    of several things gives all of them the same `bell`, calls `load` once, and then `ready`, or
    `receive` where `is_behind`.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        after: int | None,
        first_page: Callable[[int], Awaitable[ChangePage]],
        bell: Bell | None = None,
    ) -> None:
        self._feed = feed
        self._cursor = after
        self._first_page = first_page
        # What is delivered next. Bound: one page.
        self._records: list[ChangeRecord] = []
        self._is_loaded = False
        # The restarts of the feed before the cursor was chosen.
        self._restarts = 0
        self._is_over = False
        self._resumes = after is not None
        # The look whose progress the reader has, and when it got some, on Trio's clock.
        self._tick = 0
        self._progress_at = -math.inf
        self._own_bell = Bell() if bell is None else None
        self._bell = bell or self._own_bell

    def __enter__(self) -> Self:
        self._feed.add(self)
        if not self._resumes:
            self._tick = self._feed.progress.tick
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._feed.discard(self)
        if self._own_bell is not None:
            self._own_bell.close()

    def ring(self) -> bool:
        """Wake the reader; False if an earlier ring is still unanswered. The feed calls it."""
        assert self._bell is not None
        return self._bell.ring()

    @property
    def position(self) -> int:
        """The reader has every change up to here; valid after `load`."""
        assert self._cursor is not None
        return self._cursor

    @property
    def is_behind(self) -> bool:
        """Whether memory lacks the next change, so that only `receive` can get it."""
        return self._is_loaded and self._feed.is_behind(self.position)

    async def load(self) -> None:
        """Find the place of the reader; read the store if memory lacks the place. It may be called
        before the reader is entered. Raises StoreError."""
        if self._is_loaded:
            await trio.lowlevel.checkpoint()
            return
        self._restarts = self._feed.restarts
        if self._cursor is None:
            self._cursor = self._feed.head
        if self._cursor > self._feed.head or self._feed.is_behind(self._cursor):
            page = await self._first_page(self._cursor)
            self._records.append(Position(self._cursor))
            self._accept(page)
        else:
            await trio.lowlevel.checkpoint()
            self._records.append(Position(self._cursor))
        self._is_loaded = True

    def ready(self) -> Sequence[ChangeRecord]:
        """The next records that memory has, without waiting; may be empty."""
        return self._take() if self._is_loaded else ()

    async def receive(self) -> Sequence[ChangeRecord]:
        """Wait for the next records; return those that are ready, about 64 KiB and at least one.

        After `Detached`, raises trio.EndOfChannel. Raises StoreError if memory lacks the next
        change and the store can't be read. If it is cancelled or raises, nothing is lost: call it
        again.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._is_loaded:
            await self.load()
        assert self._bell is not None
        while True:
            if records := self._take():
                await trio.lowlevel.cancel_shielded_checkpoint()
                return records
            if self._is_over:
                raise trio.EndOfChannel
            if self.is_behind:
                self._accept(await self._feed.fetch(self.position))
            else:
                await self._bell.wait()

    def _take(self) -> list[ChangeRecord]:
        records, self._records = self._records, []
        if records or self._is_over:
            return records
        if self._feed.is_detached:
            self._is_over = True
            return [Detached()]
        if self._restarts != self._feed.restarts:
            self._restarts = self._feed.restarts
            self._reset("beyond_head", "the database has lost changes in a failover")
            return self._take()
        changes = self._feed.after(self.position)
        if changes:
            self._cursor = changes[-1].position
            records += changes
        if self.position >= self._feed.head:
            # At the head only: progress of a workload must not come before its `workload`.
            records += self._take_progress()
        return records

    def _take_progress(self) -> Sequence[Progress]:
        progress = self._feed.progress
        if self._tick == progress.tick:
            return ()
        found = progress.since(self._tick)
        if found:
            if trio.current_time() < self._progress_at + PROGRESS_SECONDS:
                self._feed.owe()
                return ()
            self._progress_at = trio.current_time()
        self._tick = progress.tick
        return found

    def _accept(self, page: ChangePage) -> None:
        """Take what the store has after the cursor; or go on with what is new."""
        if not page.is_known:
            detail = f"position {self.position} was never given, or a failover has lost it"
            self._reset("beyond_head", detail, page.newest)
        elif self.position < page.forgotten:
            detail = f"deletions up to position {page.forgotten} are not kept any more"
            self._reset("too_old", detail, page.newest)
        else:
            self._records += page.changes
            self._cursor = page.position

    def _reset(self, reason: str, detail: str, newest: int = 0) -> None:
        """Go on with what comes after the head, or after the position of the newest change."""
        self._cursor = max(newest, self._feed.head)
        reset = Reset(reason, f"{detail}: list the workloads again")
        self._records = [reset, Position(self._cursor)]
