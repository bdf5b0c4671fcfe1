"""The body of an answer that has changes of workloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import trio

from ..engine import ChangeReader, ChangeRecord
from ..records import Detached
from ..server import Port
from .body import StreamBody, detached_retry
from .event_format import EventFormat

__all__ = ["EventStream"]


class EventStream(StreamBody):
    """The body of one answer. The reader is entered with it, without a wait, so that a disconnect
    before the first chunk leaks nothing. Raises StoreError."""

    def __init__(
        self,
        reader: ChangeReader,
        form: EventFormat,
        heartbeat: float,
        port: Port | None = None,
        retry: Callable[[], int] = detached_retry,
    ) -> None:
        super().__init__(heartbeat, port, retry)
        self._reader = reader
        self._format = form
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._reader.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.__exit__(exc_type, exc_value, traceback)

    async def _next(self) -> bytes:
        if not self._opened and (opening := await self._open(self._format.log.opening)):
            return opening
        if self._is_over:
            raise StopAsyncIteration
        with trio.move_on_at(self._beat_at):
            return self._render(await self._reader.receive())
        return self._format.log.keep_alive

    def _render(self, records: Sequence[ChangeRecord]) -> bytes:
        self._is_over = any(isinstance(record, Detached) for record in records)
        return b"".join(map(self._frame, records))

    def _frame(self, record: ChangeRecord) -> bytes:
        if isinstance(record, Detached):
            record = Detached(self._retry())
        return self._format.render(record)
