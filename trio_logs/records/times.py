"""The times of records: integers, in microseconds since the Unix epoch."""

from __future__ import annotations

import time
from datetime import UTC, datetime

__all__ = ["now", "rfc3339"]


def now() -> int:
    """The wall clock, in microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def rfc3339(moment: int) -> str:
    """A time as RFC 3339 in UTC with microseconds: `2026-01-31T12:00:00.000001Z`."""
    seconds, micros = divmod(moment, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"
