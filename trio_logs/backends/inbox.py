"""The bytes of a pushed log, as they arrive from its client."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio

from ..errors import (
    ConflictError,
    FencedError,
    LogClosedError,
    NotReadyError,
    OffsetError,
    TrioLogsError,
)
from ..records import Outcome, Reason, Status
from . import Log

__all__ = ["STREAMS", "Inbox", "ended", "moved"]

T = TypeVar("T")

STREAMS = ("stdout", "stderr")
"""The streams of a pushed log."""

PIECE_BYTES = 64 * 1024
"""The most bytes in one write to the log. A write of this size happens whole or not at all, also
when a newer connection cancels it."""


def ended() -> TrioLogsError:
    """The error for bytes that come after the end."""
    return ConflictError("the workload has ended: nothing can be added to its log")


def moved() -> TrioLogsError:
    """The error for bytes that come after another node took the log over. The client may go on
    anywhere."""
    return NotReadyError("another node has taken the log over: go on")


class _Stream:
    """One stream of the log. `received` counts its bytes, durable or not; None: not known yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.received: int | None = None
        self.turn = trio.Lock()
        self.newest: trio.CancelScope | None = None


class Inbox:
    """Receives the bytes of one log. Each stream has its own offsets and its own connection.

    Connections of a stream take turns: a newer connection cancels the older one, whose client has
    most likely lost it, which the server may notice much later.

    While the store fails, the methods that need it raise StoreError. Received bytes stay received:
    a client that sends them again, from whatever offset, doubles nothing. `patience`: seconds that
    the client may be away, without a connection for either stream.
    """

    def __init__(self, log: Log, patience: float) -> None:
        self._log = log
        self._patience = patience
        self._streams = {name: _Stream(name) for name in STREAMS}
        self._connections = 0
        self._absence = trio.CancelScope(deadline=trio.current_time() + patience)
        self._outcome: Outcome | None = None
        self._finished = trio.Event()
        self._fenced: FencedError | None = None
        self._closed: Callable[[], TrioLogsError] | None = None

    @property
    def is_fenced(self) -> bool:
        """Whether another node has taken the log over."""
        return self._fenced is not None or self._log.is_fenced

    async def outcome(self) -> Outcome:
        """The outcome that the client reports, or `lost` if no client comes for too long. Raises
        FencedError if another node has taken the log over."""
        with self._absence:
            await self._finished.wait()
        if self._fenced is not None:
            raise self._fenced
        if self._outcome is not None:
            return self._outcome
        error = f"Its client was not heard of for {self._patience:g} s."
        return Outcome(Status.LOST, error=error, reason=Reason.CLIENT_LOST)

    async def receive(self, body: AsyncIterator[bytes], offset: int, stream: str = "stdout") -> int:
        """Add the body to a stream, as slowly as the log takes it; return how many bytes of the
        stream are durable now.

        `offset` is the place of the body's first byte in the stream, from 0 on. Raises OffsetError
        if bytes before it are missing, ConflictError if a newer connection took over or the
        workload ended, NotReadyError while shutting down, and StoreError while the store fails.
        """
        lane = self._streams[stream]

        async def take() -> int:
            known = await self._received_by_now(lane)
            if offset > known:
                raise OffsetError(
                    f"byte {offset} is not where {stream} ends: {known} were received",
                    await self._log.flush(stream),
                )
            skip = known - offset
            async for data in body:
                for start in range(min(skip, len(data)), len(data), PIECE_BYTES):
                    piece = data[start : start + PIECE_BYTES]
                    await self._log.write(piece, stream)
                    # No await between the write and its count: both happen, or neither does.
                    known += len(piece)
                    lane.received = known
                skip = max(0, skip - len(data))
            return await self._log.flush(stream)

        return await self._in_turn(lane, take)

    async def finish(self, outcome: Outcome, size: int | None) -> None:
        """End the workload, whose streams have `size` bytes together, if that is known.

        Raises OffsetError if the streams have another number of bytes, and otherwise as `receive`
        does.
        """
        stdout, stderr = self._streams.values()

        async def end() -> None:
            if size is not None:
                known = await self._received_by_now(stdout) + await self._received_by_now(stderr)
                if size != known:
                    raise OffsetError(
                        f"byte {size} is not where the log ends: {known} were received",
                        await self._log.flush("stdout"),
                        await self._log.flush("stderr"),
                    )
            self._end(outcome)

        async def end_in_turn() -> None:
            await self._in_turn(stderr, end)

        await self._in_turn(stdout, end_in_turn)

    def close(self, why: Callable[[], TrioLogsError]) -> None:
        """Refuse all bytes from now on, also those of the connections that have the turn."""
        self._closed = why
        for stream in self._streams.values():
            if stream.newest is not None:
                stream.newest.cancel()

    async def durable(self, stream: str = "stdout") -> int:
        """How many bytes of a stream are durable now. Raises ConflictError if the workload ended,
        and StoreError while the store fails."""
        try:
            return await self._log.flush(stream)
        except LogClosedError as error:
            raise self._log_closed(error) from error

    def _end(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._finished.set()

    def _log_closed(self, error: LogClosedError) -> TrioLogsError:
        """The error for a write to a closed log: an embedder closed it, the workload ended, or the
        client went on at another node."""
        if self._closed is not None:
            return self._closed()
        if isinstance(error, FencedError):
            self._fenced = error
            self._finished.set()
            return moved()
        if not self._finished.is_set():
            why = "Its log was closed before its client had finished it."
            self._end(Outcome(Status.FAILED, error=why, reason=Reason.EXCEPTION))
        return ended()

    async def _received_by_now(self, stream: _Stream) -> int:
        """The bytes received, durable or not. After a start, the durable bytes of earlier runs."""
        if stream.received is None:
            stream.received = await self._log.flush(stream.name)
        return stream.received

    async def _in_turn(self, stream: _Stream, act: Callable[[], Awaitable[T]]) -> T:
        """Call `act` while no other connection of the stream has the turn."""
        if self._closed is not None:
            raise self._closed()
        with trio.CancelScope() as scope:
            before, stream.newest = stream.newest, scope
            if before is not None:
                before.cancel()
            self._connections += 1
            self._absence.deadline = math.inf
            try:
                async with stream.turn:
                    if self._finished.is_set():
                        raise ended() if self._fenced is None else moved()
                    return await act()
            except LogClosedError as error:
                raise self._log_closed(error) from error
            finally:
                if stream.newest is scope:
                    stream.newest = None
                self._connections -= 1
                if not self._connections:
                    self._absence.deadline = trio.current_time() + self._patience
        if self._closed is not None:
            raise self._closed()
        raise ConflictError(f"a newer connection sends {stream.name} of this log now")
