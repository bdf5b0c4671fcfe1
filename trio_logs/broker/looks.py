"""The looks of a task at a shared store, and the readers that wait for one."""

from __future__ import annotations

import trio

from .bell import Bell

__all__ = ["Looks"]


class Looks:
    """A task looks at a log in the store after each ring, and after a while. `lines`: how many the
    log had at the last look."""

    def __init__(self) -> None:
        self.lines = 0
        self.is_over = False
        self._bell = Bell()
        self._begun = self._done = 0
        # Set and replaced after each look.
        self._looked = trio.Event()

    def ring(self) -> bool:
        """Have the task look; False if that is due already, or at an end."""
        return not self.is_over and self._bell.ring()

    async def wait(self, seconds: float) -> None:
        """In the task: wait for a ring, so many seconds at most."""
        with trio.move_on_after(seconds):
            await self._bell.wait()

    def begin(self) -> None:
        """In the task: a look begins."""
        self._begun += 1

    def finish(self) -> None:
        """In the task: it is done."""
        self._done = self._begun
        self._looked.set()
        self._looked = trio.Event()

    async def next(self) -> None:
        """Have the task look. Return once a look is finished that began after this call, or once
        the task has ended."""
        wanted = self._begun + 1
        self.ring()
        while self._done < wanted and not self.is_over:
            await self._looked.wait()

    def close(self) -> None:
        """The task has ended."""
        self.is_over = True
        self._looked.set()
        self._bell.close()
