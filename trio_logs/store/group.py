"""Writes of many tasks, which one thread commits together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import outcome
import trio

from ..errors import StoreError
from ..threads import Call, Threads

__all__ = ["Committer", "GroupCommit", "Write"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Write(Generic[T]):
    """One task's part of a group commit. The task has waited since `since`, on Trio's clock.

    `change` says what to do in the transaction. Once that is durable, `committed` is called in
    Trio's thread with the result, whether or not the task still waits. `frees`: it removes
    something, so it may use the last room of a full disk.
    """

    change: Any
    since: float
    committed: Callable[[T], object] | None = None
    frees: bool = False
    done: trio.Event = field(default_factory=trio.Event)
    result: outcome.Outcome[T] | None = None


class Committer:
    """What a group commit calls in its thread."""

    def commit(self, writes: Sequence[Write[Any]]) -> None:
        """Commit the writes, and give each a result. It raises nothing."""
        raise NotImplementedError

    @property
    def upkeep_in(self) -> float:
        """Seconds until `keep_up` has something to do; 0 if it has now, inf if nothing is known.
        Any thread may ask, between calls."""
        return math.inf

    def keep_up(self) -> None:
        """Do for a bounded time what is due between commits. It raises nothing."""


class GroupCommit:
    """Gives the writes that all tasks have ready to a committer. Have `run` run meanwhile.

    `what` names the store in errors. After each commit, `settled` is called in Trio's thread before
    any task that waits goes on.
    """

    def __init__(
        self, what: str, committer: Committer, settled: Callable[[], object] = lambda: None
    ) -> None:
        self._what = what
        self._committer = committer
        self._settled = settled
        self.thread = Threads("store commits", 1)
        # At most one write for each task that waits: a cancelled task takes its write out.
        self._pending: dict[Write[Any], None] = {}
        self._wake = trio.Event()
        # The writes that the thread commits now, and its call.
        self._group: list[Write[Any]] = []
        self._call: Call[Any] | None = None
        self._is_closed = False
        self.failed = 0

    async def open(self, connect: Callable[[], object]) -> None:
        """Call `connect` in the thread, which was started. Raises what it raises.

        A cancelled wait leaves the call to `close`.
        """
        self._call = self.thread.submit(connect)
        try:
            await self._call.wait()
        except Exception:
            self._call = None
            raise
        self._call = None

    async def run(self) -> None:
        """Commit, and keep up, until cancelled."""
        while True:
            pause = self._committer.upkeep_in
            if math.isinf(pause):
                # A scope would cost as much as a small write.
                await self._wake.wait()
            else:
                with trio.move_on_after(pause):
                    await self._wake.wait()
            self._wake = trio.Event()
            self._group, self._pending = list(self._pending), {}
            if not self._group:
                await self.thread.run(self._committer.keep_up, abandon_on_cancel=True)
                continue
            token = trio.lowlevel.current_trio_token()
            self._call = call = self.thread.submit(partial(self._commit, self._group, token))
            await call.wait()
            self._settle()

    def _commit(self, group: Sequence[Write[Any]], token: trio.lowlevel.TrioToken) -> None:
        """In the thread: commit a group, and keep up with it. The next group waits for both, so
        that no writer outruns the bound of the history; the tasks of this one do not."""
        self._committer.commit(group)
        if not self._committer.upkeep_in:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._settle)
            self._committer.keep_up()

    async def write(
        self,
        change: Any,
        committed: Callable[[T], object] | None = None,
        *,
        frees: bool = False,
    ) -> T:
        """Have `change` committed; return its result once that is durable. See `Write`.

        `committed` is called even if this task was cancelled meanwhile, in the order in which the
        changes were made. Raises StoreError if the store fails, and any exception of the change.
        """
        # Callers in the same shutdown get Cancelled here; all others get StoreError below.
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_closed:
            raise self._error("the store is closed")
        write: Write[T] = Write(change, trio.current_time(), committed, frees)
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
        `refuse` first. Each may hang: give it a deadline, and `give_up` after it. Raises what
        `disconnect` raises."""
        # Submit before any wait: if a commit that hangs ends late, the thread disconnects.
        closing = self.thread.submit(disconnect)
        self.thread.close()
        if self._call is not None:
            with suppress(Exception):
                await self._call.wait()
            self._settle()
        try:
            await closing.wait()
        finally:
            await self.thread.wait_closed()

    def give_up(self, reason: str) -> int:
        """Fail the writes of a commit that hangs. Returns how many there were."""
        unknown = len(self._group)
        for write in self._group:
            write.result = write.result or outcome.Error(self._error(reason))
        self._settle()
        return unknown

    def _settle(self) -> None:
        """The thread has committed a group, or is given up: wake the tasks that wait. A second call
        for the same group does nothing."""
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
