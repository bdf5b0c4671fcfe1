"""The logs, on a connection: a row a batch, compressed if that is worth it."""

from __future__ import annotations

from collections import Counter
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
    """What changes them, all in the writer's thread. `bytes` is what they take, compressed."""

    def __init__(self) -> None:
        self.bytes = 0
        self._compressor = zstandard.ZstdCompressor(level=1)

    def load(self, connection: apsw.Connection) -> None:
        """Learn what they take."""
        held: Any = connection.execute("SELECT COALESCE(sum(held), 0) FROM workloads").get
        self.bytes = held

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
            size = sum(len(row[-1]) for row in rows)
            self.bytes += size
            connection.execute(
                "UPDATE workloads SET lines = ?, bytes = bytes + ?, held = held + ?"
                " WHERE number = ?",
                (batches[-1].last, sum(len(batch.data) for batch in batches), size, number),
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

    def sweep(self, connection: apsw.Connection) -> bool:
        """Remove a piece of what is hidden; False when there is nothing."""
        hidden = connection.execute(
            "SELECT number FROM workloads WHERE status = ? LIMIT 1", (workloads.DELETED,)
        ).fetchone()
        if hidden is None:
            return False
        removed = self._remove(connection, "log = ? ORDER BY first", hidden)
        if removed < TRIM_ROWS:
            connection.execute("DELETE FROM workloads WHERE number = ?", hidden)
        return True

    def trim(self, connection: apsw.Connection, retention: Retention) -> int:
        """Remove some of what is beyond the bounds; return how many batches."""
        removed = 0
        if retention.max_age is not None:
            oldest = now() - int(retention.max_age * 1_000_000)
            removed = self._remove(connection, "time < ? ORDER BY time", (oldest,))
        if retention.max_bytes is not None and not removed:
            excess = self.bytes - retention.max_bytes
            if excess > 0:
                removed = self._remove_excess(connection, excess)
        connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
        return removed

    def _remove_excess(self, connection: apsw.Connection, excess: int) -> int:
        finished = connection.execute(
            "SELECT number FROM workloads WHERE finished_at IS NOT NULL AND held > 0"
            " ORDER BY finished_at LIMIT 1"
        ).fetchone()
        if finished is not None:
            return self._remove(connection, "log = ? ORDER BY first", finished, excess)
        # What is left is of logs that go on.
        return self._remove(connection, "TRUE ORDER BY time", (), excess)

    def _remove(
        self,
        connection: apsw.Connection,
        which: str,
        values: Sequence[Any],
        excess: float = float("inf"),
    ) -> int:
        """Remove the first batches of those, until `excess` bytes are free."""
        rows = []
        freed = Counter[int]()
        for rowid, log, size in connection.execute(
            f"SELECT rowid, log, length(data) FROM batches WHERE {which} LIMIT {TRIM_ROWS}", values
        ):
            rows.append((rowid,))
            freed[log] += size
            excess -= size
            if excess <= 0:
                break
        connection.executemany("DELETE FROM batches WHERE rowid = ?", rows)
        connection.executemany(
            "UPDATE workloads SET held = held - ? WHERE number = ?",
            [(size, log) for log, size in freed.items()],
        )
        self.bytes -= freed.total()
        return len(rows)


def state(connection: apsw.Connection, workload_id: str) -> LogState | None:
    """Where a log stands."""
    row = connection.execute(
        "SELECT number, lines, bytes, finished_at, status, exit_code, signal, error"
        " FROM workloads WHERE id = ?",
        (workload_id,),
    ).fetchone()
    if row is None:
        return None
    number, lines, size, finished_at, status, *rest = row
    if finished_at is not None:
        return LogState(lines, size, End(Outcome(Status(status), *rest), lines, size))
    time, stream, flags = connection.execute(
        "SELECT time, stream, flags FROM batches WHERE log = ? ORDER BY first DESC LIMIT 1",
        (number,),
    ).fetchone() or (0, None, 0)
    return LogState(lines, size, None, time, stream if flags & _PARTIAL else None)


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
    start = 1 if selection.since is None else _first(connection, log, head, selection.since)
    if selection.tail is None:
        return start
    last = head
    if selection.until is not None:
        last = _first(connection, log, head, selection.until + 1) - 1
    if selection.stream is None:
        # Numbers have no holes, whatever retention has removed.
        return max(start, last + 1 - selection.tail)
    position, wanted = head + 1, selection.tail
    for first, count in connection.execute(
        "SELECT first, count FROM batches WHERE log = ? AND first BETWEEN ? AND ? AND stream = ?"
        " ORDER BY first DESC",
        (log, start, last, selection.stream),
    ):
        if wanted == 0:
            break
        taken = min(wanted, count)
        wanted -= taken
        position = first + count - taken
    [(oldest,)] = connection.execute("SELECT min(first) FROM batches WHERE log = ?", (log,))
    is_whole = oldest is not None and oldest <= start
    return position if is_whole or not wanted else start


def _first(connection: apsw.Connection, log: int | None, head: int, time: int) -> int:
    """The number of the first line that is not older, or 1 if none is known to be older. Times of
    a log never step back, so halving finds it."""
    oldest: Any = connection.execute("SELECT min(first) FROM batches WHERE log = ?", (log,)).get
    found, low, high = 1, oldest or head + 1, head + 1
    while low < high:
        middle = (low + high) // 2
        [(first, count, at)] = connection.execute(
            "SELECT first, count, time FROM batches WHERE log = ? AND first <= ?"
            " ORDER BY first DESC LIMIT 1",
            (log, middle),
        )
        if at < time:
            found = first + count
            low = max(found, middle + 1)
        else:
            high = first
    return found


def _number(connection: apsw.Connection, workload_id: str) -> int | None:
    row = connection.execute("SELECT number FROM workloads WHERE id = ?", (workload_id,)).fetchone()
    return row[0] if row else None
