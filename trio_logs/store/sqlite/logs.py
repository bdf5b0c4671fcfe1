"""The changes of logs, on the writer's connection and in its thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import apsw
import zstandard

from ...errors import WorkloadNotFoundError
from ...records import Batch, Change, Gap, Outcome, Status, believed_now, now
from .. import LogState, Retention, StreamState
from ..appending import addition
from ..rows import COLUMNS, encode
from . import kept, workloads
from .damage import DAMAGE, records
from .free_pages import FreePages
from .queries import number_and_state
from .removal import Removal
from .streams import encode_streams
from .totals import Totals

__all__ = ["Logs"]

TRIM_SLACK = 1024 * 1024
"""Bytes that the writer removes beyond the excess, or a hundredth of the bound if that is less, so
that not every group of writes is over the bound again."""


class Logs:
    """The changes of logs. `totals` are those after the last committed transaction.

    The current transaction has counts of its own: a rollback must leave `totals` unchanged, but a
    second `trim` in one transaction must know what the first one removed. `max_bytes` is the bound
    that `keep_within` keeps; None is no bound.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self.totals = Totals()
        self._max_bytes = max_bytes
        self.free = FreePages()
        self._removal = Removal()
        # Deleted or finished logs of which only rows on damaged pages are left. Bound: the logs.
        self._damaged: set[int] = set()
        # Whether no row was left to remove, until there are new ones.
        self._is_exhausted = False
        self._bytes = self._trimmed = 0
        self.has_deleted = False
        # Older lines are left of kept logs only, also once a clock that was ahead is set right.
        self._aged = 0
        self._compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress

    def committed(self) -> None:
        """The transaction is durable: its changes count."""
        self.totals = Totals(self._bytes, self._trimmed)

    def rolled_back(self) -> None:
        """The transaction failed: drop its counts."""
        self._bytes, self._trimmed = self.totals.bytes, self.totals.trimmed
        self._aged = 0

    def load(self, connection: apsw.Connection) -> None:
        """Sum up the bytes in the file, and look for deleted logs that are still to be removed."""
        try:
            held: Any = connection.execute("SELECT COALESCE(sum(held), 0) FROM workloads").get
        except DAMAGE:
            held = sum(held for (held,) in records(connection, "held"))
        self._bytes = held
        self.committed()
        with suppress(*DAMAGE):
            self.has_deleted = self._hidden(connection) is not None
        # The service may have ended before it had given all of them back.
        self.free.look(connection)

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
            self._aged = min(self._aged, *(record.time for record in added.records))
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
        removed = self._remove_of(connection, hidden)
        if removed < self._removal.rows:
            if not self._has_rows(connection, hidden):
                connection.execute("DELETE FROM workloads WHERE number = ?", (hidden,))
                kept.remove(connection, hidden)
            elif not removed:
                # The record stays: a later log would find these rows if it got the number.
                self._damaged.add(hidden)
        return True

    def _has_rows(self, connection: apsw.Connection, number: int) -> bool:
        """Whether a log has rows, as far as that can be read."""
        query = "SELECT EXISTS (SELECT 1 FROM batches WHERE log = ?)"
        try:
            return bool(connection.execute(query, (number,)).get)
        except DAMAGE:
            return True

    def _hidden(self, connection: apsw.Connection) -> int | None:
        """The number of a deleted log."""
        query = f"SELECT number FROM workloads WHERE status = '{workloads.DELETED}'"
        return next(iter(self._undamaged(connection, query)), None)

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

    def be_careful(self, is_full: bool) -> None:
        """Take small steps while the disk is full."""
        self._removal.is_careful = self.free.is_careful = is_full

    def trim(self, connection: apsw.Connection, retention: Retention) -> int:
        """Remove a bounded number of rows beyond the bounds; return how many."""
        removed = 0
        if retention.max_age is not None:
            age = int(retention.max_age * 1_000_000)
            removed = self._remove_aged(connection, believed_now(), age)
        limit = retention.max_bytes
        if limit is not None and self._bytes > limit and not removed:
            removed = self._remove_excess(connection, self._bytes - limit)
        self._trimmed += removed
        return removed

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
        for number in self._undamaged(
            connection,
            "SELECT number FROM workloads WHERE finished_at IS NOT NULL AND held > 0"
            " ORDER BY finished_at",
        ):
            if removed := self._remove_of(connection, number, excess):
                return removed
            self._damaged.add(number)
        # Only running workloads have lines left.
        return self._remove(connection, "TRUE ORDER BY time", (), excess)

    def _undamaged(self, connection: apsw.Connection, query: str) -> list[int]:
        """The numbers that a query finds, without those of damaged logs; some of them."""
        found: Any = connection.execute(f"{query} LIMIT {len(self._damaged) + 1}").fetchall()
        return [int(number) for (number,) in found if number not in self._damaged]

    def _remove_of(
        self, connection: apsw.Connection, number: int, excess: float = float("inf")
    ) -> int:
        """Remove rows of one log; 0 if only damaged ones are left."""
        try:
            return self._remove(connection, "log = ? ORDER BY first", (number,), excess)
        except DAMAGE:
            if self._removal.has_learned:
                raise
            return 0

    def has_learned(self) -> bool:
        """Whether a transaction that met damage will not meet it again."""
        learned, self._removal.has_learned = self._removal.has_learned, False
        return learned

    def _remove(
        self,
        connection: apsw.Connection,
        which: str,
        values: Sequence[Any],
        excess: float = float("inf"),
    ) -> int:
        """Remove the first of these rows until `excess` bytes are freed; return how many rows."""
        removed, freed = self._removal.remove(connection, which, values, excess)
        self._bytes -= freed
        self.free.may_be_many = self.free.may_be_many or bool(removed)
        return removed
