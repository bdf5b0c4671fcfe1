"""The rows of a log beside damaged pages, with gaps in the place of those that can't be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from ...records import Gap
from ..rows import COLUMNS, Row
from .damage import DAMAGE, next_readable, tell

__all__ = ["newest_first", "next_place", "oldest_first"]

BLOCK = 10_000
"""Lines whose places are held at a time when they are read backwards."""


def oldest_first(
    connection: apsw.Connection, log: int, first: int, last: int
) -> Iterator[Row | Gap]:
    """The rows of a log that have a line from `first` to `last`, and gaps with reason `damaged`."""
    tell(connection)
    place = first
    covering = _covering(connection, log, first)
    if covering is not None:
        yield covering
        place = covering[0] + covering[1]
    while place <= last:
        try:
            row = _row(connection, log, place)
        except DAMAGE:
            good = next_place(connection, log, place, last)
            yield Gap(place, min(good - 1, last), "damaged")
            place = good
            continue
        if row is None or row[0] > last:
            return
        yield row
        place = row[0] + row[1]


def newest_first(
    connection: apsw.Connection, log: int, first: int, last: int
) -> Iterator[Row | Gap]:
    """The same, backwards."""
    while last >= first:
        start = max(first, last - BLOCK + 1)
        # Without their data: one line may be a row of 64 KiB.
        places = [
            row if isinstance(row, Gap) else row[0]
            for row in oldest_first(connection, log, start, last)
        ]
        for place in reversed(places):
            if isinstance(place, Gap):
                yield place
            # A row that begins before the block comes with the next one.
            elif place >= start or start == first:
                row = _row(connection, log, place)
                if row is not None:
                    yield row
        last = start - 1


def _row(connection: apsw.Connection, log: int, first: int) -> Row | None:
    """The first row that begins at that line or later. Raises an error of DAMAGE."""
    return connection.execute(
        f"SELECT {COLUMNS} FROM batches INDEXED BY position WHERE log = ? AND first >= ?"
        " ORDER BY first LIMIT 1",
        (log, first),
    ).fetchone()


def _covering(connection: apsw.Connection, log: int, line: int) -> Row | None:
    """The row that holds the line and begins before it, if it can be read."""
    try:
        row: Any = connection.execute(
            f"SELECT {COLUMNS} FROM batches INDEXED BY position WHERE log = ? AND first < ?"
            " ORDER BY first DESC LIMIT 1",
            (log, line),
        ).fetchone()
    except DAMAGE:
        return None
    return row if row is not None and row[0] + row[1] > line else None


def next_place(connection: apsw.Connection, log: int, place: int, last: int) -> int:
    """The first line after `place` from which on a row can be read, or last + 1."""

    def is_readable(line: int) -> bool:
        try:
            _row(connection, log, line)
        except DAMAGE:
            return False
        return True

    try:
        # The index tells where the rows begin, so no row that can be read is left out.
        while (start := _start(connection, log, place)) is not None and start <= last:
            if is_readable(start):
                return start
            place = start + 1
    except DAMAGE:
        return next_readable(is_readable, place, last)
    return last + 1


def _start(connection: apsw.Connection, log: int, first: int) -> int | None:
    """Where the first row begins that does so at that line or later, by the index alone."""
    found: Sequence[int] | None = connection.execute(
        "SELECT first FROM batches INDEXED BY position WHERE log = ? AND first >= ?"
        " ORDER BY first LIMIT 1",
        (log, first),
    ).fetchone()
    return None if found is None else found[0]
