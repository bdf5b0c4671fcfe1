"""The nursery of a broker's tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from functools import partial

import trio

from ..errors import LogClosedError

__all__ = ["Tasks"]


class Tasks:
    """Runs the tasks of a broker: a source for each log that grows, and a pacing task for each log
    whose readers ask for unfinished lines."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._context: Context
        self._ending = False
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the tasks until cancelled."""
        self._context = copy_context()
        try:
            async with trio.open_nursery() as self._nursery:
                try:
                    task_status.started()
                    await trio.sleep_forever()
                finally:
                    # Before the nursery closes: no task can start any more.
                    self.refuse()
        finally:
            self._ended.set()

    @property
    def accepts(self) -> bool:
        """Whether tasks can start: the broker runs."""
        return self._nursery is not None and not self._ending

    def refuse(self) -> None:
        """Start no more tasks."""
        self._ending = True

    def start(
        self, function: Callable[..., Awaitable[None]], *arguments: object, name: str
    ) -> None:
        """Start a task. `accepts` must be true."""
        assert self._nursery is not None
        # Start it in the broker's context: the caller's would keep its request alive.
        self._context.run(partial(self._nursery.start_soon, function, *arguments, name=name))

    async def check(self) -> None:
        """Return if tasks can start. Raises LogClosedError once the broker has ended."""
        if self._ending:
            # Callers in the same shutdown get Cancelled here; all others get LogClosedError below.
            await self._ended.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ending:
            raise LogClosedError("the broker has ended: nothing can be written any more")
