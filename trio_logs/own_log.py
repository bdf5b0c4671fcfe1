"""The service's own log: standard error behind a bounded queue and a thread.

A write to standard error can fail, because its reader has exited or a disk is full. It can also
block for ever, because its reader is stopped and the pipe is full. So only a thread of the log
writes to the descriptor. All others put records into a queue, which never blocks and never raises.
Records that the queue or the descriptor does not take are dropped and counted.

Source: systemd-journald.service(8), "Stream logging", recommends that services ignore EPIPE on
their log. A journal that is stopped or slow must not end or stall them.
"""

from __future__ import annotations

import atexit
import io
import os
import queue
import select
import sys
import threading
from dataclasses import dataclass
from typing import TextIO

__all__ = ["OwnLog", "OwnLogStatistics", "OwnLogStream", "drain", "statistics", "take_over_stderr"]

MAX_RECORDS = 1000
MAX_BYTES = 1024 * 1024
"""The bound of the queue, the record that is being written included. Over it, records are dropped
until the queue is empty again, so that each loss is one gap with one notice."""

MAX_RECORD = 16 * 1024
"""Characters of a record; the rest is cut off."""

EXIT_SECONDS = 1.0
"""How long the end of the process waits for the queue; after it, what is left is given up."""


@dataclass(frozen=True, slots=True)
class OwnLogStatistics:
    """`queued`: records that wait for the thread. `dropped`: records lost since the start."""

    queued: int = 0
    dropped: int = 0


class OwnLog:
    """A queue of records, and the thread that writes them to a descriptor.

    `start` must come first; it raises RuntimeError if the system refuses the thread. Without a
    descriptor, all records are dropped. Any thread may call `put`, a finalizer or a signal handler
    too: the lock is reentrant, and the queue is, as the documentation of `queue` says.
    """

    def __init__(
        self, descriptor: int | None, *, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._descriptor = descriptor
        self._max_records = max_records
        self._max_bytes = max_bytes
        # Bound: `put` checks both limits. Events are the marks of `drain`, None ends the thread.
        self._queue: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._records = 0
        self._bytes = 0
        self._dropped = 0
        # Dropped and not yet told in a notice: by the full queue, and by the descriptor.
        self._refused = 0
        self._failed = 0
        self._closed = False
        # Whether the descriptor took the start of a record and not its end.
        self._is_cut = False

    def start(self) -> None:
        """Start the thread. It is a daemon: a write that blocks does not keep the process alive."""
        threading.Thread(target=self._work, name="trio_logs own log", daemon=True).start()

    def put(self, record: bytes) -> None:
        """Queue a record, which ends with a newline, or drop it. Never blocks, never raises."""
        # Checked without the lock: Python may have ended the thread while it held the lock.
        if self._closed:
            return
        with self._lock:
            if (
                self._refused
                or self._records >= self._max_records
                or self._bytes + len(record) > self._max_bytes
            ):
                self._refused += 1
                self._dropped += 1
                return
            self._records += 1
            self._bytes += len(record)
            self._queue.put(record)

    def drain(self, timeout: float) -> bool:
        """Wait, in seconds, until all that is queued now is written or dropped. Once the time is
        over, the log is given up: it drops all later records. Returns whether it was in time."""
        if self._closed:
            return False
        written = threading.Event()
        self._queue.put(written)
        self._closed = not written.wait(timeout)
        return not self._closed

    def close(self, timeout: float) -> None:
        """Drain the queue and end the thread; later records are dropped."""
        self.drain(timeout)
        self._closed = True
        self._queue.put(None)

    def statistics(self) -> OwnLogStatistics:
        """A snapshot."""
        with self._lock:
            return OwnLogStatistics(self._records, self._dropped)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            written = self._write_notice() and self._write(item)
            if self._account_for(item, written):
                self._write_notice()

    def _account_for(self, record: bytes, written: bool) -> bool:
        """Return whether the queue was full and is empty now."""
        with self._lock:
            self._records -= 1
            self._bytes -= len(record)
            if not written:
                self._failed += 1
                self._dropped += 1
            if self._records or not self._refused:
                return False
            self._failed += self._refused
            self._refused = 0
            return True

    def _write_notice(self) -> bool:
        """Say how many records are missing here, if any. Returns whether writing works."""
        if not self._failed:
            return True
        noun = "record" if self._failed == 1 else "records"
        notice = f"trio-logs: {self._failed} log {noun} dropped: standard error did not take more\n"
        if not self._write(b"\n" * self._is_cut + notice.encode()):
            return False
        self._failed = 0
        return True

    def _write(self, record: bytes) -> bool:
        """Write all of it, however long that blocks. Returns whether the descriptor took it."""
        if self._descriptor is None:
            return False
        rest = memoryview(record)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Another process may have set O_NONBLOCK: it belongs to the open file, which
                # processes share.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                self._is_cut |= len(rest) < len(record)
                return False
        self._is_cut = False
        return True


class OwnLogStream(io.TextIOBase):
    """Takes the place of `sys.stderr`, so that libraries and Python itself write to the log, too.

    A write becomes a record once its last newline is there, or with `flush`, or when it is longer
    than a record may be. `replaced` is the stream whose place it takes; None if there was none. As
    on Python's own standard error, characters that the encoding lacks are escaped.
    """

    def __init__(self, log: OwnLog, replaced: TextIO | None) -> None:
        self._log = log
        self._replaced = replaced
        self._lock = threading.RLock()
        # Bound: MAX_RECORD characters, besides the text of the present write.
        self._partial = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream that was replaced."""
        return (self._replaced and self._replaced.encoding) or "utf-8"

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return self._replaced is not None and self._replaced.isatty()

    def fileno(self) -> int:
        """The descriptor; what is written to it directly bypasses the log."""
        return super().fileno() if self._replaced is None else self._replaced.fileno()

    def write(self, text: str, /) -> int:
        """Take all of it, without blocking."""
        with self._lock:
            whole, newline, rest = (self._partial + text).rpartition("\n")
            if newline:
                self._put(whole)
            self._partial = rest
            if len(rest) > MAX_RECORD:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Make a record of an unfinished line. It does not wait: see `drain`."""
        with self._lock:
            partial, self._partial = self._partial, ""
            if partial:
                self._put(partial, end="")

    def _put(self, text: str, end: str = "\n") -> None:
        if len(text) > MAX_RECORD:
            text = f"{text[:MAX_RECORD]} ... ({len(text) - MAX_RECORD} more characters cut)"
            end = "\n"
        self._log.put((text + end).encode(self.encoding, "backslashreplace"))


_log: OwnLog | None = None
"""That of this process, of which there is at most one, as there is one standard error."""


def take_over_stderr() -> None:
    """Put the queue and its thread before standard error, until the process ends.

    A second call does nothing. Raises RuntimeError if the thread can't be started.
    """
    global _log
    if _log is not None:
        return
    # None where the process was started with the descriptor closed. Its number may be that of
    # another file by now, so it must not be written to.
    log = OwnLog(None if sys.stderr is None else sys.stderr.fileno())
    log.start()
    # After the traceback of an uncaught exception, and before Python ends the thread.
    atexit.register(log.close, EXIT_SECONDS)
    sys.stderr = OwnLogStream(log, sys.stderr)
    _log = log


def drain() -> None:
    """At the end of a command: have its last lines written, within `EXIT_SECONDS`."""
    if _log is not None:
        _log.drain(EXIT_SECONDS)


def statistics() -> OwnLogStatistics:
    """That of this process; zeros where `take_over_stderr` was not called."""
    return OwnLogStatistics() if _log is None else _log.statistics()
