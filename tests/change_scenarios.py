"""Readers of changes of workloads, cancelled at each of their steps; see `tests.scenarios`."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

import trio

from tests.live import parse_events
from tests.scenarios import Scenario, World, again, every, spec
from tests.steps import InvariantError
from trio_logs.api.event_format import EVENTS
from trio_logs.api.event_stream import EventStream
from trio_logs.records import Change, Status, Workload

__all__ = ["CHANGES"]


class FollowChanges(Scenario):
    """From a list to its changes, and on from wherever it was cut off. It gets each change."""

    pause = 0.0

    async def prepare(self, world: World) -> None:
        self.position = world.engine.changes.position
        self.known: dict[str, Workload] = {}
        self.seen: list[int] = []
        world.nursery.start_soon(self.work, world)

    async def work(self, world: World) -> None:
        first, _ = await world.engine.submit(spec("steps.print", "2"))
        await world.final(first.id)
        await again(partial(world.engine.delete, first.id))
        last, _ = await world.engine.submit(spec("steps.print", "1"))
        await world.final(last.id)

    async def run(self, world: World) -> None:
        with world.engine.changes.read(self.position) as reader:
            while not self.is_over:
                for record in await reader.receive():
                    if isinstance(record, Change):
                        self.note(record)
                await trio.sleep(self.pause)

    def note(self, change: Change) -> None:
        if change.position <= self.position:
            raise InvariantError(f"{change.position} came after {self.position}")
        self.position = change.position
        self.seen.append(change.position)
        if change.workload is None:
            self.known.pop(change.id, None)
        else:
            self.known[change.id] = change.workload

    @property
    def is_over(self) -> bool:
        """The last workload has ended: with the deletion, it was the seventh change."""
        return self.position == 7

    async def check(self, world: World) -> None:
        await self.run(world)
        stored = {each.id: each for each in await world.store.workloads(every())}
        if self.known != stored or [each.status for each in stored.values()] != [Status.SUCCEEDED]:
            raise InvariantError(f"{self.known}, stored: {stored}")
        self.check_seen()

    def check_seen(self) -> None:
        if self.seen != list(range(1, 8)):
            raise InvariantError(f"seen: {self.seen}")


class BehindChanges(FollowChanges):
    """Behind the window all the time: the changes come from the store, the newest of each."""

    pause = 0.025

    async def run(self, world: World) -> None:
        with patch("trio_logs.engine.change_window.MAX_CHANGES", 1):
            await super().run(world)

    def check_seen(self) -> None:
        if 4 not in self.seen or 7 not in self.seen:
            raise InvariantError(f"seen: {self.seen}")


class StreamChanges(Scenario):
    """The body of an answer, and its resume."""

    async def prepare(self, world: World) -> None:
        self.sent = b""
        self.work = FollowChanges()
        await self.work.prepare(world)

    async def run(self, world: World) -> None:
        ids = [int(each[1]) for each in parse_events(self.sent) if each[1]]
        reader = world.engine.changes.read(ids[-1] if ids else self.work.position)
        # As the route does, before the answer begins.
        await reader.load()
        async with EventStream(reader, EVENTS, 15) as stream:
            async for chunk in stream:
                self.sent += chunk
                if b"id: 7\n" in chunk:
                    break

    async def check(self, world: World) -> None:
        if b"id: 7\n" not in self.sent:
            await self.run(world)
        ids = [each[1] for each in parse_events(self.sent) if each[0] != "progress"]
        if ids != [str(number) for number in range(1, 8)]:
            raise InvariantError(f"{ids}")


CHANGES: dict[str, type[Scenario]] = {
    "follow changes": FollowChanges,
    "changes behind the window": BehindChanges,
    "stream of changes": StreamChanges,
}
