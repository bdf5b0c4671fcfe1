"""Queries of logs, on a connection."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import apsw
import zstandard

from ...records import Batch, End, Gap, Outcome, Run, Status
from .. import LogState, Visitor
from .rows import COLUMNS, GAP, PARTIAL, decode, to_run
from .streams import decode_streams

__all__ = ["find", "number_and_state", "read", "scan", "state", "visit"]


_FROM = (
    f"SELECT {COLUMNS} FROM batches WHERE log = (SELECT number FROM workloads WHERE id = :id)"
    " AND first >= COALESCE((SELECT max(first) FROM batches WHERE log ="
    " (SELECT number FROM workloads WHERE id = :id) AND first <= :first), 0)"
)
"""The rows of a log from that with line `first` on."""


def state(connection: apsw.Connection, workload_id: str) -> LogState | None:
    """The state of a log; see `LogStore.log`."""
    found = _log(connection, workload_id)
    if found is None:
        return None
    number, log, streams = found
    time, stream, flags = 0, "", 0
    if log.end is None or streams is None:
        time, stream, flags = connection.execute(
            "SELECT time, stream, flags FROM batches WHERE log = ? ORDER BY first DESC LIMIT 1",
            (number,),
        ).fetchone() or (0, "", 0)
    unfinished = stream if flags & PARTIAL else None
    return replace(
        log,
        time=time if log.end is None else 0,
        streams=decode_streams(streams, log.bytes, unfinished),
    )


def number_and_state(connection: apsw.Connection, workload_id: str) -> tuple[int, LogState] | None:
    """The number of a log, and its state as an append needs it: without time and streams."""
    found = _log(connection, workload_id)
    return None if found is None else found[:2]


def _log(connection: apsw.Connection, workload_id: str) -> tuple[int, LogState, str | None] | None:
    row = connection.execute(
        "SELECT number, lines, bytes, streams, epoch, finished_at, status, exit_code, signal,"
        " error, reason FROM workloads WHERE id = ?",
        (workload_id,),
    ).fetchone()
    if row is None:
        return None
    number, lines, size, streams, epoch, finished_at, status, *rest = row
    end = None
    if finished_at is not None:
        end = End(Outcome(Status(status), *rest), lines, size)
    return number, LogState(lines, size, end, epoch=epoch), streams


def read(
    connection: apsw.Connection, workload_id: str, first: int, max_bytes: int
) -> list[Batch | Gap]:
    """The records from line `first` on; see `LogStore.read`."""
    left = max_bytes
    found: list[Batch | Gap] = []
    decompress = zstandard.ZstdDecompressor().decompress
    for row in connection.execute(
        f"{_FROM} ORDER BY first",
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
        f"{_FROM} AND first <= :last ORDER BY first {order}",
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
