"""End to end: a process that prints as fast as it can, and one follower; ours also makes each line
durable before it delivers it."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..followers import Stalled
from ..lines import BLOCK_LINES, block
from ..programs import FLOOR, OURS, PROGRAMS, Source, started
from ..scale import Scale
from .fan_out import follow

__all__ = ["TITLE", "print_command", "run"]

TITLE = "End to end"

PILOT_LINES = 5000


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for each program; ours with 100 followers, too."""
    with tempfile.TemporaryDirectory(prefix="trio-logs-bench-") as folder:
        for program in PROGRAMS[: scale.programs]:
            if program is FLOOR:
                continue
            if missing := program.missing():
                yield {"program": program.name, "skipped": missing}
                continue
            for followers in (1, 100) if program is OURS else (1,):
                with started(program, scale.cores) as running:
                    yield _row(scale, running, Path(folder), followers)


def _row(scale: Scale, running: Any, folder: Path, followers: int) -> dict[str, Any]:
    # As in a fan-out: a short run tells how many lines take about long enough.
    lines = PILOT_LINES
    while True:
        row: dict[str, Any] = {
            "program": running.program.name,
            "followers": followers,
            "lines": lines,
        }
        command = print_command(folder, lines, scale.cores[1])
        try:
            summary, cpu = follow(running, Source(lines, command=command), followers, scale.timeout)
        except (Stalled, RuntimeError) as error:
            return {**row, "failed": str(error)}
        if summary.seconds >= scale.seconds / 2 or lines >= scale.process_lines:
            return {
                **row,
                "seconds": summary.seconds,
                "lost": summary.lost,
                "lines_per_second": lines / summary.seconds,
                "events_per_second": lines * followers / summary.seconds,
                "cpu_seconds": cpu,
                "load": summary.load,
                "peak_rss": running.memory("VmHWM"),
            }
        if running.program is OURS or summary.seconds < scale.seconds / 50:
            lines = scale.process_lines
        else:
            wanted = int(lines * scale.seconds / summary.seconds)
            lines = min(scale.process_lines, max(2 * lines, wanted))


def print_command(folder: Path, lines: int, core: int) -> tuple[str, ...]:
    """A process, pinned to that core, that prints so many lines from a file."""
    file = folder / f"lines-{lines}"
    if not file.exists():
        with file.open("wb") as out:
            for start in range(0, lines, BLOCK_LINES):
                out.write(block(start, lines - start))
    return ("taskset", "-c", str(core), "cat", shlex.quote(str(file)))
