"""Workload records, on a connection. The functions are those of `WorkloadStore`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import apsw
import msgspec

from ...records import Change, Outcome, Status, Workload, WorkloadSpec
from .. import WorkloadPage, WorkloadQuery
from ..query import PAGE_BYTES
from . import kept
from .listing import Selected, add_labels, change_labels, remove_labels, select, words_of
from .positions import NEXT, add_deletion, take

__all__ = [
    "COLUMNS",
    "DELETED",
    "count",
    "create",
    "find_key",
    "finish",
    "hide",
    "index_workloads",
    "one",
    "page",
    "remember",
    "start",
    "to_workload",
    "unfinished",
]

DELETED = "deleted"

COLUMNS = (
    "id, spec, created_at, status, started_at, finished_at, exit_code, signal, error, lines, bytes,"
    " reason, node, rerun_of"
)


def create(
    connection: apsw.Connection, workload: Workload, key: str | None, fingerprint: bytes
) -> Change:
    """Add a record. `key` must be new."""
    position = take(connection)
    spec = msgspec.json.encode(workload.spec).decode()
    connection.execute(
        "INSERT INTO workloads"
        " (id, spec, idempotency_key, fingerprint, status, created_at, rerun_of, name, words,"
        " changed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            workload.id,
            spec,
            key,
            fingerprint,
            workload.status,
            workload.created_at,
            workload.rerun_of,
            workload.spec.name,
            words_of(workload),
            position,
        ),
    )
    add_labels(connection, workload)
    kept.add(connection, connection.last_insert_rowid(), workload.spec.labels)
    return Change(position, workload.id, workload)


def start(
    connection: apsw.Connection, workload_id: str, started_at: int, node: str | None
) -> Change | None:
    """Mark a workload as running; None if there is no such record."""
    return _update(
        connection,
        f"UPDATE workloads SET status = ?, started_at = ?, node = ?, changed = {NEXT}"
        " WHERE id = ? AND spec IS NOT NULL",
        (Status.RUNNING, started_at, node, workload_id),
    )


def remember(connection: apsw.Connection, workload_id: str, handle: str) -> None:
    """Keep the handle that the backend needs to clean up after a crash."""
    connection.execute("UPDATE workloads SET handle = ? WHERE id = ?", (handle, workload_id))


def finish(
    connection: apsw.Connection, number: int, outcome: Outcome, finished_at: int
) -> Change | None:
    """Store the outcome of the workload whose log has that number; None if it has no record."""
    return _update(
        connection,
        "UPDATE workloads SET status = ?, exit_code = ?, signal = ?, error = ?, reason = ?,"
        f" finished_at = ?, handle = NULL, changed = {NEXT}"
        " WHERE number = ?",
        (
            outcome.status,
            outcome.exit_code,
            outcome.signal,
            outcome.error,
            outcome.reason,
            finished_at,
            number,
        ),
    )


def hide(connection: apsw.Connection, workload_id: str) -> Change | None:
    """Hide a workload from all readers; None if there is no such record. `Logs.sweep` removes its
    rows later, in pieces."""
    change = None
    if (workload := one(connection, workload_id)) is not None:
        change = add_deletion(connection, workload_id)
        remove_labels(connection, workload)
    # Ids have no slash, so the new id is free.
    connection.execute(
        "UPDATE workloads SET id = '/' || number, spec = NULL, idempotency_key = NULL,"
        " name = NULL, words = NULL,"
        " status = ?, finished_at = COALESCE(finished_at, 0) WHERE id = ?",
        (DELETED, workload_id),
    )
    return change


def find_key(connection: apsw.Connection, key: str) -> tuple[str, bytes] | None:
    """The id and fingerprint of the workload that was created with that key."""
    return connection.execute(
        "SELECT id, fingerprint FROM workloads WHERE idempotency_key = ?", (key,)
    ).fetchone()


def one(connection: apsw.Connection, workload_id: str) -> Workload | None:
    """One record."""
    return next(_select(connection, "id = ? AND spec IS NOT NULL", (workload_id,)), None)


def page(connection: apsw.Connection, query: WorkloadQuery) -> WorkloadPage:
    """A page of records, newest first."""
    found = select(connection, query, records=True)
    if query.before is not None:
        found.require(f"{found.id} < ?", query.before)
    if query.statuses and found.source == "workloads" and query.name is None:
        return _page_of_statuses(connection, query, found)
    if query.statuses:
        # The plus keeps the planner from the index of statuses: the others find less.
        found.require(
            f"+{found.status} IN ({', '.join('?' * len(query.statuses))})", *query.statuses
        )
    rows = _select(connection, _page(found), (*found.values, query.limit), found.source)
    with closing(rows):
        return WorkloadPage.of(rows, query.max_bytes)


def _page_of_statuses(
    connection: apsw.Connection, query: WorkloadQuery, found: Selected
) -> WorkloadPage:
    """The index of statuses is in order for one status only. One statement sees one state of the
    database: a workload that changes its status meanwhile comes once."""
    values = [value for status in query.statuses for value in (*found.values, status, query.limit)]
    found.require("status = ?")
    each = f"SELECT * FROM (SELECT number FROM workloads WHERE {_page(found)})"
    union = " UNION ALL ".join([each] * len(query.statuses))
    condition = f"number IN ({union}) ORDER BY id DESC LIMIT ?"
    with closing(_select(connection, condition, (*values, query.limit))) as rows:
        return WorkloadPage.of(rows, query.max_bytes)


def _page(found: Selected) -> str:
    return f"{found.condition} ORDER BY {found.id} DESC LIMIT ?"


def count(connection: apsw.Connection, query: WorkloadQuery) -> dict[Status, int]:
    """How many records there are of each status; see `WorkloadStore.count`."""
    found = select(connection, query, records=False)
    if len(found.terms) > 1 or found.source != "workloads":
        rows = connection.execute(
            f"SELECT {found.status}, count(*) FROM {found.source} WHERE {found.condition}"
            f" GROUP BY {found.status}",
            found.values,
        )
    else:
        # Two indexes have the answer, and the second is almost empty.
        rows = connection.execute(
            "SELECT status, count(*) - (SELECT count(*) FROM workloads AS other"
            " WHERE other.status = workloads.status AND other.spec IS NULL)"
            " FROM workloads WHERE status != ? GROUP BY status",
            (DELETED,),
        )
    return dict.fromkeys(Status, 0) | {Status(status): number for status, number in rows}


def unfinished(connection: apsw.Connection, after: str = "") -> list[tuple[Workload, str | None]]:
    """Queued and running workloads, with what `remember` kept; see `WorkloadStore.unfinished`."""
    handles: dict[str, str] = dict(
        connection.execute(
            "SELECT id, handle FROM workloads WHERE finished_at IS NULL AND handle IS NOT NULL"
        )
    )
    condition = "finished_at IS NULL AND spec IS NOT NULL AND id > ? ORDER BY id"
    with closing(_select(connection, condition, (after,))) as rows:
        page = WorkloadPage.of(rows, PAGE_BYTES)
    return [(found, handles.get(found.id)) for found in page]


def to_workload(workload_id: str, spec: str, created_at: int, status: str, *rest: Any) -> Workload:
    """The record of a row of COLUMNS."""
    decoded = msgspec.json.decode(spec, type=WorkloadSpec)
    return Workload(workload_id, decoded, created_at, Status(status), *rest)


def _select(
    connection: apsw.Connection,
    condition: str,
    values: Sequence[Any] = (),
    source: str = "workloads",
) -> Generator[Workload, None, None]:
    for row in connection.execute(f"SELECT {COLUMNS} FROM {source} WHERE {condition}", values):
        yield to_workload(*row)


def _update(connection: apsw.Connection, statement: str, values: Sequence[Any]) -> Change | None:
    """Run a statement that sets `changed` of at most one record to NEXT; take that position. None
    if it met no record."""
    # `fetchall`: a statement that is left in its first row is not complete.
    rows: Any = connection.execute(f"{statement} RETURNING {COLUMNS}", values).fetchall()
    if not rows or rows[0][1] is None:
        return None
    workload = to_workload(*rows[0])
    change_labels(connection, workload)
    return Change(take(connection), workload.id, workload)


def index_workloads(connection: apsw.Connection) -> None:
    """Fill what lists look at, for records of the versions 1 to 3."""
    ids: list[Any] = connection.execute(
        "SELECT id FROM workloads WHERE spec IS NOT NULL"
    ).fetchall()
    for (workload_id,) in ids:
        # One at a time: a specification may have a mebibyte.
        if (found := one(connection, workload_id)) is not None:
            connection.execute(
                "UPDATE workloads SET name = ?, words = ? WHERE id = ?",
                (found.spec.name, words_of(found), found.id),
            )
            add_labels(connection, found)
