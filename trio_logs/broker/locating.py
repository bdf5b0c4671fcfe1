"""Where the lines begin that a selection asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..records import Batch, Reset
from ..selection import Selection, Start, Tail
from ..store import LogStore
from .searches import Searches
from .sieve import TailSieve
from .topic import Topic

__all__ = ["Locator", "Place"]

SCAN_ROWS = 1000
"""Batches of the store that one call looks at, to find where a tail begins."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to start, and the `Reset` to tell first, if the position to resume from does not
    exist."""

    start: Start
    reset: Reset | None


class Locator:
    """Finds the first line that a selection asks for. The window is asked before the store: it may
    hold lines that retention has removed from the store, and it answers while the store fails."""

    def __init__(self, topic: Topic, store: LogStore, searches: Searches) -> None:
        self._topic = topic
        self._store = store
        self._searches = searches

    async def locate(
        self,
        selection: Selection,
        after: int | Literal["end"] | None,
        head: int,
        reset: Reset | None = None,
    ) -> Place:
        """The place in a log whose last known line is `head`. With `reset`, the log lacks lines
        that the reader has. Raises StoreError."""
        reset = reset or _reset(after, head)
        first = selection.first
        if isinstance(after, int) and reset is None:
            first = max(first, after + 1)
        if selection.since is not None and selection.tail != 0:
            first = max(first, await self._first_since(selection.since, head))
        start = Start(first)
        if selection.tail:
            start = await self._locate_tail(selection, first, head)
        return Place(start, reset)

    async def _locate_tail(self, selection: Selection, first: int, head: int) -> Start:
        last = head if selection.last is None else min(head, selection.last)
        if selection.until is not None:
            last = min(last, await self._last_until(selection.until, head))
        tail = Tail(selection, first, last)
        if last < first:
            return Start(first)
        window = tuple(self._topic.window.newest_first())
        if selection.filter is None:
            tail.feed(window)
            while not tail.done:
                runs = await self._store.scan(self._topic.workload_id, tail.next, SCAN_ROWS)
                if not runs:
                    break
                tail.feed(runs)
        else:
            await self._search_tail(selection, tail, window, first)
        return tail.start()

    async def _search_tail(
        self, selection: Selection, tail: Tail, window: Sequence[Batch], first: int
    ) -> None:
        sieve = TailSieve(selection, tail)
        while window and window[-1].first <= sieve.next and not tail.done:
            await self._searches.call(partial(_show, sieve, window))
        while not tail.done:
            sieve.begin()
            await self._searches.slice(
                self._topic.workload_id, first, sieve.next, sieve, newest_first=True
            )
            if not sieve.has_seen:
                # No older line is left.
                break

    async def _first_since(self, time: int, head: int) -> int:
        """The number of the first line up to `head` that is not older than `time`."""
        topic = self._topic
        if (first := topic.window.first_since(time)) is not None:
            return min(first, head + 1)
        return await self._store.find(topic.workload_id, time, head)

    async def _last_until(self, time: int, head: int) -> int:
        """The number of the last line up to `head` that is not newer than `time`."""
        topic = self._topic
        for batch in topic.window.newest_first():
            if batch.time <= time and batch.last <= head:
                return batch.last
        if topic.window.first is not None:
            head = min(head, topic.window.first - 1)
        return await self._store.find(topic.workload_id, time + 1, head) - 1


def _reset(after: int | Literal["end"] | None, head: int) -> Reset | None:
    if after == "end":
        return Reset("not_ended", "the log has not ended yet; it follows from its first line")
    if after is not None and after > head:
        detail = f"this log goes to line {head} only; it follows from its first line"
        return Reset("beyond_head", detail)
    return None


def _show(sieve: TailSieve, window: Sequence[Batch]) -> None:
    """In a thread: show batches, newest first, to the sieve until it stops."""
    sieve.begin()
    for batch in window:
        # Those after it were seen in an earlier slice.
        if batch.first <= sieve.next and not sieve.see(batch):
            break
