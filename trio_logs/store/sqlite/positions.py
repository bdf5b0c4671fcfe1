"""The positions of changes of workload records, on the writer's connection."""

from __future__ import annotations

from typing import Any

import apsw

from ...records import Change
from ..changes import KEPT_DELETIONS

__all__ = ["NEXT", "add_deletion", "bounds", "take"]

NEXT = "(SELECT newest + 1 FROM positions)"
"""The position of the next change, in SQL."""


def bounds(connection: apsw.Connection) -> tuple[int, int]:
    """The position of the newest change, and the last one whose deletions are not kept."""
    [(newest, forgotten)] = connection.execute("SELECT newest, forgotten FROM positions")
    return newest, forgotten


def take(connection: apsw.Connection) -> int:
    """Take the next position, which is NEXT until then."""
    rows: Any = connection.execute(
        "UPDATE positions SET newest = newest + 1 RETURNING newest"
    ).fetchall()
    [(position,)] = rows
    return int(position)


def add_deletion(connection: apsw.Connection, workload_id: str) -> Change:
    """Take a position for the deletion of a record, and forget the oldest deletions."""
    position = take(connection)
    connection.execute("INSERT INTO deletions VALUES (?, ?)", (position, workload_id))
    excess = connection.execute(
        "SELECT position FROM deletions ORDER BY position DESC LIMIT 1 OFFSET ?", (KEPT_DELETIONS,)
    ).fetchone()
    if excess is not None:
        connection.execute("DELETE FROM deletions WHERE position <= ?", excess)
        connection.execute("UPDATE positions SET forgotten = ?", excess)
    return Change(position, workload_id, None)
