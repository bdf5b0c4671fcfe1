"""Queries of logs, on a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import apsw
import zstandard

from ...records import Batch, End, Gap, Outcome, Run, Status
from .. import LogState, Visitor
from ..rows import COLUMNS, GAP, PARTIAL, Row, decode, to_run
from . import salvage
from .damage import DAMAGE, tell
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
        try:
            time, stream, flags = connection.execute(
                "SELECT time, stream, flags FROM batches WHERE log = ? ORDER BY first DESC LIMIT 1",
                (number,),
            ).fetchone() or (0, "", 0)
        except DAMAGE:
            tell(connection)
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
    for row in _oldest_first(connection, workload_id, first, None):
        record = row if isinstance(row, Gap) else decode(row, decompress)
        found.append(record)
        left -= record.weight
        if left <= 0:
            break
    return found


def _oldest_first(
    connection: apsw.Connection, workload_id: str, first: int, last: int | None
) -> Iterator[Row | Gap]:
    """The rows of a log that have a line from `first` to `last`, and gaps in the place of damaged
    ones. None is the last line of the log."""
    end = "" if last is None else " AND first <= :last"
    try:
        for row in connection.execute(
            f"{_FROM}{end} ORDER BY first", {"id": workload_id, "first": first, "last": last}
        ):
            if row[0] + row[1] > first:
                yield row
                first = row[0] + row[1]
    except DAMAGE:
        number, lines = _number_and_lines(connection, workload_id)
        last = lines if last is None else min(last, lines)
        yield from salvage.oldest_first(connection, number, first, last)


def _newest_first(
    connection: apsw.Connection, workload_id: str, first: int, last: int
) -> Iterator[Row | Gap]:
    """The same, backwards."""
    try:
        for row in connection.execute(
            f"{_FROM} AND first <= :last ORDER BY first DESC",
            {"id": workload_id, "first": first, "last": last},
        ):
            if row[0] + row[1] > first:
                yield row
                last = row[0] - 1
    except DAMAGE:
        number, lines = _number_and_lines(connection, workload_id)
        yield from salvage.newest_first(connection, number, first, min(last, lines))


def _number_and_lines(connection: apsw.Connection, workload_id: str) -> tuple[int, int]:
    """The number of a log, and its last line; (0, 0) if there is none."""
    found = number_and_state(connection, workload_id)
    return (0, 0) if found is None else (found[0], found[1].lines)


def scan(connection: apsw.Connection, workload_id: str, last: int, limit: int) -> list[Run]:
    """The newest runs that begin at or before line `last`; see `LogStore.scan`."""
    found: list[Run] = []
    try:
        for row in connection.execute(
            "SELECT first, count, time, stream, flags FROM batches"
            " WHERE log = (SELECT number FROM workloads WHERE id = ?) AND first <= ?"
            f" AND NOT flags & {GAP} ORDER BY first DESC LIMIT ?",
            (workload_id, last, limit),
        ):
            found.append(to_run(*row))
    except DAMAGE:
        number, lines = _number_and_lines(connection, workload_id)
        place = found[-1].first - 1 if found else min(last, lines)
        for row in salvage.newest_first(connection, number, 1, place):
            if len(found) == limit:
                break
            if not isinstance(row, Gap) and not row[4] & GAP:
                found.append(to_run(*row[:5]))
    return found


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
    rows = _newest_first if newest_first else _oldest_first
    for row in rows(connection, workload_id, first, last):
        if isinstance(row, Gap):
            run: Run | Gap = row
            load: Callable[[], Batch | Gap] = partial(_same, row)
        else:
            at, count, time, stream, flags, _ = row
            run = to_run(at, count, time, stream, flags)
            if flags & GAP:
                run = Gap(at, at + count - 1, stream, time)
            load = partial(decode, row, decompress)
        if not visitor.visit(run, load):
            break


def _same(gap: Gap) -> Gap:
    return gap


def find(connection: apsw.Connection, workload_id: str, time: int, head: int) -> int:
    """The first line that is not older; see `LogStore.find`. Times of a log never step back, so
    this is a binary search."""
    try:
        [(log, oldest)] = connection.execute(
            "SELECT log, min(first) FROM batches"
            " WHERE log = (SELECT number FROM workloads WHERE id = ?)",
            (workload_id,),
        )
    except DAMAGE:
        (log, _), oldest = _number_and_lines(connection, workload_id), 1
    found, low, high = 1, head + 1 if oldest is None else oldest, head + 1
    while low < high:
        middle = (low + high) // 2
        try:
            row: Any = connection.execute(
                "SELECT first, count, time FROM batches WHERE log = ? AND first <= ?"
                " ORDER BY first DESC LIMIT 1",
                (log, middle),
            ).fetchone()
        except DAMAGE:
            # Its time is unknown, so it is old only if the next one that can be read is.
            row = next(salvage.oldest_first(connection, log, middle + 1, high - 1), None)
            while isinstance(row, Gap):
                row = next(salvage.oldest_first(connection, log, row.last + 1, high - 1), None)
            if row is None or row[2] >= time:
                high = middle
            else:
                found = row[0] + row[1]
                low = max(found, middle + 1)
            continue
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
