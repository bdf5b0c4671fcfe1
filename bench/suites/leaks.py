"""Leaks: clients of all kinds come and go, and the server is looked at now and then."""

from __future__ import annotations

import json
import random
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..followers import RECEIVE_BYTES
from ..machine import interval, slope
from ..programs import OURS, Running, Source, started
from ..scale import Scale

__all__ = ["TITLE", "run"]

TITLE = "Leaks"

AT_ONCE = 20
PLANTED_BYTES = 64
WARM_UP = 0.2
"""This share of the cycles comes before those that count: caches, pools and the heap fill up."""

BOUND = 16.0
"""Bytes a cycle that are taken for none: what the heap's own steps look like in so many cycles."""

PATIENCE = 10.0

SETTLED_SECONDS = 0.1
"""Long enough for the server to let go of what has left."""


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """The service as it is, and one that leaks on purpose."""
    found = _row(scale.cycles, scale, {})
    yield {**found, "within_bound": found["high"] <= BOUND}
    planted = {"TRIO_LOGS_BENCH_LEAK": str(PLANTED_BYTES)}
    control = _row(min(scale.cycles // 2, 20_000), scale, planted)
    # The two intervals do not touch.
    yield {**control, "detected": control["low"] > found["high"]}


def _row(cycles: int, scale: Scale, planted: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="trio-logs-bench-") as folder:
        alive = Path(folder, "alive")
        environment = {"TRIO_LOGS_BENCH_ALIVE": str(alive), **planted}
        with started(
            OURS, scale.cores, "--import", "bench.probe", environment=environment
        ) as running:
            visits = _visits(running)
            chooser = random.Random(1)
            warm_up = int(cycles * WARM_UP)
            _cycle(running, visits, chooser, warm_up)
            baseline = _settled(running, alive)
            points = [(0.0, float(running.memory()))]
            done = 0
            for sample in range(1, scale.samples + 1):
                wanted = cycles * sample // scale.samples
                _cycle(running, visits, chooser, wanted - done)
                done = wanted
                _look(running, alive)
                points.append((float(done), float(running.memory())))
            after = _settled(running, alive, baseline)
    low, high = interval(points)
    counted = {name: (baseline[name], after[name]) for name in _counts(baseline)}
    return {
        "planted_bytes": PLANTED_BYTES if planted else 0,
        "cycles": cycles,
        "equal": all(before == now for before, now in counted.values()),
        "before_and_after": counted,
        "bytes_per_cycle": slope(points),
        "low": low,
        "high": high,
        "blocks_per_cycle": (after["blocks"] - baseline["blocks"]) / cycles,
        "rss": points,
    }


Visit = Callable[[socket.socket], None]


def _visits(running: Running) -> list[tuple[bytes, bool, Visit]]:
    """What each kind of client sends, whether it waits for an answer, and how it leaves."""
    head, _ = running.offer(Source(1, 1))
    quiet = head.encode()
    head, gate = running.offer(Source(500))
    ended = head.encode()
    gate.touch()

    def fin(connection: socket.socket) -> None:
        pass

    def reset(connection: socket.socket) -> None:
        # struct linger {on, 0 s}
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def half_close(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(RECEIVE_BYTES):
            pass

    def stray(connection: socket.socket) -> None:
        connection.sendall(b"\r\nx")

    refused = b"POST /v1/workloads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{"
    return [
        (quiet, True, fin),
        (quiet, True, reset),
        (quiet, True, half_close),
        (quiet, True, stray),
        (quiet, False, fin),
        (quiet[:60], False, fin),
        (quiet[:60], False, reset),
        (ended, True, fin),
        (ended, True, half_close),
        (refused, True, fin),
        (b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n", True, reset),
        (b"nonsense\r\n\r\n", True, fin),
    ]


def _cycle(
    running: Running, visits: list[tuple[bytes, bool, Visit]], chooser: random.Random, count: int
) -> None:
    while count > 0:
        chosen = chooser.choices(visits, k=min(AT_ONCE, count))
        count -= len(chosen)
        opened = []
        for sent, _, _ in chosen:
            connection = socket.create_connection(running.address, timeout=PATIENCE)
            connection.sendall(sent)
            opened.append(connection)
        for connection, (_, waits, leave) in zip(opened, chosen, strict=True):
            with connection:
                if waits:
                    connection.recv(4096)
                with suppress(BrokenPipeError, ConnectionResetError):  # the server was first
                    leave(connection)


def _settled(running: Running, alive: Path, wanted: dict[str, int] | None = None) -> dict[str, int]:
    """What is alive once nothing changes any more, or it is what is wanted. The last clients may
    still wait to be accepted, and a task ends a moment after its connection has closed."""
    deadline = time.monotonic() + PATIENCE
    before: dict[str, int] = {}
    found = _look(running, alive)
    while _counts(found) != _counts(wanted or before) and time.monotonic() < deadline:
        time.sleep(SETTLED_SECONDS)
        before, found = found, _look(running, alive)
    return found


def _counts(alive: dict[str, int]) -> dict[str, int]:
    """What is compared: how many blocks of memory there are moves with the state of caches."""
    return {name: count for name, count in alive.items() if name != "blocks"}


def _look(running: Running, alive: Path) -> dict[str, int]:
    """What is alive once all clients are gone; no request of ours is among it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        alive.unlink(missing_ok=True)
        running.process.send_signal(signal.SIGUSR1)
        while not alive.exists():
            if time.monotonic() > deadline:
                raise RuntimeError("the server did not say what is alive")
            time.sleep(0.002)
        found: dict[str, int] = json.loads(alive.read_text())
        if found["connections"] == 0 or time.monotonic() > deadline:
            return found
        time.sleep(0.01)
