"""What clients do with the nodes of a cluster, recorded in a run."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import trio

from tests.chaos import workloads
from tests.chaos.cluster import TOKEN, Cluster
from tests.chaos.history import FINAL, Event, Final, History, Run, Submitted, told
from tests.chaos.http import BrokenError, Request, ask, opened
from tests.chaos.readers import Place, Reader, follow_changes, read_events
from tests.cutting_proxy import cutting_proxy

__all__ = ["Clients"]

FINAL_SECONDS = 15.0
"""How long it may take to read all logs at all nodes."""

TOLD_SECONDS = 5.0
"""How long it may take until readers of changes know the end of each workload."""

BEATS_SECONDS = 0.25

BEATS = "SELECT id, counter FROM trio_logs.nodes"


class Clients:
    """Clients that run in a nursery. `seed` decides what they choose."""

    def __init__(self, nursery: trio.Nursery, cluster: Cluster, run: Run, seed: int) -> None:
        self.run = run
        self.cluster = cluster
        self.nursery = nursery
        self.places = [Place(name, node.address) for name, node in cluster.nodes.items()]
        self.cutting: list[Place] = []
        self.readers: list[Reader] = []
        self._seed = seed
        self._busy = 0
        self._idle = trio.Event()

    @property
    def folder(self) -> Path:
        return self.cluster.settings.folder

    def rng(self, purpose: str) -> random.Random:
        """Choices for one purpose, which depend on the seed alone."""
        return random.Random(f"{purpose} {self._seed}")

    def may_be_gone(self) -> bool:
        """Whether the database may have lost what it had acknowledged."""
        return self.cluster.lagging

    def begin(self, client: Callable[[], Awaitable[None]]) -> None:
        """Start a client that has to come to its end, see `idle`."""
        self._busy += 1

        async def counted() -> None:
            await client()
            self._busy -= 1
            if self._busy == 0:
                self._idle.set()

        self.nursery.start_soon(counted)

    async def idle(self) -> None:
        """Wait until no client is left that has to come to its end."""
        while self._busy:
            self._idle = trio.Event()
            await self._idle.wait()

    async def open_cutting(self) -> None:
        """Give each node a proxy that cuts connections off."""
        after = partial(self.rng("cuts").randint, 500, 100_000)

        async def keep(
            place: Place, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
        ) -> None:
            url = self.cluster.nodes[place.node].url
            async with cutting_proxy(url, after=after) as (proxy, _):
                port = int(proxy.rpartition(":")[2])
                self.cutting.append(Place(place.node, ("127.0.0.1", port)))
                task_status.started()
                await trio.sleep_forever()

        for place in self.places:
            await self.nursery.start(keep, place)

    def follow_changes(self, readers: int) -> None:
        """Have so many readers follow the changes of workloads."""
        for number in range(readers):
            changes: list[tuple[float, str, Any]] = []
            self.run.changes.append(changes)
            rng = self.rng(f"changes {number}")
            self.nursery.start_soon(
                follow_changes, self.places, TOKEN, rng, self.cluster.clock, changes
            )

    async def submit(self, submitted: Submitted, body: Any, rng: random.Random) -> str:
        """With one idempotency key, at one node after the other, until one answers; at times once
        more. Returns the id."""
        self.run.submitted.append(submitted)
        headers = {"Idempotency-Key": submitted.key}
        request = Request("POST", "/v1/workloads", TOKEN, headers, body)
        for _ in range(1 + (rng.random() < 0.3)):
            submitted.ids.append((await self.until(rng, request, {200, 201}))["id"])
        return submitted.ids[0]

    async def stop(self, workload_id: str, rng: random.Random) -> None:
        """Ask any node to stop a workload."""
        path = f"/v1/workloads/{workload_id}/stop"
        request = Request("POST", path, TOKEN, body={"grace": 0.5})
        await self.until(rng, request, {202, 409})

    async def until(self, rng: random.Random, request: Request, statuses: set[int]) -> Any:
        """Ask one node after the other until the answer has one of these; its content."""
        while True:
            place = rng.choice(self.places)
            with suppress(BrokenError):
                status, _, content = await ask(place.address, request, silence=rng.choice([1, 10]))
                if status in statuses or (status == 404 and self.may_be_gone()):
                    return content
                if status not in (429, 503):
                    fault = f"{request.method} {request.path} at {place.node}: {status} {content}"
                    self.run.stuck.append(f"{self.cluster.clock():.2f}: {fault}")
            await trio.sleep(rng.uniform(0.05, 0.3))

    def follow(
        self,
        name: str,
        workload_id: str,
        rng: random.Random,
        *,
        way: str = "sse",
        start: int = 1,
        places: Sequence[Place] = (),
        **choices: Any,
    ) -> Reader:
        """Read a log, over as many connections as it takes."""
        history = History(name, workload_id, way, start)
        self.run.readers.append(history)
        reader = Reader(
            *(history, places or self.places, TOKEN, rng, self.cluster.clock),
            may_be_gone=self.may_be_gone,
            **choices,
        )
        self.readers.append(reader)
        self.begin(reader.run)
        return reader

    async def watch_beats(self) -> None:
        """Read the counters of the nodes in the database, by a connection of its own."""
        while True:
            try:
                found = dict(await self.cluster.primary.query(BEATS))
            except psycopg.Error:
                found = None
            self.run.beats.append((self.cluster.clock(), found))
            await trio.sleep(BEATS_SECONDS)

    async def settled(self) -> None:
        """Wait until all clients have come to their end, and readers of changes were told of
        it."""
        await self.idle()
        while self._untold():
            await trio.sleep(0.05)
        if self.may_be_gone():
            # Readers may have had ends that a failover lost. The nodes find out.
            for submitted in self.run.submitted:
                if submitted.ids:
                    await self._until_ended(submitted.ids[0])

    async def _until_ended(self, workload_id: str) -> None:
        request = Request("GET", f"/v1/workloads/{workload_id}", TOKEN)
        rng = self.rng(f"end of {workload_id}")
        while True:
            record = await self.until(rng, request, {200})
            if record.get("status") not in ("queued", "running"):
                return
            await trio.sleep(0.2)

    def _untold(self) -> bool:
        if self.may_be_gone():
            # Others may be gone.
            ids = set(self.run.finals)
        else:
            ids = {each.ids[0] for each in self.run.submitted if each.ids}
        for changes in self.run.changes:
            known = told(changes)
            if not all(known.get(each) in FINAL for each in ids):
                return True
        return False

    async def look_at_the_end(self) -> None:
        """Read each log at each node, and tell what did not come to its end."""
        run, stuck = self.run, self.run.stuck
        for reader in self.readers:
            if not reader.ended.is_set():
                last = reader.history.events[-1:]
                stuck.append(
                    f"{reader.history.name}: no end of {reader.history.workload}, last {last}"
                )
        stuck += [f"{each.key}: not accepted" for each in run.submitted if not each.ids]
        stuck += [f"{each.key}: not finished" for each in run.pushed if not each.finished]
        with trio.move_on_after(FINAL_SECONDS) as scope:
            for submitted in run.submitted:
                if submitted.ids:
                    workload_id = submitted.ids[0]
                    found = [await self._final(workload_id, place) for place in self.places]
                    finals = [final for final in found if final is not None]
                    if not finals:
                        continue
                    run.finals[workload_id] = finals
                    status = finals[0].record["status"]
                    if status in ("queued", "running"):
                        stuck.append(f"{submitted.key}: {workload_id} is {status} in the end")
            await self._await_processes()
        if scope.cancelled_caught:
            stuck.append("the logs can't be read in the end")
        with trio.move_on_after(TOLD_SECONDS):
            while self._untold():
                await trio.sleep(0.05)

    async def _final(self, workload_id: str, place: Place) -> Final | None:
        """None if the database may have lost the workload, and has."""
        path = f"/v1/workloads/{workload_id}"
        while True:
            with suppress(BrokenError):
                status, _, record = await ask(place.address, Request("GET", path, TOKEN))
                if status == 200:
                    return Final(record, await self._log(f"{path}/logs", place), place.node)
                if status == 404 and self.may_be_gone():
                    return None
                if status != 503:
                    self.run.stuck.append(f"GET {path} at {place.node}: {status}")
            await trio.sleep(0.1)

    async def _log(self, path: str, place: Place) -> list[Event]:
        found = []
        request = Request("GET", path, TOKEN, {"Accept": "application/x-ndjson"})
        async with opened(place.address, request) as answer:
            if answer.status != 200:
                raise BrokenError(str(answer.status))
            async with read_events(answer, "ndjson") as events:
                async for kind, _, content in events:
                    at, node = self.cluster.clock(), place.node
                    if kind == "line":
                        found.append(Event(at, "line", node, content["seq"], text=content["text"]))
                    elif kind == "gap":
                        span = content["from"], content["to"]
                        found.append(Event(at, "gap", node, *span, content["reason"]))
                    elif kind == "end":
                        found.append(
                            Event(at, "end", node, content["lines"], text=content["status"])
                        )
            if not answer.is_whole:
                raise BrokenError("cut")
        return found

    async def _await_processes(self) -> None:
        """All workloads have ended, so have their processes, or soon."""
        with trio.move_on_after(5):
            while workloads.leftover(self.folder):
                await trio.sleep(0.1)
        self.run.leftover += map(str, workloads.leftover(self.folder))
