"""The changes of logs, on the writer's connection and in its thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apsw
import zstandard

from ...errors import WorkloadNotFoundError
from ...records import Batch, Change, Gap, Outcome, Status, now
from .. import LogState, Retention, StreamState
from ..appending import addition
from . import kept, workloads
from .queries import number_and_state
from .rows import COLUMNS, encode
from .streams import encode_streams

__all__ = ["TRIM_ROWS", "Logs", "Totals"]

TRIM_ROWS = 500
"""Rows that one transaction removes: so trimming never delays appends for long."""

TRIM_SLACK = 1024 * 1024
"""Bytes that the writer removes beyond the excess, or a hundredth of the bound if that is less, so
that not every group of writes is over the bound again."""

FREE_PAGES = 256, 1024
"""Free pages that the file keeps for later lines, and the number beyond which it gives pages back.
Without the distance, a history at its bound would shrink and grow all the time."""

SHRINK_PAGES = 250
"""Pages that one transaction gives back: it copies up to as many pages."""

CAREFUL = 20
"""The rows and pages of one transaction while the disk is full."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The bytes of `data` in all rows, and how many rows retention has removed since the start."""

    bytes: int = 0
    trimmed: int = 0


class Logs:
    """The changes of logs. `totals` are those after the last committed transaction.

    The current transaction has counts of its own: a rollback must leave `totals` unchanged, but a
    second `trim` in one transaction must know what the first one removed. `max_bytes` is the bound
    that `keep_within` keeps; None is no bound.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self.totals = Totals()
        self._max_bytes = max_bytes
        # Whether rows were removed since `look_for_free`, and what that has found.
        self.has_free = False
        self.is_shrinking = False
        # Whether the disk has little room, so that each step is small and all free pages go.
        self.is_careful = False
        # Whether no row was left to remove, until there are new ones.
        self._is_exhausted = False
        self._bytes = self._trimmed = 0
        self.has_deleted = False
        # Older lines are left of kept logs only.
        self._aged = 0
        self._compress = zstandard.ZstdCompressor(level=1).compress

    def committed(self) -> None:
        """The transaction is durable: its changes count."""
        self.totals = Totals(self._bytes, self._trimmed)

    def rolled_back(self) -> None:
        """The transaction failed: drop its counts."""
        self._bytes, self._trimmed = self.totals.bytes, self.totals.trimmed
        self._aged = 0

    def load(self, connection: apsw.Connection) -> None:
        """Sum up the bytes in the file, and look for deleted logs that are still to be removed."""
        held: Any = connection.execute("SELECT COALESCE(sum(held), 0) FROM workloads").get
        self._bytes = held
        self.committed()
        self.has_deleted = self._hidden(connection) is not None
        # The service may have ended before it had given all of them back.
        self.look_for_free(connection)

    def append(
        self,
        connection: apsw.Connection,
        workload_id: str,
        records: Sequence[Batch | Gap],
        expected: int,
        epoch: int,
        size: int,
        streams: Mapping[str, StreamState],
        outcome: Outcome | None,
        finished_at: int,
    ) -> Change | None:
        """Add records to a log; see `LogStore.append`. Returns the change of its workload's record,
        if the log ends and has one."""
        number, state = number_and_state(connection, workload_id) or (None, LogState())
        added = addition(
            state,
            records,
            expected=expected,
            epoch=epoch,
            size=size,
            streams=streams,
            outcome=outcome,
        )
        if number is None:
            connection.execute(
                "INSERT INTO workloads (id, status, created_at) VALUES (?, ?, ?)",
                (workload_id, Status.RUNNING, now()),
            )
            number = connection.last_insert_rowid()
        if added.records:
            rows = [(number, *encode(record, self._compress)) for record in added.records]
            connection.executemany(
                f"INSERT INTO batches (log, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )
            held = sum(len(row[-1]) for row in rows)
            connection.execute(
                "UPDATE workloads SET lines = ?, bytes = ?, streams = COALESCE(?, streams),"
                " held = held + ? WHERE number = ?",
                (added.lines, added.bytes, encode_streams(added.streams), held, number),
            )
            self._bytes += held
            self._is_exhausted = False
        if added.ends and outcome is not None:
            return workloads.finish(connection, number, outcome, finished_at)
        return None

    def fence(self, connection: apsw.Connection, workload_id: str) -> int:
        """Raise the epoch of a log and return it; see `LogStore.fence`."""
        rows: Any = connection.execute(
            "UPDATE workloads SET epoch = epoch + 1 WHERE id = ? RETURNING epoch", (workload_id,)
        ).fetchall()
        if not rows:
            raise WorkloadNotFoundError(f"there is no log {workload_id}")
        [(epoch,)] = rows
        return int(epoch)

    def sweep(self, connection: apsw.Connection) -> bool:
        """Remove a piece of the deleted logs; False if there is none."""
        hidden = self._hidden(connection)
        if hidden is None:
            return False
        removed = self._remove(connection, "log = ? ORDER BY first", hidden)
        if removed < self._rows:
            connection.execute("DELETE FROM workloads WHERE number = ?", hidden)
            kept.remove(connection, *hidden)
        return True

    def _hidden(self, connection: apsw.Connection) -> tuple[int] | None:
        return connection.execute(
            "SELECT number FROM workloads WHERE status = ? LIMIT 1", (workloads.DELETED,)
        ).fetchone()

    @property
    def is_over(self) -> bool:
        """Whether `keep_within` has something to remove."""
        limit = self._max_bytes
        return limit is not None and self.totals.bytes > limit and not self._is_exhausted

    def keep_within(self, connection: apsw.Connection) -> None:
        """Remove a bounded number of rows beyond `max_bytes`, if it `is_over`."""
        assert self._max_bytes is not None
        slack = min(TRIM_SLACK, self._max_bytes // 100)
        removed = self._remove_excess(connection, self._bytes - self._max_bytes + slack)
        self._is_exhausted = not removed
        self._trimmed += removed

    def look_for_free(self, connection: apsw.Connection) -> None:
        """Decide whether `shrink` has something to do."""
        kept, many = (0, 0) if self.is_careful else FREE_PAGES
        free: Any = connection.pragma("freelist_count")
        self.is_shrinking = free > (kept if self.is_shrinking else many)
        self.has_free = False

    def shrink(self, connection: apsw.Connection) -> None:
        """Give some free pages at the end of the file back. The file system has them after the next
        checkpoint."""
        pages = CAREFUL if self.is_careful else SHRINK_PAGES
        connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        self.look_for_free(connection)

    def trim(self, connection: apsw.Connection, retention: Retention) -> int:
        """Remove a bounded number of rows beyond the bounds; return how many."""
        removed = 0
        if retention.max_age is not None:
            removed = self._remove_aged(connection, now(), int(retention.max_age * 1_000_000))
        if retention.max_bytes is not None and not removed:
            excess = self._bytes - retention.max_bytes
            if excess > 0:
                removed = self._remove_excess(connection, excess)
        self._trimmed += removed
        return removed

    @property
    def _rows(self) -> int:
        """How many rows one transaction removes at most."""
        return CAREFUL if self.is_careful else TRIM_ROWS

    def _remove_aged(self, connection: apsw.Connection, moment: int, age: int) -> int:
        oldest = moment - age
        if not kept.any_kept(connection):
            self._aged = 0
        # Without this start, each call would look at all rows of the kept logs.
        which = f"time >= ? AND time < ? AND {kept.NOT_KEPT} ORDER BY time"
        if removed := self._remove(connection, which, (self._aged, oldest)):
            return removed
        self._aged = oldest
        if expired := kept.expired_log(connection, moment, age):
            return self._remove(connection, "log = ? AND time < ? ORDER BY first", expired)
        return 0

    def _remove_excess(self, connection: apsw.Connection, excess: int) -> int:
        finished = connection.execute(
            "SELECT number FROM workloads WHERE finished_at IS NOT NULL AND held > 0"
            " ORDER BY finished_at LIMIT 1"
        ).fetchone()
        if finished is not None:
            return self._remove(connection, "log = ? ORDER BY first", finished, excess)
        # Only running workloads have lines left.
        return self._remove(connection, "TRUE ORDER BY time", (), excess)

    def _remove(
        self,
        connection: apsw.Connection,
        which: str,
        values: Sequence[Any],
        excess: float = float("inf"),
    ) -> int:
        """Remove the first of these rows until `excess` bytes are freed; return how many rows."""
        rows = []
        freed = Counter[int]()
        limit = self._rows
        for rowid, log, size in connection.execute(
            f"SELECT rowid, log, length(data) FROM batches WHERE {which} LIMIT {limit}", values
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
        self._bytes -= freed.total()
        self.has_free = self.has_free or bool(rows)
        return len(rows)
