"""What must hold when one thing fails, each with the figure that operators ask for."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise

import trio

from tests.chaos.campaign import recorded
from tests.chaos.checker import check
from tests.chaos.clients import Clients
from tests.chaos.cluster import TOKEN, Cluster, Settings
from tests.chaos.history import History, Pushed, Run, Submitted
from tests.chaos.http import Request, ask
from tests.chaos.pushers import SteadyPusher
from tests.chaos.workloads import Job

__all__ = ["DRILLS", "drill"]

Figures = dict[str, str]

Act = Callable[[Clients, Cluster, Run, Figures], Awaitable[list[str]]]

SETTLE_SECONDS = 30.0

END_SECONDS = 8.0
"""A node's workloads are lost, and readers elsewhere have their `end`, within so many."""

ROLLING_SECONDS = 2.0
"""Seconds between two restarts, as an orchestrator waits. Without this pause, a reader could move
to the node that is restarted next, and so move twice."""

SILENCE_SECONDS = 1.0
"""The longest silence of 99 of 100 readers in a rolling restart."""


async def drill(name: str, settings: Settings) -> tuple[Figures, list[str], Run]:
    """Carry out a drill: its figures, what is wrong, and what clients saw."""
    act = DRILLS[name]
    settings = replace(settings, max_running=10)
    figures: Figures = {}
    async with recorded(settings, 1) as (clients, cluster, run):
        found = await act(clients, cluster, run, figures)
        await clients.look_at_the_end()
    return figures, found + check(run), run


async def _jobs(clients: Clients, jobs: dict[str, Job], readers: int) -> dict[str, str]:
    """Submit jobs and follow each; returns their ids once all readers have a line."""
    ids = {}
    for key, job in jobs.items():
        rng = clients.rng(key)
        body = job.body(key, clients.folder)
        ids[key] = await clients.submit(Submitted(key, "drill"), body, rng)
    for key, workload_id in ids.items():
        for number in range(readers):
            name = f"{key}-{number}"
            clients.follow(name, workload_id, clients.rng(name))
    with trio.fail_after(SETTLE_SECONDS):
        while not all(each.history.lines for each in clients.readers):
            await trio.sleep(0.05)
    return ids


async def _owner(clients: Clients, workload_id: str) -> str:
    """The name of the node that runs a workload."""
    path = f"/v1/workloads/{workload_id}"
    record = await clients.until(random.Random(0), Request("GET", path, TOKEN), {200})
    return next(
        name
        for name in clients.cluster.nodes
        if record["node"] == name or record["node"].startswith(f"{name}-")
    )


async def _settle(clients: Clients, found: list[str], seconds: float = SETTLE_SECONDS) -> None:
    with trio.move_on_after(seconds) as scope:
        await clients.settled()
    if scope.cancelled_caught:
        found.append(f"not all has ended within {seconds:.0f} s")


