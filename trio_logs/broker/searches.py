"""Searches of stored logs: they take turns, so that they leave the CPU to live lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from ..errors import BusyError, StoreError
from ..records import Batch, Gap, Run
from ..store import LogStore, Visitor
from ..threads import Threads
from .turns import Turn, Turns

__all__ = ["MAX_SEARCHES", "SLICE_SECONDS", "Place", "SearchStatistics", "Searches"]

T = TypeVar("T")

MAX_SEARCHES = 8
"""Searches of clients that look for matches at once; more are refused."""

MAX_SLICES = 2
"""Slices that run at once, each in a thread. The other searches take turns, first come first
served."""

SLICE_SECONDS = 0.008
"""The time after which the visitor of a slice stops."""


@dataclass(frozen=True, slots=True)
class SearchStatistics:
    """`admitted` searches for matches are under way; of these and of filtered streams, `running`
    have a turn and `waiting` wait for one. `slices` and `refused` searches count since the start.
    """

    admitted: int
    running: int
    waiting: int
    slices: int
    refused: int


class Searches:
    """Visits of stored logs, each a slice of a search."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._turns = Turns(MAX_SLICES)
        self._threads = Threads("searches", MAX_SLICES)
        self._is_open = False
        self._admitted = 0
        self._slices = 0
        self._refused = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Start the threads, and have them end after the block. Raises RuntimeError if the system
        refuses one."""
        self._threads.start()
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False
            self._threads.close()

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a search within the block. Raises BusyError if there are too many."""
        if self._admitted >= MAX_SEARCHES:
            self._refused += 1
            raise BusyError(f"{MAX_SEARCHES} searches are under way: try again later")
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def call(self, function: Callable[[], T]) -> T:
        """Wait for a turn, then call a function of at most some milliseconds in a thread.
        Raises StoreError unless the searches are open."""
        with self.place() as place:
            await place.wait()
            if not self._is_open:
                raise StoreError("the broker has ended: search again when it is back")
            return await self._threads.run(function, abandon_on_cancel=True)

    def place(self) -> Place:
        """The place of one search, for a caller that has other things to do while it waits."""
        return Place(self)

    async def slice(
        self,
        workload_id: str,
        first: int,
        last: int,
        visitor: Visitor,
        *,
        newest_first: bool = False,
    ) -> None:
        """Wait for a turn, then visit the log as `LogStore.visit` does. Raises StoreError.

        A cancelled wait is in vain: its repetition starts at the end of the queue. See `place`.
        """
        with self.place() as place:
            await place.slice(workload_id, first, last, visitor, newest_first=newest_first)

    def statistics(self) -> SearchStatistics:
        """A snapshot, and counters since the start."""
        return SearchStatistics(
            self._admitted, self._turns.taken, self._turns.waiting, self._slices, self._refused
        )


class Place:
    """The place of one search in the queue for turns. A wait that is cancelled keeps it.

    Use it as a context manager, in one task at a time. A search takes a turn for each slice:

        with searches.place() as place:
            with trio.move_on_after(1):
                await place.wait()
            if place.has_turn:
                await place.slice(...)
    """

    def __init__(self, searches: Searches) -> None:
        self._searches = searches
        self._turn = Turn(searches._turns)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turn.give_up()

    @property
    def has_turn(self) -> bool:
        """Whether the next `slice` begins at once. Call it without waiting for anything else, for
        the turn is taken from others."""
        return self._turn.is_taken

    async def wait(self) -> None:
        """Wait for a turn."""
        await self._turn.take()

    async def slice(
        self,
        workload_id: str,
        first: int,
        last: int,
        visitor: Visitor,
        *,
        newest_first: bool = False,
    ) -> None:
        """As `Searches.slice`, but with this place in the queue."""
        await self._turn.take()
        stoppable = _Stoppable(visitor)
        self._searches._slices += 1
        try:
            await self._searches._store.visit(
                workload_id, first, last, stoppable, newest_first=newest_first
            )
        finally:
            # After a cancellation, the thread may still be in the visit of a record: that ends by
            # itself, and the turn goes to the next search.
            stoppable.stop()
            self._turn.give_up()


class _Stoppable:
    """A visitor that sees no further record once it is stopped, from any thread."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._is_stopped = False

    def stop(self) -> None:
        self._is_stopped = True

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        return not self._is_stopped and self._visitor.visit(run, load)
