"""What a server of ours imports besides, so that its inside can be seen from another process.

- With TRIO_LOGS_BENCH_RELEASES, a FIFO: it is told when each subscription is gone, as nanoseconds
  of CLOCK_MONOTONIC, a line each.
- On SIGUSR1 it collects garbage and writes what is alive to TRIO_LOGS_BENCH_ALIVE, as JSON.
- With TRIO_LOGS_BENCH_LEAK, every connection leaves an object of so many bytes behind: the control
  that a measure of leaks has to find.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from trio_logs.broker.subscription import Subscription
from trio_logs.server.connection import Connection

__all__: list[str] = []

_COUNTED = (Subscription, trio.MemorySendChannel, trio.MemoryReceiveChannel)


def _watch_releases(path: str) -> None:
    fifo = os.open(path, os.O_WRONLY)
    leave = Subscription.__exit__

    def noted(self: Subscription, *error: Any) -> None:
        leave(self, *error)
        os.write(fifo, b"%d\n" % time.monotonic_ns())

    Subscription.__exit__ = noted  # type: ignore[assignment, method-assign]


def _watch_alive(path: str) -> None:
    def write(*_: object) -> None:
        gc.collect()
        objects = gc.get_objects()
        kinds = Counter(map(type, objects))
        alive = {kind.__name__: kinds[kind] for kind in _COUNTED}
        alive["connections"] = sum(_is_open(each) for each in objects if type(each) is Connection)
        alive["tasks"] = trio.lowlevel.current_statistics().tasks_living
        alive["descriptors"] = sum(1 for _ in Path("/proc/self/fd").iterdir())
        alive["blocks"] = sys.getallocatedblocks()
        del objects
        # A list of all objects takes a megabyte, which would be found as a leak of its own.
        ctypes.CDLL(None).malloc_trim(0)
        part = Path(path + ".part")
        part.write_text(json.dumps(alive))
        part.rename(path)

    # Once in some 50,000 connections Python makes its table of interned strings anew, beside the
    # old one, which takes a megabyte once and for all. So that this comes before what is measured:
    for number in range(200_000):
        sys.intern(f"short-lived {number}")
    signal.signal(signal.SIGUSR1, write)


def _is_open(connection: Connection) -> bool:
    # A signal may come while it is being made.
    transport = getattr(connection, "transport", None)
    return transport is None or transport.socket.fileno() >= 0


def _leak(size: int) -> None:
    kept: list[bytes] = []
    init = Connection.__init__

    def leaking(self: Connection, *arguments: Any) -> None:
        kept.append(bytes(size - sys.getsizeof(b"")))
        init(self, *arguments)

    Connection.__init__ = leaking  # type: ignore[method-assign, assignment]


if _path := os.environ.get("TRIO_LOGS_BENCH_RELEASES"):
    _watch_releases(_path)
if _path := os.environ.get("TRIO_LOGS_BENCH_ALIVE"):
    _watch_alive(_path)
if _size := os.environ.get("TRIO_LOGS_BENCH_LEAK"):
    _leak(int(_size))
