"""Replay: a reader who joins a finished log, from its start, from its middle, and at its end."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..followers import RECEIVE_BYTES, Follower, connect, drain
from ..lines import MARK
from ..programs import OURS, Running, Source, started
from ..scale import Scale
from .end_to_end import print_command

__all__ = ["TITLE", "run"]

TITLE = "Replay"

TAIL = 100


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for each place; of the programs only ours keeps a history."""
    lines = scale.replay_lines
    with (
        tempfile.TemporaryDirectory(prefix="trio-logs-bench-") as folder,
        started(OURS, scale.cores) as running,
    ):
        source = Source(lines, command=print_command(Path(folder), lines, scale.cores[1]))
        head, gate = running.offer(source)
        followers = connect(running.address, head, 1)
        gate.touch()
        drain(followers, lines, seconds=scale.timeout, sampled=False)
        followers[0].socket.close()
        path = str(running.last["logs_url"])
        # That the last line is there does not mean that the end is.
        while running.request("GET", f"/v1/workloads/{running.last['id']}")["finished_at"] is None:
            time.sleep(0.01)
        middle = lines // 2
        yield _row(running, "start", running.head(path), 0, lines)
        yield _row(running, "middle", running.head(path, f"Last-Event-ID: {middle}"), middle, lines)
        yield _row(
            running, f"tail={TAIL}", running.head(f"{path}?tail={TAIL}"), lines - TAIL, lines
        )


def _row(running: Running, place: str, head: str, first: int, lines: int) -> dict[str, Any]:
    cpu = running.cpu_seconds()
    start = time.monotonic()
    buffer = bytearray(RECEIVE_BYTES)
    with socket.create_connection(running.address, timeout=60) as connection:
        follower = Follower(connection, first)
        connection.sendall(head.encode())
        first_line = 0.0
        while follower.lines < lines:
            size = connection.recv_into(buffer)
            if size == 0:
                raise RuntimeError(f"an answer was cut off after {follower.lines:,} lines")
            if not first_line and buffer.find(MARK, 0, size) >= 0:
                first_line = time.monotonic() - start
            follower.feed(buffer, size, None)
        seconds = time.monotonic() - start
    return {
        "from": place,
        "lines": lines - first,
        "lost": follower.lost,
        "first_line_ms": first_line * 1e3,
        "seconds": seconds,
        "lines_per_second": (lines - first) / seconds,
        "cpu_seconds": running.cpu_seconds() - cpu,
    }
