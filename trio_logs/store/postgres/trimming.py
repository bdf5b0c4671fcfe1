"""What retention and deletions remove. The functions are those of `LogStore` and `WorkloadStore`.

No index of `batches` has their times, which each append would pay for: `logs.oldest` bounds the
time of the oldest batch of a log from below, and only what removes batches raises it.
"""

from __future__ import annotations

from typing import Any

from ...records import now
from .. import Retention
from .connection import Connection
from .rows import text
from .transaction import Transaction

__all__ = ["TRIM_ROWS", "expired", "has_deleted", "held", "sweep", "trim"]

TRIM_ROWS = 500
"""Rows that one transaction removes: so trimming never delays appends for long."""

_ALONE = (
    "SELECT pg_try_advisory_xact_lock(hashtextextended('trio-logs trim ' || current_schema(), 0))"
)

_REMOVE = """
WITH oldest AS (
    SELECT first, octet_length(data) AS size, time FROM batches
    WHERE log = %(log)s AND time < %(before)s ORDER BY first LIMIT %(rows)s
), counted AS (
    SELECT first, sum(size) OVER (ORDER BY first) - size AS freed FROM oldest
), gone AS (
    DELETE FROM batches AS b USING counted AS c
    WHERE b.log = %(log)s AND b.first = c.first AND c.freed < %(excess)s
    RETURNING octet_length(b.data) AS size
)
SELECT count(*), COALESCE(sum(size), 0)::bigint FROM gone
"""

_REMOVED = """
UPDATE logs SET held = held - %(freed)s,
    oldest = (SELECT time FROM batches WHERE log = number ORDER BY first LIMIT 1),
    trimmable = trimmable AND EXISTS (SELECT 1 FROM batches WHERE log = number)
WHERE number = %(log)s
"""

_NEVER = 2**62
"""Later than all times, and more than all sizes."""


def held(connection: Connection) -> int:
    """The bytes of all batches."""
    row: Any = connection.execute("SELECT COALESCE(sum(held), 0)::bigint FROM logs").fetchone()
    return int(row[0])


def trim(transaction: Transaction, retention: Retention) -> int:
    """Remove a bounded number of rows beyond the bounds; return how many. Of several nodes, one
    does so at a time; 0 for the others."""
    if not transaction.execute(_ALONE).fetchall()[0][0]:
        return 0
    removed = 0
    if retention.max_age is not None:
        removed = _remove_aged(transaction, now(), int(retention.max_age * 1_000_000))
    if retention.max_bytes is not None and not removed:
        row = transaction.execute("SELECT COALESCE(sum(held), 0)::bigint FROM logs").fetchall()[0]
        excess = row[0] - retention.max_bytes
        if excess > 0:
            removed = _remove_excess(transaction, excess)
    transaction.trimmed += removed
    return removed


def _remove_aged(transaction: Transaction, moment: int, age: int) -> int:
    removed = 0
    rows = transaction.execute(
        "(SELECT number, %s - %s AS before FROM logs WHERE oldest < %s - %s AND keep IS NULL"
        " ORDER BY oldest LIMIT %s) UNION ALL"
        " (SELECT number, %s - greatest(keep, %s) FROM logs"
        " WHERE keep IS NOT NULL AND oldest < %s - greatest(keep, %s) LIMIT %s)",
        (moment, age, moment, age, TRIM_ROWS, moment, age, moment, age, TRIM_ROWS),
    ).fetchall()
    for log, before in rows:
        removed += _remove(transaction, log, before=before, rows=TRIM_ROWS - removed)
        if removed >= TRIM_ROWS:
            break
    return removed


def _remove_excess(transaction: Transaction, excess: int) -> int:
    removed = freed = 0
    while removed < TRIM_ROWS and freed < excess:
        found = transaction.execute(
            "SELECT number FROM logs WHERE trimmable ORDER BY finished_at LIMIT 1"
        ).fetchone()
        before = _NEVER
        if found is None:
            # Only running workloads have lines left: one is trimmed until another has older lines.
            oldest = transaction.execute(
                "SELECT number, oldest FROM logs WHERE oldest IS NOT NULL ORDER BY oldest LIMIT 2"
            ).fetchall()
            if not oldest:
                break
            found = oldest[0]
            if len(oldest) == 2:
                before = oldest[1][1] + 1
        held_before = -transaction.added
        count = _remove(
            transaction,
            found[0],
            before=before,
            rows=TRIM_ROWS - removed,
            excess=excess - freed,
        )
        freed += -transaction.added - held_before
        removed += count
    return removed


def _remove(
    transaction: Transaction, log: int, *, before: int, rows: int, excess: int = _NEVER
) -> int:
    """Remove the first of a log's rows until `excess` bytes are freed; return how many rows."""
    transaction.execute("SELECT 1 FROM logs WHERE number = %s FOR UPDATE", [log])
    values = {"log": log, "before": before, "rows": rows, "excess": excess}
    [(count, freed)] = transaction.execute(_REMOVE, values).fetchall()
    transaction.execute(_REMOVED, {"log": log, "freed": freed})
    transaction.added -= freed
    return int(count)


def has_deleted(connection: Connection) -> bool:
    """Whether there are deleted logs that are still to be removed."""
    found = connection.execute("SELECT 1 FROM logs WHERE id IS NULL LIMIT 1").fetchone()
    return found is not None


def sweep(transaction: Transaction) -> bool:
    """Remove a piece of the deleted logs; False if there is none that no other node removes."""
    found = transaction.execute(
        "SELECT number FROM logs WHERE id IS NULL ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED"
    ).fetchone()
    if found is None:
        return False
    values = {"log": found[0], "before": _NEVER, "rows": TRIM_ROWS, "excess": _NEVER}
    [(count, freed)] = transaction.execute(_REMOVE, values).fetchall()
    transaction.added -= freed
    if count < TRIM_ROWS:
        transaction.execute("DELETE FROM logs WHERE number = %s", found)
    else:
        transaction.execute("UPDATE logs SET held = held - %s WHERE number = %s", (freed, found[0]))
    return True


def expired(connection: Connection, retention: Retention, limit: int) -> list[str]:
    """The ids of records beyond the bounds; see `WorkloadStore.expired`."""
    found: dict[bytes, None] = {}
    cursor = connection.cursor(binary=True)
    if retention.max_record_age is not None:
        moment, age = now(), int(retention.max_record_age * 1_000_000)
        rows = cursor.execute(
            "SELECT w.id FROM workloads AS w JOIN logs AS l USING (number)"
            " WHERE w.finished_at < %s - %s AND w.finished_at < %s - COALESCE(l.keep, 0)"
            " ORDER BY w.finished_at LIMIT %s",
            (moment, age, moment, limit),
        )
        found.update(dict.fromkeys(workload_id for (workload_id,) in rows))
    if retention.max_records is not None:
        [(count,)] = cursor.execute("SELECT count(*) FROM workloads").fetchall()
        rows = cursor.execute(
            "SELECT id FROM workloads WHERE finished_at IS NOT NULL ORDER BY finished_at LIMIT %s",
            [max(0, min(count - retention.max_records, limit))],
        )
        found.update(dict.fromkeys(workload_id for (workload_id,) in rows))
    return [text(each) or "" for each in found][:limit]
