"""Fan-out: one process workload that prints as fast as it can, and its followers.

The server has a core of its own; the workload and the followers share another one. Every follower
checks that it got every byte: the frames' total length is known beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

from .harness import Follower, Server, cores, drain, running_server

LINE_BYTES = 100
MIB = 1024 * 1024


def expected_payload(lines: int, end: bytes) -> int:
    """The bytes of all frames, from the opening to the end."""
    digits = sum(len(str(number)) for number in range(1, lines + 1))
    frames = lines * (len("id: \ndata: \n\n") + LINE_BYTES - 1) + digits
    return len(b": open\nretry: 2000\n\n") + frames + len(end)


def measure(server: Server, lines: int, followers: int, load_core: int) -> dict[str, float]:
    """One run; see the module."""
    text = "x" * (LINE_BYTES - 1)
    # The workload waits for a file, so that every follower is there before its first line.
    gate = Path(tempfile.gettempdir(), f"trio-logs-bench-{os.getpid()}-{followers}")
    script = (
        f"while [ ! -e {gate} ]; do sleep 0.01; done;"
        f" exec taskset -c {load_core} sh -c 'yes {text} | head -n {lines}'"
    )
    workload = server.request("POST", "/v1/workloads", {"command": ["sh", "-c", script]})
    readers = [Follower.connect(server, workload["logs_url"]) for _ in range(followers)]
    time.sleep(0.5)
    server.reset_peak()
    before = server.memory("VmRSS")
    cpu = server.cpu_seconds()
    start, started = time.monotonic(), time.time()
    gate.touch()
    try:
        drain(readers, 600)
    finally:
        gate.unlink()
    cpu = server.cpu_seconds() - cpu
    record = server.request("GET", f"/v1/workloads/{workload['id']}")
    check(readers, record, lines)
    events_seconds = max(reader.finished for reader in readers) - start
    # The workload ends when the server has its last line, not when the followers have it.
    finished = datetime.fromisoformat(str(record["finished_at"])).timestamp()
    return {
        "followers": followers,
        "lines": lines,
        "lines_per_second": lines / (finished - started),
        "events_per_second": lines * followers / events_seconds,
        "cpu_seconds": cpu,
        "rss_peak_mib": server.memory("VmHWM") / MIB,
        "rss_growth_mib": (server.memory("VmHWM") - before) / MIB,
    }


def check(readers: list[Follower], record: dict[str, object], lines: int) -> None:
    """Raise unless every follower got everything."""
    if record["status"] != "succeeded" or record["lines"] != lines:
        raise RuntimeError(f"the workload went wrong: {record}")
    for reader in readers:
        end = b"event: end" + reader.tail.rpartition(b"event: end")[2].removesuffix(b"\r\n")
        if json.loads(end.rpartition(b"data: ")[2])["lines"] != lines:
            raise RuntimeError(f"a follower saw another end: {reader.tail!r}")
        if reader.payload != expected_payload(lines, end):
            raise RuntimeError(f"{reader.payload} bytes, not {expected_payload(lines, end)}")


def main() -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--followers", type=int, nargs="+", default=[1, 100])
    options = parser.parse_args()
    server_core, load_core = cores()
    print(f"server on core {server_core}, load on core {load_core}, {LINE_BYTES}-byte lines")
    os.sched_setaffinity(0, {load_core})
    for followers in options.followers:
        with running_server(server_core) as server:
            found = measure(server, options.lines, followers, load_core)
        print(
            f"{found['followers']:>5.0f} followers: {found['lines_per_second']:>12,.0f} lines/s in,"
            f" {found['events_per_second']:>12,.0f} events/s delivered,"
            f" {found['cpu_seconds']:.1f} s of CPU, peak RSS {found['rss_peak_mib']:.0f} MiB"
            f" (+{found['rss_growth_mib']:.0f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
