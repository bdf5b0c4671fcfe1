"""Writes of many tasks, which one thread commits together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import outcome
import trio

from ..errors import StoreError
from ..threads import Call, Threads

__all__ = ["GroupCommit", "Write"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Write(Generic[T]):
    """One task's part of a group commit. The task has waited since `since`, on Trio's clock.

    `change` says what to do in the transaction. Once that is durable, `committed` is called in
    Trio's thread with the result, whether or not the task still waits.
    """

    change: Any
    since: float
    committed: Callable[[T], object] | None = None
    done: trio.Event = field(default_factory=trio.Event)
    result: outcome.Outcome[T] | None = None


class GroupCommit:
    """Gives the writes that all tasks have ready to `commit`, which runs in a thread and gives each
    write a result. Have `run` run meanwhile.

    `what` names the store in errors. After each commit, `settled` is called in Trio's thread before
    any task that waits goes on.
    """

    def __init__(
        self,
        what: str,
        commit: Callable[[Sequence[Write[Any]]], object],
        settled: Callable[[], object],
    ) -> None:
        self._what = what
        self._commit = commit
        self._settled = settled
        self.thread = Threads("store commits", 1)
        # At most one write for each task that waits: a cancelled task takes its write out.
        self._pending: dict[Write[Any], None] = {}
        self._wake = trio.Event()
        # The writes that the thread commits now, and its call.
        self._group: list[Write[Any]] = []
        self._call: Call[object] | None = None
        self._is_closed = False
        self.failed = 0

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._group, self._pending = list(self._pending), {}
            if not self._group:
                continue
            self._call = self.thread.submit(partial(self._commit, self._group))
            await self._call.wait()
            self._settle()

    async def write(self, change: Any, committed: Callable[[T], object] | None = None) -> T:
        """Have `change` committed; return its result once that is durable. Raises StoreError if the
        store fails, and any exception of the change."""
        # Callers in the same shutdown get Cancelled here; all others get StoreError below.
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_closed:
            raise self._error("the store is closed")
        write: Write[T] = Write(change, trio.current_time(), committed)
        self._pending[write] = None
        self._wake.set()
        try:
            await write.done.wait()
        finally:
            self._pending.pop(write, None)
        assert write.result is not None
        return write.result.unwrap()

    @property
    def waiting(self) -> int:
        """How many writes are not durable yet."""
        return len(self._group) + len(self._pending)

    @property
    def oldest_wait(self) -> float:
        """Seconds that the oldest write which is not durable has waited; 0.0 without one."""
        oldest = self._group[0] if self._group else next(iter(self._pending), None)
        return 0.0 if oldest is None else trio.current_time() - oldest.since

    def refuse(self) -> None:
        """Fail the writes that wait, and all later ones."""
        self._is_closed = True
        for write in self._pending:
            write.result = outcome.Error(self._error("the store is closed"))
            write.done.set()
        self._pending = {}

    async def close(self, disconnect: Callable[[], object]) -> None:
        """Wait for the commit under way, call `disconnect` in the thread, and end the thread. Call
        `refuse` first. Each may hang: give it a deadline, and `give_up` after it."""
        # Submit before any wait: if a commit that hangs ends late, the thread disconnects.
        closing = self.thread.submit(disconnect)
        self.thread.close()
        if self._call is not None:
            with suppress(Exception):
                await self._call.wait()
            self._settle()
        await closing.wait()
        await self.thread.wait_closed()

    def give_up(self, reason: str) -> int:
        """Fail the writes of a commit that hangs. Returns how many there were."""
        unknown = len(self._group)
        for write in self._group:
            write.result = outcome.Error(self._error(reason))
        self._settle()
        return unknown

    def _settle(self) -> None:
        """The thread has finished a group, or is given up: wake the tasks that wait."""
        group, self._group, self._call = self._group, [], None
        self._settled()
        for write in group:
            match write.result:
                case outcome.Value(value=value):
                    if write.committed is not None:
                        write.committed(value)
                case outcome.Error(error=StoreError()):
                    self.failed += 1
            write.done.set()

    def _error(self, reason: str) -> StoreError:
        return StoreError(f"could not commit to {self._what}: {reason}")
