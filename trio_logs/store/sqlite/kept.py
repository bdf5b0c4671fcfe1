"""The logs that a label keeps for longer, and the records beyond the bounds; on a connection."""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from ...records import believed_now, kept_seconds
from .. import Retention

__all__ = [
    "NOT_KEPT",
    "TABLE",
    "add",
    "any_kept",
    "expired",
    "expired_log",
    "remove",
    "share_older",
]

TABLE = """
CREATE TABLE IF NOT EXISTS kept (
    number INTEGER PRIMARY KEY,      -- workloads.number
    keep INTEGER NOT NULL            -- the age in microseconds up to which the log is kept
);
CREATE INDEX IF NOT EXISTS ended ON workloads (finished_at)
    WHERE finished_at IS NOT NULL AND spec IS NOT NULL;
"""
"""Earlier versions ignore both, and keep no log for longer."""

NOT_KEPT = "log NOT IN (SELECT number FROM kept)"
"""The condition of the rows of all other logs."""


def add(connection: apsw.Connection, number: int, labels: Mapping[str, str]) -> None:
    """Keep the log with that number as its workload's labels say."""
    seconds = kept_seconds(labels)
    if seconds is not None:
        # A number may have been used before, by a version that does not know this table.
        connection.execute(
            "INSERT OR REPLACE INTO kept VALUES (?, ?)", (number, int(seconds * 1_000_000))
        )


def remove(connection: apsw.Connection, number: int) -> None:
    """The log is deleted."""
    connection.execute("DELETE FROM kept WHERE number = ?", (number,))


def any_kept(connection: apsw.Connection) -> bool:
    """Whether a label keeps any log."""
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM kept)").get)


def expired_log(connection: apsw.Connection, moment: int, age: int) -> tuple[int, int] | None:
    """The number of a kept log that has too old lines, and the time before which they are. `age` is
    the bound of all logs; all are in microseconds."""
    return connection.execute(
        "SELECT number, :moment - max(keep, :age) AS oldest FROM kept WHERE oldest >"
        " (SELECT time FROM batches WHERE log = number ORDER BY first LIMIT 1) LIMIT 1",
        {"moment": moment, "age": age},
    ).fetchone()


def share_older(connection: apsw.Connection, max_age: float) -> float:
    """The share of rows that are too old; see `LogStore.share_older`."""
    old: int = connection.execute(
        f"SELECT (SELECT count(*) FROM batches WHERE time < :moment - :age AND {NOT_KEPT})"
        " + (SELECT count(*) FROM kept JOIN batches ON log = number"
        " WHERE time < :moment - max(keep, :age))",
        {"moment": believed_now(), "age": int(max_age * 1_000_000)},
    ).get
    if not old:
        return 0.0
    rows: int = connection.execute("SELECT count(*) FROM batches").get
    return old / rows


def expired(connection: apsw.Connection, retention: Retention, limit: int) -> list[str]:
    """The ids of records beyond the bounds; see `WorkloadStore.expired`."""
    found: dict[str, None] = {}
    if retention.max_record_age is not None:
        age = int(retention.max_record_age * 1_000_000)
        rows = connection.execute(
            "SELECT id FROM workloads LEFT JOIN kept USING (number)"
            " WHERE finished_at IS NOT NULL AND spec IS NOT NULL AND finished_at < :moment - :age"
            " AND finished_at < :moment - COALESCE(keep, 0) ORDER BY finished_at LIMIT :limit",
            {"moment": believed_now(), "age": age, "limit": limit},
        )
        found.update(dict.fromkeys(workload_id for (workload_id,) in rows))
    if retention.max_records is not None:
        # Two small indexes have the count; see `workloads.count`.
        count: int = connection.execute(
            "SELECT (SELECT count(*) FROM workloads)"
            " - (SELECT count(*) FROM workloads WHERE spec IS NULL)"
        ).get
        rows = connection.execute(
            "SELECT id FROM workloads WHERE finished_at IS NOT NULL AND spec IS NOT NULL"
            " ORDER BY finished_at LIMIT ?",
            (max(0, min(count - retention.max_records, limit)),),
        )
        found.update(dict.fromkeys(workload_id for (workload_id,) in rows))
    return [*found][:limit]
