"""One run: a plan is carried out, and everything that clients see is recorded."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.chaos import workloads
from tests.chaos.checker import CALM_SECONDS
from tests.chaos.clients import Clients
from tests.chaos.cluster import TOKEN, Cluster, Settings, running_cluster
from tests.chaos.history import Pushed, Run, Submitted
from tests.chaos.plan import Plan, PlannedFault, PlannedJob, PlannedPush
from tests.chaos.pushers import Pusher
from tests.chaos.workloads import Job

__all__ = ["SETTLE_SECONDS", "carry_out", "make_settings", "recorded"]

SETTLE_SECONDS = 25.0
"""How long after the last fault everything may take to come to its end."""

FAULT_SECONDS = 6.0
"""How long a fault may last beyond the time of the plan."""


@asynccontextmanager
async def recorded(settings: Settings, seed: int) -> AsyncIterator[tuple[Clients, Cluster, Run]]:
    """A cluster and its clients. On exit the clients are cancelled, the processes are ended, and
    the run has everything that the checker needs."""
    began = time.monotonic()
    run = Run(began, settings.patience)
    async with (
        running_cluster(settings, lambda: time.monotonic() - began) as cluster,
        trio.open_nursery() as nursery,
    ):
        clients = Clients(nursery, cluster, run, seed)
        nursery.start_soon(clients.watch_beats)
        yield clients, cluster, run
        nursery.cancel_scope.cancel()
    run.faults, run.exits, run.lagging = cluster.faults, cluster.exits, cluster.lagging
    run.starts = dict(workloads.starts(settings.folder))
    run.counts = workloads.counts(settings.folder)
    run.tracebacks = [
        f"{node.log.name}: {_raised(text)}"
        for node in cluster.nodes.values()
        for text in node.log.read_text().split("Traceback (most recent call last)")[1:]
    ]


def _raised(text: str) -> str:
    """The line of a traceback that names the exception, after its indented ones."""
    return next((line for line in text.splitlines()[1:] if line and line[0] not in " |"), "")


async def carry_out(plan: Plan, settings: Settings) -> Run:
    """Everything at its time; then heal, and wait for the end of all of it."""
    async with recorded(settings, plan.seed) as (clients, cluster, run):
        await clients.open_cutting()
        clients.follow_changes(2)
        zero = trio.current_time()
        conductor = _Conductor(plan, cluster, clients, zero)
        async with trio.open_nursery() as faulty:
            for fault in plan.faults:
                faulty.start_soon(_at, zero + fault.at, partial(conductor.break_, fault))
            for job in plan.jobs:
                clients.begin(partial(_at, zero + job.at, partial(conductor.run_job, job)))
            for push in plan.pushes:
                clients.begin(partial(_at, zero + push.at, partial(conductor.push, push)))
            clients.begin(partial(conductor.read_pasts, zero + plan.seconds))
            await trio.sleep_until(zero + plan.seconds)
            faulty.cancel_scope.deadline = trio.current_time() + FAULT_SECONDS
        cluster.heal()
        run.healed = cluster.clock()
        if cluster.lagging:
            conductor.ask_again()
        clients.begin(conductor.afterwards)
        with trio.move_on_after(SETTLE_SECONDS):
            await clients.settled()
        await clients.look_at_the_end()
    return run


async def _at(at: float, start: Callable[[], Awaitable[None]]) -> None:
    await trio.sleep_until(at)
    await start()


class _Conductor:
    """`zero` is the time of Trio's clock at which the plan begins."""

    def __init__(self, plan: Plan, cluster: Cluster, clients: Clients, zero: float) -> None:
        self._plan = plan
        self._zero = zero
        self._cluster = cluster
        self._clients = clients
        self._pushers: list[Pusher] = []
        self._stops: list[tuple[Submitted, Any, random.Random]] = []

    async def break_(self, fault: PlannedFault) -> None:
        """Cause a fault, and return when it is over."""
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
                delay = self._clients.rng(f"delay {fault.at}").uniform(0.001, 0.2)
                await cluster.delay(fault.node, seconds, delay)
            case "black-hole":
                await cluster.black_hole(fault.node, seconds)
            case "black-hole-push":
                with trio.move_on_after(3):
                    while not (nodes := [each.at for each in self._pushers if each.at]):
                        await trio.sleep(0.02)
                    await trio.sleep(0.1)
                    node = nodes[0]
                await cluster.black_hole(node, seconds)
            case "failover":
                await cluster.fail_over(seconds)
            case _:
                raise AssertionError(fault.name)

    async def run_job(self, job: PlannedJob) -> None:
        """Submit a job, follow it, and stop it if the plan says so."""
        clients = self._clients
        rng = clients.rng(f"job {job.key}")
        submitted = Submitted(job.key, job.kind)
        body = job.job.body(job.key, clients.folder)
        workload_id = await clients.submit(submitted, body, rng)
        self._follow(job.key, job.readers, workload_id)
        if job.stop_at is not None:
            await trio.sleep_until(self._zero + job.stop_at)
            submitted.stopped = True
            await clients.stop(workload_id, rng)
            self._stops.append((submitted, body, rng))

    async def afterwards(self) -> None:
        """Once the effects of the faults are over, everything is quick again."""
        await trio.sleep(CALM_SECONDS)
        for number in range(8):
            kind = "quiet" if number == 7 else "brief"
            job = Job(2, 1, 0.5) if kind == "quiet" else Job(3, 3, 0)
            await self.run_job(PlannedJob(0, f"after-{number}", kind, job, 3, None))
            await trio.sleep(0.2)

    async def push(self, push: PlannedPush) -> None:
        """Push a log from node to node."""
        clients = self._clients
        rng = clients.rng(f"push {push.key}")
        body = {"backend": "push", "name": push.key}
        workload_id = await clients.submit(Submitted(push.key, "push"), body, rng)
        self._follow(push.key, push.readers, workload_id)
        pushed = Pushed(push.key)
        clients.run.pushed.append(pushed)
        pusher = Pusher(
            pushed,
            workload_id,
            push.lines,
            push.pause,
            clients.places,
            TOKEN,
            rng,
            self._cluster.clock,
            clients.may_be_gone,
        )
        self._pushers.append(pusher)
        await pusher.run()

    def ask_again(self) -> None:
        """Stops and ends that nodes have acknowledged may have been lost."""
        for stop in self._stops:
            self._clients.begin(partial(self._stop_again, *stop))
        for pusher in self._pushers:
            if pusher.pushed.finished:
                pusher.pushed.finished = False
                self._clients.begin(pusher.run)

    async def _stop_again(self, submitted: Submitted, body: Any, rng: random.Random) -> None:
        """Another workload may have the idempotency key now: that of an earlier request, which
        a node has carried out after the failover."""
        again = Submitted(submitted.key, submitted.kind)
        workload_id = await self._clients.submit(again, body, rng)
        again.stopped = True
        await self._clients.stop(workload_id, rng)

    def _follow(self, key: str, readers: int, workload_id: str) -> None:
        for number in range(readers):
            name = f"{key}-{number}"
            rng = self._clients.rng(name)
            self._clients.follow(
                *(name, workload_id, rng),
                way=rng.choice(["sse", "sse", "ndjson"]),
                places=self._clients.cutting if rng.random() < 0.3 else (),
                silence=rng.choice([3, 18, 18]),
                stay=rng.choice([None, None, 1, 6]),
            )

    async def read_pasts(self, until: float) -> None:
        """Now and then, read what is there of a log."""
        clients, number = self._clients, 0
        rng = clients.rng("pasts")
        while trio.current_time() < until:
            await trio.sleep(rng.uniform(0.1, 0.6))
            ids = [each.ids[0] for each in clients.run.submitted if each.ids]
            if ids:
                start = rng.choice([1, 1, rng.randint(1, 200)])
                name = f"past-{number}"
                clients.follow(name, rng.choice(ids), clients.rng(name), way="past", start=start)
                number += 1


def make_settings(
    plan: Plan, folder: Path, binaries: Path, template: Path, plant: str | None = None
) -> Settings:
    """How the nodes of a plan are started."""
    return Settings(
        *(folder, binaries, template, plan.mode, plan.patience, plan.drain, plan.max_running),
        plant=plant,
    )
