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
from typing import Any, Generic, TypeVar

import outcome
import trio

__all__ = ["Call", "Threads"]

T = TypeVar("T")


class Call(Generic[T]):
    """A call of a function in one of the threads. One task at a time may wait for it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._token = trio.lowlevel.current_trio_token()
        self._result: outcome.Outcome[T] | None = None
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> T:
        """Return the result of the function, or raise its exception.

        A cancelled wait leaves the call under way; it may be waited for again.
        """
        if self._result is None:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        assert self._result is not None
        return self._result.unwrap()

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _finish(self, result: outcome.Outcome[T]) -> None:
        self._result = result
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def _run(self, finished: Callable[[Call[T], outcome.Outcome[T]], None]) -> None:
        """In a thread: call the function, and have `finished` called in Trio's thread."""
        result = outcome.capture(self._function)
        # The run may have ended while this thread was stuck in the call.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(finished, self, result)


class Threads:
    """A fixed number of threads, which take calls in the order in which they come.

    `start` starts them all and raises RuntimeError if the system refuses one. `close` lets each end
    after its present call. They are daemon threads: a call that hangs, as on a disk that does not
    answer, does not keep the process from exiting. All methods are called in Trio's thread.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        # Idle threads take calls from the queue: it has at most one for each thread.
        self._idle = count
        self._queue: queue.SimpleQueue[Call[Any] | None] = queue.SimpleQueue()
        # The calls of tasks that wait for a thread. A task that is cancelled takes its call out.
        self._waiting: dict[Call[Any], None] = {}
        self._running = 0
        self._is_closed = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._ended = trio.Event()

    def start(self) -> None:
        """Start all threads; call it once. Raises RuntimeError if a thread can't be started."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            for number in range(self._count):
                name = f"{self._name} {number}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
                self._running += 1
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the threads end once the calls that wait now have run. It does not wait for them."""
        if not self._is_closed:
            self._is_closed = True
            for call in self._waiting:
                self._queue.put(call)
            self._waiting = {}
            for _ in range(self._running):
                self._queue.put(None)
            if not self._running:
                self._ended.set()

    async def wait_closed(self) -> None:
        """Close, and wait until all threads have ended. A call may hang: give it a deadline."""
        self.close()
        await self._ended.wait()

    def submit(self, function: Callable[[], T]) -> Call[T]:
        """Have the function called in one of the threads. Raises RuntimeError after `close`."""
        if self._is_closed:
            raise RuntimeError(f"the threads {self._name!r} are closed")
        call = Call(function)
        if self._idle:
            self._idle -= 1
            self._queue.put(call)
        else:
            self._waiting[call] = None
        return call

    async def run(self, function: Callable[[], T], *, abandon_on_cancel: bool = False) -> T:
        """Call the function in one of the threads; return its result or raise its exception.

        A cancellation waits for the call to end. With `abandon_on_cancel` it does not: the call is
        dropped if no thread has taken it yet, and otherwise ends by itself, its result unused.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        call = self.submit(function)
        if not abandon_on_cancel:
            with trio.CancelScope(shield=True):
                return await call.wait()
        try:
            return await call.wait()
        finally:
            self._waiting.pop(call, None)

    def _finished(self, call: Call[T], result: outcome.Outcome[T]) -> None:
        """A thread has ended a call: give it the next one."""
        if self._waiting:
            following = next(iter(self._waiting))
            del self._waiting[following]
            self._queue.put(following)
        else:
            self._idle += 1
        call._finish(result)

    def _thread_ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._ended.set()

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            call._run(self._finished)
            # Keep no result alive while this thread waits.
            del call
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._thread_ended)
