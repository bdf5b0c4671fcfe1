"""Readings, sources and stores that fail, cancelled at each step; see `tests.scenarios`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio

from tests.failing_parts import FailingStore
from tests.scenarios import KNOWN, LINES, LOG, Scenario, Seam, World, lines_of
from tests.steps import InvariantError
from trio_logs import Batch, End, Gap, Reset
from trio_logs.broker import Reading
from trio_logs.errors import StoreError
from trio_logs.records import Outcome, Status
from trio_logs.selection import Selection
from trio_logs.store import Store

__all__ = ["OUTAGES"]

LOST = Outcome(Status.LOST)


class ReadTail(Scenario):
    """The last lines, then live ones; resumed behind the last line that came."""

    tail = 3

    async def prepare(self, world: World) -> None:
        self.got: dict[int, str] = {}
        self.ended = False
        await world.write_known()
        world.nursery.start_soon(world.write_rest)

    def reading(self, world: World) -> Reading:
        selection = Selection(tail=self.tail, since=0)
        return world.broker.read(LOG, selection, after=max(self.got, default=None))

    async def run(self, world: World) -> None:
        with self.reading(world) as reading:
            async for record in reading:
                match record:
                    case Batch(first=first):
                        for number, line in enumerate(record.lines, first):
                            if self.got and number != max(self.got) + 1:
                                raise InvariantError(f"{number} follows {max(self.got)}")
                            self.got[number] = line.decode()
                    case End():
                        self.ended = True
                    case Gap() | Reset():
                        raise InvariantError(f"{record}")

    async def check(self, world: World) -> None:
        if not self.ended:
            await self.run(world)
        first = min(self.got, default=0)
        if not KNOWN - self.tail < first <= len(LINES) - self.tail + 1:
            raise InvariantError(f"the tail begins with {first}")
        if list(self.got.values()) != LINES[first - 1 :]:
            raise InvariantError(f"{self.got}")


class Extend(Scenario):
    """A source: two writers of two streams, a flush, and the end."""

    async def run(self, world: World) -> None:
        self.written = {"stdout": b"", "stderr": b""}
        self.durable = 0
        with await world.broker.open(LOG) as out, out.clone() as errors:
            for number in range(3):
                for log, stream in ((out, "stdout"), (errors, "stderr")):
                    data = b"%d of %s\nunended " % (number, stream.encode())
                    await log.write(data, stream)
                    self.written[stream] += data
            self.durable = await out.flush()

    async def check(self, world: World) -> None:
        end = await world.broker.close(LOG)
        if end.bytes < self.durable or end.bytes < sum(map(len, self.written.values())):
            raise InvariantError(f"{end}, written {self.written}, durable {self.durable}")
        # Of the write that was cancelled, all is there or nothing.
        lines = await lines_of(world.store, LOG)
        for stream, written in self.written.items():
            whole = [line for line in lines if line.endswith(f"of {stream}")]
            if len(whole) - written.count(b"\n") not in (0, 1):
                raise InvariantError(f"{stream}: {whole}, written {written!r}")


class Outage(Seam):
    """The store fails while lines come, for longer than the patience, and is back later."""

    patience = 0.03
    mode = "fails"

    def wrapped(self, store: Store) -> Any:
        return FailingStore(store)

    async def prepare(self, world: World) -> None:
        await super().prepare(world)
        world.store.set_mode(self.mode)  # type: ignore[attr-defined]
        world.nursery.start_soon(self.repair, world)

    async def repair(self, world: World) -> None:
        await trio.sleep(0.3)
        world.store.set_mode("works")  # type: ignore[attr-defined]

    async def run(self, world: World) -> None:
        # A reader that needs the store meanwhile gets its error, and asks again.
        while not any(event[0] == "end" for event in self.transcript.events):
            try:
                await super().run(world)
            except StoreError:
                await trio.sleep(0.05)


class HangingOutage(Outage):
    mode = "hangs"


class UnknownOutage(Outage):
    mode = "unknown"


class CloseInOutage(Scenario):
    """The end of a log whose store fails, asked for again and again by its owner."""

    patience = 0.03

    def wrapped(self, store: Store) -> Any:
        return FailingStore(store)

    async def prepare(self, world: World) -> None:
        await world.write_known()
        self.log = await world.broker.open(LOG)
        world.store.set_mode("hangs")  # type: ignore[attr-defined]
        await self.log.writelines(LINES[KNOWN:])

    async def run(self, world: World) -> None:
        with suppress(StoreError):
            await self.log.flush()
        with suppress(StoreError):
            await world.broker.close(LOG, LOST)
        world.store.set_mode("works")  # type: ignore[attr-defined]
        await self.close(world)

    async def close(self, world: World) -> None:
        while True:
            try:
                end = await world.broker.close(LOG, LOST)
                break
            except StoreError:
                await trio.sleep(0.05)
        if (end.lines, end.outcome) != (len(LINES), LOST):
            raise InvariantError(f"{end}")

    async def check(self, world: World) -> None:
        world.store.set_mode("works")  # type: ignore[attr-defined]
        self.log.close()
        await self.close(world)
        if await lines_of(world.store, LOG) != LINES:
            raise InvariantError(f"{await lines_of(world.store, LOG)}")


OUTAGES: dict[str, type[Scenario]] = {
    "reading": ReadTail,
    "source": Extend,
    "store fails": Outage,
    "store hangs": HangingOutage,
    "store answers too late": UnknownOutage,
    "recovery of an end": CloseInOutage,
}
