"""A progress bar that redraws 100 times a second, and streams that ask for lines that have not
ended."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..followers import Follower, connect
from ..programs import OURS, Running, started
from ..scale import Scale

__all__ = ["TITLE", "run"]

TITLE = "Lines that have not ended"

REDRAWS = 100
"""How often the bar redraws, a second."""

BAR = f"""
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.005)
start = time.monotonic()
for number in range(int(float(sys.argv[2]) * {REDRAWS})):
    sys.stdout.write(f"\\rstep {{number:6}} " + "#" * 60)
    sys.stdout.flush()
    time.sleep(max(0, start + (number + 1) / {REDRAWS} - time.monotonic()))
print()
"""

END = b"event: end"
EVENT = b"event: unfinished"
ANSWER_SECONDS = 30.0
"""How long the end of all answers may take after the bar has ended."""


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for each number of streams: without asking, and asking."""
    with started(OURS, scale.cores) as running:
        for streams in scale.streams:
            for asks in (False, True):
                yield _row(scale, running, streams, asks=asks)


def _row(scale: Scale, running: Running, streams: int, *, asks: bool) -> dict[str, Any]:
    gate = Path(running.folder, f"bar-{streams}-{asks}")
    command = [sys.executable, "-c", BAR, str(gate), str(scale.bar_seconds)]
    workload = running.request("POST", "/v1/workloads", {"command": command})
    query = "?unfinished=true" if asks else ""
    followers = connect(running.address, running.head(workload["logs_url"] + query), streams)
    cpu = running.cpu_seconds()
    gate.touch()
    start = time.monotonic()
    counts = _read(followers, scale.bar_seconds + ANSWER_SECONDS)
    seconds = time.monotonic() - start
    cpu = running.cpu_seconds() - cpu
    for follower in followers:
        follower.socket.close()
    return {
        "streams": streams,
        "asks": asks,
        "seconds": seconds,
        "events_per_second": max(counts) / scale.bar_seconds,
        "fewest_per_second": min(counts) / scale.bar_seconds,
        "cpu_percent": cpu / seconds * 100,
        "cpu_us_per_event": cpu * 1e6 / sum(counts) if any(counts) else 0.0,
    }


def _read(followers: list[Follower], seconds: float) -> list[int]:
    """Read each answer to its end; return how many unfinished lines each has. Raises RuntimeError
    if an answer does not end in time."""
    deadline = time.monotonic() + seconds
    bodies = {follower.socket.fileno(): bytearray() for follower in followers}
    left = dict(zip(bodies, followers, strict=True))
    poll = select.epoll()
    for number in bodies:
        poll.register(number, select.EPOLLIN)
    while left:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(left)} answers did not end")
        for number, _ in poll.poll(1.0):
            bodies[number] += left[number].socket.recv(65536)
            if END in bodies[number]:
                poll.unregister(number)
                del left[number]
    poll.close()
    return [body.count(EVENT) for body in bodies.values()]
