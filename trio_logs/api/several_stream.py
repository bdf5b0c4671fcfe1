"""The body of an answer that has several logs: their records, positions, and heartbeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import trio

from ..broker import Gone, Item, Merging, PartRecord
from ..engine import ChangeReader, ChangeRecord
from ..records import Batch, Change, Detached, End, Gap, Position, Unfinished
from ..server import Port
from ..sse import END_ID
from .body import StreamBody, detached_retry
from .positions import Positions
from .several_format import SeveralFormat

__all__ = ["SeveralStream"]

POSITION_BYTES = 64 * 1024
POSITION_SECONDS = 1.0
"""A position follows after so many bytes of lines, or so long after the first of them."""


class SeveralStream(StreamBody):
    """The body of one answer. It subscribes on entry, without a wait, so that a disconnect before
    the first chunk leaks nothing. `workloads` are the ids of the logs, in order. `changes` was
    loaded, and has the bell of `merging`; the answer `stays_open` for them when all logs have
    ended. `start` is the position after which it has changes. Raises StoreError.
    """

    def __init__(
        self,
        merging: Merging,
        workloads: Sequence[str],
        form: SeveralFormat,
        heartbeat: float,
        port: Port | None = None,
        *,
        changes: ChangeReader | None = None,
        start: int = 0,
        stays_open: bool = False,
        retry: Callable[[], int] = detached_retry,
    ) -> None:
        super().__init__(heartbeat, port, retry)
        self._merging = merging
        self._changes = changes
        self._stays_open = stays_open
        self._workloads = workloads
        self._format = form
        # What the client has. The places of the logs are unknown until they are located.
        self._positions = Positions(start, [])
        self._is_begun = False
        self._is_over = False
        # Bytes since the last position, and when the next one is due, on Trio's clock.
        self._unmarked = 0
        self._mark_at = math.inf
        # Whether the logs have the next turn, so that many changes do not delay their lines.
        self._logs_are_due = False

    async def __aenter__(self) -> Self:
        self._merging.__enter__()
        if self._changes is not None:
            self._changes.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._changes is not None:
            self._changes.__exit__(exc_type, exc_value, traceback)
        self._merging.__exit__(exc_type, exc_value, traceback)

    async def _next(self) -> bytes:
        self._is_fleeting = False
        if not self._opened and (opening := await self._open(self._format.events.log.opening)):
            return opening
        if self._is_over:
            raise StopAsyncIteration
        chunk = b""
        while not chunk:
            # A point in time, so that lines which a filter hides do not delay the heartbeat.
            with trio.move_on_at(min(self._beat_at, self._mark_at)):
                chunk = await self._poll()
            if not chunk:
                chunk = self._tick()
        return chunk

    async def _poll(self) -> bytes:
        """The next records, framed; empty if there may be some now. After a cancellation, call it
        again: nothing is lost."""
        if not self._is_begun:
            # They are all positions.
            await self._merging.poll()
            self._is_begun = True
            return self._mark_latest()
        if self._logs_are_due:
            self._logs_are_due = False
            return self._render(await self._merging.poll())
        if self._changes is not None and (changes := await _changed(self._changes)):
            self._logs_are_due = True
            return self._tell(changes)
        if items := await self._merging.poll():
            return self._render(items)
        if self._merging.is_over and not self._stays_open:
            self._is_over = True
            if not self._unmarked:
                raise StopAsyncIteration
            return self._mark_latest()
        with trio.move_on_at(self._merging.until):
            await self._merging.bell.wait()
        return b""

    def _tick(self) -> bytes:
        """What is due by time: a heartbeat with a position, or a position alone."""
        now = trio.current_time()
        if now >= self._beat_at:
            self._beat_at = now + self._heartbeat
            return self._format.events.log.keep_alive + self._mark_latest()
        return self._mark_latest() if now >= self._mark_at else b""

    def _mark_latest(self) -> bytes:
        """A position, also behind lines that filters have hidden. Call it once all records that
        were received are framed."""
        if (places := self._merging.places()) is not None:
            self._positions.logs = [*places]
        return self._mark()

    def _mark(self) -> bytes:
        """A position: the client has every record before it. Empty while that is unknown."""
        if len(self._positions.logs) < len(self._workloads):
            return b""
        self._unmarked = 0
        self._mark_at = math.inf
        return self._format.position(str(self._positions))

    def _render(self, items: Sequence[Item]) -> bytes:
        chunks = []
        self._is_fleeting = bool(items)
        for index, record in items:
            self._is_fleeting &= isinstance(record, Unfinished)
            if isinstance(record, Detached):
                # All logs end at once.
                chunks.append(self._shut_down())
                return b"".join(chunks)
            chunks.append(self._frame(index, record))
            chunks.append(self._mark_if_long())
        if trio.current_time() >= self._mark_at:
            chunks.append(self._mark_latest())
        return b"".join(chunks)

    def _frame(self, index: int, record: PartRecord) -> bytes:
        frame = self._format.render(self._workloads[index], record)
        match record:
            case Batch() if len(frame) > POSITION_BYTES:
                return self._marked(index, record, frame)
            case Batch() | Gap():
                self._positions.logs[index] = record.last
            case End() | Gone():
                self._positions.logs[index] = END_ID
                return frame + self._mark()
            case Unfinished():
                return frame
        self._note(len(frame))
        return frame

    def _marked(self, index: int, batch: Batch, frame: bytes) -> bytes:
        """The frame of a batch that is longer than the bytes between two positions."""
        chunks = []
        end = self._format.end
        for number, line in enumerate(frame.split(end)[:-1], batch.first):
            self._positions.logs[index] = number
            self._note(len(line) + len(end))
            chunks += [line, end, self._mark_if_long()]
        return b"".join(chunks)

    def _tell(self, records: Sequence[ChangeRecord]) -> bytes:
        chunks = []
        for record in records:
            match record:
                case Position(line):
                    if line != self._positions.changes:
                        # After a reset, the events go on from there.
                        self._positions.changes = line
                        chunks.append(self._mark())
                case Detached():
                    chunks.append(self._shut_down())
                case _:
                    frame = self._format.events.render(record)
                    chunks.append(frame)
                    if isinstance(record, Change):
                        self._positions.changes = record.position
                        self._note(len(frame))
                        chunks.append(self._mark_if_long())
        return b"".join(chunks)

    def _mark_if_long(self) -> bytes:
        return self._mark() if self._unmarked >= POSITION_BYTES else b""

    def _note(self, size: int) -> None:
        """Records of so many bytes follow the last position."""
        if not self._unmarked:
            self._mark_at = trio.current_time() + POSITION_SECONDS
        self._unmarked += size

    def _shut_down(self) -> bytes:
        self._is_over = True
        mark = self._mark() if self._unmarked else b""
        return mark + self._format.events.render(Detached(self._retry()))


async def _changed(changes: ChangeReader) -> Sequence[ChangeRecord]:
    """The next changes; it reads the store if memory lacks them, and waits for nothing else."""
    return await changes.receive() if changes.is_behind else changes.ready()
