"""One run: a plan is carried out, and everything that clients see is recorded."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import trio

from tests.chaos import workloads
from tests.chaos.cluster import TOKEN, Cluster, Settings, running_cluster
from tests.chaos.history import Event, Final, History, Pushed, Run, Submitted
from tests.chaos.http import BrokenError, Request, ask, opened
from tests.chaos.plan import Plan, PlannedFault, PlannedJob, PlannedPush
from tests.chaos.pushers import Pusher
from tests.chaos.readers import Place, Reader, follow_changes, read_events
from tests.cutting_proxy import cutting_proxy

__all__ = ["SETTLE_SECONDS", "carry_out"]

SETTLE_SECONDS = 25.0
"""How long after the last fault everything may take to come to its end."""

FINAL_SECONDS = 15.0

BEATS_SECONDS = 0.25

BEATS = "SELECT id, counter FROM nodes"


async def carry_out(plan: Plan, settings: Settings) -> Run:
    """Carry out a plan, in a folder of its own."""
    began = time.monotonic()
    run = Run(began, plan.patience)
    async with running_cluster(settings, lambda: time.monotonic() - began) as cluster:
        await _Conductor(plan, cluster, run).conduct()
    run.faults, run.exits, run.lagging = cluster.faults, cluster.exits, cluster.lagging
    run.starts = dict(workloads.starts(settings.folder))
    run.counts = workloads.counts(settings.folder)
    run.tracebacks = [
        f"{node.log}: {text.strip().splitlines()[-1]}"
        for node in cluster.nodes.values()
        for text in node.log.read_text().split("Traceback (most recent call last)")[1:]
    ]
    return run


class _Conductor:
    def __init__(self, plan: Plan, cluster: Cluster, run: Run) -> None:
        self._plan = plan
        self._cluster = cluster
        self._run = run
        self._folder = cluster.settings.folder
        self._clock = cluster.clock
        self._places: list[Place] = []
        self._cutting: list[Place] = []
        self._readers: list[Reader] = []
        self._busy = 0
        self._idle = trio.Event()

    async def conduct(self) -> None:
        """Everything at its time; then heal, and wait for the end of all of it."""
        plan = self._plan
        async with trio.open_nursery() as nursery:
            await self._open_places(nursery)
            nursery.start_soon(self._watch_beats)
            for number in range(2):
                changes: list[tuple[float, str, Any]] = []
                self._run.changes.append(changes)
                rng = random.Random(f"changes {plan.seed} {number}")
                nursery.start_soon(follow_changes, self._places, TOKEN, rng, self._clock, changes)
            zero = trio.current_time()
            async with trio.open_nursery() as faulty:
                for fault in plan.faults:
                    faulty.start_soon(self._at, zero + fault.at, partial(self._fault, fault))
                for job in plan.jobs:
                    self._begin(nursery, zero + job.at, partial(self._job, nursery, job))
                for push in plan.pushes:
                    self._begin(nursery, zero + push.at, partial(self._push, nursery, push))
                nursery.start_soon(self._read_pasts, zero + plan.seconds, nursery)
                await trio.sleep_until(zero + plan.seconds)
                # What has not ended by now ends.
                faulty.cancel_scope.deadline = trio.current_time() + 6
            self._cluster.heal()
            self._run.healed = self._clock()
            with trio.move_on_after(SETTLE_SECONDS):
                await self._settled()
            await self._look_at_the_end()
            nursery.cancel_scope.cancel()

    def _begin(
        self, nursery: trio.Nursery, at: float, start: Callable[[], Awaitable[None]]
    ) -> None:
        """Start a client that has to come to its end."""
        self._busy += 1

        async def counted() -> None:
            await self._at(at, start)
            self._busy -= 1
            if self._busy == 0:
                self._idle.set()

        nursery.start_soon(counted)

    async def _at(self, at: float, start: Callable[[], Awaitable[None]]) -> None:
        await trio.sleep_until(at)
        await start()

    async def _open_places(self, nursery: trio.Nursery) -> None:
        """Each node has its port, and a proxy that cuts connections off."""
        rng = random.Random(f"cuts {self._plan.seed}")

        async def keep(node_url: str, name: str, task_status: trio.TaskStatus[None]) -> None:
            after = partial(rng.randint, 500, 100_000)
            async with cutting_proxy(node_url, after=after) as (url, _):
                port = int(url.rpartition(":")[2])
                self._cutting.append(Place(name, ("127.0.0.1", port)))
                task_status.started()
                await trio.sleep_forever()

        for name, node in self._cluster.nodes.items():
            self._places.append(Place(name, node.address))

            async def start(
                url: str = node.url,
                name: str = name,
                *,
                task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
            ) -> None:
                await keep(url, name, task_status)

            await nursery.start(start)

    async def _fault(self, fault: PlannedFault) -> None:
        cluster, node, seconds = self._cluster, fault.node or "a", fault.seconds
        match fault.name:
            case "kill":
                await cluster.kill(node, seconds)
            case "stop":
                await cluster.stop(node, seconds)
            case "rolling":
                await cluster.rolling()
            case "pause":
                await cluster.pause(node, seconds)
            case "database-restart":
                await cluster.restart_database()
            case "database-pause":
                await cluster.pause_database(seconds)
            case "database-down":
                await cluster.database_down(seconds)
            case "cut":
                await cluster.cut(fault.node)
            case "cut-off":
                await cluster.cut(fault.node, seconds)
            case "delay":
                delay = random.Random(f"{self._plan.seed} {fault.at}").uniform(0.001, 0.2)
                await cluster.delay(fault.node, seconds, delay)
            case "black-hole":
                await cluster.black_hole(fault.node, seconds)
            case "failover":
                await cluster.fail_over(seconds)
            case _:
                raise AssertionError(fault.name)

    async def _job(self, nursery: trio.Nursery, job: PlannedJob) -> None:
        rng = random.Random(f"job {self._plan.seed} {job.key}")
        submitted = Submitted(job.key, job.kind)
        self._run.submitted.append(submitted)
        body = job.job.body(job.key, self._folder)
        workload_id = await self._submit(submitted, body, rng)
        for number in range(job.readers):
            self._follow(nursery, f"{job.key}-{number}", workload_id, rng)
        if job.stop_at is not None:
            await trio.sleep(max(0, job.stop_at - self._clock()))
            submitted.stopped = True
            await self._until(rng, self._stop(workload_id), {202, 409})

    async def _push(self, nursery: trio.Nursery, push: PlannedPush) -> None:
        rng = random.Random(f"push {self._plan.seed} {push.key}")
        submitted = Submitted(push.key, "push")
        self._run.submitted.append(submitted)
        body = {"backend": "push", "name": push.key}
        workload_id = await self._submit(submitted, body, rng)
        for number in range(push.readers):
            self._follow(nursery, f"{push.key}-{number}", workload_id, rng)
        pushed = Pushed(push.key)
        self._run.pushed.append(pushed)
        await Pusher(
            *(pushed, workload_id, push.lines, push.pause),
            *(self._places, TOKEN, rng, self._clock),
        ).run()

    async def _submit(self, submitted: Submitted, body: Any, rng: random.Random) -> str:
        """With one idempotency key, at one node after the other, until one answers; and once
        more."""
        headers = {"Idempotency-Key": submitted.key}
        request = Request("POST", "/v1/workloads", TOKEN, headers, body)
        for _ in range(1 + (rng.random() < 0.3)):
            submitted.ids.append((await self._until(rng, request, {200, 201}))["id"])
        return submitted.ids[0]

    def _stop(self, workload_id: str) -> Request:
        return Request("POST", f"/v1/workloads/{workload_id}/stop", TOKEN, body={"grace": 0.5})

    async def _until(self, rng: random.Random, request: Request, statuses: set[int]) -> Any:
        """Ask one node after the other until the answer has one of these; its content."""
        while True:
            place = rng.choice(self._places)
            with suppress(BrokenError):
                status, _, content = await ask(place.address, request, silence=rng.choice([1, 10]))
                if status in statuses:
                    return content
                if status not in (429, 503):
                    fault = f"{request.method} {request.path} at {place.node}: {status} {content}"
                    self._run.stuck.append(f"{self._clock():.2f}: {fault}")
            await trio.sleep(rng.uniform(0.05, 0.3))

    def _follow(
        self, nursery: trio.Nursery, name: str, workload_id: str, rng: random.Random
    ) -> None:
        history = History(name, workload_id, rng.choice(["sse", "sse", "ndjson"]))
        self._run.readers.append(history)
        reader = Reader(
            *(history, self._cutting if rng.random() < 0.3 else self._places, TOKEN),
            *(random.Random(f"{name} {self._plan.seed}"), self._clock),
            silence=rng.choice([3, 18, 18]),
            stay=rng.choice([None, None, 1, 6]),
        )
        self._readers.append(reader)
        self._begin(nursery, 0, reader.run)

    async def _read_pasts(self, until: float, nursery: trio.Nursery) -> None:
        """Now and then, one reads what is there of a log."""
        rng = random.Random(f"pasts {self._plan.seed}")
        number = 0
        while trio.current_time() < until:
            await trio.sleep(rng.uniform(0.1, 0.6))
            ids = [each.ids[0] for each in self._run.submitted if each.ids]
            if ids:
                start = rng.choice([1, 1, rng.randint(1, 200)])
                history = History(f"past-{number}", rng.choice(ids), "past", start)
                self._run.readers.append(history)
                reader = Reader(
                    *(history, self._places, TOKEN),
                    *(random.Random(f"past {number} {self._plan.seed}"), self._clock),
                )
                self._begin(nursery, 0, reader.run)
                number += 1

    async def _watch_beats(self) -> None:
        """Read the counters of the nodes in the database, by a connection of its own."""
        while True:
            try:
                found = await trio.to_thread.run_sync(
                    _read_beats, self._cluster.primary.url, abandon_on_cancel=True
                )
            except psycopg.Error:
                found = None
            self._run.beats.append((self._clock(), found))
            await trio.sleep(BEATS_SECONDS)

    async def _settled(self) -> None:
        await self._idle.wait()
        # Readers of changes may lie behind.
        while self._untold():
            await trio.sleep(0.05)

    def _untold(self) -> bool:
        ids = {each.ids[0] for each in self._run.submitted if each.ids}
        for changes in self._run.changes:
            told = {
                content["id"]
                for _, kind, (_, _, content) in changes
                if kind == "workload" and content["finished_at"] is not None
            }
            if ids - told:
                return True
        return False

    async def _look_at_the_end(self) -> None:
        """Read each log at each node, and tell what did not come to its end."""
        stuck = self._run.stuck
        for reader in self._readers:
            if not reader.ended.is_set():
                stuck.append(
                    f"{reader.history.name}: no end of {reader.history.workload} within"
                    f" {SETTLE_SECONDS:.0f} s, last {reader.history.events[-1:]}"
                )
        stuck += [f"{each.key}: not accepted" for each in self._run.submitted if not each.ids]
        stuck += [f"{each.key}: not finished" for each in self._run.pushed if not each.finished]
        with trio.move_on_after(FINAL_SECONDS):
            for submitted in self._run.submitted:
                if submitted.ids:
                    workload_id = submitted.ids[0]
                    finals = self._run.finals[workload_id] = []
                    for place in self._places:
                        finals.append(await self._final(workload_id, place))
                    status = finals[0].record["status"]
                    if status in ("queued", "running"):
                        stuck.append(f"{submitted.key}: {workload_id} is {status} in the end")
            await self._await_processes()
            return
        stuck.append("the logs can't be read in the end")

    async def _final(self, workload_id: str, place: Place) -> Final:
        path = f"/v1/workloads/{workload_id}"
        while True:
            with suppress(BrokenError):
                status, _, record = await ask(place.address, Request("GET", path, TOKEN))
                if status == 200:
                    return Final(record, await self._log(f"{path}/logs", place), place.node)
                if status != 503:
                    self._run.stuck.append(f"GET {path} at {place.node}: {status}")
            await trio.sleep(0.1)

    async def _log(self, path: str, place: Place) -> list[Event]:
        found = []
        request = Request("GET", path, TOKEN, {"Accept": "application/x-ndjson"})
        async with opened(place.address, request) as answer:
            if answer.status != 200:
                raise BrokenError(str(answer.status))
            async for kind, _, content in read_events(answer, "ndjson"):
                event = Event(self._clock(), kind, place.node)
                if kind == "line":
                    found.append(event._replace(first=content["seq"], text=content["text"]))
                elif kind == "gap":
                    places = {"first": content["from"], "last": content["to"]}
                    found.append(event._replace(**places, text=content["reason"]))
                elif kind == "end":
                    found.append(event._replace(first=content["lines"], text=content["status"]))
            if not answer.is_whole:
                raise BrokenError("cut")
        return found

    async def _await_processes(self) -> None:
        """All workloads have ended, so have their processes, or soon."""
        with trio.move_on_after(5):
            while workloads.leftover(self._folder):
                await trio.sleep(0.1)
        self._run.leftover += map(str, workloads.leftover(self._folder))


def _read_beats(url: str) -> dict[str, int]:
    options = {"connect_timeout": 1, "options": "-c statement_timeout=1000"}
    with psycopg.connect(url, autocommit=True, **options) as connection:  # type: ignore[arg-type]
        return dict(connection.execute(BEATS).fetchall())


def make_settings(
    plan: Plan, folder: Path, binaries: Path, template: Path, plant: str | None = None
) -> Settings:
    """How the nodes of a plan are started."""
    return Settings(
        *(folder, binaries, template, plan.mode, plan.patience, plan.drain, plan.max_running),
        plant=plant,
    )
