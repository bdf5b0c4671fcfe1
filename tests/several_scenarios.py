"""Readers of several logs, cancelled at each of their steps; see `tests.scenarios`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import trio

from tests.checker import Transcript, faults
from tests.scenarios import LINES, Scenario, World, again, spec
from tests.steps import InvariantError
from trio_logs.api.positions import Positions, parse_positions
from trio_logs.api.several_format import NDJSON
from trio_logs.api.several_stream import SeveralStream
from trio_logs.broker import BrokerLimits, Item, LogPlace
from trio_logs.records import Batch, End
from trio_logs.server import Port

__all__ = ["SEVERAL"]

LOGS = ("a", "b")
WRITTEN = LINES[:6]
STORED = 3
"""How many of them are there before the scenario starts."""


class Merge(Scenario):
    """From the merged history of two logs to live, and on from wherever it was cut off."""

    pause = 0.0

    async def prepare(self, world: World) -> None:
        self.transcripts = [Transcript(1, WRITTEN) for _ in LOGS]
        for line in WRITTEN[:STORED]:
            for name in LOGS:
                await world.broker.publish(name, line)
        await world.broker.flush()
        for name in LOGS:
            world.nursery.start_soon(self.write_rest, world, name)

    async def write_rest(self, world: World, name: str) -> None:
        for line in WRITTEN[STORED:]:
            await trio.sleep(0.01)
            await world.broker.publish(name, line)
        await again(partial(world.broker.close, name))

    async def run(self, world: World) -> None:
        places = [
            LogPlace(name, after=each.next - 1, ended=self.has_ended(each))
            for name, each in zip(LOGS, self.transcripts, strict=True)
        ]
        with world.broker.merge(places) as merging:
            async for item in merging:
                self.note(item)
                await trio.sleep(self.pause)

    def note(self, item: Item) -> None:
        index, record = item
        events = self.transcripts[index].events
        match record:
            case Batch():
                lines = enumerate(record.lines, record.first)
                events += [("line", number, line.decode()) for number, line in lines]
            case End(lines=count):
                events.append(("end", count))

    def has_ended(self, transcript: Transcript) -> bool:
        return any(event[0] == "end" for event in transcript.events)

    async def check(self, world: World) -> None:
        if not all(map(self.has_ended, self.transcripts)):
            await self.run(world)
        if found := [fault for each in self.transcripts for fault in faults(each)]:
            raise InvariantError("; ".join(found))
        merges = world.broker.statistics().merges
        if (merges.holding, merges.waiting) != (0, 0):
            raise InvariantError(f"{merges}")


class MergeBehind(Merge):
    """Behind the windows all the time: everything comes from the store."""

    limits = BrokerLimits(window_bytes=1, windows_bytes=1)
    pause = 0.025


class StreamSeveral(Scenario):
    """The body of an answer, with changes of workloads, and its resume by the last position."""

    async def prepare(self, world: World) -> None:
        self.sent = b""
        self.chunks = 0
        self.changes = world.engine.changes.position
        self.ids = []
        for count in ("2", "3"):
            workload, _ = await world.engine.submit(spec("steps.print", count))
            self.ids.append(workload.id)

    async def run(self, world: World) -> None:
        positions = self.positions()
        last = positions[-1] if positions else Positions(self.changes, [0, 0])
        places = [
            LogPlace(workload_id, after=place, ended=place == "end")
            for workload_id, place in zip(self.ids, last.logs, strict=True)
        ]
        merging = world.broker.merge(places)
        changes = world.engine.changes.read(last.changes, bell=merging.bell)
        # As the route does, before the answer begins.
        await changes.load()
        stream = SeveralStream(
            merging,
            self.ids,
            NDJSON,
            15,
            Port(0, self),
            changes=changes,
            start=last.changes,
        )
        async with stream as chunks:
            async for chunk in chunks:
                self.sent += chunk

    def send_each(self, ports: Sequence[int], chunk: bytes) -> list[int]:
        self.chunks += 1
        if self.chunks % 3 == 0:
            return [*ports]
        self.sent += chunk
        return []

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.sent.splitlines()]

    def positions(self) -> list[Positions]:
        return [
            parse_positions(each["id"], len(self.ids), changes=True)
            for each in self.objects()
            if each.get("event") == "position"
        ]

    async def check(self, world: World) -> None:
        await self.run(world)
        for workload_id, count in zip(self.ids, (2, 3), strict=True):
            of_log = [each for each in self.objects() if each.get("workload") == workload_id]
            lines = sorted({(each["seq"], each["text"]) for each in of_log if "seq" in each})
            if lines != [(number, str(number - 1)) for number in range(1, count + 1)]:
                raise InvariantError(f"{lines}")
            if not any(each.get("event") == "end" for each in of_log):
                raise InvariantError(f"no end: {of_log}")
        order = [
            (each.changes, *(float("inf") if place == "end" else place for place in each.logs))
            for each in self.positions()
        ]
        for earlier, later in pairwise(order):
            if any(a > b for a, b in zip(earlier, later, strict=True)):
                raise InvariantError(f"positions go back: {self.positions()}")


SEVERAL: dict[str, type[Scenario]] = {
    "merge": Merge,
    "merge behind the windows": MergeBehind,
    "stream of several logs": StreamSeveral,
}
