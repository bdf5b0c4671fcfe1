"""The changes of workload records after a position, on a reader's connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from heapq import merge

import apsw

from ...records import Change
from ..changes import ChangePage, page_of
from .positions import bounds
from .workloads import COLUMNS, to_workload

__all__ = ["newest", "since"]


def newest(connection: apsw.Connection) -> int:
    """The position of the newest change."""
    return bounds(connection)[0]


def since(
    connection: apsw.Connection,
    after: int,
    max_bytes: int,
    found: Iterable[Change] | None = None,
) -> ChangePage:
    """A page of changes; see `WorkloadStore.changes`. `found` are those that are no deletions, if
    they are known already."""
    # In one transaction: a workload that is deleted between two statements would be in neither.
    with (
        connection,
        closing(connection.cursor()) as records,
        closing(connection.cursor()) as deletions,
    ):
        last, forgotten = bounds(connection)
        changes = merge(
            _records(records, after) if found is None else found,
            _deletions(deletions, after),
            key=lambda change: change.position,
        )
        page = page_of(changes, after, max_bytes, newest=last, forgotten=forgotten)
    return page  # noqa: RET504 - for mypy, a transaction may suppress exceptions


def _records(cursor: apsw.Cursor, after: int) -> Iterator[Change]:
    for position, *row in cursor.execute(
        f"SELECT changed, {COLUMNS} FROM workloads WHERE changed > ? AND spec IS NOT NULL"
        " ORDER BY changed",
        (after,),
    ):
        workload = to_workload(*row)
        yield Change(position, workload.id, workload)


def _deletions(cursor: apsw.Cursor, after: int) -> Iterator[Change]:
    for position, workload_id in cursor.execute(
        "SELECT position, id FROM deletions WHERE position > ? ORDER BY position", (after,)
    ):
        yield Change(position, workload_id, None)
