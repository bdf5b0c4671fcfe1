"""A request to end an execution."""

from __future__ import annotations

import math

import trio

from ..records import Reason, Status

__all__ = ["Stop"]


class Stop:
    """A request to end an execution: softly at once, by force when the grace is over.

    The engine puts `status`, `reason` and `error` into the outcome. They are None and empty before
    the first request, and if the workload has `exited` by itself.
    """

    def __init__(self) -> None:
        self.status: Status | None = None
        self.reason: Reason | None = None
        self.error = ""
        self._has_exited = False
        self._has_signals_taken = False
        self._deadline = math.inf
        self._requested = trio.Event()
        self._hurried = trio.Event()
        # Signals that are not sent yet, in order. Bound: one of each name.
        self._signals: dict[str, None] = {}
        self._signalled = trio.Event()

    def request(
        self, status: Status, reason: Reason, grace: float, error: str, signal: str | None = None
    ) -> None:
        """Request the end; `grace` is in seconds, `signal` is by default SIGTERM.

        The first request decides `status`, `reason` and `error`. A later request sends its own
        signal, and can only shorten the grace.
        """
        if self.status is None and not self._has_exited:
            self.status, self.reason, self.error = status, reason, error
        self._deadline = min(self._deadline, trio.current_time() + grace)
        self._signals[signal or "SIGTERM"] = None
        self._signalled.set()
        self._requested.set()
        self._hurried.set()
        self._hurried = trio.Event()

    def exited(self) -> None:
        """The workload has ended by itself, and only its remains go on: no request decides the
        outcome any more. Does nothing once `signals` has returned names for a request."""
        if not self._has_signals_taken:
            self._has_exited = True
            self.status = self.reason = None
            self.error = ""

    @property
    def requested(self) -> bool:
        """Whether the end is requested."""
        return self._requested.is_set()

    async def wait(self) -> None:
        """Return once the end is requested."""
        await self._requested.wait()

    async def signals(self) -> list[str]:
        """Wait for requests; return the names of the signals to send for them, in order.

        Call it again for later requests. As in the kernel, a signal that is requested again before
        it is sent is sent once. Only one task may wait. A backend that can't send signals need not
        call this.
        """
        await self._signalled.wait()
        self._signalled = trio.Event()
        self._has_signals_taken = True
        names, self._signals = list(self._signals), {}
        return names

    async def wait_grace(self) -> None:
        """Return once the end is requested and the grace is over; the workload has to end by
        force."""
        await self._requested.wait()
        while trio.current_time() < self._deadline:
            with trio.move_on_at(self._deadline):
                await self._hurried.wait()
