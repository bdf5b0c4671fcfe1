"""What retention and deletions remove. The functions are those of `LogStore` and `WorkloadStore`.

No index of `batches` has their times, which each append would pay for: `logs.oldest` bounds the
time of the oldest batch of a log from below, and only what removes batches raises it.
"""

from __future__ import annotations

from typing import Any

from ...records import believed_now
from .. import Retention
from .connection import Connection
from .rows import text
from .transaction import Transaction

__all__ = ["TRIM_ROWS", "expired", "has_deleted", "held", "share_older", "sweep", "trim"]

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

_HELD = (
    "SELECT COALESCE(sum(held), 0)::bigint,"
    " COALESCE(sum(held) FILTER (WHERE id IS NOT NULL), 0)::bigint FROM logs"
)
"""The bytes of all logs, and without those that are deleted, and not removed yet."""

_AGED = """
(
    SELECT number, %(moment)s - %(age)s AS before FROM logs
    WHERE oldest < %(moment)s - %(age)s AND keep IS NULL AND outcome IS {0}
    ORDER BY oldest LIMIT %(rows)s
) UNION ALL (
    SELECT number, %(moment)s - greatest(keep, %(age)s) FROM logs
    WHERE keep IS NOT NULL AND oldest < %(moment)s - greatest(keep, %(age)s) AND outcome IS {0}
    LIMIT %(rows)s
)
"""
"""Logs with lines that are too old, and the time before which they are; those that have ended, or
those that have not."""

_OLDER = """
SELECT count(*) FROM logs JOIN batches ON log = number,
    LATERAL (SELECT %(moment)s - greatest(COALESCE(keep, 0), %(age)s) AS before) AS bound
WHERE oldest < bound.before AND time < bound.before
"""
"""The number of rows that are too old. A log whose oldest row is young enough is skipped."""

_ROWS = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'batches'::regclass"
"""About how many rows there are; PostgreSQL counts them now and then."""

_MANY = 100_000
"""From so many rows on, PostgreSQL's estimate is used, since counting them would take too long."""

_NEVER = 2**62
"""Later than all times, and more than all sizes."""


def held(connection: Connection) -> int:
    """The bytes of all batches."""
    row: Any = connection.execute(_HELD).fetchone()
    return int(row[0])


def share_older(connection: Connection, max_age: float) -> float:
    """About which share of the rows is too old; see `LogStore.share_older`."""
    values = {"moment": believed_now(), "age": int(max_age * 1_000_000)}
    old: Any = connection.execute(_OLDER, values).fetchall()[0][0]
    if not old:
        return 0.0
    rows: Any = connection.execute(_ROWS).fetchall()[0][0]
    if rows < _MANY:
        rows = connection.execute("SELECT count(*) FROM batches").fetchall()[0][0]
    return min(1.0, float(old / max(rows, old)))


def trim(transaction: Transaction, retention: Retention) -> int:
    """Remove a bounded number of rows beyond the bounds; return how many. Of several nodes, one
    does so at a time; 0 for the others."""
    if not transaction.execute(_ALONE).fetchall()[0][0]:
        return 0
    removed = 0
    if retention.max_age is not None:
        removed = _remove_aged(transaction, believed_now(), int(retention.max_age * 1_000_000))
    if not removed:
        # Count under the lock, and each time: another node may have trimmed just before.
        [(transaction.held, kept)] = transaction.execute(_HELD).fetchall()
        if retention.max_bytes is not None and kept > retention.max_bytes:
            removed = _remove_excess(transaction, kept - retention.max_bytes)
    transaction.trimmed += removed
    return removed


# The transaction locks the logs that it trims. Appends lock many running logs, in an order of their
# own. If this transaction locked two running logs, it and an append could wait for each other. So
# it locks at most one.


def _remove_aged(transaction: Transaction, moment: int, age: int) -> int:
    values = {"moment": moment, "age": age, "rows": TRIM_ROWS}
    removed = 0
    for log, before in transaction.execute(_AGED.format("NOT NULL"), values).fetchall():
        removed += _remove(transaction, log, before=before, rows=TRIM_ROWS - removed)[0]
        if removed >= TRIM_ROWS:
            break
    if removed:
        return removed
    found = transaction.execute(_AGED.format("NULL"), {**values, "rows": 1}).fetchone()
    if found is None:
        return 0
    log, before = found
    return _remove(transaction, log, before=before, rows=TRIM_ROWS)[0]


def _remove_excess(transaction: Transaction, excess: int) -> int:
    removed = 0
    while removed < TRIM_ROWS and excess > 0:
        found = transaction.execute(
            "SELECT number FROM logs WHERE trimmable ORDER BY finished_at LIMIT 1"
        ).fetchone()
        if found is None:
            break
        count, freed = _remove(transaction, found[0], rows=TRIM_ROWS - removed, excess=excess)
        removed += count
        excess -= freed
    if removed:
        return removed
    # Only running workloads have lines left: one is trimmed until another has older lines.
    oldest = transaction.execute(
        "SELECT number, oldest FROM logs WHERE oldest IS NOT NULL ORDER BY oldest LIMIT 2"
    ).fetchall()
    if not oldest:
        return 0
    before = oldest[1][1] + 1 if len(oldest) == 2 else _NEVER
    return _remove(transaction, oldest[0][0], before=before, rows=TRIM_ROWS, excess=excess)[0]


def _remove(
    transaction: Transaction, log: int, *, rows: int, before: int = _NEVER, excess: int = _NEVER
) -> tuple[int, int]:
    """Remove the first of a log's rows, with times below `before`, until `excess` bytes are freed;
    return how many rows, and their bytes."""
    transaction.execute("SELECT 1 FROM logs WHERE number = %s FOR NO KEY UPDATE", [log])
    values = {"log": log, "before": before, "rows": rows, "excess": excess}
    [(count, freed)] = transaction.execute(_REMOVE, values).fetchall()
    transaction.execute(_REMOVED, {"log": log, "freed": freed})
    transaction.added -= freed
    return int(count), int(freed)


def has_deleted(connection: Connection) -> bool:
    """Whether there are deleted logs that are still to be removed."""
    found = connection.execute("SELECT 1 FROM logs WHERE id IS NULL LIMIT 1").fetchone()
    return found is not None


def sweep(transaction: Transaction) -> bool:
    """Remove some rows of one deleted log. A log that another node is removing is skipped. False if
    no other deleted log is left."""
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
        moment, age = believed_now(), int(retention.max_record_age * 1_000_000)
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
