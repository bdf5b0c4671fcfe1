"""A transaction of the writer, in its thread: the changes that it makes, and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import psycopg

from ...records import Change
from ..changes import KEPT_DELETIONS
from .arrays import Bigints, Binaries
from .bells import Bell
from .connection import Connection, Cursor, Values
from .rows import WORKLOAD, to_workload

__all__ = ["Committed", "Transaction"]

_NUMBER = f"""
WITH taken AS (UPDATE positions SET newest = newest + %s RETURNING newest - %s AS base),
    gone AS (
        INSERT INTO deletions SELECT base + place, id
        FROM taken, unnest(%s, %s) AS given (id, place)
    )
UPDATE workloads AS w SET changed = base + place
FROM taken, logs AS l, unnest(%s, %s) AS given (number, place)
WHERE w.number = given.number AND l.number = w.number
RETURNING w.changed, {WORKLOAD}
"""

_NEWEST = "SELECT newest FROM positions"

_SKIP = (
    "INSERT INTO skipped SELECT newest, %s FROM positions WHERE newest < %s FOR UPDATE",
    "UPDATE positions SET newest = %s WHERE newest < %s",
)
"""The second statement sees what the lock of the first one waits for."""

_NOTIFY = "SELECT pg_notify(current_schema(), %s)"

_FORGET = """
WITH excess AS (SELECT position FROM deletions ORDER BY position DESC LIMIT 1 OFFSET %s),
    gone AS (DELETE FROM deletions WHERE position <= (SELECT position FROM excess))
UPDATE positions SET forgotten = excess.position FROM excess
"""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction has changed: records at positions after `before`, up to `position`; the
    bytes of batches that were added, less those that were removed; and the batches that retention
    has removed. `held` are the bytes of all batches before it, if it has counted them."""

    before: int = 0
    position: int = 0
    changes: Sequence[Change] = ()
    added: int = 0
    trimmed: int = 0
    held: int | None = None


class Transaction:
    """Begun by `begin`, and ended by `commit`: what comes in between says what has changed, with
    the methods below. `node` is the id of this node, once it has joined, and `sender` the name of
    this store in bells. `first_epoch` is that of the connection. Each statement waits for a lock
    for `lock_seconds`, or as long as the connection says."""

    def __init__(
        self,
        connection: Connection,
        node: str | None,
        sender: str,
        lock_seconds: float | None = None,
    ) -> None:
        self.node = node
        self.first_epoch = connection.first_epoch
        self._connection = connection
        self._sender = sender
        self._lock_seconds = lock_seconds
        # Of each workload or deletion, the place in which it has changed.
        self._changed: dict[int, int] = {}
        self._deleted: dict[bytes, int] = {}
        self._changes = 0
        self._later: list[tuple[str, Values]] = []
        self.bell = Bell()
        self.added = 0
        self.trimmed = 0
        self.held: int | None = None

    def begin(self, statement: str | None = None, values: Sequence[Any] = ()) -> Cursor | None:
        """Begin it with a statement, in one round trip. Raises psycopg.Error."""
        statements: list[tuple[str, Values]] = [("BEGIN", ())]
        if self._lock_seconds is not None:
            milliseconds = int(self._lock_seconds * 1000)
            statements.append((f"SET LOCAL lock_timeout = {milliseconds}", ()))
        if statement is not None:
            statements.append((statement, values))
        cursors = self._connection.together(statements)
        return None if statement is None else cursors[-1]

    def execute(self, statement: str, values: Values = ()) -> Cursor:
        """Run a statement. Raises psycopg.Error."""
        cursor = self._connection.cursor(binary=True)
        return cursor.execute(statement, values or None)

    def later(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run a statement, whose result nobody needs, in the round trip of the commit."""
        self._later.append((statement, values))

    def notify(self, payload: str) -> None:
        """Tell the nodes that listen, once it is committed."""
        self.later(_NOTIFY, [payload])

    def change(self, number: int) -> None:
        """The record of the workload with that number changes: it takes the next position."""
        self._changes += 1
        self._changed[number] = self._changes

    def delete(self, workload_id: bytes) -> None:
        """The record of that workload is deleted: its deletion takes the next position."""
        self._changes += 1
        self._deleted[workload_id] = self._changes

    def commit(self) -> Committed:
        """Commit it, in one round trip. Raises psycopg.Error."""
        self.bell.changes = bool(self._changes)
        # Positions that a failover has lost are not given again, as epochs are not.
        base = self.first_epoch
        if self._changes and base > self._connection.skipped_to:
            for statement in _SKIP:
                self.later(statement, (base, base))
        statements = [*self._later]
        if self._changes:
            # From here on, this connection has the lock of `positions`.
            statements.append(
                (
                    _NUMBER,
                    (
                        self._changes,
                        self._changes,
                        Binaries(self._deleted),
                        Bigints(self._deleted.values()),
                        Bigints(self._changed),
                        Bigints(self._changed.values()),
                    ),
                )
            )
            statements.append((_NEWEST, ()))
        if self._deleted:
            statements.append((_FORGET, [KEPT_DELETIONS]))
        if payload := self.bell.payload(self._sender):
            statements.append((_NOTIFY, [payload]))
        *made, ended = self._connection.together([*statements, ("COMMIT", ())])
        if ended.statusmessage != "COMMIT":
            raise psycopg.OperationalError("the transaction was rolled back")
        if not self._changes:
            return Committed(added=self.added, trimmed=self.trimmed, held=self.held)
        self._connection.skipped_to = base
        numbered, newest = made[len(self._later) : len(self._later) + 2]
        position = int(newest.fetchall()[0][0])
        before = position - self._changes
        changes = [
            Change(place + before, workload_id.decode(errors="surrogatepass"), None)
            for workload_id, place in self._deleted.items()
        ]
        for place, *row in numbered.fetchall():
            workload = to_workload(*row)
            changes.append(Change(place, workload.id, workload))
        changes.sort(key=attrgetter("position"))
        return Committed(before, position, changes, self.added, self.trimmed, self.held)

    def roll_back(self) -> None:
        """Undo it. Raises psycopg.Error."""
        self._connection.execute("ROLLBACK")
