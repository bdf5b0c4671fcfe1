"""The cost of holding streams that are open and idle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..followers import connect
from ..programs import OURS, PROGRAMS, Running, Source, started
from ..scale import Scale

__all__ = ["TITLE", "run"]

TITLE = "Cost of holding"


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for each program and number of streams."""
    for program in PROGRAMS[: scale.programs]:
        if missing := program.missing():
            yield {"program": program.name, "skipped": missing}
            continue
        # What one stream costs the others differs little with their number.
        for streams in scale.idle if program is OURS else scale.idle[:1]:
            with started(program, scale.cores) as running:
                yield _row(scale, running, streams)


def _row(scale: Scale, running: Running, streams: int) -> dict[str, Any]:
    row: dict[str, Any] = {"program": running.program.name, "streams": streams}
    head, _ = running.offer(Source(2))
    # One first: what is loaded at the first request is no cost of a stream.
    opened = connect(running.address, head, 1)
    before = running.memory()
    tasks = _tasks(running)
    cpu = running.cpu_seconds()
    start = time.monotonic()
    try:
        opened += connect(running.address, head, streams - 1)
        seconds = time.monotonic() - start
        connecting = running.cpu_seconds() - cpu
        time.sleep(0.5)
        rss = running.memory() - before
        cpu, start = running.cpu_seconds(), time.monotonic()
        time.sleep(scale.idle_seconds)
        idle = (running.cpu_seconds() - cpu) / (time.monotonic() - start)
        more_tasks = _tasks(running)
    except (OSError, RuntimeError) as error:
        return {**row, "failed": str(error)}
    finally:
        for follower in opened:
            follower.socket.close()
    if tasks is not None and more_tasks is not None:
        row["tasks_per_stream"] = (more_tasks - tasks) / (streams - 1)
    return {
        **row,
        "rss_per_stream": rss / (streams - 1),
        "connect_seconds": seconds,
        "connect_cpu_ms_per_stream": connecting / (streams - 1) * 1e3,
        "idle_cpu_percent": idle * 100,
    }


def _tasks(running: Running) -> float | None:
    return running.metric("trio_logs_tasks") if running.token else None
