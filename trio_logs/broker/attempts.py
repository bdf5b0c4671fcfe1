"""The appends of a source, as its readers see them."""

from __future__ import annotations

from collections.abc import Callable

import trio

from .extender import SETTLE_SECONDS
from .looks import Looks
from .writer import Fate

__all__ = ["Attempts"]

REACH_PAUSE = 0.1
"""Seconds from one look of a reader for its line to the next."""


class Attempts:
    """The attempts to append some batches, one after the other. The store may have their lines
    before they are published, which happens in the step that ends the attempts. It is the extender
    of a topic that has a source.

    With a shared store, `restore` has the source store again what a failover has lost, and `looks`
    are those of its guard.
    """

    def __init__(self, fate: Fate, restore: Callable[[int], object], looks: Looks | None) -> None:
        self._fate = fate
        self._restore = restore
        self._looks = looks
        self.are_made = False
        # Set once the attempt that is under way has returned; None while there is none.
        self._attempt: trio.Event | None = None
        # Set once no more attempts are made, if a task waits for that.
        self._over: trio.Event | None = None

    def begin(self) -> None:
        """An attempt begins."""
        self.are_made = True
        self._attempt = trio.Event()

    def end(self) -> None:
        """It has returned or failed. Another one may follow."""
        if self._attempt is not None:
            self._attempt.set()
            self._attempt = None

    def finish(self) -> None:
        """No other one follows."""
        self.are_made = False
        if self._over is not None:
            self._over.set()
            self._over = None

    async def settle(self) -> None:
        """Wait for the attempt that is under way, but at most 1 s for a store that hangs."""
        if self._attempt is not None:
            with trio.move_on_after(SETTLE_SECONDS):
                await self._attempt.wait()

    async def show(self) -> None:
        await trio.lowlevel.checkpoint()

    async def reach(self, line: int) -> bool:
        if self._fate.fenced is not None:
            # Another topic takes the place of this one soon.
            await trio.sleep(REACH_PAUSE)
        elif self._looks is not None:
            # Another node may own the log by now, or may tell of lines whose append has no answer
            # yet.
            await self._looks.next()
            if self.are_made and self._looks.lines >= line:
                await self._until_finished()
        return self._fate.fenced is not None

    async def _until_finished(self) -> None:
        if self._over is None:
            self._over = trio.Event()
        await self._over.wait()

    def fall_behind(self, lines: int) -> bool:
        # Another topic takes the place of one whose source has ended. Readers wait for it.
        if self._looks is not None and not self._looks.is_over:
            self._restore(lines)
        return self._looks is not None
