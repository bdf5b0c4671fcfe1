"""The body of an answer that is a log: heartbeats, wire form, and writing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import trio

from ..broker import Found, Outlet, Reading
from ..errors import IncompleteAnswerError, WorkloadNotFoundError
from ..formats import Format
from ..records import Batch, Detached, End, Gap, Position, Reset, Stop, Unfinished, now
from ..selection import Selection
from ..server import Port, Ports
from .body import StreamBody, detached_retry

__all__ = ["LogStream"]


@dataclass(frozen=True, slots=True)
class FormatOutlet(Outlet):
    """Writes to streams of one format and selection on one server. Equal outlets share each chunk.

    `shown` is the part of the selection that hides new lines, or None."""

    format: Format
    ports: Ports
    shown: Selection | None = None

    def render(self, batch: Batch) -> bytes | None:
        if self.shown is None:
            return self.format.render(batch)
        if not self.shown.admits(batch):
            return b""
        if self.shown.filter is None:
            return self.format.render(batch)
        if not self.shown.filter.is_quick(len(batch.data)):
            return None
        parts = batch.parts(self.shown.filter.numbers(batch))
        return b"".join([self.format.render(part) for part in parts])

    def choose(self, texts: Mapping[str, str]) -> Mapping[str, str] | None:
        if self.shown is None:
            return texts
        return self.shown.choose(texts) if self.shown.chooses_quickly(texts) else None

    def control(self, record: Position | Unfinished) -> bytes:
        return self.format.control(record)

    def send_each(self, ports: Sequence[int], chunk: bytes) -> Sequence[int]:
        return self.ports.send_each(ports, chunk)


class LogStream(StreamBody):
    """The body of one answer. It subscribes on entry, without a wait, so that a disconnect before
    the first chunk leaks nothing. It writes each chunk of about 64 KiB to the port, or returns the
    chunk if there is no port or the port is closed.

    A quiet stream carries a heartbeat every `heartbeat` seconds. In a format without control
    events, raises IncompleteAnswerError if the answer must not look complete. Raises StoreError.
    """

    def __init__(
        self,
        reading: Reading,
        form: Format,
        heartbeat: float,
        port: Port | None = None,
        retry: Callable[[], int] = detached_retry,
    ) -> None:
        super().__init__(heartbeat, port, retry)
        self._reading = reading
        self._format = form
        if port is not None:
            shown = reading.selection.at_head(now())
            outlet = FormatOutlet(form, port.outlet, shown if shown.hides_lines else None)
            reading.write_to(outlet, port.number)
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._reading.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reading.__exit__(exc_type, exc_value, traceback)

    async def _next(self) -> bytes:
        if not self._opened and (opening := await self._open(self._format.opening)):
            return opening
        self._is_fleeting = False
        if self._is_over:
            # The end of a log has many streams at once: ask nobody what is known.
            raise StopAsyncIteration
        # The common case of a busy log needs no cancel scope: a checkpoint follows with the write,
        # or after a few writes.
        await trio.lowlevel.checkpoint_if_cancelled()
        chunk = self._render(self._reading.ready())
        while not chunk:
            # A point in time, so that lines which a filter hides do not delay the heartbeat.
            with trio.move_on_at(self._beat_at) as waiting:
                chunk = self._render(await self._receive())
            if waiting.cancelled_caught:
                chunk = self._beat()
        return chunk

    def _beat(self) -> bytes:
        """A heartbeat if it is due: lines that the publisher wrote meanwhile are signs of life."""
        self._beat_at = max(self._beat_at, self._reading.written_at + self._heartbeat)
        if trio.current_time() < self._beat_at:
            return b""
        self._beat_at = trio.current_time() + self._heartbeat
        position = self._reading.position
        if position is None or not self._reading.selection.hides_lines:
            return self._format.keep_alive
        return self._format.keep_alive + self._format.control(Position(position))

    async def _receive(self) -> Sequence[Found]:
        try:
            return await self._reading.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        except WorkloadNotFoundError as error:
            # The workload was deleted after the request began; a client that returns gets 404.
            if not self._format.control(Detached()):
                raise IncompleteAnswerError("the workload was deleted") from error
            raise StopAsyncIteration from None

    def _render(self, records: Sequence[Found]) -> bytes:
        self._is_fleeting = bool(records) and isinstance(records[-1], Unfinished)
        rendered = [self._frame(record) for record in records]
        return rendered[0] if len(rendered) == 1 else b"".join(rendered)

    def _frame(self, record: Found) -> bytes:
        if isinstance(record, Batch):
            return self._format.render(record)
        self._is_over = isinstance(record, End | Stop | Detached)
        if isinstance(record, Detached):
            record = Detached(self._retry())
        frame = self._format.control(record)
        if not frame:
            # Without events, only a cut tells the client that the log is not complete.
            match record:
                case Detached():
                    raise IncompleteAnswerError("the server is shutting down")
                case Gap(reason="deleted"):
                    raise IncompleteAnswerError("the workload was deleted")
                case Reset() if self._reading.is_restarted:
                    raise IncompleteAnswerError("lines that were sent are lost")
        return frame
