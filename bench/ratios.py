"""Ours against the others: ratios within one run, which are what counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .programs import OURS
from .report import FULL_SPEED, Row

__all__ = ["ratios"]

SLOW = 10
"""The rate, in lines a second, at which latency is not queueing."""


def ratios(results: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Our figure divided by that of each other program, where there are both."""
    fan_out = results.get("fan_out", ())
    full = [row for row in fan_out if row.get("rate") == "full speed"]
    slow = [row for row in fan_out if row.get("rate") == SLOW]
    most = max((row["followers"] for row in slow), default=0)
    slow = [row for row in slow if row["followers"] == most]
    one = [row for row in results.get("end_to_end", ()) if row.get("followers") == 1]
    return [
        *_divided(full, "events_per_second", FULL_SPEED),
        *_divided(one, "lines_per_second", "lines/s of a process at full speed"),
        *_divided(slow, "cpu_us_per_event", f"CPU a chunk at {SLOW} lines/s"),
        *_divided(slow, "latency_p99_ms", f"p99 latency at {SLOW} lines/s"),
    ]


def _divided(rows: Sequence[Row], figure: str, of: str) -> Iterator[Row]:
    ours = {row["followers"]: row.get(figure) for row in rows if row["program"] == OURS.name}
    for row in rows:
        name, followers = row["program"], row["followers"]
        # A short run may take less CPU time than the kernel counts.
        if name != OURS.name and ours.get(followers) is not None and row.get(figure):
            value = ours[followers] / row[figure]
            yield {"of": of, "program": name, "followers": followers, "value": value}