async def _kill(clients: Clients, cluster: Cluster, run: Run, figures: Figures) -> list[str]:
    """A node dies by SIGKILL, and does not come back for a while."""
    found: list[str] = []
    jobs = {f"j{n}": Job(2000, 1, 0.02) for n in range(9)}
    ids = await _jobs(clients, jobs, 4)
    owners = {key: await _owner(clients, workload_id) for key, workload_id in ids.items()}
    victim = Counter(owners.values()).most_common(1)[0][0]
    lost = [ids[key] for key, owner in owners.items() if owner == victim]
    at = cluster.clock()
    here = [each.history for each in clients.readers if _place(each.history, at) == victim]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cluster.kill, victim, 15)
        await trio.sleep(END_SECONDS + 2)
        ends, resumed = [], []
        for reader in clients.readers:
            history = reader.history
            if history.workload in lost:
                ends += [event.at - at for event in history.events if event.kind == "end"]
        for history in here:
            resumed += [e.at - at for e in history.events if e.kind == "open" and e.at > at][:1]
        for key in ids:
            if owners[key] != victim:
                await clients.stop(ids[key], clients.rng(key))
                next(each for each in run.submitted if each.key == key).stopped = True
    readers = sum(each.history.workload in lost for each in clients.readers)
    figures["lost workloads"] = str(len(lost))
    figures["their readers have their end"] = f"{len(ends)} of {readers}, within {_most(ends)} s"
    figures["readers of the node resumed"] = f"{len(resumed)} of {len(here)}, in {_most(resumed)} s"
    if len(ends) != readers or max(ends, default=0) > END_SECONDS:
        found.append(f"an end took longer than {END_SECONDS:.0f} s")
    if len(resumed) != len(here):
        found.append("not all readers of the node have resumed elsewhere")
    await _settle(clients, found)
    for workload_id in lost:
        path = f"/v1/workloads/{workload_id}"
        record = await clients.until(random.Random(0), Request("GET", path, TOKEN), {200})
        if record["status"] != "lost":
            found.append(f"{workload_id} is {record['status']}, not lost")
    return found


def _place(history: History, at: float) -> str | None:
    """The node to which a reader was connected."""
    opens = [event.node for event in history.events if event.kind == "open" and event.at <= at]
    return opens[-1] if opens else None


def _most(times: list[float]) -> str:
    return f"{max(times, default=0):.2f}"


def _outage(seconds: float, jobs: dict[str, Job]) -> Act:
    """The database is down for so long."""

    async def act(clients: Clients, cluster: Cluster, run: Run, figures: Figures) -> list[str]:
        found: list[str] = []
        ids = await _jobs(clients, jobs, 3)
        owners = {key: await _owner(clients, workload_id) for key, workload_id in ids.items()}
        near = {}
        for key, workload_id in ids.items():
            place = [each for each in clients.places if each.node == owners[key]]
            name = f"{key}-near"
            near[key] = clients.follow(name, workload_id, clients.rng(name), places=place)
        await trio.sleep(1)
        await cluster.database_down(seconds)
        back = cluster.clock()
        await _settle(clients, found, 90)
        figures["all has ended after the return"] = f"{cluster.clock() - back:.1f} s"
        await clients.look_at_the_end()
        if run.exits or cluster.exits:
            found.append(f"nodes ended: {cluster.exits}")
        missing, lines = 0, 0
        for key, workload_id in ids.items():
            final = run.finals[workload_id][0]
            gaps = [event for event in final.events if event.kind == "gap"]
            missing += sum(event.last - event.first + 1 for event in gaps)
            lines += final.record["lines"]
            if final.record["status"] not in ("succeeded", "failed"):
                found.append(f"{key} is {final.record['status']}")
            if final.record["lines"] != jobs[key].lines:
                found.append(f"{key} has {final.record['lines']} of {jobs[key].lines} lines")
            events = near[key].history.events
            if any(event.kind in ("gap", "reset", "cut") for event in events):
                found.append(f"the reader at the owner of {key} was cut or told of a gap")
            seen = sum(event.kind == "line" for event in events)
            if seen != jobs[key].lines:
                found.append(f"the reader at the owner of {key} has {seen} lines")
        figures["lines that history lacks"] = f"{missing} of {lines}"
        if seconds < cluster.settings.patience and missing:
            found.append(f"{missing} lines are missing")
        run.finals.clear()
        return found

    return act


