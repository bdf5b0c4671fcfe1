"""The logs, on a connection: a row a batch, compressed if that is worth it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import zstandard

from ...records import Batch, End, Outcome, Status, now
from .. import LogState, Retention, Selection
from . import workloads

__all__ = ["Logs", "read", "seek", "state"]

TRIM_ROWS = 500
"""Batches removed in one transaction, so that trimming never holds up appends for long."""

_PARTIAL, _CONTINUES, _ZSTD = 1, 2, 4
_WORTH_COMPRESSING = 256


class Logs:
    """What changes them, all in the writer's thread.

    `bytes` is what they take, compressed; a transaction ends with `save`.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._compressor = zstandard.ZstdCompressor(level=1)

    def load(self, connection: apsw.Connection) -> None:
        """Learn what they take."""
        self.bytes = _integer(connection, "SELECT bytes FROM history")

    def save(self, connection: apsw.Connection) -> None:
        """Keep what they take: to count it anew would be to read all of them."""
        connection.execute("UPDATE history SET bytes = ?", (self.bytes,))

    def append(
        self,
        connection: apsw.Connection,
        workload_id: str,
        batches: Sequence[Batch],
        outcome: Outcome | None,
        finished_at: int,
    ) -> None:
        """Add batches to a log, creating it if need be; with an outcome, end it."""
        number = _number(connection, workload_id)
        if number is None:
            connection.execute(
                "INSERT INTO workloads (id, status, created_at) VALUES (?, ?, ?)",
                (workload_id, Status.RUNNING, now()),
            )
            number = connection.last_insert_rowid()
        if batches:
            rows = [self._row(number, batch) for batch in batches]
            connection.executemany("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self.bytes += sum(len(row[-1]) for row in rows)
            connection.execute(
                "UPDATE workloads SET lines = ?, bytes = bytes + ? WHERE number = ?",
                (batches[-1].last, sum(len(batch.data) for batch in batches), number),
            )
        if outcome is not None:
            workloads.finish(connection, number, outcome, finished_at)

    def _row(self, number: int, batch: Batch) -> tuple[Any, ...]:
        flags = (_PARTIAL if batch.partial else 0) | (_CONTINUES if batch.continues else 0)
        data = batch.data
        if len(data) >= _WORTH_COMPRESSING:
            data = self._compressor.compress(data)
            flags |= _ZSTD
        return number, batch.first, batch.count, batch.time, batch.stream, flags, data

    def delete(self, connection: apsw.Connection, workload_id: str) -> None:
        """Remove all batches of a log."""
        number = _number(connection, workload_id)
        size = "SELECT COALESCE(sum(length(data)), 0) FROM batches WHERE log = ?"
        self.bytes -= _integer(connection, size, (number,))
        connection.execute("DELETE FROM batches WHERE log = ?", (number,))

    def trim(self, connection: apsw.Connection, retention: Retention) -> int:
        """Remove some of what is beyond the bounds; return how many batches."""
        removed = 0
        if retention.max_age is not None:
            oldest = now() - int(retention.max_age * 1_000_000)
            removed = self._remove(connection, f"time < {oldest}")
        if retention.max_bytes is not None:
            for finished in ("IS NOT NULL", "IS NULL"):
                excess = self.bytes - retention.max_bytes
                if removed or excess <= 0:
                    break
                owner = f"SELECT 1 FROM workloads WHERE number = log AND finished_at {finished}"
                removed = self._remove(connection, f"EXISTS ({owner})", excess)
        connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
        return removed

    def _remove(
        self, connection: apsw.Connection, condition: str, excess: float = float("inf")
    ) -> int:
        """Remove the oldest batches that meet the condition, until `excess` bytes are free."""
        rows = []
        for rowid, size in connection.execute(
            f"SELECT rowid, length(data) FROM batches WHERE {condition}"
            f" ORDER BY time LIMIT {TRIM_ROWS}"
        ):
            rows.append((rowid,))
            self.bytes -= size
            excess -= size
            if excess <= 0:
                break
        connection.executemany("DELETE FROM batches WHERE rowid = ?", rows)
        return len(rows)


def state(connection: apsw.Connection, workload_id: str) -> LogState | None:
    """Where a log stands."""
    row = connection.execute(
        "SELECT lines, bytes, finished_at, status, exit_code, signal, error"
        " FROM workloads WHERE id = ?",
        (workload_id,),
    ).fetchone()
    if row is None:
        return None
    lines, size, finished_at, status, *rest = row
    if finished_at is None:
        return LogState(lines, size)
    return LogState(lines, size, End(Outcome(Status(status), *rest), lines, size))


def read(connection: apsw.Connection, workload_id: str, first: int, max_bytes: int) -> list[Batch]:
    """The batches from the one that holds line `first` on; see `LogStore.read`."""
    left = max_bytes
    found: list[Batch] = []
    decompressor = zstandard.ZstdDecompressor()
    for start, count, time, stream, flags, data in connection.execute(
        "SELECT first, count, time, stream, flags, data FROM batches"
        " WHERE log = (SELECT number FROM workloads WHERE id = :id)"
        " AND first >= COALESCE((SELECT max(first) FROM batches WHERE log ="
        " (SELECT number FROM workloads WHERE id = :id) AND first <= :first), 0)"
        " ORDER BY first",
        {"id": workload_id, "first": first},
    ):
        if start + count <= first:
            continue
        if flags & _ZSTD:
            data = decompressor.decompress(data)
        partial, continues = bool(flags & _PARTIAL), bool(flags & _CONTINUES)
        found.append(Batch(start, count, time, stream, data, partial, continues))
        left -= found[-1].weight
        if left <= 0:
            break
    return found


def seek(connection: apsw.Connection, workload_id: str, selection: Selection, head: int) -> int:
    """Where the selected lines begin; see `LogStore.seek`."""
    log = _number(connection, workload_id)
    start = 1
    if selection.since is not None:
        # From the end: what is asked for is mostly recent.
        before = connection.execute(
            "SELECT first + count FROM batches WHERE log = ? AND time < ?"
            " ORDER BY first DESC LIMIT 1",
            (log, selection.since),
        ).fetchone()
        start = before[0] if before else 1
    if selection.tail is None:
        return start
    where, values = ["log = :log", "first BETWEEN :start AND :head"], dict[str, Any]()
    if selection.stream is not None:
        where.append("stream = :stream")
        values["stream"] = selection.stream
    if selection.until is not None:
        where.append("time <= :until")
        values["until"] = selection.until
    position, wanted = head + 1, selection.tail
    for first, count in connection.execute(
        f"SELECT first, count FROM batches WHERE {' AND '.join(where)} ORDER BY first DESC",
        {"log": log, "start": start, "head": head, **values},
    ):
        if wanted == 0:
            break
        taken = min(wanted, count)
        wanted -= taken
        position = first + count - taken
    return start if wanted else position


def _number(connection: apsw.Connection, workload_id: str) -> int | None:
    row = connection.execute("SELECT number FROM workloads WHERE id = ?", (workload_id,)).fetchone()
    return row[0] if row else None


def _integer(connection: apsw.Connection, query: str, values: Sequence[Any] = ()) -> int:
    """The one value of a query that has one."""
    [(value,)] = connection.execute(query, values).fetchall()
    assert isinstance(value, int)
    return value
