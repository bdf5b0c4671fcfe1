"""What the tests of stores share: a store that runs, and what is put into it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import trio

from trio_logs.records import Batch, Gap, Outcome, Workload, WorkloadSpec, now
from trio_logs.store import LogState, LogStore, Store

__all__ = ["append", "append_line", "append_noise", "batch", "noise", "running", "workload"]

S = TypeVar("S", bound=Store)


@asynccontextmanager
async def running(store: S) -> AsyncIterator[S]:
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield store
        nursery.cancel_scope.cancel()


def batch(
    first: int, count: int = 1, time: int = 0, stream: str = "stdout", **flags: bool
) -> Batch:
    data = b"".join(b"line %d\n" % number for number in range(first, first + count))
    return Batch(first, count, time, stream, data, **flags)


def workload(workload_id: str, **fields: object) -> Workload:
    spec = WorkloadSpec(("true",), name=workload_id, labels={"kind": workload_id[0]})
    return replace(Workload(workload_id, spec, now()), **fields)  # type: ignore[arg-type]


async def append(
    store: LogStore,
    workload_id: str,
    records: Sequence[Batch | Gap],
    *,
    outcome: Outcome | None = None,
    finished_at: int = 0,
) -> None:
    """Append as a writer that has just asked for the state of the log."""
    state = await store.log(workload_id) or LogState()
    await store.append(
        workload_id,
        records,
        expected=records[0].first if records else state.lines + 1,
        epoch=state.epoch,
        size=state.bytes + sum(len(one.data) for one in records if isinstance(one, Batch)),
        outcome=outcome,
        finished_at=finished_at,
    )


def append_line(store: LogStore, name: str, number: int) -> Awaitable[None]:
    """Append line `number`; without a read of the state, as `append` makes one."""
    return store.append(name, [batch(number)], expected=number, epoch=0, size=7 * number)


def noise(number: int) -> Batch:
    """A line of 60 KB that does not compress: it takes as many pages of a file."""
    return Batch(number, 1, number, "stdout", os.urandom(60_000).replace(b"\n", b"") + b"\n")


async def append_noise(store: LogStore, name: str, first: int, count: int) -> None:
    """Append such lines, each with a commit of its own."""
    for number in range(first, first + count):
        await append(store, name, [noise(number)])
