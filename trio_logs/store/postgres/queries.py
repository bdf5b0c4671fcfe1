"""Queries of logs, on a connection of a reader."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import zstandard

from ...records import Batch, Gap, Run
from .. import LogState, Visitor
from ..rows import COLUMNS, GAP, Row, decode, to_run
from ..streams import decode_streams
from .connection import Connection, Cursor
from .rows import to_end

__all__ = ["find", "read", "scan", "state", "visit"]

FIRST_ROWS, MOST_ROWS = 32, 1024
"""Rows that one statement asks for: twice as many as the one before."""

_NUMBER = "(SELECT number FROM logs WHERE id = %(id)s)"

_START = (
    f"COALESCE((SELECT first FROM batches WHERE log = {_NUMBER} AND first <= %(first)s"
    " ORDER BY first DESC LIMIT 1), 0)"
)
"""The first line of the row that has line `first`."""

_WEIGHT = f"CASE WHEN flags & {GAP} != 0 THEN 100 ELSE size + 100 * count END"

_READ = f"""
WITH found AS MATERIALIZED (
    SELECT log, first, {_WEIGHT} AS weight FROM batches
    WHERE log = {_NUMBER} AND first >= {_START} AND first + count > %(first)s
    ORDER BY first LIMIT %(rows)s
), wanted AS (
    SELECT log, first, sum(weight) OVER (ORDER BY first) - weight AS before FROM found
)
SELECT {{}} FROM wanted JOIN batches AS b USING (log, first)
WHERE before < %(weight)s ORDER BY first
""".format(", ".join(f"b.{name}" for name in COLUMNS.split(", ")))
"""The join reads the data of the rows alone that are wanted."""

_VISIT = (
    f"SELECT {COLUMNS} FROM batches WHERE log = {_NUMBER} AND first >= {_START}"
    " AND first + count > %(first)s AND first <= %(last)s"
)


def _execute(connection: Connection, statement: str, values: dict[str, Any]) -> Cursor:
    return connection.cursor(binary=True).execute(statement, values)


def state(connection: Connection, workload_id: bytes) -> LogState | None:
    """The state of a log; see `LogStore.log`."""
    row = _execute(
        connection,
        "SELECT lines, bytes, streams, epoch, outcome, CASE WHEN outcome IS NULL THEN"
        " (SELECT time FROM batches WHERE log = number ORDER BY first DESC LIMIT 1) END"
        " FROM logs WHERE id = %(id)s",
        {"id": workload_id},
    ).fetchone()
    if row is None:
        return None
    lines, size, streams, epoch, ended, time = row
    end = to_end(ended, lines, size)
    return LogState(lines, size, end, time or 0, decode_streams(streams), epoch)


def read(
    connection: Connection, workload_id: bytes, first: int, max_bytes: int
) -> list[Batch | Gap]:
    """The records from line `first` on; see `LogStore.read`."""
    found: list[Batch | Gap] = []
    decompress = zstandard.ZstdDecompressor().decompress
    left, rows = max(max_bytes, 1), FIRST_ROWS
    while left > 0:
        values = {"id": workload_id, "first": first, "weight": left, "rows": rows}
        page = cast(list[Row], _execute(connection, _READ, values).fetchall())
        for row in page:
            record = decode(row, decompress)
            found.append(record)
            left -= record.weight
        if len(page) < rows:
            break
        first = page[-1][0] + page[-1][1]
        rows = min(2 * rows, MOST_ROWS)
    return found


def scan(connection: Connection, workload_id: bytes, last: int, limit: int) -> list[Run]:
    """The newest runs that begin at or before line `last`; see `LogStore.scan`."""
    rows = _execute(
        connection,
        f"SELECT first, count, time, stream, flags FROM batches WHERE log = {_NUMBER}"
        f" AND first <= %(last)s AND flags & {GAP} = 0 ORDER BY first DESC LIMIT %(limit)s",
        {"id": workload_id, "last": last, "limit": limit},
    )
    return [to_run(*row) for row in rows]


def visit(
    connection: Connection,
    workload_id: bytes,
    first: int,
    last: int,
    visitor: Visitor,
    newest_first: bool,
) -> None:
    """Show records to a visitor; see `LogStore.visit`."""
    decompress = zstandard.ZstdDecompressor().decompress
    for row in _rows(connection, workload_id, first, last, newest_first):
        at, count, time, stream, flags, _ = row
        run: Run | Gap = to_run(at, count, time, stream, flags)
        if flags & GAP:
            run = Gap(at, at + count - 1, stream, time)
        if not visitor.visit(run, partial(decode, row, decompress)):
            break


def _rows(
    connection: Connection, workload_id: bytes, first: int, last: int, newest_first: bool
) -> Iterator[Row]:
    """The rows that have a line from `first` to `last`."""
    order = "DESC" if newest_first else "ASC"
    statement = f"{_VISIT} ORDER BY first {order} LIMIT %(rows)s"
    rows = FIRST_ROWS
    while first <= last:
        values = {"id": workload_id, "first": first, "last": last, "rows": rows}
        page = cast(list[Row], _execute(connection, statement, values).fetchall())
        yield from page
        if len(page) < rows:
            break
        if newest_first:
            last = page[-1][0] - 1
        else:
            first = page[-1][0] + page[-1][1]
        rows = min(2 * rows, MOST_ROWS)


def find(connection: Connection, workload_id: bytes, time: int, head: int) -> int:
    """The first line that is not older; see `LogStore.find`. Times of a log never step back, so
    this is a binary search."""
    row: Any = _execute(
        connection,
        "SELECT number, (SELECT first FROM batches WHERE log = number ORDER BY first LIMIT 1)"
        " FROM logs WHERE id = %(id)s",
        {"id": workload_id},
    ).fetchone()
    log, oldest = row or (None, None)
    found, low, high = 1, head + 1 if oldest is None else oldest, head + 1
    while low < high:
        middle = (low + high) // 2
        row = _execute(
            connection,
            "SELECT first, count, time FROM batches WHERE log = %(log)s AND first <= %(middle)s"
            " ORDER BY first DESC LIMIT 1",
            {"log": log, "middle": middle},
        ).fetchone()
        if row is None:
            # Each statement sees the state of its own moment: retention has removed these lines.
            low = middle + 1
            continue
        first, count, at = row
        if at < time:
            found = first + count
            low = max(found, middle + 1)
        else:
            high = first
    return min(found, head + 1)
