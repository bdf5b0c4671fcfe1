"""Appends to many logs at once: one statement reads and locks the logs, and a few write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import outcome

from ...errors import FencedError
from ...records import Batch, Gap, Outcome
from .. import LogState, StreamState
from ..appending import Addition, addition
from ..rows import encode
from ..streams import encode_streams
from .arrays import Bigints, Binaries, Texts, columns
from .rows import binary, to_end
from .transaction import Transaction

__all__ = ["BATCH", "LOCK", "Append", "Compress", "append_all", "finish", "size_of"]

LOCK = (
    "SELECT id, number, lines, bytes, epoch, owner, outcome, recorded FROM logs"
    " WHERE id = ANY(%s) ORDER BY number FOR NO KEY UPDATE"
)
"""Reads and locks logs: in one order, so that two nodes never wait for each other."""

_BEGIN_LOG = (
    "INSERT INTO logs (id) SELECT unnest(%s)"
    " RETURNING id, number, lines, bytes, epoch, owner, outcome, recorded"
)

_ADD_BATCHES = (
    "INSERT INTO batches (log, first, count, time, stream, flags, data, size)"
    " SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s)"
)

_EXTEND = (
    "UPDATE logs SET lines = given.lines, bytes = given.bytes, held = held + given.added,"
    " streams = COALESCE(given.streams, logs.streams), oldest = COALESCE(oldest, given.time)"
    " FROM unnest(%s, %s, %s, %s, %s, %s) AS given (number, lines, bytes, added, streams, time)"
    " WHERE logs.number = given.number"
)

BATCH = (Bigints, Bigints, Bigints, Bigints, Texts, Bigints, Binaries, Bigints)
"""The arrays of the columns of batches."""

_END_LOG = (
    "UPDATE logs SET outcome = %s, finished_at = %s, trimmable = held > 0, owner = NULL,"
    " queued = FALSE WHERE number = %s"
)

_END_RECORD = (
    "UPDATE workloads SET status = %s, exit_code = %s, signal = %s, error = %s, reason = %s,"
    " finished_at = %s, handle = NULL WHERE number = %s"
)

Compress: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Append:
    """An append to a log; see `LogStore.append` for the fields."""

    workload_id: str
    records: Sequence[Batch | Gap]
    expected: int
    epoch: int
    size: int
    streams: Mapping[str, StreamState]
    outcome: Outcome | None
    finished_at: int

    @property
    def id(self) -> bytes:
        """The id as the column has it."""
        return binary(self.workload_id)


def append_all(
    transaction: Transaction,
    appends: Sequence[Append],
    locked: Sequence[tuple[Any, ...]],
    compress: Compress,
) -> list[outcome.Outcome[None]]:
    """Add to different logs, of which LOCK has returned these rows. An append that the log's state
    refuses is an error among the results, and changes nothing."""
    logs = {row[0]: _Log(*row) for row in locked}
    results: list[outcome.Outcome[None]] = []
    accepted: list[tuple[Append, Addition]] = []
    for append in appends:
        log = logs.get(append.id)
        try:
            added = _addition(append, log, transaction.node)
        except Exception as error:
            # FencedError, BehindError or ValueError: the fault of this append.
            results.append(outcome.Error(error))
            continue
        results.append(outcome.Value(None))
        accepted.append((append, added))
    new = [append.id for append, _ in accepted if append.id not in logs]
    if new:
        logs.update(
            {row[0]: _Log(*row) for row in transaction.execute(_BEGIN_LOG, [Binaries(new)])}
        )
    found = [(logs[append.id], append, added) for append, added in accepted]
    _add_records(transaction, found, compress)
    for log, append, added in found:
        if added.ends and append.outcome is not None:
            finish(transaction, log.number, append.outcome, append.finished_at, log.recorded)
            transaction.bell.logs.add(append.workload_id)
    return results


@dataclass(frozen=True, slots=True)
class _Log:
    id: bytes
    number: int
    lines: int
    size: int
    epoch: int
    owner: str | None
    outcome: bytes | None
    recorded: bool


def _addition(append: Append, log: _Log | None, node: str | None) -> Addition:
    state = LogState()
    if log is not None:
        if log.owner not in (None, node):
            # The epoch may be equal: a crash of the server loses claims where commits do not wait
            # for the disk, and the server then gives the same epoch to another node.
            raise FencedError(f"node {log.owner} owns the log now, and this writer is of {node}")
        end = to_end(log.outcome, log.lines, log.size)
        state = LogState(log.lines, log.size, end, epoch=log.epoch)
    return addition(
        state,
        append.records,
        expected=append.expected,
        epoch=append.epoch,
        size=append.size,
        streams=append.streams,
        outcome=append.outcome,
        is_kept=log is not None,
    )


def size_of(record: Batch | Gap) -> int:
    """The bytes of the lines of a record."""
    return len(record.data) if isinstance(record, Batch) else 0


def _add_records(
    transaction: Transaction,
    additions: Sequence[tuple[_Log, Append, Addition]],
    compress: Compress,
) -> None:
    batches: list[tuple[Any, ...]] = []
    extended: list[tuple[Any, ...]] = []
    for log, append, added in additions:
        if not added.records:
            continue
        held = 0
        for record in added.records:
            row = encode(record, compress)
            batches.append((log.number, *row, size_of(record)))
            held += len(row[-1])
        time = added.records[0].time
        streams = None if added.streams is None else encode_streams(added.streams)
        extended.append((log.number, added.lines, added.bytes, held, streams, time))
        transaction.added += held
        transaction.bell.logs.add(append.workload_id)
    if batches:
        transaction.later(_ADD_BATCHES, columns(batches, BATCH))
        transaction.later(
            _EXTEND, columns(extended, (Bigints, Bigints, Bigints, Bigints, Binaries, Bigints))
        )


def finish(
    transaction: Transaction, number: int, ended: Outcome, finished_at: int, recorded: bool
) -> None:
    """End a log, and its workload's record, if it has one."""
    transaction.later(_END_LOG, (msgspec.json.encode(ended), finished_at, number))
    if recorded:
        transaction.later("DELETE FROM requests WHERE log = %s", [number])
        values = (
            ended.status,
            ended.exit_code,
            *map(binary, (ended.signal, ended.error, ended.reason)),
            finished_at,
            number,
        )
        transaction.later(_END_RECORD, values)
        transaction.change(number)
