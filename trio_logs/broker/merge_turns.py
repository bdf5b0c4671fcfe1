"""Turns of readers that merge the histories of several logs: each holds rows in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import trio

from .turns import Turn, Turns

__all__ = ["MergeStatistics", "MergeTurn", "MergeTurns"]

MAX_HOLDERS = 8
"""Readers that may hold rows at once."""

TURN_SECONDS = 0.5
"""A turn lasts at least so long. If it were shorter, readers would mostly read rows again."""


@dataclass(frozen=True, slots=True)
class MergeStatistics:
    """Readers of several logs that hold rows of their histories, and those that wait for that."""

    holding: int
    waiting: int


class MergeTurns:
    """Admits so many readers at once; the others take turns, first come first served.

    A turn that has lasted long enough ends when another reader needs it, even if the client of its
    holder reads nothing. So a slow client keeps no other reader waiting.
    """

    def __init__(self, limit: int = MAX_HOLDERS, seconds: float = TURN_SECONDS) -> None:
        self._limit = limit
        self._turns = Turns(limit)
        self._seconds = seconds
        # When each turn began; the oldest turn is first. Bound: `limit`.
        self._holders: dict[MergeTurn, float] = {}

    def turn(self, drop: Callable[[], None]) -> MergeTurn:
        """The turn of one reader; `drop` lets go of its rows, without a wait."""
        return MergeTurn(self, Turn(self._turns), drop)

    def statistics(self) -> MergeStatistics:
        """A snapshot."""
        return MergeStatistics(len(self._holders), self._turns.waiting)

    def _make_room(self) -> None:
        """End turns that have lasted long enough, until one is free for the caller."""
        while self._holders and trio.current_time() >= self._room_at():
            next(iter(self._holders)).end()

    def _room_at(self) -> float:
        """When to end the oldest turn, on Trio's clock; never while a turn is free."""
        if self._turns.taken < self._limit:
            return math.inf
        # A reader whose turn has just come may not know of it yet.
        began = next(iter(self._holders.values()), trio.current_time())
        return began + self._seconds


class MergeTurn:
    """The turn of one reader, again and again. Call `end` at last."""

    def __init__(self, turns: MergeTurns, turn: Turn, drop: Callable[[], None]) -> None:
        self._all = turns
        self._turn = turn
        self._drop = drop

    async def take(self) -> None:
        """Return once the reader has the turn; call it before each read, for the turn may be over.
        A wait that is cancelled keeps its place in the queue."""
        while not self._turn.is_taken:
            self._all._make_room()
            with trio.move_on_at(self._all._room_at()):
                try:
                    await self._turn.take()
                finally:
                    # A cancelled wait may have the turn, too: others must be able to end it.
                    if self._turn.is_taken:
                        self._all._holders[self] = trio.current_time()

    def end(self) -> None:
        """Let go of the rows, and give the turn, or the place in the queue, to others."""
        self._drop()
        self._all._holders.pop(self, None)
        self._turn.give_up()
