"""Slow readers: ten that read, beside none and beside many that never do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..followers import Stalled, connect, drain
from ..machine import percentile
from ..programs import FLOOR, PROGRAMS, Running, Source, started
from ..scale import Scale
from .fan_out import SETTLE_SECONDS

__all__ = ["TITLE", "run"]

TITLE = "Slow readers"

HEALTHY = 10
RATE = 1000.0

STALLED_BUFFER = 4096
"""What the kernel takes for a stalled reader, so that the server soon has to keep the rest."""


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """Two rows for each program. The floor has no answer to slow readers."""
    for program in PROGRAMS[: scale.programs]:
        if program is FLOOR:
            continue
        if missing := program.missing():
            yield {"program": program.name, "skipped": missing}
            continue
        for stalled in scale.stalled:
            with started(program, scale.cores) as running:
                yield _row(scale, running, stalled)


def _row(scale: Scale, running: Running, stalled: int) -> dict[str, Any]:
    source = Source(scale.stalled_lines, RATE)
    row: dict[str, Any] = {
        "program": running.program.name,
        "stalled": stalled,
        "lines": source.lines,
        "rate": source.rate,
    }
    head, gate = running.offer(source)
    sleepers = connect(running.address, head, stalled, receive_buffer=STALLED_BUFFER)
    readers = connect(running.address, head, HEALTHY)
    time.sleep(SETTLE_SECONDS)
    before = running.memory()
    running.reset_peak()
    cpu = running.cpu_seconds()
    gate.touch()
    # With nobody slow it takes this long; a program that waits for the slowest takes for ever.
    expected = source.lines / RATE
    try:
        summary = drain(readers, source.lines, seconds=min(scale.timeout, 3 * expected + 2))
    except (Stalled, RuntimeError) as error:
        return {**row, "failed": f"the healthy readers stalled: {error}"}
    finally:
        for follower in (*sleepers, *readers):
            follower.socket.close()
    return {
        **row,
        "seconds": summary.seconds,
        "expected_seconds": expected,
        "lost": summary.lost,
        "latency_p50_ms": percentile(summary.latencies, 0.5) / 1e6,
        "latency_p99_ms": percentile(summary.latencies, 0.99) / 1e6,
        "rss_growth": running.memory("VmHWM") - before,
        "cpu_seconds": running.cpu_seconds() - cpu,
    }
