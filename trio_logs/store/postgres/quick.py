"""The usual append, to many logs at once: one statement, and one round trip, is the transaction.

It takes the appends that need no rule: their records follow the last line of a log that has not
ended, has their epoch, and is this node's or nobody's. `appends` sees to all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..rows import encode
from ..streams import encode_streams
from .appends import BATCH, Append, Compress, size_of
from .arrays import Bigints, Binaries, columns
from .bells import Bell
from .connection import Connection
from .transaction import Committed

__all__ = ["append_quickly", "is_usual"]

_APPEND = """
WITH given AS (
    SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s)
    AS given (place, id, before, epoch, lines, bytes, added, streams, time)
), extended AS (
    UPDATE logs SET lines = given.lines, bytes = given.bytes, held = held + given.added,
        streams = given.streams, oldest = COALESCE(oldest, given.time)
    FROM given WHERE logs.id = given.id AND logs.lines = given.before
        AND logs.epoch = given.epoch AND outcome IS NULL AND (owner IS NULL OR owner = %s)
    RETURNING given.place, logs.number
), inserted AS (
    INSERT INTO batches (log, first, count, time, stream, flags, data, size)
    SELECT number, first, count, time, stream, flags, data, size
    FROM extended JOIN unnest(%s, %s, %s, %s, %s, %s, %s, %s)
    AS batch (place, first, count, time, stream, flags, data, size) USING (place)
)
SELECT array_agg(place), pg_notify(current_schema(), %s) FROM extended
HAVING count(*) > 0
"""


_LOG = (Bigints, Binaries, *[Bigints] * 5, Binaries, Bigints)


def is_usual(change: object) -> bool:
    """Whether a change is an append that this module may try."""
    return (
        isinstance(change, Append)
        and change.outcome is None
        and bool(change.records)
        and change.records[0].first == change.expected
    )


def append_quickly(
    connection: Connection,
    appends: Sequence[Append],
    node: str | None,
    sender: str,
    compress: Compress,
) -> tuple[Committed, set[int]]:
    """Commit appends of this node to different logs. Returns the places of those that were made:
    the others need the rules. Raises psycopg.Error."""
    logs: list[tuple[Any, ...]] = []
    batches: list[tuple[Any, ...]] = []
    held: list[int] = []
    for place, append in enumerate(appends):
        added = 0
        for record in append.records:
            row = encode(record, compress)
            batches.append((place, *row, size_of(record)))
            added += len(row[-1])
        logs.append(
            (
                place,
                append.id,
                append.expected - 1,
                append.epoch,
                append.records[-1].last,
                append.size,
                added,
                encode_streams(append.streams),
                append.records[0].time,
            )
        )
        held.append(added)
    bell = Bell({append.workload_id for append in appends})
    values = [*columns(logs, _LOG), node, *columns(batches, BATCH), bell.payload(sender)]
    cursor = connection.cursor(binary=True)
    found = cursor.execute(_APPEND, values, prepare=True).fetchall()
    made = set[int](found[0][0]) if found else set[int]()
    return Committed(added=sum(held[place] for place in made)), made
