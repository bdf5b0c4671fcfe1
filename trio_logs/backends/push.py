"""The `push` backend: a workload runs elsewhere, and its client sends the log over HTTP.

A log is one stream of bytes; the client names the offset of the first byte that it sends. As in
TCP, bytes that were received already are skipped, so sending them again never doubles anything.
Only bytes that the store has are acknowledged, so a crash of the service loses none of them.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from ..errors import (
    ConflictError,
    InvalidSpecError,
    LogClosedError,
    NotReadyError,
    OffsetError,
    TrioLogsError,
)
from ..records import Outcome, Reason, Status, WorkloadSpec
from . import Execution, Log

__all__ = ["Inbox", "PushBackend", "PushLimits"]

T = TypeVar("T")

PIECE_BYTES = 64 * 1024
"""The most bytes in one write to the log. A write of this size happens whole or not at all, also
when a newer connection cancels it."""


@dataclass(frozen=True, slots=True)
class PushLimits:
    """`patience`: the seconds that a client may be away before its workload is `lost`. They begin
    anew when the server starts."""

    patience: float = 3600.0


class PushBackend:
    """See `Backend` for the methods. The service makes the instance, because its routes need it."""

    outlives_server = True

    def __init__(self, limits: PushLimits | None = None) -> None:
        self._limits = limits or PushLimits()
        self._inboxes: dict[str, Inbox] = {}

    def check(self, spec: WorkloadSpec) -> None:
        for name, value in (("env", spec.env), ("cwd", spec.cwd), ("pty", spec.pty)):
            if value:
                raise InvalidSpecError(f"{name}: a pushed workload runs elsewhere, and has its own")

    async def run(self, execution: Execution) -> Outcome:
        inbox = Inbox(execution.log, self._limits.patience)
        # Before the first checkpoint: a client that reads `running` finds the inbox.
        self._inboxes[execution.id] = inbox
        why = _shutting_down
        try:
            outcome = Outcome(Status.STOPPED, reason=Reason.STOP_REQUESTED)
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
        """Do nothing: no part of a pushed workload runs here."""

    def inbox(self, workload_id: str) -> Inbox | None:
        """The inbox of a running workload."""
        return self._inboxes.get(workload_id)


def _ended() -> TrioLogsError:
    return ConflictError("the workload has ended: nothing can be added to its log")


def _shutting_down() -> TrioLogsError:
    return NotReadyError("the service is shutting down: go on when it is back")


async def _cancel_on_stop(execution: Execution, scope: trio.CancelScope) -> None:
    await execution.stop.wait()
    scope.cancel()


class Inbox:
    """Receives the bytes of one log. Connections take turns: a newer connection cancels the older.

    The client of the older connection has most likely lost it, which the server may notice much
    later.

    While the store fails, the methods that need it raise StoreError. Received bytes stay received:
    a client that sends them again, from whatever offset, doubles nothing.
    """

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
        """The outcome that the client reports, or `lost` if no client comes for too long."""
        with self._absence:
            await self._finished.wait()
        if self._outcome is not None:
            return self._outcome
        error = f"Its client was not heard of for {self._patience:g} s."
        return Outcome(Status.LOST, error=error, reason=Reason.CLIENT_LOST)

    async def receive(self, body: AsyncIterator[bytes], offset: int) -> int:
        """Add the body to the log, as slowly as the log takes it; return how many bytes of the log
        are durable now.

        `offset` is the place of the body's first byte in the log, from 0 on. Raises OffsetError if
        bytes before it are missing, ConflictError if a newer connection took over or the workload
        ended, NotReadyError while shutting down, and StoreError while the store fails.
        """

        async def take() -> int:
            known = await self._received_by_now()
            await self._check(offset, offset <= known)
            skip = known - offset
            async for data in body:
                for start in range(min(skip, len(data)), len(data), PIECE_BYTES):
                    piece = data[start : start + PIECE_BYTES]
                    await self._log.write(piece)
                    # No await between the write and its count: both happen, or neither does.
                    known += len(piece)
                    self._received = known
                skip = max(0, skip - len(data))
            return await self._log.flush()

        return await self._in_turn(take)

    async def finish(self, outcome: Outcome, size: int | None) -> None:
        """End the workload, whose log has `size` bytes, if that is known.

        Raises OffsetError if the log has another number of bytes, and otherwise as `receive` does.
        """

        async def end() -> None:
            await self._check(size, size is None or size == await self._received_by_now())
            self._end(outcome)

        await self._in_turn(end)

    def close(self, why: Callable[[], TrioLogsError]) -> None:
        """Refuse all bytes from now on, also those of the connection that has the turn."""
        self._closed = why
        if self._newest is not None:
            self._newest.cancel()

    async def durable(self) -> int:
        """How many bytes of the log are durable now. Raises ConflictError if the workload ended,
        and StoreError while the store fails."""
        try:
            return await self._log.flush()
        except LogClosedError as error:
            raise self._log_closed() from error

    def _end(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._finished.set()

    def _log_closed(self) -> TrioLogsError:
        """The error for a write to a closed log: an embedder closed it, or the workload ended."""
        if self._closed is not None:
            return self._closed()
        if not self._finished.is_set():
            error = "Its log was closed before its client had finished it."
            self._end(Outcome(Status.FAILED, error=error, reason=Reason.EXCEPTION))
        return _ended()

    async def _received_by_now(self) -> int:
        """The bytes received, durable or not. After a start, the durable bytes of earlier runs."""
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
        """Call `act` while no other connection has the turn."""
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
            except LogClosedError as error:
                raise self._log_closed() from error
            finally:
                if self._newest is scope:
                    self._newest = None
                    self._absence.deadline = trio.current_time() + self._patience
        if self._closed is not None:
            raise self._closed()
        raise ConflictError("a newer connection sends this log now")
