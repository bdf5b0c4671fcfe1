"""The shortest of the benchmarks: a process that prints as fast as it can, and its followers.

    python -m bench.fanout [--lines N] [--followers N ...]

Like the suite `end_to_end`, for ours alone and always with that many lines.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

from .followers import connect, drain
from .lines import LINE_BYTES
from .machine import cores
from .programs import OURS, Source, started
from .suites.end_to_end import print_command

MIB = 1024 * 1024


def measure(folder: Path, lines: int, followers: int) -> str:
    """One run, as a line of text. Raises RuntimeError if a line is lost."""
    with started(OURS, cores()) as running:
        head, gate = running.offer(Source(lines, command=print_command(folder, lines, cores()[1])))
        opened = connect(running.address, head, followers)
        time.sleep(0.5)
        before = running.memory()
        running.reset_peak()
        cpu, start = running.cpu_seconds(), time.time()
        gate.touch()
        summary = drain(opened, lines, seconds=600, sampled=False)
        cpu = running.cpu_seconds() - cpu
        for follower in opened:
            follower.socket.close()
        # That the last line is there does not mean that the end is.
        while True:
            record = running.request("GET", f"/v1/workloads/{running.last['id']}")
            if record["finished_at"] is not None:
                break
            time.sleep(0.01)
        if summary.lost or record["lines"] != lines:
            raise RuntimeError(f"{summary.lost} lines were lost: {record}")
        finished = datetime.fromisoformat(record["finished_at"]).timestamp()
        peak = running.memory("VmHWM")
        return (
            f"{followers:>5} followers: {lines / (finished - start):>12,.0f} lines/s in,"
            f" {lines * followers / summary.seconds:>12,.0f} events/s delivered,"
            f" {cpu:.1f} s of CPU, peak RSS {peak / MIB:.0f} MiB (+{(peak - before) / MIB:.0f})"
        )


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--followers", type=int, nargs="+", default=[1, 100])
    options = parser.parse_args()
    server_core, load_core = cores()
    print(f"server on core {server_core}, load on core {load_core}, {LINE_BYTES}-byte lines")
    os.sched_setaffinity(0, {load_core})
    with tempfile.TemporaryDirectory(prefix="trio-logs-bench-") as folder:
        for followers in options.followers:
            print(measure(Path(folder), options.lines, followers), flush=True)


if __name__ == "__main__":
    main()
