"""Turns that many tasks want and few have at once, in the order in which they asked."""

from __future__ import annotations

import heapq
import itertools

import trio

__all__ = ["Turn", "Turns"]


class Turns:
    """A number of turns. `trio.CapacityLimiter` would send a task whose wait was cancelled, such as
    for a heartbeat, to the end of the queue: a long queue would never let it through."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._tickets = itertools.count()
        # At most one entry for each `Turn`: while a turn is free, none in it waits.
        self._queue: list[tuple[int, Turn]] = []
        self.taken = 0
        self.waiting = 0


class Turn:
    """One task's turn, again and again. A cancelled wait keeps its place in the queue.

    Call `give_up` in the end.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        # The place in the queue, from the first wait to the turn.
        self._ticket: int | None = None
        self._is_queued = False
        self._woken: trio.Event | None = None
        self.is_taken = False

    async def take(self) -> None:
        """Wait for the turn; return at once if it is taken already."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.is_taken and not self._begin():
            self._enqueue()
            assert self._woken is not None
            try:
                # If it is cancelled in the same step in which the turn is given, both are true:
                # then the turn is there for the next call, or for `give_up`.
                await self._woken.wait()
            finally:
                self._turns.waiting -= 1
                self._woken = None
            return
        await trio.lowlevel.cancel_shielded_checkpoint()

    def give_up(self) -> None:
        """Give the turn, or the place in the queue, to others."""
        self._ticket = None
        if self.is_taken:
            self.is_taken = False
            turns = self._turns
            turns.taken -= 1
            turns._free += 1
            while turns._queue and turns._free:
                _, following = heapq.heappop(turns._queue)
                following._is_queued = False
                if following._woken is not None:
                    following._begin()
                    following._woken.set()

    def _begin(self) -> bool:
        if not self._turns._free:
            return False
        self._turns._free -= 1
        self._turns.taken += 1
        self._ticket = None
        self.is_taken = True
        return True

    def _enqueue(self) -> None:
        if self._ticket is None:
            self._ticket = next(self._turns._tickets)
        if not self._is_queued:
            self._is_queued = True
            heapq.heappush(self._turns._queue, (self._ticket, self))
        self._woken = trio.Event()
        self._turns.waiting += 1