async def _rolling(clients: Clients, cluster: Cluster, run: Run, figures: Figures) -> list[str]:
    """500 readers, while each node is restarted in turn."""
    found: list[str] = []
    keys = [f"p{number}" for number in range(4)]
    over = trio.Event()
    for key in keys:
        rng = clients.rng(key)
        body = {"backend": "push", "name": key}
        workload_id = await clients.submit(Submitted(key, "push"), body, rng)
        pushed = Pushed(key)
        run.pushed.append(pushed)
        pusher = SteadyPusher(
            *(pushed, workload_id, 0.1, over, clients.places, TOKEN, rng, cluster.clock)
        )
        clients.begin(pusher.run)
        for number in range(125):
            name = f"{key}-{number}"
            clients.follow(name, workload_id, clients.rng(name))
    with trio.fail_after(SETTLE_SECONDS):
        while not all(each.history.lines > 5 for each in clients.readers):
            await trio.sleep(0.05)
    began = cluster.clock()
    await cluster.rolling(ROLLING_SECONDS)
    until = cluster.clock()
    over.set()
    await _settle(clients, found)
    silences = sorted(_silence(each.history, began, until) for each in clients.readers)
    p50, p99 = silences[len(silences) // 2], silences[int(0.99 * len(silences))]
    figures["the restart of three nodes"] = f"{until - began:.1f} s"
    figures["longest silence of a reader"] = (
        f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {silences[-1]:.2f} s"
    )
    if p99 > SILENCE_SECONDS:
        found.append(f"a silence of {p99:.2f} s at p99")
    return found


def _silence(history: History, began: float, until: float) -> float:
    """The longest time between two lines."""
    times = [event.at for event in history.events if event.kind == "line"]
    times = [at for at in times if began - 1 <= at <= until]
    return max((b - a for a, b in pairwise([*times, until])), default=until - began)


async def _queue(clients: Clients, cluster: Cluster, run: Run, figures: Figures) -> list[str]:
    """1,000 workloads are queued, and the nodes share them."""
    count = 1000
    found: list[str] = []
    marks = clients.folder / "started"
    began = time.monotonic()
    ids: list[str] = []

    async def submit(numbers: range) -> None:
        for number in numbers:
            command = ["sh", "-c", f"echo {number} >> {marks}; echo {number}"]
            place = clients.places[number % 3]
            request = Request("POST", "/v1/workloads", TOKEN, body={"command": command})
            status, _, record = await ask(place.address, request, silence=60)
            if status != 201:
                found.append(f"a submission is answered with {status}: {record}")
            else:
                ids.append(record["id"])

    async with trio.open_nursery() as nursery:
        for first in range(5):
            nursery.start_soon(submit, range(first, count, 5))
    submitted = time.monotonic() - began
    path = "/v1/workloads?counts=true&limit=1"
    with trio.move_on_after(120):
        while True:
            page = await clients.until(random.Random(0), Request("GET", path, TOKEN), {200})
            if page["counts"]["queued"] + page["counts"]["running"] == 0:
                break
            await trio.sleep(0.2)
    starts = Counter(marks.read_text().split())
    figures["1,000 submissions"] = f"{submitted:.1f} s"
    figures["until the last end"] = f"{time.monotonic() - began:.1f} s"
    nodes: Counter[str] = Counter()
    for workload_id in ids[::10]:
        nodes[await _owner(clients, workload_id)] += 1
    figures["every tenth ran at"] = ", ".join(f"{name}: {n}" for name, n in sorted(nodes.items()))
    if page["counts"]["succeeded"] != count:
        found.append(f"the ends are {page['counts']}")
    if len(starts) != count or set(starts.values()) != {1}:
        found.append(f"{len(starts)} started, {sum(n > 1 for n in starts.values())} more than once")
    if len(nodes) != len(cluster.nodes):
        found.append(f"only {sorted(nodes)} ran workloads")
    return found


LONG = {"slow": Job(2500, 1, 0.05), "fast": Job(110_000, 50, 0.05)}
SHORT = {"slow": Job(600, 1, 0.05), "fast": Job(12_000, 20, 0.05), "both": Job(3000, 5, 0.05, True)}

DRILLS: dict[str, Act] = {
    "kill": _kill,
    "outage-20": _outage(20, SHORT),
    "outage-120": _outage(120, LONG),
    "rolling": _rolling,
    "queue": _queue,
}
