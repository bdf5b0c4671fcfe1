"""The changes of workload records after a position, on a connection of a reader."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from typing import Any

from ...records import Change
from ..changes import ChangePage, page_of
from .connection import Connection
from .rows import WORKLOAD, text, to_workload

__all__ = ["newest", "since"]

ROWS = 100
"""Rows that are fetched at once. Each may have a specification of some hundred kilobytes."""


def newest(connection: Connection) -> int:
    """The position of the newest change."""
    row: Any = connection.execute("SELECT newest FROM positions").fetchone()
    return int(row[0])


def since(connection: Connection, after: int, max_bytes: int) -> ChangePage:
    """A page of changes; see `WorkloadStore.changes`."""
    with connection.transaction():
        # All statements see one moment: a workload that is deleted between two of them would be in
        # neither.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        last, forgotten, is_lost = _bounds(connection, after)
        if is_lost:
            return ChangePage((), last, last, forgotten, is_known=False)
        changes = merge(
            _records(connection, after),
            _deletions(connection, after),
            key=lambda change: change.position,
        )
        return page_of(changes, after, max_bytes, newest=last, forgotten=forgotten)


def _bounds(connection: Connection, position: int) -> tuple[int, int, bool]:
    """The newest position, the last one of the deletions that are not kept, and whether a failover
    has lost the change at `position`."""
    row: Any = connection.execute(
        "SELECT newest, forgotten, EXISTS (SELECT FROM skipped WHERE last < %s AND base > %s)"
        " FROM positions",
        (position, position),
    ).fetchone()
    newest, forgotten, is_lost = row
    return newest, forgotten, is_lost


def _records(connection: Connection, after: int) -> Iterator[Change]:
    statement = (
        f"SELECT w.changed, {WORKLOAD} FROM workloads AS w JOIN logs AS l USING (number)"
        f" WHERE w.changed > %s ORDER BY w.changed LIMIT {ROWS}"
    )
    for position, *row in _pages(connection, statement, after):
        workload = to_workload(*row)
        yield Change(position, workload.id, workload)


def _deletions(connection: Connection, after: int) -> Iterator[Change]:
    statement = (
        f"SELECT position, id FROM deletions WHERE position > %s ORDER BY position LIMIT {ROWS}"
    )
    for position, workload_id in _pages(connection, statement, after):
        yield Change(position, text(workload_id) or "", None)


def _pages(connection: Connection, statement: str, after: int) -> Iterator[tuple[Any, ...]]:
    """The rows of all pages; each begins after the first value of the row before it."""
    while True:
        page = connection.cursor(binary=True).execute(statement, [after]).fetchall()
        yield from page
        if len(page) < ROWS:
            return
        after = page[-1][0]
