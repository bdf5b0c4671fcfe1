"""The service's own log: standard error behind a bounded queue and a thread.

A write to standard error can fail, because its reader has exited or a disk is full. It can also
block for ever, because its reader is stopped and the pipe is full. So only a thread of the log
writes to the descriptor. All others put records into a queue, which never blocks and never raises.
Records that the queue or the descriptor does not take are dropped and counted.

Source: systemd-journald.service(8), "Stream logging", recommends that services ignore EPIPE on
their log. A journal that is stopped or slow must not end or stall them.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["OwnLog", "OwnLogStatistics", "dropped_line"]

MAX_RECORDS = 1000
MAX_BYTES = 1024 * 1024
"""The bounds of the queue, with the record that is being written. When one is reached, records are
dropped until the queue is empty again: so each loss is one gap with one notice."""


@dataclass(frozen=True, slots=True)
class OwnLogStatistics:
    """`queued`: records that wait for the thread. `dropped`: records lost since the start."""

    queued: int = 0
    dropped: int = 0


def dropped_line(dropped: int) -> bytes:
    """The line in the place of records that standard error did not take."""
    noun = "record" if dropped == 1 else "records"
    return f"trio-logs: {dropped} log {noun} dropped: standard error did not take more\n".encode()


class OwnLog:
    """A queue of records, and the thread that writes them to a descriptor.

    `start` must come first; it raises RuntimeError if the system refuses the thread. Without a
    descriptor, all records are dropped. `notice` makes the record that says how many were dropped.
    Any thread may call `put`, a finalizer or a signal handler too: the lock is reentrant, and the
    queue is, as the documentation of `queue` says.
    """

    def __init__(
        self,
        descriptor: int | None,
        *,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        notice: Callable[[int], bytes] = dropped_line,
    ) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._max_records = max_records
        self._max_bytes = max_bytes
        # Bound: `put` checks both limits. Events are the marks of `drain`, None ends the thread.
        self._queue: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._records = 0
        self._bytes = 0
        self._dropped = 0
        # Dropped records that no notice has counted yet: by the full queue, and by the descriptor.
        self._refused = 0
        self._failed = 0
        self._closed = False
        # Whether the descriptor took only the start of the last record.
        self._is_cut = False

    def start(self) -> None:
        """Start the thread. It is a daemon: a write that blocks does not keep the process alive."""
        threading.Thread(target=self._work, name="trio_logs own log", daemon=True).start()

    def put(self, record: bytes) -> None:
        """Queue a record, which ends with a newline, or drop and count it. Never blocks, never
        raises."""
        with self._lock:
            if self._closed:
                # Nothing writes a notice any more.
                self._dropped += 1
                return
            if self._refused or self._is_full(len(record)):
                self._refused += 1
                self._dropped += 1
                return
            # Put it before counting it: if an interrupt came between a count and its put, the queue
            # would never count as empty again.
            self._queue.put(record)
            self._records += 1
            self._bytes += len(record)

    def _is_full(self, size: int) -> bool:
        # An empty queue takes any record: only the thread can end a refusal, after a record.
        return self._records > 0 and (
            self._records >= self._max_records or self._bytes + size > self._max_bytes
        )

    @property
    def closed(self) -> bool:
        """Whether all records are dropped from now on."""
        return self._closed

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
            if self._records > 0 or not self._refused:
                return False
            self._failed += self._refused
            self._refused = 0
            return True

    def _write_notice(self) -> bool:
        """Write how many records are missing at this place, if any. Returns whether writing
        works."""
        if not self._failed:
            return True
        if not self._write(b"\n" * self._is_cut + self._notice(self._failed)):
            return False
        self._failed = 0
        return True

    def _write(self, record: bytes) -> bool:
        """Write the whole record, however long that blocks. Returns whether the descriptor took
        it."""
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
