"""Fan-out: lines made in the server, as fast as it can or at a rate, and followers of them."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from typing import Any

from ..followers import Stalled, Summary, connect, drain
from ..lines import END_SECONDS
from ..machine import percentile
from ..programs import PROGRAMS, Program, Running, Source, started
from ..scale import Scale

__all__ = ["TITLE", "follow", "run"]

TITLE = "Fan-out"

PILOT_LINES = 100

PILOT_EVENTS = 20_000
"""Some programs take seconds for so many."""

SETTLE_SECONDS = 0.3
"""A subscription may begin a little after the head of its answer."""


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for each program, number of followers and rate."""
    at_rates = PROGRAMS[: scale.programs]
    for program in PROGRAMS:
        if missing := program.missing():
            yield {"program": program.name, "skipped": missing}
            continue
        with started(program, scale.cores) as running:
            for followers in scale.followers:
                at_most = yield from _full_speed(scale, program, running, followers)
                for rate in scale.rates if program in at_rates else ():
                    if followers * rate > scale.max_events_per_second:
                        continue
                    seconds = scale.rate_seconds
                    if followers == max(scale.followers):
                        # What a chunk costs: the first lines find each socket without its memory.
                        seconds *= 3
                    source = Source(max(2, int(rate * seconds)), rate)
                    if followers * rate < at_most:
                        yield _row(scale, program, running, followers, source)
                    else:
                        row = _begun(program, followers, source)
                        yield {**row, "failed": f"it delivers {at_most:,.0f} events/s at most"}


def _full_speed(
    scale: Scale, program: Program, running: Running, followers: int
) -> Generator[dict[str, Any], None, float]:
    """A row; returns how many events/s it delivered, infinite if it is not known."""
    # So many lines that the run takes about as long for each program: a short one tells how many.
    lines = min(PILOT_LINES, PILOT_EVENTS // followers)
    while True:
        row = _row(scale, program, running, followers, Source(lines))
        seconds = row.get("seconds", scale.seconds)
        if "failed" in row or seconds >= scale.seconds / 3 or lines >= scale.max_lines:
            yield row
            return float(row.get("events_per_second", math.inf))
        lines = min(scale.max_lines, int(lines * min(scale.seconds / seconds, 20)))


def _begun(program: Program, followers: int, source: Source) -> dict[str, Any]:
    return {
        "program": program.name,
        "followers": followers,
        "rate": source.rate or "full speed",
        "lines": source.lines,
    }


def _row(
    scale: Scale, program: Program, running: Running, followers: int, source: Source
) -> dict[str, Any]:
    row = _begun(program, followers, source)
    try:
        summary, cpu = follow(running, source, followers, scale.timeout)
    except (Stalled, RuntimeError) as error:
        return {**row, "failed": str(error)}
    events = source.lines * followers
    return {
        **row,
        "seconds": summary.seconds,
        "lost": summary.lost,
        "events_per_second": events / summary.seconds,
        "bytes_per_second": summary.received / summary.seconds,
        "cpu_us_per_event": cpu / events * 1e6,
        "load": summary.load,
        "peak_rss": running.memory("VmHWM"),
        **{
            f"latency_{name}_ms": percentile(summary.latencies, share) / 1e6
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
            if summary.latencies
        },
    }


def follow(
    running: Running, source: Source, followers: int, timeout: float
) -> tuple[Summary, float]:
    """One run: what the followers saw, and the CPU seconds that the program took."""
    head, gate = running.offer(source)
    opened = connect(running.address, head, followers)
    time.sleep(SETTLE_SECONDS)
    running.reset_peak()
    cpu = running.cpu_seconds()
    gate.touch()
    try:
        summary = drain(opened, source.lines, seconds=timeout)
        # Before they leave, which costs the program something, too.
        cpu = running.cpu_seconds() - cpu
    finally:
        for follower in opened:
            follower.socket.close()
        if source.rate:
            # The next source of a program that has one for all would be ended with this one.
            time.sleep(END_SECONDS + SETTLE_SECONDS)
    return summary, cpu
