"""Threads that exist before they are needed.

`trio.to_thread` starts a thread when a call finds none idle. Under a limit on processes
(`pids.max`, `RLIMIT_NPROC`) that start fails, just when a fork storm makes the service busy. The
threads here start once, before the service accepts, so no call can fail for the lack of one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import outcome
import trio

__all__ = ["Threads"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    function: Callable[[], T]
    task: trio.lowlevel.Task
    token: trio.lowlevel.TrioToken
    abandoned: bool = False

    def run(self) -> None:
        """In a thread: call the function, and wake the task with the result."""
        # A task that was cancelled while its call waited for a thread wants no call any more.
        if not self.abandoned:
            result = outcome.capture(self.function)
            # The run may have ended while this thread was stuck in the call.
            with suppress(trio.RunFinishedError):
                self.token.run_sync_soon(self._wake, result)

    def _wake(self, result: outcome.Outcome[T]) -> None:
        if not self.abandoned:
            # Set in Trio's thread, as `abandoned` is: the task is woken once, by one of the two.
            trio.lowlevel.reschedule(self.task, result)


class Threads:
    """A fixed number of threads, which take calls in the order in which they come.

    `start` starts them all and raises RuntimeError if the system refuses one. `close` lets each end
    after its present call. They are daemon threads: a call that hangs, as on a disk that does not
    answer, does not keep the process from exiting.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        # At most one call for each task that waits, and one end mark for each thread.
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Start all threads; call it once. Raises RuntimeError if a thread can't be started."""
        try:
            for number in range(self._count):
                name = f"{self._name} {number}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the threads end once the calls that are queued now have run. It does not wait."""
        for _ in range(self._count):
            self._calls.put(None)

    async def run(self, function: Callable[[], T], *, abandon_on_cancel: bool = False) -> T:
        """Call the function in one of the threads; return or raise what it does.

        A cancellation waits for the call to end. With `abandon_on_cancel` it does not: the call is
        dropped if no thread has taken it yet, and otherwise ends by itself, its result unused.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        call = _Call(function, trio.lowlevel.current_task(), trio.lowlevel.current_trio_token())

        def abort(_: Any) -> trio.lowlevel.Abort:
            if not abandon_on_cancel:
                return trio.lowlevel.Abort.FAILED
            call.abandoned = True
            return trio.lowlevel.Abort.SUCCEEDED

        self._calls.put(call)
        result: T = await trio.lowlevel.wait_task_rescheduled(abort)
        return result

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
            # Keep no result alive while this thread waits.
            del call
