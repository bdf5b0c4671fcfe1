"""The `push` backend: workloads that run elsewhere, and whose clients send what they write.

A log is one stream of bytes, and a client says with its offset which bytes it sends. What was
received already is skipped, as TCP does it, so sending again never doubles anything; and only what
the store has is acknowledged, so nothing is lost with this process.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from ..errors import ConflictError, InvalidSpecError, NotReadyError, OffsetError, TrioLogsError
from ..records import Outcome, Status, WorkloadSpec
from . import Execution, Log

__all__ = ["Inbox", "PushBackend", "PushLimits"]

T = TypeVar("T")

PIECE_BYTES = 64 * 1024
"""What is written in one step, which a newer connection can't cut in two."""


@dataclass(frozen=True, slots=True)
class PushLimits:
    """`patience`: seconds that a client may be away before its workload is `lost`. They begin anew
    when the server starts."""

    patience: float = 3600.0


class PushBackend:
    """See `Backend` for the methods. The service makes it, as its routes need it."""

    outlives_server = True

    def __init__(self, limits: PushLimits | None = None) -> None:
        self._limits = limits or PushLimits()
        self._inboxes: dict[str, Inbox] = {}

    def check(self, spec: WorkloadSpec) -> None:
        for name, value in (("env", spec.env), ("cwd", spec.cwd), ("pty", spec.pty)):
            if value:
                raise InvalidSpecError(f"{name}: what is pushed runs elsewhere, and has its own")

    async def run(self, execution: Execution) -> Outcome:
        inbox = Inbox(execution.log, self._limits.patience)
        # Before the first checkpoint: who was told that the workload runs will find it here.
        self._inboxes[execution.id] = inbox
        why = _shutting_down
        try:
            outcome = Outcome(Status.STOPPED)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_on_stop, execution, nursery.cancel_scope)
                outcome = await inbox.outcome()
                nursery.cancel_scope.cancel()
            why = _ended
            return outcome
        finally:
            del self._inboxes[execution.id]
            inbox.close(why)

    async def reap(self, handle: str) -> None:
        """Nothing of it runs here."""

    def inbox(self, workload_id: str) -> Inbox | None:
        """Where the bytes of a workload go, while it runs."""
        return self._inboxes.get(workload_id)


def _ended() -> TrioLogsError:
    return ConflictError("the workload has ended: nothing can be added to its log")


def _shutting_down() -> TrioLogsError:
    return NotReadyError("the service is shutting down: go on when it is back")


async def _cancel_on_stop(execution: Execution, scope: trio.CancelScope) -> None:
    await execution.stop.wait()
    scope.cancel()


class Inbox:
    """What comes for one log. One connection at a time has its turn; the newest takes it from the
    one before, whose client most likely has lost it, which the server may notice much later."""

    def __init__(self, log: Log, patience: float) -> None:
        self._log = log
        self._patience = patience
        self._received: int | None = None
        self._turn = trio.Lock()
        self._newest: trio.CancelScope | None = None
        self._absence = trio.CancelScope(deadline=trio.current_time() + patience)
        self._outcome: Outcome | None = None
        self._finished = trio.Event()
        self._closed: Callable[[], TrioLogsError] | None = None

    async def outcome(self) -> Outcome:
        """How it ended: as its client says, or lost if no client comes for too long."""
        with self._absence:
            await self._finished.wait()
        if self._outcome is not None:
            return self._outcome
        error = f"Its client was not heard of for {self._patience:g} s."
        return Outcome(Status.LOST, error=error)

    async def receive(self, body: AsyncIterator[bytes], offset: int) -> int:
        """Add to the log what comes, of which the first byte is number `offset` of the log, from 0
        on; as slowly as the log takes it. Return how many bytes of the log are durable now.

        Raises OffsetError if bytes are missing before it, ConflictError if a newer connection took
        over or the workload ended, NotReadyError while shutting down.
        """

        async def take() -> int:
            known = await self._received_by_now()
            await self._check(offset, offset <= known)
            skip = known - offset
            async for data in body:
                for start in range(min(skip, len(data)), len(data), PIECE_BYTES):
                    piece = data[start : start + PIECE_BYTES]
                    await self._log.write(piece)
                    # In the same step as the write, which was made or was not.
                    known += len(piece)
                    self._received = known
                skip = max(0, skip - len(data))
            return await self._log.flush()

        return await self._in_turn(take)

    async def finish(self, outcome: Outcome, size: int | None) -> None:
        """End the workload, whose log has `size` bytes, if that is known.

        Raises as `receive` does; OffsetError if it has another number of bytes.
        """

        async def end() -> None:
            await self._check(size, size is None or size == await self._received_by_now())
            self._outcome = outcome
            self._finished.set()

        await self._in_turn(end)

    def close(self, why: Callable[[], TrioLogsError]) -> None:
        """Take nothing any more, and tell who has the turn."""
        self._closed = why
        if self._newest is not None:
            self._newest.cancel()

    async def durable(self) -> int:
        """How many bytes of the log are durable now."""
        return await self._log.flush()

    async def _received_by_now(self) -> int:
        """What was received, durable or not; at first, what the server before this one left."""
        if self._received is None:
            self._received = await self._log.flush()
        return self._received

    async def _check(self, given: int | None, matches: bool) -> None:
        if not matches:
            raise OffsetError(
                f"byte {given} is not where the log ends: {self._received} were received",
                await self._log.flush(),
            )

    async def _in_turn(self, act: Callable[[], Awaitable[T]]) -> T:
        """Have the turn while `act` runs."""
        if self._closed is not None:
            raise self._closed()
        with trio.CancelScope() as scope:
            before, self._newest = self._newest, scope
            if before is not None:
                before.cancel()
            self._absence.deadline = math.inf
            try:
                async with self._turn:
                    if self._finished.is_set():
                        raise _ended()
                    return await act()
            finally:
                if self._newest is scope:
                    self._newest = None
                    self._absence.deadline = trio.current_time() + self._patience
        if self._closed is not None:
            raise self._closed()
        raise ConflictError("a newer connection sends this log now")
