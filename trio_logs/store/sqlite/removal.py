"""The removal of rows of logs, in the writer's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import apsw

from .damage import DAMAGE, tell

__all__ = ["Removal"]

TRIM_ROWS = 500
"""Rows that one transaction removes: so trimming never delays appends for long."""

CAREFUL_ROWS = 20
"""The same while the disk is full, and once damage has been met."""

MAX_STUCK = 10_000
"""Rows on damaged pages that are remembered; more of them stop the removal."""


class Removal:
    """Removes rows of `batches`, and tells how many bytes they had.

    A row on a damaged page can't be removed: it is left out from then on. After a statement that
    met damage, SQLite takes no other one in the same transaction. So `remove` raises then; with
    `has_learned`, another transaction gets further. `is_careful`: the disk is full, so each step
    has to be small.
    """

    def __init__(self) -> None:
        self.is_careful = False
        self._is_damaged = False
        self.has_learned = False
        # The numbers of rows that can't be removed. Bound: MAX_STUCK.
        self._stuck: set[int] = set()

    @property
    def rows(self) -> int:
        """How many rows one transaction removes at most."""
        return CAREFUL_ROWS if self.is_careful or self._is_damaged else TRIM_ROWS

    def remove(
        self,
        connection: apsw.Connection,
        which: str,
        values: Sequence[Any],
        excess: float = float("inf"),
    ) -> tuple[int, int]:
        """Remove the first of these rows until `excess` bytes are freed; return how many rows, and
        their bytes. Raises apsw.Error."""
        if self._is_damaged:
            return self._remove_readable(connection, which, values, excess)
        try:
            rows = []
            freed = Counter[int]()
            for rowid, log, size in connection.execute(
                f"SELECT rowid, log, length(data) FROM batches WHERE {which} LIMIT {self.rows}",
                values,
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
        except DAMAGE:
            tell(connection)
            self._is_damaged = self.has_learned = True
            raise
        return len(rows), freed.total()

    def _remove_readable(
        self, connection: apsw.Connection, which: str, values: Sequence[Any], excess: float
    ) -> tuple[int, int]:
        """The same, with a look at each row before the first one is removed."""
        # Raises if the index is damaged, which alone tells which rows there are.
        found: Any = connection.execute(
            f"SELECT rowid, log FROM batches WHERE {which} LIMIT {self.rows + len(self._stuck)}",
            values,
        ).fetchall()
        rows: list[tuple[int, int, int]] = []
        for rowid, log in found:
            if rowid not in self._stuck and (size := self._size(connection, rowid)) is not None:
                rows.append((rowid, log, size))
                excess -= size
                if excess <= 0:
                    break
        # The record of a log may be on a damaged page.
        counted = {log for log in {log for _, log, _ in rows} if self._has_record(connection, log)}
        freed = Counter[int]()
        for rowid, log, size in rows:
            try:
                connection.execute("DELETE FROM batches WHERE rowid = ?", (rowid,))
            except DAMAGE:
                self.has_learned = self._remember(rowid)
                raise
            freed[log] += size
        for log in counted:
            connection.execute(
                "UPDATE workloads SET held = held - ? WHERE number = ?", (freed[log], log)
            )
        return len(rows), freed.total()

    def _has_record(self, connection: apsw.Connection, log: int) -> bool:
        query = "SELECT held FROM workloads WHERE number = ?"
        with suppress(*DAMAGE):
            return bool(connection.execute(query, (log,)).fetchall())
        return False

    def _size(self, connection: apsw.Connection, rowid: int) -> int | None:
        try:
            size: Any = connection.execute(
                "SELECT length(data) FROM batches WHERE rowid = ?", (rowid,)
            ).get
        except DAMAGE:
            self._remember(rowid)
            return None
        return int(size)

    def _remember(self, rowid: int) -> bool:
        """Leave that row out from now on, if there is room to remember it."""
        if len(self._stuck) >= MAX_STUCK:
            return False
        self._stuck.add(rowid)
        return True
