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
"""The bytes of records that may wait for the log; beyond them, a thread waits, or drops its record.
"""

WRITE_BYTES = 64 * 1024
"""Records that wait together are written together, up to this size."""

PATIENCE_SECONDS = 10.0
"""How long a thread waits for room. The wait needs a bound: the thread may hold a lock that Trio's
thread waits for, and then no room comes before the thread goes on."""

LAST_SECONDS = 1.0
"""How long the last writes may take after an exception or a cancellation in the block."""


@asynccontextmanager
async def log_records(
    log: LogWriter,
    logger: logging.Logger | None = None,
    *,
    stream: str = "stderr",
    patience: float = PATIENCE_SECONDS,
) -> AsyncIterator[LogHandler]:
    """Within the block, write the records of `logger` (by default, the root logger) to the log.

    A thread that logs faster than the log takes records waits, as a writer does, but for at most
    `patience` seconds; Trio's own thread never waits. See `LogHandler`. Give the yielded handler a
    formatter or a level as any other handler.

    The end of the block waits until all records are written. After an exception or a cancellation
    it waits for at most 1 s. An exception of the block comes out in a group, as from a nursery.
    """
    logger = logger or logging.getLogger()
    handler = LogHandler(log, stream, patience)
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
    """Writes records to a log of the Trio run that makes the handler.

    `emit` puts the record into the handler's memory, which holds 1 MiB, and `run` writes it. A
    record that finds no room is dropped and counted, and a line in the log says how many are
    missing. The records of each thread keep their order.

    If the memory is full, a thread waits for room for at most `patience` seconds. Then it drops the
    record, and until the log takes records again, all threads drop theirs without a wait. A thread
    that runs Trio, this run or another, never waits: the wait would stop all tasks of its run.
    After `run` has ended, records are dropped without a count.
    """

    def __init__(
        self, log: LogWriter, stream: str = "stderr", patience: float = PATIENCE_SECONDS
    ) -> None:
        super().__init__()
        self._log = log
        self._stream = stream
        self._patience = patience
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        # Guards the fields down to `_ended`. A thread holds it for a few steps only, so Trio's
        # thread may take it. Re-entrant: a finalizer that logs may interrupt these steps.
        self._room = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._missing = 0
        self._blocked = 0  # threads that wait for room
        self._stalled = False  # since `run` last took records, a thread has waited in vain
        self._rung = False
        self._ended = False
        self._wake = trio.Event()
        self._finishing = False
        self._scope = trio.CancelScope(shield=True)

    def handle(self, record: logging.LogRecord) -> bool:
        """As `logging.Handler.handle`, without the handler's lock. A thread that waits for room
        would hold that lock. Trio's thread, which makes the room, would wait for the lock for
        ever."""
        admitted = self.filter(record)
        if isinstance(admitted, logging.LogRecord):  # since Python 3.12, filters may replace it
            record = admitted
        if admitted:
            self.emit(record)
        return bool(admitted)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record for `run`; see the class. Call it from any thread, at any time."""
        try:
            line = self.format(record).encode(errors="backslashreplace") + b"\n"
            # Another run of Trio in the calling thread must not be held up, either.
            runs_trio = threading.get_ident() == self._thread or trio.lowlevel.in_trio_run()
            self._keep(line, 0.0 if runs_trio else self._patience)
        except Exception:
            self.handleError(record)

    def _keep(self, line: bytes, patience: float) -> None:
        with self._room:
            if patience > 0 and not self._may_keep(line) and not self._stalled:
                self._blocked += 1
                try:
                    came = self._room.wait_for(lambda: self._may_keep(line), patience)
                    self._stalled = not came
                finally:
                    self._blocked -= 1
            if self._ended:
                return
            if self._may_keep(line):
                self._waiting.append(line)
                self._waiting_bytes += len(line)
            else:
                self._missing += 1
            if self._rung:
                return
            self._rung = True
        if threading.get_ident() == self._thread:
            self._wake.set()
        else:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._ring)

    def _may_keep(self, line: bytes) -> bool:
        """Whether a thread need not wait for room. A line longer than the whole memory is kept once
        the memory is empty. After a dropped record, the line that counts it has to be written
        first."""
        fits = not self._waiting or self._waiting_bytes + len(line) <= MAX_WAITING_BYTES
        return self._ended or (fits and not self._missing)

    def _ring(self) -> None:
        self._wake.set()

    def finish(self, seconds: float) -> None:
        """Have `run` return once no record waits, or after that many seconds."""
        self._finishing = True
        self._scope.deadline = trio.current_time() + seconds
        # Without a deadline, the caller of `log_records` may cancel again.
        self._scope.shield = seconds < math.inf
        self._wake.set()

    async def run(self) -> None:
        """Write the records as they come, until `finish`.

        Before `finish`, `run` is shielded: the last records before a cancellation may tell its
        cause.
        """
        try:
            with self._scope, suppress(LogClosedError):
                while True:
                    text, is_last = self._take()
                    if text:
                        await self._log.write(text, self._stream)
                    elif self._finishing and is_last:
                        return
                    else:
                        await self._wake.wait()
        finally:
            self._end()

    def _take(self) -> tuple[bytes, bool]:
        """The text to write next, which may be empty, and whether no thread waits to add more."""
        with self._room:
            self._rung = self._stalled = False
            lines = []
            size = 0
            while self._waiting and size < WRITE_BYTES:
                line = self._waiting.popleft()
                lines.append(line)
                size += len(line)
            self._waiting_bytes -= size
            if not lines and self._missing:
                text = f"missing log records: {self._missing}; the log did not take them in time\n"
                self._missing = 0
                lines.append(text.encode())
            if not lines:
                self._wake = trio.Event()
            self._room.notify_all()
            return b"".join(lines), self._blocked == 0

    def _end(self) -> None:
        """Let all threads go on."""
        with self._room:
            self._ended = True
            self._waiting.clear()
            self._room.notify_all()
