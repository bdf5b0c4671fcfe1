"""Thousands of clients at their worst, and what is left of them when they are gone.

    python -m tests.storm --connections 10000

The server and its service run in this process, where everything can be counted; the clients run in
another one, and are chosen by a seed.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import trio
from trio import MemoryReceiveChannel, MemorySendChannel

from tests.live import Live, open_live
from tests.serving import footprint
from tests.storm_clients import Order, Seen
from trio_logs.broker.subscription import Subscription
from trio_logs.records import WorkloadSpec
from trio_logs.server.connection import Connection
from trio_logs.settings import Settings

__all__ = ["Left", "Report", "storm"]

SETTLE_SECONDS = 10.0

COUNTED = (Connection, Subscription, MemorySendChannel, MemoryReceiveChannel)

CHATTER = """
import sys, time
number = 0
while True:
    for _ in range(20):
        number += 1
        print("line", number, "." * (number % 100))
    sys.stdout.flush()
    time.sleep(0.01)
"""


@dataclass(frozen=True)
class Left:
    """What the process holds. `objects` are those that exist; a loop's variable may keep its last
    one, so their number is not exact, and no part of a comparison."""

    tasks: int
    descriptors: int
    connections: int
    subscriptions: int
    topics: int
    objects: dict[str, int] = field(compare=False)


@dataclass(frozen=True)
class Report:
    """What the clients saw, and what was there before and after them; in seconds, how long they
    took, and how long it took until everything was as before."""

    seed: int
    seen: Seen
    before: Left
    after: Left
    attacked: float
    settled: float

    def faults(self) -> list[str]:
        """What went wrong."""
        found = [f"not let go: {way}" for way in self.seen.unnoticed]
        if self.seen.failed_polls:
            found.append(f"{self.seen.failed_polls} polls of /readyz failed")
        if self.after != self.before:
            found.append(f"before: {self.before}, after: {self.after}")
        for name, number in self.after.objects.items():
            if number > self.before.objects[name] + 5:
                found.append(f"{name}: {self.before.objects[name]} became {number}")
        return found


def left(live: Live) -> Left:
    """A snapshot."""
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))
    broker = live.service.broker.statistics()
    now = footprint()
    return Left(
        now.tasks,
        now.descriptors,
        live.server.statistics().connections,
        broker.subscriptions,
        broker.topics,
        {kind.__name__: kinds[kind] for kind in COUNTED},
    )


async def storm(data: Path, connections: int, seed: int) -> Report:
    """Let it loose on a service with a workload that writes, quiet ones, and a long log."""
    async with open_live(Settings(data)) as live:
        chatty = await run(live, sys.executable, "-c", CHATTER)
        quiet = [await run(live, "sleep", "1000") for _ in range(3)]
        long = await run(live, "sh", "-c", f"yes {'x' * 99} | head -n 100000")
        with live.service.broker.subscribe(long, 1) as subscription:
            async for _ in subscription:
                pass
        logs = [f"/v1/workloads/{workload}/logs" for workload in (chatty, long, *quiet)]
        port = int(live.url.rpartition(":")[2])
        # Once, small: what is opened when it is first needed, and then kept, is no leak.
        await attack(Order(port, live.service.token, logs, seed + 1, 200))
        before = await settle(live, lambda found: found.connections == 0)
        started = time.monotonic()
        seen = await attack(Order(port, live.service.token, logs, seed, connections))
        attacked = time.monotonic() - started
        after = await settle(live, lambda found: found == before)
        settled = time.monotonic() - started - attacked
        for workload in (chatty, *quiet):
            await live.service.engine.stop(workload, 0)
        await check(live, chatty)
        return Report(seed, seen, before, after, attacked, settled)


async def run(live: Live, *command: str) -> str:
    workload, _ = await live.service.engine.submit(WorkloadSpec(command))
    return workload.id


async def attack(order: Order) -> Seen:
    """Run the clients in another process."""
    process = await trio.run_process(
        [sys.executable, "-m", "tests.storm_clients", json.dumps(asdict(order))],
        capture_stdout=True,
        cwd=Path(__file__).parent.parent,
    )
    return Seen(**json.loads(process.stdout))


async def settle(live: Live, is_settled: Callable[[Left], bool]) -> Left:
    """What is left once that holds, or else after 10 s."""
    deadline = trio.current_time() + SETTLE_SECONDS
    while True:
        found = left(live)
        if is_settled(found) or trio.current_time() > deadline:
            return found
        await trio.sleep(0.05)


async def check(live: Live, workload: str) -> None:
    """The log that was written all the time is whole, and a reader gets it."""
    raw = await live.follow(f"/v1/workloads/{workload}/logs?stream=stdout", "Connection: close")
    async with raw.stream:
        text = await raw.read_all()
    lines = [line for line in text.split(b"\n") if line.startswith(b"data: line ")]
    for number, line in enumerate(lines, 1):
        assert line == b"data: line %d %s" % (number, b"." * (number % 100))
    assert len(lines) > 100


def main() -> None:
    """Print the report; exit 1 if anything failed or is left."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print("seed:", options.seed, flush=True)
    with tempfile.TemporaryDirectory(prefix="trio-logs-storm-") as folder:
        report = trio.run(storm, Path(folder), options.connections, options.seed)
    for name, value in vars(report).items():
        print(f"{name}: {value}")
    for fault in report.faults():
        print(fault)
    sys.exit(bool(report.faults()))


if __name__ == "__main__":
    main()
