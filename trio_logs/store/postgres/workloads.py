"""Workload records. The functions are those of `WorkloadStore`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ...errors import ConflictError, WorkloadNotFoundError
from ...records import Status, Workload, kept_seconds
from .. import WorkloadPage, WorkloadQuery
from ..query import PAGE_BYTES
from ..shared import PUSHED
from .arrays import Texts
from .connection import Connection
from .listing import conditions, labels_of, words_of
from .rows import WORKLOAD, binary, text, to_workload
from .transaction import Transaction

__all__ = [
    "count",
    "create",
    "delete",
    "fence",
    "find_key",
    "one",
    "page",
    "remember",
    "start",
    "unfinished",
]

_FROM = f"SELECT {WORKLOAD} FROM workloads AS w JOIN logs AS l USING (number) WHERE"


def create(
    transaction: Transaction, workload: Workload, key: str | None, fingerprint: bytes
) -> None:
    """Add a record. `key` must be new."""
    spec = workload.spec
    seconds = kept_seconds(spec.labels)
    pushed = spec.backend == PUSHED
    queued = workload.status is Status.QUEUED
    found = transaction.execute(
        "WITH log AS (INSERT INTO logs (id, recorded, queued, pushed, keep)"
        " VALUES (%s, TRUE, %s, %s, %s) RETURNING number)"
        " INSERT INTO workloads (number, id, spec, idempotency_key, fingerprint, status,"
        " created_at, rerun_of, name, labels, words, changed)"
        " SELECT number, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0 FROM log"
        " ON CONFLICT (idempotency_key) DO NOTHING RETURNING number",
        (
            binary(workload.id),
            queued and not pushed,
            pushed,
            None if seconds is None else int(seconds * 1_000_000),
            binary(workload.id),
            msgspec.json.encode(spec),
            binary(key),
            fingerprint,
            workload.status,
            workload.created_at,
            binary(workload.rerun_of),
            binary(spec.name),
            labels_of(workload),
            words_of(workload),
        ),
    ).fetchone()
    if found is None:
        # Another node was faster.
        raise ConflictError(f"the Idempotency-Key {key!r} has made a workload already")
    transaction.change(found[0])
    transaction.bell.work |= queued and not pushed


def _lock(transaction: Transaction, workload_id: str) -> int | None:
    """Lock a log, whose workload's record may change then, and return its number; None if there is
    no such log."""
    found = transaction.execute(
        "SELECT number FROM logs WHERE id = %s FOR UPDATE", [binary(workload_id)]
    ).fetchone()
    return None if found is None else int(found[0])


def start(transaction: Transaction, workload_id: str, started_at: int, node: str | None) -> None:
    """Mark a workload as running; nothing if there is no such record."""
    number = _lock(transaction, workload_id)
    started = transaction.execute(
        "UPDATE workloads SET status = %s, started_at = %s, node = %s WHERE number = %s",
        (Status.RUNNING, started_at, binary(node), number),
    )
    if number is not None and started.rowcount:
        transaction.later("UPDATE logs SET queued = FALSE WHERE number = %s AND queued", [number])
        transaction.change(number)


def remember(transaction: Transaction, workload_id: str, handle: str) -> None:
    """Keep the handle that the backend needs to clean up after a crash."""
    transaction.later(
        "UPDATE workloads SET handle = %s WHERE id = %s", (binary(handle), binary(workload_id))
    )


def fence(transaction: Transaction, workload_id: str) -> int:
    """Raise the epoch of a log and return it; see `LogStore.fence`."""
    found = transaction.execute(
        "UPDATE logs SET epoch = epoch + 1 WHERE id = %s RETURNING epoch", [binary(workload_id)]
    ).fetchone()
    if found is None:
        raise WorkloadNotFoundError(f"there is no log {workload_id}")
    transaction.bell.logs.add(workload_id)
    return int(found[0])


def delete(transaction: Transaction, workload_id: str) -> None:
    """Remove a record, and hide its log from all readers; `trimming.sweep` removes its rows later,
    in pieces."""
    found = transaction.execute(
        "UPDATE logs SET id = NULL, epoch = epoch + 1, owner = NULL, queued = FALSE,"
        " pushed = FALSE, trimmable = FALSE, oldest = NULL, keep = NULL WHERE id = %s"
        " RETURNING number, recorded",
        [binary(workload_id)],
    ).fetchone()
    if found is None:
        return
    number, recorded = found
    transaction.bell.logs.add(workload_id)
    if recorded:
        transaction.later("DELETE FROM workloads WHERE number = %s", [number])
        transaction.later("DELETE FROM requests WHERE log = %s", [number])
        transaction.delete(binary(workload_id))


def find_key(connection: Connection, key: str) -> tuple[str, bytes] | None:
    """The id and fingerprint of the workload that was created with that key."""
    found = connection.cursor(binary=True).execute(
        "SELECT id, fingerprint FROM workloads WHERE idempotency_key = %s", [binary(key)]
    )
    for workload_id, fingerprint in found:
        return text(workload_id) or "", fingerprint
    return None


def one(connection: Connection, workload_id: str) -> Workload | None:
    """One record."""
    return next(_select(connection, "w.id = %s", [binary(workload_id)]), None)


def page(connection: Connection, query: WorkloadQuery) -> WorkloadPage:
    """A page of records, newest first."""
    terms, values = conditions(query)
    if query.before is not None:
        terms.append("w.id < %s")
        values.append(binary(query.before))
    if query.statuses:
        terms.append("w.status = ANY(%s)")
        values.append(Texts(query.statuses))
    condition = f"{' AND '.join(terms)} ORDER BY w.id DESC LIMIT %s"
    rows = [*_until(connection, "", condition, [*values, query.limit], query.max_bytes)]
    found = WorkloadPage(to_workload(*row) for _, *row in rows)
    found.is_cut = bool(rows) and rows[0][0] > len(rows)
    return found


def count(connection: Connection, query: WorkloadQuery) -> dict[Status, int]:
    """How many records there are of each status; see `WorkloadStore.count`."""
    terms, values = conditions(query)
    found = connection.execute(
        f"SELECT w.status, count(*) FROM workloads AS w WHERE {' AND '.join(terms)}"
        " GROUP BY w.status",
        values,
    )
    return dict.fromkeys(Status, 0) | {Status(status): number for status, number in found}


def unfinished(connection: Connection, after: str = "") -> list[tuple[Workload, str | None]]:
    """Queued and running workloads, with what `remember` kept; see `WorkloadStore.unfinished`."""
    condition = "w.finished_at IS NULL AND w.id > %s ORDER BY w.id"
    found = _until(connection, "w.handle, ", condition, [binary(after)], PAGE_BYTES)
    return [(to_workload(*row), text(handle)) for _, handle, *row in found]


def _until(
    connection: Connection, more: str, condition: str, values: Sequence[Any], max_bytes: int
) -> Iterator[tuple[Any, ...]]:
    """The first records of a selection whose WHERE ends with its order, until their specifications
    have `max_bytes`. Each row begins with how many the selection has, and the columns `more`.

    The database makes the cut, since a result comes as a whole.
    """
    statement = (
        "WITH selected AS (SELECT w.number, octet_length(w.spec)::bigint AS own,"
        " row_number() OVER () AS place FROM"
        f" (SELECT w.* FROM workloads AS w WHERE {condition}) AS w),"
        " page AS (SELECT number, place, count(*) OVER () AS total,"
        " sum(own) OVER (ORDER BY place) - own AS before FROM selected)"
        f" SELECT page.total, {more}{WORKLOAD} FROM page JOIN workloads AS w USING (number)"
        " JOIN logs AS l USING (number) WHERE page.before < %s ORDER BY page.place"
    )
    yield from connection.cursor(binary=True).execute(statement, [*values, max_bytes])


def _select(connection: Connection, condition: str, values: Sequence[Any]) -> Iterator[Workload]:
    for row in connection.cursor(binary=True).execute(f"{_FROM} {condition}", values):
        yield to_workload(*row)
