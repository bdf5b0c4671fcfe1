"""Queries of logs, on a connection."""

from __future__ import annotations

from functools import partial
from typing import Any

import apsw
import zstandard

from ...records import Batch, End, Gap, Outcome, Run, Status
from .. import LogState, Visitor
from .rows import COLUMNS, GAP, PARTIAL, decode, to_run

__all__ = ["find", "number_and_state", "read", "scan", "state", "visit"]


def state(connection: apsw.Connection, workload_id: str) -> LogState | None:
    """The state of a log; see `LogStore.log`."""
    found = number_and_state(connection, workload_id)
    if found is None:
        return None
    number, log = found
    if log.end is not None:
        return log
    time, stream, flags = connection.execute(
        "SELECT time, stream, flags FROM batches WHERE log = ? ORDER BY first DESC LIMIT 1",
        (number,),
    ).fetchone() or (0, None, 0)
    unfinished = stream if flags & PARTIAL else None
    return LogState(log.lines, log.bytes, None, time, unfinished, log.epoch)


def number_and_state(connection: apsw.Connection, workload_id: str) -> tuple[int, LogState] | None:
    """The number of a log, and its state as far as the row in `workloads` has it."""
    row = connection.execute(
        "SELECT number, lines, bytes, epoch, finished_at, status, exit_code, signal, error, reason"
        " FROM workloads WHERE id = ?",
        (workload_id,),
    ).fetchone()
    if row is None:
        return None
    number, lines, size, epoch, finished_at, status, *rest = row
    end = None
    if finished_at is not None:
        end = End(Outcome(Status(status), *rest), lines, size)
    return number, LogState(lines, size, end, epoch=epoch)


def read(
    connection: apsw.Connection, workload_id: str, first: int, max_bytes: int
) -> list[Batch | Gap]:
    """The records from line `first` on; see `LogStore.read`."""
    left = max_bytes
    found: list[Batch | Gap] = []
    decompress = zstandard.ZstdDecompressor().decompress
    for row in connection.execute(
        f"SELECT {COLUMNS} FROM batches"
        " WHERE log = (SELECT number FROM workloads WHERE id = :id)"
        " AND first >= COALESCE((SELECT max(first) FROM batches WHERE log ="
        " (SELECT number FROM workloads WHERE id = :id) AND first <= :first), 0)"
        " ORDER BY first",
        {"id": workload_id, "first": first},
    ):
        record = decode(row, decompress)
        if record.last < first:
            continue
        found.append(record)
        left -= record.weight
        if left <= 0:
            break
    return found


def scan(connection: apsw.Connection, workload_id: str, last: int, limit: int) -> list[Run]:
    """The newest runs that begin at or before line `last`; see `LogStore.scan`."""
    rows = connection.execute(
        "SELECT first, count, time, stream, flags FROM batches"
        " WHERE log = (SELECT number FROM workloads WHERE id = ?) AND first <= ?"
        f" AND NOT flags & {GAP} ORDER BY first DESC LIMIT ?",
        (workload_id, last, limit),
    )
    return [to_run(*row) for row in rows]


def visit(
    connection: apsw.Connection,
    workload_id: str,
    first: int,
    last: int,
    visitor: Visitor,
    newest_first: bool,
) -> None:
    """Show records to a visitor; see `LogStore.visit`."""
    decompress = zstandard.ZstdDecompressor().decompress
    order = "DESC" if newest_first else "ASC"
    for row in connection.execute(
        f"SELECT {COLUMNS} FROM batches"
        " WHERE log = (SELECT number FROM workloads WHERE id = :id) AND first <= :last"
        " AND first >= COALESCE((SELECT max(first) FROM batches WHERE log ="
        " (SELECT number FROM workloads WHERE id = :id) AND first <= :first), 0)"
        f" ORDER BY first {order}",
        {"id": workload_id, "first": first, "last": last},
    ):
        at, count, time, stream, flags, _ = row
        if at + count <= first:
            continue
        run: Run | Gap = to_run(at, count, time, stream, flags)
        if flags & GAP:
            run = Gap(at, at + count - 1, stream, time)
        if not visitor.visit(run, partial(decode, row, decompress)):
            break


def find(connection: apsw.Connection, workload_id: str, time: int, head: int) -> int:
    """The first line that is not older; see `LogStore.find`. Times of a log never step back, so
    this is a binary search."""
    [(log, oldest)] = connection.execute(
        "SELECT log, min(first) FROM batches"
        " WHERE log = (SELECT number FROM workloads WHERE id = ?)",
        (workload_id,),
    )
    found, low, high = 1, head + 1 if oldest is None else oldest, head + 1
    while low < high:
        middle = (low + high) // 2
        row: Any = connection.execute(
            "SELECT first, count, time FROM batches WHERE log = ? AND first <= ?"
            " ORDER BY first DESC LIMIT 1",
            (log, middle),
        ).fetchone()
        if row is None:
            # Each statement sees the file of its own moment: retention has removed these lines.
            low = middle + 1
            continue
        first, count, at = row
        if at < time:
            found = first + count
            low = max(found, middle + 1)
        else:
            high = first
    return min(found, head + 1)
