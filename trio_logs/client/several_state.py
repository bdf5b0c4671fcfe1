"""How a follower of several logs resumes after its stream broke, and which logs it follows; without
I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..records import End, Gap, Reset, Unfinished
from .records import Gone, Line, LogRecord, LogRecords, WorkloadProgress
from .requests import SeveralOptions, encoded
from .resume import Resume
from .several_parser import Mark, SeveralParser

__all__ = ["MAX_LOGS", "SeveralState"]

MAX_LOGS = 128
"""Logs that one answer of the service may have."""

MIN_SECONDS = 0.25
"""An answer is left for another selection after so many seconds, if a workload was created."""

REFILL_SECONDS = 1.0
"""And after so many seconds, if logs have ended while others wait for their place."""


@dataclass(slots=True)
class _Log:
    """`seq`: the last line that the client has, or need not get. None while that is unknown."""

    seq: int | None = None
    # The streams whose last record is an unfinished line.
    unfinished: set[str] = field(default_factory=set)


class SeveralState(Resume):
    """The state of one follower of several logs over all its connections. See `Resumable`.

    Its records are `LogRecords`, and changes of workloads if it follows those after `events`. Each
    request says what the client has of each log, so no answer sends a line again, and the next
    request may be for other logs.
    """

    def __init__(
        self,
        workload_ids: Iterable[str],
        options: SeveralOptions,
        address: str,
        *,
        events: str | None = None,
    ) -> None:
        patience = options.get("patience")
        super().__init__({} if patience is None else {"patience": patience}, address)
        given = {name: each for name, each in options.items() if name != "patience"}
        self._query = encoded(given)
        self._follows = options.get("follow", True)
        self._events = events
        # The logs of this answer, or the next one. Bound: MAX_LOGS.
        self._logs: dict[str, _Log] = {}
        # Logs without a place yet. Bound: the caller's.
        self._waiting = deque((each, _Log()) for each in dict.fromkeys(workload_ids))
        # The logs of this answer, ended ones too.
        self._order: list[str] = []
        self._began = 0.0
        self._is_urgent = False
        self._fill()

    def _new_parser(self, last_id: str | None) -> SeveralParser:
        return SeveralParser()

    def add(self, workload_id: str) -> None:
        """Follow the log of a new workload, from its first line on, once there is a place for
        it."""
        self._waiting.append((workload_id, _Log(0)))
        self._is_urgent = True

    @property
    def waiting(self) -> int:
        """How many logs wait for a place."""
        return max(0, len(self._waiting) - self._free)

    @property
    def stale_in(self) -> float | None:
        """After how many seconds to leave this answer for one with more logs; None: no log waits
        for a place, or there is no place."""
        if not self._waiting or not self._free:
            return None
        if self._free > MAX_LOGS // 2 and not self._is_urgent:
            return 0
        seconds = MIN_SECONDS if self._is_urgent else REFILL_SECONDS
        return max(0.0, self._began + seconds - time.monotonic())

    @property
    def _free(self) -> int:
        return MAX_LOGS - len(self._logs)

    def query(self) -> Mapping[str, str | Sequence[str]]:
        self._fill()
        self._order = [*self._logs]
        logs = [
            workload_id if log.seq is None else f"{workload_id}.{log.seq}"
            for workload_id, log in self._logs.items()
        ]
        events = {} if self._events is None else {"events": self._events}
        return {"workload": logs, **events, **self._aged_query()}

    def begin(self) -> dict[str, str]:
        self._began = time.monotonic()
        self._is_urgent = False
        # The parameters say what the client has, and an id would have to fit them.
        self._parser.last_id = None
        return super().begin()

    def _fill(self) -> None:
        while self._waiting and self._free:
            workload_id, log = self._waiting.popleft()
            self._logs[workload_id] = log
        self._note_done()

    def _note_done(self) -> None:
        self.done = not (self._logs or self._waiting) and self._events is None

    def flush(self) -> Sequence[Any]:
        records = self._parser.feed(*self._held)
        self._held.clear()
        self._held_bytes = 0
        admitted: list[Any] = []
        for each in records:
            match each:
                case Mark():
                    self._mark(each)
                case LogRecords(workload_id, of_log):
                    if kept := self._admit(workload_id, of_log):
                        admitted.append(LogRecords(workload_id, kept))
                case WorkloadProgress():
                    admitted.append(each)
                case _:
                    self._gave_records = True
                    admitted.append(each)
        self._note_done()
        return admitted

    def _mark(self, mark: Mark) -> None:
        if self._events is not None:
            self._events = mark.changes
        if len(mark.places) == len(self._order):
            for workload_id, place in zip(self._order, mark.places, strict=True):
                log = self._logs.get(workload_id)
                if log is not None and place is not None:
                    log.seq = max(log.seq or 0, place)

    def _admit(
        self, workload_id: str, records: Sequence[LogRecord | Gone]
    ) -> Sequence[LogRecord | Gone]:
        """The records that the client does not have yet."""
        log = self._logs.get(workload_id)
        if log is None:
            # Its end came before.
            return []
        kept = []
        for record in records:
            match record:
                case Line(seq=seq):
                    if log.seq is not None and seq <= log.seq:
                        continue
                    log.seq = seq
                    log.unfinished.discard(record.stream)
                case Gap(first, last, reason):
                    if log.seq is not None and last <= log.seq:
                        continue
                    if log.seq is not None and first <= log.seq:
                        record = Gap(log.seq + 1, last, reason)
                    log.seq = last
                case Reset():
                    log.seq = 0
                case Unfinished(stream, text):
                    if text:
                        log.unfinished.add(stream)
                    else:
                        log.unfinished.discard(stream)
                case End() | Gone():
                    del self._logs[workload_id]
            # Such as progress, an unfinished line may come again and again before a broken record.
            self._gave_records |= not isinstance(record, Unfinished)
            kept.append(record)
        return kept

    def clear(self) -> Sequence[Any]:
        cleared = []
        for workload_id, log in self._logs.items():
            if log.unfinished:
                records = [Unfinished(stream, "") for stream in sorted(log.unfinished)]
                cleared.append(LogRecords(workload_id, records))
                log.unfinished.clear()
        return cleared

    def finished(self) -> None:
        self._parser.finish()
        if self._follows or self._parser.shutdown is not None or self.useless:
            return
        # Each log was read to the last line known.
        self._logs.clear()
        self._fill()

    def all_gone(self) -> Sequence[LogRecords]:
        """The service knows none of the logs of the last request any more."""
        gone = [LogRecords(workload_id, [Gone()]) for workload_id in self._logs]
        self._logs.clear()
        self._fill()
        return gone
