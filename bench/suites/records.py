"""A service that keeps many workloads: how long it takes to start, and what commands take that look
for a few of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from trio_logs.records import Outcome, Status, Workload, WorkloadSpec, now
from trio_logs.store.sqlite import SQLiteStore

from ..scale import Scale

__all__ = ["TITLE", "run"]

TITLE = "Many workloads"

START_TARGET = 1.0
COMMAND_TARGET = 0.3
"""Seconds."""

AT_ONCE = 500
"""Writers while the store is filled; those that wait share a transaction."""

PROGRAM = (sys.executable, "-m", "trio_logs")

COMMANDS: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("ps", ("ps",), 0),
    ("logs NAME", ("logs", "job-7"), 0),
    # No workload of that name runs, so that nothing is waited for.
    ("stop NAME", ("stop", "job-7"), 66),
    ("completion", ("complete", "logs", "job-7"), 0),
)


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for the start, and one for each command, with its target."""
    repeats = max(1, scale.samples // 10)
    with tempfile.TemporaryDirectory(prefix="trio-logs-bench-") as name:
        folder = Path(name)
        trio.run(_fill, folder / "trio_logs.db", scale.records)
        environment = {**os.environ, "TRIO_LOGS_DATA": name, "TRIO_LOGS_SERVER": ""}
        starts = []
        for _ in range(repeats):
            with _serving(environment, scale) as seconds:
                starts.append(seconds)
        yield _row("start of the service", scale, starts, START_TARGET)
        with _serving(environment, scale):
            for title, arguments, code in COMMANDS:
                took = [_timed(arguments, code, environment) for _ in range(repeats)]
                yield _row(title, scale, took, COMMAND_TARGET)


def _row(what: str, scale: Scale, seconds: list[float], target: float) -> dict[str, Any]:
    median = statistics.median(seconds)
    return {
        "what": what,
        "workloads": scale.records,
        "median_ms": median * 1e3,
        "longest_ms": max(seconds) * 1e3,
        "target_ms": target * 1e3,
        "met": median < target,
    }


async def _fill(path: Path, count: int) -> None:
    """Workloads of 2,000 names, one every 30 seconds; all have ended."""
    store = SQLiteStore(path)
    first = now() - count * 30_000_000

    async def add(number: int) -> None:
        created_at = first + number * 30_000_000
        spec = WorkloadSpec(
            ("make", "-C", f"/srv/jobs/{number % 700}", "test"),
            name=f"job-{number % 2000}",
            labels={"team": f"t{number % 7}"},
        )
        # Ids as the service makes them, but for their ends, which are spread evenly.
        end = number * 7_368_787 % 2**24
        workload = Workload(f"{created_at:014x}{end:06x}", spec, created_at)
        await store.create(replace(workload, started_at=created_at))
        outcome = Outcome(Status.SUCCEEDED, exit_code=0, reason="exited")
        await store.append(
            workload.id, [], expected=1, epoch=0, size=0, outcome=outcome, finished_at=created_at
        )

    async def add_some(start: int) -> None:
        for number in range(start, count, AT_ONCE):
            await add(number)

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        async with trio.open_nursery() as adding:
            for start in range(AT_ONCE):
                adding.start_soon(add_some, start)
        nursery.cancel_scope.cancel()


@contextmanager
def _serving(environment: dict[str, str], scale: Scale) -> Iterator[float]:
    """A running service; the seconds that it took to listen."""
    command = ["taskset", "-c", str(scale.cores[0]), *PROGRAM, "serve", "--bind", "127.0.0.1:0"]
    begun = time.monotonic()
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.startswith("Listening on "):
                    break
            yield time.monotonic() - begun
        finally:
            process.terminate()
            # Without a reader, a full pipe would hold it up.
            process.stderr.read()


def _timed(arguments: tuple[str, ...], code: int, environment: dict[str, str]) -> float:
    begun = time.monotonic()
    found = subprocess.run(
        [*PROGRAM, *arguments], env=environment, capture_output=True, check=False
    )
    seconds = time.monotonic() - begun
    if found.returncode != code:
        raise RuntimeError(f"{arguments}: {found.returncode} {found.stderr!r}")
    return seconds
