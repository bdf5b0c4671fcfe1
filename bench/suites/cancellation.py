"""Cancellation: from the moment that a client leaves, or a workload is stopped, until nothing of it
is left."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..followers import Follower, connect
from ..machine import percentile
from ..programs import OURS, Running, Source, started
from ..scale import Scale

__all__ = ["TITLE", "run"]

TITLE = "Cancellation"

WAYS = ("FIN", "RST", "half-close")

STATES = {"idle": 0.0, "sending": 10.0, "blocked": -1.0}
"""Lines a second for each stream; blocked: as fast as it can, and the client never reads."""

TREE = "sleep 1000 & sh -c 'sleep 1000 & sleep 1000 & wait' & wait"


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for each number of streams, what they were doing, and the way that they ended."""
    with tempfile.TemporaryDirectory(prefix="trio-logs-bench-") as folder:
        fifo = Path(folder, "releases")
        os.mkfifo(fifo)
        # Opened for both, so that neither side waits for the other.
        releases = os.open(fifo, os.O_RDWR)
        environment = {"TRIO_LOGS_BENCH_RELEASES": str(fifo)}
        arguments = ("--import", "bench.probe")
        with (
            os.fdopen(releases, "rb", buffering=0) as source,
            started(OURS, scale.cores, *arguments, environment=environment) as running,
        ):
            watch = Releases(source.fileno())
            for streams in scale.streams:
                for state in STATES:
                    yield from _leaving(scale, running, watch, streams, state)
                yield _stopping(running, watch, streams)
            yield _stopping_a_tree(scale, running)


class Releases:
    """The server's own times of what it let go."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def next(self) -> int:
        """The next one, in nanoseconds of CLOCK_MONOTONIC."""
        while b"\n" not in self._rest:
            self._rest += os.read(self._descriptor, 65536)
        text, _, self._rest = self._rest.partition(b"\n")
        return int(text)


def _leaving(
    scale: Scale, running: Running, watch: Releases, streams: int, state: str
) -> Iterator[dict[str, Any]]:
    rate = STATES[state]
    head, gate = running.offer(Source(10**7, max(0, rate)) if rate else Source(1, 1))
    if rate:
        gate.touch()
    workload = running.last["id"]
    # Each way takes its share of those that are open; where there is one, it is opened anew.
    closes = min(scale.closes, streams // len(WAYS) or 1)
    rounds = 1 if streams >= len(WAYS) else scale.closes // 5 or 1
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        followers = connect(running.address, head, max(streams, 1))
        if rate:
            # Lines are on their way, or the buffers of those who never read are full.
            time.sleep(0.1 + streams / 1000)
        for way in WAYS:
            if not followers:
                followers = connect(running.address, head, 1)
                time.sleep(0.1 if rate else 0)
            for _ in range(closes):
                follower = followers.pop()
                left = _leave(follower, way)
                found[way].append((watch.next() - left) / 1e6)
                follower.socket.close()
        for follower in followers:
            follower.socket.close()
            watch.next()
    running.request("POST", f"/v1/workloads/{workload}/stop", {"grace": 0.1})
    for way in WAYS:
        yield _row(streams, state, way, found[way])


def _leave(follower: Follower, way: str) -> int:
    """Let it go in that way; return when."""
    connection = follower.socket
    if way == "FIN":
        # With bytes that nobody has read, a close would be a reset.
        connection.shutdown(socket.SHUT_RD)
        buffer = bytearray(65536)
        try:
            while connection.recv_into(buffer):
                pass
        except BlockingIOError:
            pass
        left = time.monotonic_ns()
        connection.close()
    elif way == "RST":
        # struct linger {on, 0 s}
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left = time.monotonic_ns()
        connection.close()
    else:
        left = time.monotonic_ns()
        connection.shutdown(socket.SHUT_WR)
    return left


def _stopping(running: Running, watch: Releases, streams: int) -> dict[str, Any]:
    """The workload is stopped: its log ends, and with it each stream."""
    head, _ = running.offer(Source(1, 1))
    followers = connect(running.address, head, streams)
    path = f"/v1/workloads/{running.last['id']}/stop"
    left = time.monotonic_ns()
    running.request("POST", path, {"grace": 0})
    found = [(watch.next() - left) / 1e6 for _ in followers]
    for follower in followers:
        follower.socket.close()
    return _row(streams, "idle", "stop of the workload", found)


def _stopping_a_tree(scale: Scale, running: Running) -> dict[str, Any]:
    """A workload of five processes, until the last of them is gone."""
    found = []
    for _ in range(scale.closes):
        body = {"command": ["sh", "-c", TREE]}
        workload = running.request("POST", "/v1/workloads", body)
        path = f"/v1/workloads/{workload['id']}"
        while len(tree := _descendants(running.process.pid)) < 5:
            time.sleep(0.001)
        left = time.monotonic_ns()
        running.request("POST", f"{path}/stop", {"grace": 5})
        while any(map(_runs, tree)):
            time.sleep(0.0002)
        found.append((time.monotonic_ns() - left) / 1e6)
        while running.request("GET", path)["finished_at"] is None:
            time.sleep(0.01)
    return _row(0, "-", "stop of five processes", found)


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    found = [int(child) for child in children]
    return found + [each for child in found for each in _descendants(child)]


def _runs(pid: int) -> bool:
    """False for a zombie, too: an orphan's is there until init looks for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _row(streams: int, state: str, way: str, found: list[float]) -> dict[str, Any]:
    found.sort()
    return {
        "streams": streams,
        "state": state,
        "way": way,
        "measured": len(found),
        **{
            f"{name}_ms": percentile(found, share)
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))
        },
        "times_ms": [round(each, 4) for each in found],
    }
