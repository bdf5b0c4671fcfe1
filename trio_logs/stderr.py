"""Replaces `sys.stderr` by the queue of `own_log`.

structlog, Python's `logging` and `warnings`, and the hooks for uncaught exceptions write to
`sys.stderr`.
"""

from __future__ import annotations

import atexit
import io
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from .own_log import OwnLog, OwnLogStatistics, dropped_line

__all__ = ["OwnLogStream", "drain", "statistics", "take_over_stderr"]

MAX_RECORD = 16 * 1024
"""Characters of a record; a longer record is cut."""

EXIT_SECONDS = 1.0
"""Seconds that the end of the process waits for the queue; then the rest is dropped."""


class OwnLogStream(io.TextIOBase):
    """Takes the place of `sys.stderr`, so that libraries and Python itself write to the log, too.

    Text becomes a record at a newline, at a `flush`, or when it is longer than a record may be.
    `replaced` is the stream whose place it takes; None if there was none. `wrap` makes a record of
    a text; by default, the record is the text itself. As on Python's own standard error, characters
    that the encoding lacks are escaped.
    """

    def __init__(
        self, log: OwnLog, replaced: TextIO | None, wrap: Callable[[str], bytes] | None = None
    ) -> None:
        self._log = log
        self._replaced = replaced
        self._wrap = wrap
        self._lock = threading.RLock()
        # Bound: MAX_RECORD characters, besides the text of the present write.
        self._partial = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the replaced stream."""
        return (self._replaced and self._replaced.encoding) or "utf-8"

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return self._replaced is not None and self._replaced.isatty()

    def fileno(self) -> int:
        """The descriptor; direct writes to it bypass the log."""
        return super().fileno() if self._replaced is None else self._replaced.fileno()

    def write(self, text: str, /) -> int:
        """Take the whole text, without blocking."""
        # At its end, Python stops other threads anywhere, even while they hold this lock.
        if self._log.closed:
            return len(text)
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
        if self._wrap is None:
            self._log.put((text + end).encode(self.encoding, "backslashreplace"))
        elif text.strip():
            self._log.put(self._wrap(text))


_log: OwnLog | None = None
"""The log of this process: at most one, since there is one standard error."""


def take_over_stderr(
    wrap: Callable[[str], bytes] | None = None, notice: Callable[[int], bytes] = dropped_line
) -> OwnLog:
    """Put the queue and its thread before standard error, until the process ends; return the queue.

    `wrap` is that of `OwnLogStream`, `notice` that of `OwnLog`. A second call changes nothing.
    Raises RuntimeError if the thread can't be started.
    """
    global _log
    if _log is not None:
        return _log
    # None if the process was started with the descriptor closed. The number may belong to another
    # file by now, so nothing may be written to it.
    log = OwnLog(None if sys.stderr is None else sys.stderr.fileno(), notice=notice)
    log.start()
    # Both run after the traceback of an uncaught exception, the last one first, before Python ends
    # the thread.
    atexit.register(log.close, EXIT_SECONDS)
    sys.stderr = OwnLogStream(log, sys.stderr, wrap)
    atexit.register(sys.stderr.flush)
    _log = log
    return log


def drain() -> None:
    """At the end of a command: wait until its last lines are written, at most `EXIT_SECONDS`."""
    if _log is not None:
        _log.drain(EXIT_SECONDS)


def statistics() -> OwnLogStatistics:
    """The statistics of this process's log; zeros before `take_over_stderr`."""
    return OwnLogStatistics() if _log is None else _log.statistics()
