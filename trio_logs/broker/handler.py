"""Records of `logging` as lines of a log, from any thread."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from ..errors import LogClosedError
from .writer import LogWriter

__all__ = ["LogHandler", "log_records"]

MAX_WAITING_BYTES = 1024 * 1024
"""What may wait of records that were made on Trio's own thread, which can't be made to wait itself;
what is over it is counted, and the count is written."""

LAST_SECONDS = 1.0
"""How long the last records may take where the block ends by an error or a cancellation."""


@asynccontextmanager
async def log_records(
    log: LogWriter, logger: logging.Logger | None = None, *, stream: str = "stderr"
) -> AsyncIterator[LogHandler]:
    """Within the block, write what `logger` (by default, the root logger) is given to the log.

    A thread that logs faster than the log takes it waits, as a writer does; Trio's own thread
    can't, and has a bound (see `LogHandler`). The handler that is yielded takes a formatter and a
    level. What was logged when the block ends is written, also if it ends by an error, which comes
    out in a group, as from a nursery.
    """
    logger = logger or logging.getLogger()
    handler = LogHandler(log, stream)
    logger.addHandler(handler)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handler.run)
        ended_well = False
        try:
            yield handler
            ended_well = True
        finally:
            logger.removeHandler(handler)
            handler.finish(math.inf if ended_well else LAST_SECONDS)


class LogHandler(logging.Handler):
    """Made in the Trio run whose log it writes to.

    From other threads, a record is in the log's channel when `emit` returns. Records from Trio's
    thread, and from other runs of Trio, wait in memory, 1 MiB of them; should that overflow, as
    only a loop can that logs and never awaits, a line says how many are missing.
    """

    def __init__(self, log: LogWriter, stream: str = "stderr") -> None:
        super().__init__()
        self._log = log
        self._stream = stream
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._missing = 0
        self._wake = trio.Event()
        self._finishing = False
        self._scope = trio.CancelScope(shield=True)

    def handle(self, record: logging.LogRecord) -> bool:
        """As `logging.Handler.handle`, without its lock: a thread that waits for room in the log
        would hold it, and Trio's thread, which makes that room, would wait for it for ever."""
        admitted = self.filter(record)
        if isinstance(admitted, logging.LogRecord):  # since Python 3.12, filters may replace it
            record = admitted
        if admitted:
            self.emit(record)
        return bool(admitted)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode(errors="backslashreplace") + b"\n"
            if threading.get_ident() == self._thread:
                self._keep(line)
            elif trio.lowlevel.in_trio_run():
                # A run of its own in another thread: that can't be made to wait, either.
                self._token.run_sync_soon(self._keep, line)
            else:
                write = self._log.write
                trio.from_thread.run(write, line, self._stream, trio_token=self._token)
        except LogClosedError:
            pass  # by the workload itself, which does not want to hear of it
        except Exception:
            self.handleError(record)

    def _keep(self, line: bytes) -> None:
        if self._missing or self._waiting_bytes + len(line) > MAX_WAITING_BYTES:
            self._missing += 1
        else:
            self._waiting.append(line)
            self._waiting_bytes += len(line)
        self._wake.set()

    def finish(self, seconds: float) -> None:
        """Have `run` return when nothing waits any more, or after so many seconds."""
        self._finishing = True
        self._scope.deadline = trio.current_time() + seconds
        # With time enough it is its caller's to cancel again.
        self._scope.shield = seconds < math.inf
        self._wake.set()

    async def run(self) -> None:
        """Write what waits, as it comes. It is not cancelled from outside until `finish`: what was
        logged last, before a cancellation, is what people look for."""
        with self._scope, suppress(LogClosedError):
            while self._waiting or self._missing or not self._finishing:
                while self._waiting:
                    line = self._waiting.popleft()
                    self._waiting_bytes -= len(line)
                    await self._log.write(line, self._stream)
                if self._missing:
                    missing, self._missing = self._missing, 0
                    text = f"{missing} log records are missing: nothing was awaited meanwhile\n"
                    await self._log.write(text, self._stream)
                if not self._waiting and not self._finishing:
                    await self._wake.wait()
                    self._wake = trio.Event()
