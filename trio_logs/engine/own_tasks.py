"""Calls in tasks of the engine: if the caller is cancelled, the call still goes on to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Generic, TypeVar

import trio

from ..errors import NotReadyError, TrioLogsError

__all__ = ["OwnTasks"]

T = TypeVar("T")


class _Call(Generic[T]):
    """`error` is what the caller is told if the engine ends before the call has."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.results: list[T] = []
        self.error: Exception = NotReadyError("the service has ended: try again when it is back")


class OwnTasks:
    """Runs each call in a task of its own. Call `open` first."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery

    def open(self, nursery: trio.Nursery) -> None:
        """Run calls as children of this nursery, with the context variables of this task."""
        self._nursery = nursery
        self._context = copy_context()

    async def run(self, name: str, function: Callable[[], Awaitable[T]]) -> T:
        """The result of the function. It goes on if this wait for it is cancelled.

        Raises the function's own TrioLogsError, and NotReadyError once the engine has ended."""
        # A caller that is cancelled together with the engine must not find the engine closed.
        await trio.lowlevel.checkpoint_if_cancelled()
        call = _Call[T]()
        try:
            # In the engine's context: the caller's would keep its request in memory.
            self._context.run(partial(self._nursery.start_soon, _run, call, function, name=name))
        except RuntimeError as error:
            raise call.error from error
        await call.done.wait()
        if call.results:
            return call.results[0]
        raise call.error


async def _run(call: _Call[T], function: Callable[[], Awaitable[T]]) -> None:
    try:
        call.results.append(await function())
    except TrioLogsError as error:
        call.error = error
    finally:
        call.done.set()
