"""The rules of `LogStore.append`, without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import BehindError, FencedError
from ..records import Batch, Gap, Outcome
from . import LogState, StreamState

__all__ = ["Addition", "addition"]


@dataclass(frozen=True, slots=True)
class Addition:
    """The records to add, and the lines, bytes and streams that the log has with them. `ends`: the
    log ends with them. `streams` is None if the log has these records already."""

    records: Sequence[Batch | Gap]
    lines: int
    bytes: int
    streams: Mapping[str, StreamState] | None
    ends: bool


def addition(
    state: LogState,
    records: Sequence[Batch | Gap],
    *,
    expected: int,
    epoch: int,
    size: int,
    streams: Mapping[str, StreamState],
    outcome: Outcome | None,
    is_kept: bool = False,
) -> Addition:
    """What to add to a log in this state; see `LogStore.append`. A new log is `LogState()`.

    Raises FencedError and ValueError as `LogStore.append` does. `is_kept`: a shared store has the
    log, so nobody has deleted it. Then it raises BehindError if the log lacks lines.
    """
    if epoch != state.epoch:
        raise FencedError(f"the log has epoch {state.epoch} now, and this writer has epoch {epoch}")
    if records and records[0].first != expected:
        raise ValueError(f"the records begin at line {records[0].first}, not at {expected}")
    if expected > state.lines + 1 and not (is_kept and state.end):
        missing = f"lines {state.lines + 1} to {expected - 1} of the log are missing"
        if is_kept:
            raise BehindError(f"{missing}: the database has failed over", state.lines)
        raise FencedError(f"{missing}: it was deleted")
    last = records[-1].last if records else expected - 1
    if state.end is not None:
        if outcome != state.end.outcome or last > state.lines:
            raise FencedError("the log has ended already, in another way")
        return Addition((), state.lines, state.bytes, None, ends=False)
    if expected <= state.lines:
        records = [_after(state.lines, record) for record in records if record.last > state.lines]
    if last <= state.lines:
        # An earlier append, whose result the caller does not know, has added all of it, or more.
        return Addition(records, state.lines, state.bytes, None, ends=outcome is not None)
    return Addition(records, last, size, streams, ends=outcome is not None)


def _after(line: int, record: Batch | Gap) -> Batch | Gap:
    """The part of the record after that line."""
    if record.first > line:
        return record
    if isinstance(record, Gap):
        return Gap(line + 1, record.last, record.reason, record.time)
    return record.since(line + 1)
