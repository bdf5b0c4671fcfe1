"""Workload records, on a connection. The functions are those of `WorkloadStore`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import msgspec

from ...records import Change, Outcome, Status, Workload, WorkloadSpec
from .. import WorkloadQuery
from .positions import NEXT, add_deletion, take

__all__ = [
    "COLUMNS",
    "DELETED",
    "create",
    "find_key",
    "finish",
    "hide",
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
        " (id, spec, idempotency_key, fingerprint, status, created_at, rerun_of, changed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            workload.id,
            spec,
            key,
            fingerprint,
            workload.status,
            workload.created_at,
            workload.rerun_of,
            position,
        ),
    )
    return Change(position, workload.id, workload)


def start(connection: apsw.Connection, workload_id: str, started_at: int) -> Change | None:
    """Mark a workload as running; None if there is no such record."""
    return _update(
        connection,
        f"UPDATE workloads SET status = ?, started_at = ?, changed = {NEXT}"
        " WHERE id = ? AND spec IS NOT NULL",
        (Status.RUNNING, started_at, workload_id),
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
        f" finished_at = ?, handle = NULL, changed = IIF(spec IS NULL, 0, {NEXT})"
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
    if one(connection, workload_id) is not None:
        change = add_deletion(connection, workload_id)
    # Ids have no slash, so the new id is free.
    connection.execute(
        "UPDATE workloads SET id = '/' || number, spec = NULL, idempotency_key = NULL,"
        " status = ?, finished_at = COALESCE(finished_at, 0), changed = 0 WHERE id = ?",
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


def page(connection: apsw.Connection, query: WorkloadQuery) -> list[Workload]:
    """A page of records, newest first."""
    where, values = ["spec IS NOT NULL"], list[Any]()
    if query.before is not None:
        where.append("id < ?")
        values.append(query.before)
    if query.status is not None:
        where.append("status = ?")
        values.append(query.status)
    for name, value in query.labels.items():
        where.append(
            "EXISTS (SELECT 1 FROM json_each(spec, '$.labels') WHERE key = ? AND value = ?)"
        )
        values += [name, value]
    condition = " AND ".join(where) + " ORDER BY id DESC LIMIT ?"
    return list(_select(connection, condition, (*values, query.limit)))


def unfinished(connection: apsw.Connection) -> list[tuple[Workload, str | None]]:
    """The queued and running workloads, oldest first, with what `remember` kept of each."""
    handles = dict(connection.execute("SELECT id, handle FROM workloads WHERE finished_at IS NULL"))
    condition = "finished_at IS NULL AND spec IS NOT NULL ORDER BY id"
    return [(found, handles[found.id]) for found in _select(connection, condition)]


def to_workload(workload_id: str, spec: str, created_at: int, status: str, *rest: Any) -> Workload:
    """The record of a row of COLUMNS."""
    decoded = msgspec.json.decode(spec, type=WorkloadSpec)
    return Workload(workload_id, decoded, created_at, Status(status), *rest)


def _select(
    connection: apsw.Connection, condition: str, values: Sequence[Any] = ()
) -> Iterator[Workload]:
    for row in connection.execute(f"SELECT {COLUMNS} FROM workloads WHERE {condition}", values):
        yield to_workload(*row)


def _update(connection: apsw.Connection, statement: str, values: Sequence[Any]) -> Change | None:
    """Run a statement that sets `changed` of at most one record to NEXT; take that position. None
    if it met no record."""
    # `fetchall`: a statement that is left in its first row is not complete.
    rows: Any = connection.execute(f"{statement} RETURNING {COLUMNS}", values).fetchall()
    if not rows or rows[0][1] is None:
        return None
    workload = to_workload(*rows[0])
    return Change(take(connection), workload.id, workload)
