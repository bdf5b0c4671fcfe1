"""Ours against the others: ratios within one run, which are what counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .programs import FLOOR, OURS
from .report import Row

__all__ = ["ratios"]


def ratios(results: Mapping[str, Sequence[Row]]) -> list[Row]:
    """What can be compared in these results."""
    found = [
        *_throughput(results.get("fan_out", ())),
        *_quiet(results.get("fan_out", ())),
        *_end_to_end(results.get("end_to_end", ())),
    ]
    return [{"ratio": text, "value": value} for text, value in found]


def _throughput(rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    full = [row for row in rows if row.get("rate") == "full speed" and "events_per_second" in row]
    for followers in sorted({row["followers"] for row in full}):
        speed = {
            row["program"]: row["events_per_second"]
            for row in full
            if row["followers"] == followers
        }
        ours = speed.pop(OURS.name, None)
        if ours is None:
            continue
        for name, theirs in speed.items():
            yield (
                f"fan-out, {followers} followers, full speed: events/s, ours : {name}",
                ours / theirs,
            )


def _quiet(rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    slow = [row for row in rows if row.get("rate") == 10 and "latency_p99_ms" in row]
    if not slow:
        return
    most = max(row["followers"] for row in slow)
    at = {row["program"]: row for row in slow if row["followers"] == most}
    ours = at.pop(OURS.name, None)
    if ours is None:
        return
    where = f"fan-out, {most} followers, 10 lines/s"
    yield f"{where}: CPU µs a chunk, ours", ours["cpu_us_per_event"]
    for name, theirs in at.items():
        yield f"{where}: CPU µs a chunk, {name}", theirs["cpu_us_per_event"]
    for name, theirs in at.items():
        if name != FLOOR.name:
            ratio = ours["latency_p99_ms"] / theirs["latency_p99_ms"]
            yield f"{where}: p99 latency, ours : {name}", ratio


def _end_to_end(rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    one = {
        row["program"]: row["lines_per_second"]
        for row in rows
        if row.get("followers") == 1 and "lines_per_second" in row
    }
    ours = one.pop(OURS.name, None)
    if ours is not None:
        for name, theirs in one.items():
            yield f"end to end, one follower: lines/s, ours : {name}", ours / theirs
