"""The times of records: integers, in microseconds since the Unix epoch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from .clock import SteadyClock

__all__ = [
    "believed_now",
    "elapsed",
    "is_steady_since",
    "not_before",
    "now",
    "rfc3339",
    "steady_seconds",
]

_clock = SteadyClock()
# Threads of the store ask, too.
_lock = threading.Lock()

# How many blocks of `not_before` are entered. A process that goes on after the last one, as
# in tests, forgets their times.
_followers = 0

# It counts while the machine sleeps, as the wall clock does.
_COUNT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> int:
    """Microseconds since an unknown moment, on Linux since the boot. Nothing sets this clock."""
    return time.clock_gettime_ns(_COUNT) // 1000


def now() -> int:
    """The time, in microseconds since the Unix epoch: that of the wall clock, but it never steps
    back, and ignores a step until the wall clock has run on for a minute; see `SteadyClock`."""
    wall = time.time_ns() // 1000
    if _clock.follows(wall):
        return wall
    with _lock:
        return _clock.read(wall, elapsed())


def believed_now() -> int:
    """As `now`, but it may step back, and is not ahead of the wall clock for long. Retention
    goes by this."""
    with _lock:
        return _clock.believed(time.time_ns() // 1000, elapsed())


def steady_seconds() -> float:
    """For how long there has been no reason to doubt the wall clock: a step, or a start after an
    earlier process, whose time `not_before` was told."""
    with _lock:
        count = elapsed()
        _clock.believed(time.time_ns() // 1000, count)
        return _clock.steady_for(count) / 1_000_000


def is_steady_since(count: int) -> bool:
    """Whether there has been no reason to doubt the wall clock since `elapsed` was `count`."""
    passed = elapsed() - count
    return steady_seconds() * 1_000_000 >= passed


@contextmanager
def not_before(moment: int) -> Iterator[None]:
    """Within the block, `now` is this or later, even if the wall clock has been set back. `moment`
    is the newest time that an earlier process has noted, or 0."""
    global _followers
    with _lock:
        _followers += 1
        _clock.follow(moment, time.time_ns() // 1000, elapsed())
    try:
        yield
    finally:
        with _lock:
            _followers -= 1
            if not _followers:
                _clock.forget()


def rfc3339(moment: int) -> str:
    """A time as RFC 3339 in UTC with microseconds: `2026-01-31T12:00:00.000001Z`."""
    seconds, micros = divmod(moment, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"
