"""How long a subscription outlives its client, with a thousand streams open.

    python -m tests.disconnect

Server and clients share a process, and so a clock. A thread of clients notes when it leaves; an
instrument of Trio's, which sees each step of each task, notes in which a subscription was gone.
"""

from __future__ import annotations

import argparse
import resource
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

import trio

from tests.live import Live, open_live
from trio_logs.broker import LogBroker
from trio_logs.records import WorkloadSpec
from trio_logs.settings import Settings

__all__ = ["WAYS", "measure", "percentile"]

WAYS = ("FIN", "RST", "half-close", "FIN after a stray byte")

PATIENCE = 30


class Releases(trio.abc.Instrument):
    """Notes when the number of subscriptions falls."""

    def __init__(self, broker: LogBroker) -> None:
        self._broker = broker
        self._number = 0
        self.released = threading.Event()
        self.at = 0.0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        number = self._broker.statistics().subscriptions
        if number < self._number:
            self.at = time.perf_counter()
            self.released.set()
        self._number = number


async def measure(data: Path, streams: int, closes: int) -> dict[str, list[float]]:
    """Open so many streams, and have `closes` leave in each way; return what each took, sorted, in
    milliseconds. Raises TimeoutError for one that is not released."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * streams + 200)), hard))
    try:
        async with open_live(Settings(data)) as live:
            workload, _ = await live.service.engine.submit(WorkloadSpec(("sleep", "1000")))
            path = f"/v1/workloads/{workload.id}/logs"
            releases = Releases(live.service.broker)
            trio.lowlevel.add_instrument(releases)
            found = await trio.to_thread.run_sync(_leave, live, path, releases, streams, closes)
            # An instrument that fails is removed without a word.
            trio.lowlevel.remove_instrument(releases)
            return found
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _leave(
    live: Live, path: str, releases: Releases, streams: int, closes: int
) -> dict[str, list[float]]:
    """The clients' thread."""
    clients = [_follow(live, path) for _ in range(streams)]
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    try:
        for _ in range(closes):
            for way in WAYS:
                client = clients.pop()
                releases.released.clear()
                started = time.perf_counter()
                with client:
                    if way == "RST":
                        # struct linger {on, 0 s}
                        linger = struct.pack("ii", 1, 0)
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    elif way == "half-close":
                        client.shutdown(socket.SHUT_WR)
                    elif way == "FIN after a stray byte":
                        client.sendall(b"x")
                    if way != "half-close":
                        client.close()
                    if not releases.released.wait(PATIENCE):
                        raise TimeoutError(f"{way}: not released")
                found[way].append((releases.at - started) * 1000)
    finally:
        for client in clients:
            client.close()
    return {way: sorted(times) for way, times in found.items()}


def _follow(live: Live, path: str) -> socket.socket:
    host, _, port = live.url.rpartition("//")[2].rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=PATIENCE)
    authorization = f"Authorization: Bearer {live.service.token}"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n\r\n".encode())
    received = b""
    while b"retry: " not in received:
        received += client.recv(4096)
    return client


def percentile(times: list[float], share: float) -> float:
    """Of a sorted list, by nearest rank."""
    return times[min(len(times) - 1, int(len(times) * share))]


def main() -> None:
    """Print the distributions."""
    parser = argparse.ArgumentParser(prog="python -m tests.disconnect", description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--closes", type=int, default=200, help="in each way")
    options = parser.parse_args()
    if options.closes * len(WAYS) > options.streams:
        parser.error(f"--closes: at most a {len(WAYS)}th of --streams")
    with tempfile.TemporaryDirectory(prefix="trio-logs-disconnect-") as folder:
        found = trio.run(measure, Path(folder), options.streams, options.closes)
    print(f"{options.streams} streams; from leaving to the end of the subscription, in ms:")
    for way, times in found.items():
        figures = ", ".join(
            f"{name} {percentile(times, share):.2f}"
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
        )
        print(f"{way:>22}: {figures}")


if __name__ == "__main__":
    main()
