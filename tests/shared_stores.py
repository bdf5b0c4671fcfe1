"""What the tests of shared stores share: the stores of several nodes over one database."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import psycopg
import trio

from tests.postgres_server import PostgresServer
from trio_logs.records import Batch, now
from trio_logs.store import StreamState
from trio_logs.store.memory import MemoryTables, SharedMemoryStore
from trio_logs.store.postgres import PostgresStore
from trio_logs.store.shared import Node, Owned, SharedStore

__all__ = [
    "MARKS",
    "Database",
    "MakeNode",
    "MemoryDatabase",
    "PostgresDatabase",
    "joined",
    "node",
]

MARKS = {"full": b"12", "read_only": b"34"}

MakeNode = Callable[[], SharedStore]
"""Makes the store of another node over the same database."""


def node(node_id: str, **fields: object) -> Node:
    """A node that joins."""
    known = {"host": "here", "address": None, **fields}
    return Node(
        id=node_id,
        started_at=now(),
        seen_at=0,
        counter=0,
        running=0,
        queued=0,
        draining=False,
        **known,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def joined(make_node: MakeNode, *names: str) -> AsyncIterator[list[SharedStore]]:
    """The running stores of nodes that have joined."""
    stores = [make_node() for _ in names]
    async with trio.open_nursery() as nursery:
        for store, name in zip(stores, names, strict=True):
            await nursery.start(store.run)
            await store.join(node(name, host=f"host of {name}"), MARKS)
        yield stores
        nursery.cancel_scope.cancel()


class Database(Protocol):
    """A database that nodes share."""

    def node(self) -> SharedStore:
        """The store of another node."""

    async def fail_over(self, workload_id: str, lines: int) -> None:
        """A replica that lacks the lines of this log after line `lines` takes over."""


@dataclass
class MemoryDatabase:
    """See `Database`."""

    tables: MemoryTables = field(default_factory=MemoryTables)

    def node(self) -> SharedStore:
        return SharedMemoryStore(self.tables)

    async def fail_over(self, workload_id: str, lines: int) -> None:
        await trio.lowlevel.checkpoint()
        forget_lines(self.tables, workload_id, lines)


@dataclass
class PostgresDatabase:
    """A schema of a server's database; see `Database`."""

    server: PostgresServer
    schema: str = field(default_factory=lambda: f"test_{secrets.token_hex(6)}")

    def node(self) -> PostgresStore:
        return PostgresStore(self.server.url(), schema=self.schema)

    async def fail_over(self, workload_id: str, lines: int) -> None:
        """The lines must be batches of their own."""
        await trio.to_thread.run_sync(
            self.execute,
            f"DELETE FROM batches WHERE first > {lines}"
            f" AND log = (SELECT number FROM logs WHERE id = '{workload_id}');"
            f" UPDATE logs SET lines = {lines}, (bytes, held) = (SELECT sum(size),"
            " sum(octet_length(data)) FROM batches WHERE log = number)"
            f" WHERE id = '{workload_id}'",
        )

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement in the schema; return its rows."""
        return self.server.execute(statement, options=f"-csearch_path={self.schema}")

    def connection(self) -> psycopg.Connection:
        """A connection of another program, for a `with`."""
        options = f"-csearch_path={self.schema}"
        return psycopg.connect(self.server.url(), autocommit=True, options=options)

    def clear(self) -> None:
        """Empty it; no store runs."""
        tables = ("logs", "batches", "workloads", "deletions", "skipped")
        emptied = "; ".join(f"DELETE FROM {table}" for table in tables)
        self.execute(f"{emptied}; UPDATE positions SET newest = 0, forgotten = 0")

    def drop(self) -> None:
        """Remove it. A query that was interrupted may still lock tables, in another order."""
        for tries_left in (2, 1, 0):
            try:
                self.server.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
                break
            except psycopg.errors.DeadlockDetected:
                if not tries_left:
                    raise


def forget_lines(tables: MemoryTables, workload_id: str, lines: int) -> None:
    """Have the log, which has not ended, end after line `lines`, as on a replica that is behind."""
    log = tables._logs[workload_id]
    assert log.state.end is None
    kept = [each for each in log.records if each.first <= lines]
    if kept and isinstance(kept[-1], Batch) and kept[-1].last > lines:
        kept[-1] = kept[-1].until(lines)
    gone = sum(len(each.data) for each in log.records if isinstance(each, Batch))
    streams: dict[str, StreamState] = {}
    for each in kept:
        if isinstance(each, Batch):
            gone -= len(each.data)
            before = streams.get(each.stream, StreamState(0)).bytes
            streams[each.stream] = StreamState(before + len(each.data), each.partial)
    log.records = kept
    tables._bytes -= gone
    log.state = type(log.state)(
        lines=min(lines, log.state.lines),
        bytes=log.state.bytes - gone,
        streams=streams,
        epoch=log.state.epoch,
    )
    tables._extended(workload_id, log.state)


def forget_changes(tables: MemoryTables, position: int) -> None:
    """Lose the changes after a position, as a replica does that is behind, and tell the nodes."""
    for positions in (tables._changed, tables._deletions):
        for workload_id in [name for name, each in positions.items() if each > position]:
            del positions[workload_id]
    tables._position = position
    for observer in tables._observers:
        observer.tell_losses(position)


def forget_end(tables: MemoryTables, owned: Owned, node_id: str, lines: int) -> None:
    """Have the workload run on at this node, with that many lines, as on a replica that is
    behind."""
    workload_id = owned.workload.id
    log = tables._logs[workload_id]
    log.state = replace(log.state, end=None, epoch=owned.epoch)
    tables._workloads[workload_id] = owned.workload
    tables._owners[workload_id] = node_id
    forget_lines(tables, workload_id, lines)


def forget_log(tables: MemoryTables, workload_id: str) -> None:
    """Have neither the workload nor its log, as on a replica that is behind."""
    del tables._logs[workload_id], tables._workloads[workload_id], tables._owners[workload_id]
