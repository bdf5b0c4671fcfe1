"""Readers of lines that have not ended, cancelled at each step."""

from __future__ import annotations

import json

import trio

from tests.scenarios import LOG, Follow, Scenario, World
from tests.screens import Viewer
from tests.steps import InvariantError
from trio_logs.api.stream import LogStream
from trio_logs.formats import NDJSON
from trio_logs.records import Batch, Unfinished
from trio_logs.server import Port

__all__ = ["UNFINISHED"]

PAUSE = 0.1


class Prompts(Follow):
    """Streams of a log whose lines come in parts. One is cancelled, and resumes; the others see
    each text before its own line, and none after it."""

    async def prepare(self, world: World) -> None:
        self.sent = dict.fromkeys((0, *self.others), b"")
        self.pushes = 0
        for port in self.others:
            world.nursery.start_soon(self.follow, world, port)
        world.nursery.start_soon(self.write, world)

    async def write(self, world: World) -> None:
        with await world.broker.open(LOG) as log:
            await log.write("9: last of all", "stderr")
            for number in range(4):
                for part in (f"{number}:", "\r", f"{number}: again"):
                    await log.write(part)
                    await trio.sleep(PAUSE)
                await log.write(" done\n")
        await world.broker.close(LOG)

    async def follow(self, world: World, port: int) -> None:
        after = max((each["seq"] for each in self.objects(port) if "seq" in each), default=None)
        reading = world.broker.read(LOG, after=after, unfinished=True)
        async with LogStream(reading, NDJSON, 15, Port(port, self)) as stream:  # type: ignore[arg-type]
            async for chunk in stream:
                self.sent[port] += chunk

    def objects(self, port: int) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.sent[port].splitlines()]

    async def check(self, world: World) -> None:
        if b'"end"' not in self.sent[0]:
            await self.run(world)
        with trio.fail_after(5):
            while not all(b'"end"' in sent for sent in self.sent.values()):
                await trio.sleep(0.01)
        for port in self.sent:
            self.check_one(port)

    def check_one(self, port: int) -> None:
        viewer = Viewer()
        last = {"stdout": -1, "stderr": -1}
        for each in self.objects(port):
            text, stream = str(each.get("text", "")), str(each.get("stream"))
            number = int(text[0]) if text else 0
            if "seq" in each:
                last[stream] = number
                viewer.take([Batch(1, 1, 0, stream, text.encode())])
            elif each["event"] == "unfinished":
                if text and number <= last[stream]:
                    raise InvariantError(f"{port}: {text!r} after its own line: {each}")
                viewer.take([Unfinished(stream, text)])
        expected = [f"{number}:\r{number}: again done" for number in range(4)]
        if viewer.lines != [*expected, "9: last of all"] or viewer.texts:
            raise InvariantError(f"{port}: {viewer.lines}, {viewer.texts}")
        # After a cancellation, the new answer tells what is current once more.
        if port != 0 and viewer.faults:
            raise InvariantError(f"{port}: {viewer.faults}")
        if port != 0 and len(viewer.events) < 5:
            raise InvariantError(f"{port}: {viewer.events}")


UNFINISHED: dict[str, type[Scenario]] = {"unfinished": Prompts}
