"""Queries of workload records that leave out those on damaged pages. The functions are those of
`workloads`, `changes` and `kept`, which are tried first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

import apsw

from ...records import Change, Status, Workload, believed_now
from .. import ChangePage, Retention, WorkloadPage, WorkloadQuery
from ..query import PAGE_BYTES
from . import changes, kept, workloads
from .damage import DAMAGE, records
from .workloads import COLUMNS, to_workload

__all__ = ["count", "expired", "page", "since", "unfinished"]

P = ParamSpec("P")
T = TypeVar("T")
Query = Callable[Concatenate[apsw.Connection, P], T]


def _after(query: Query[P, T]) -> Callable[[Query[P, T]], Query[P, T]]:
    """Try that query first."""

    def decorate(fallback: Query[P, T]) -> Query[P, T]:
        def call(connection: apsw.Connection, /, *arguments: P.args, **options: P.kwargs) -> T:
            try:
                return query(connection, *arguments, **options)
            except DAMAGE:
                return fallback(connection, *arguments, **options)

        return call

    return decorate


@_after(workloads.page)
def page(connection: apsw.Connection, query: WorkloadQuery) -> WorkloadPage:
    """A page of records, newest first."""
    found: list[Workload] = []
    weight = 0
    for workload in _selected(connection, query):
        if query.before is not None and workload.id >= query.before:
            continue
        if query.statuses and workload.status not in query.statuses:
            continue
        found.append(workload)
        weight += workload.weight
        if len(found) == query.limit or weight >= query.max_bytes:
            break
    page = WorkloadPage(sorted(found, key=lambda workload: workload.id, reverse=True))
    page.is_cut = weight >= query.max_bytes
    return page


@_after(workloads.count)
def count(connection: apsw.Connection, query: WorkloadQuery) -> dict[Status, int]:
    """How many records there are of each status."""
    found = Counter(workload.status for workload in _selected(connection, query))
    return dict.fromkeys(Status, 0) | found


def _selected(connection: apsw.Connection, query: WorkloadQuery) -> Iterator[Workload]:
    """The workloads that match, whatever their status and page. No index is trusted."""
    for row in records(connection, COLUMNS, ["spec IS NOT NULL"]):
        workload = to_workload(*row)
        if query.selects(workload):
            yield workload


@_after(workloads.unfinished)
def unfinished(connection: apsw.Connection, after: str = "") -> list[tuple[Workload, str | None]]:
    """Queued and running workloads, with what `remember` kept; see `WorkloadStore.unfinished`."""
    terms = ["finished_at IS NULL", "spec IS NOT NULL", "id > ?"]
    found = [*records(connection, f"handle, {COLUMNS}", terms, (after,))][::-1]
    handles = {row[1]: row[0] for row in found}
    page = WorkloadPage.of((to_workload(*row) for _, *row in found), PAGE_BYTES)
    return [(workload, handles[workload.id]) for workload in page]


@_after(kept.expired)
def expired(connection: apsw.Connection, retention: Retention, limit: int) -> list[str]:
    """The ids of records beyond the bound of age; that of their number needs a count."""
    if retention.max_record_age is None:
        return []
    oldest = believed_now() - int(retention.max_record_age * 1_000_000)
    keep = "COALESCE((SELECT keep FROM kept WHERE kept.number = workloads.number), 0)"
    terms = ["spec IS NOT NULL", "finished_at < ?", f"finished_at + {keep} < ?"]
    found = records(connection, "finished_at, id", terms, (oldest, believed_now()))
    return [workload_id for _, workload_id in sorted(found)][:limit]


def since(connection: apsw.Connection, after: int, max_bytes: int) -> ChangePage:
    """A page of changes."""
    try:
        return changes.since(connection, after, max_bytes)
    except DAMAGE:
        # Read before the transaction of the page, which damage would end.
        found = _changed(connection, after, max_bytes)
    return changes.since(connection, after, max_bytes, found)


def _changed(connection: apsw.Connection, after: int, max_bytes: int) -> list[Change]:
    """The changes after a position that are no deletions, as many as a page may hold."""
    terms = ["changed > ?", "spec IS NOT NULL"]
    found: list[Change] = []
    for position, number in sorted(records(connection, "changed, number", terms, (after,))):
        with suppress(*DAMAGE):
            query = f"SELECT {COLUMNS} FROM workloads WHERE number = ? AND changed = ?"
            rows: list[Any] = connection.execute(query, (number, position)).fetchall()
            for row in rows:
                workload = to_workload(*row)
                found.append(Change(position, workload.id, workload))
                max_bytes -= found[-1].weight
        if max_bytes <= 0:
            break
    return found
