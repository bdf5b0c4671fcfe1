"""How a search over logs goes on after its answer broke, without I/O.

It resumes at a position, which is what the server sends as `next`: the id of a workload, the number
of the last line of its log that was searched, and how many lines of that log were found, with dots
between them. All newer workloads are searched by then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .found import HitParser
from .progress_resume import ProgressResume
from .records import Hit, Progress, SearchEnd, SearchRecord
from .search_requests import SearchOptions, workload_query

__all__ = ["SearchResume"]

PAGE = 100_000
"""Lines that one answer finds: the server's maximum."""


class SearchResume(ProgressResume[SearchRecord]):
    """A search over logs.

    With context, the lines after the last match may be missing when an answer breaks. So the next
    answer begins with that match again, and lines that came before are left out.
    """

    def __init__(self, text: str, options: SearchOptions, address: str) -> None:
        own = ("limit", "before", "patience", "labels", "status", "workloads")
        rest = {name: value for name, value in options.items() if name not in own}
        super().__init__(text, rest, options.get("patience"), address)
        self._workload_query = workload_query(options)
        self._limit = options.get("limit")
        self._has_context = options.get("context", 0) > 0
        # Where to resume unless a line was found since.
        self._start: str | None = None
        # The log that is searched, the last line that came, and the last match.
        self._log: str | None = None
        self._newest = 0
        self._match: int | None = None
        # Matches of that log, and of all.
        self._matched = 0
        self._count = 0
        self._workloads = 0
        self._lines = 0
        # As they were when the last request was made.
        self._count_before = 0
        self._lines_before = 0
        if "before" in options:
            self._start_at(options["before"])

    def _new_parser(self) -> HitParser:
        return HitParser()

    def query(self) -> dict[str, str | Sequence[str]]:
        query = {**super().query(), **self._workload_query}
        left = PAGE if self._limit is None else min(self._limit - self._count, PAGE)
        position = self._start
        if self._match is not None:
            line, matched = self._match, self._matched
            if self._has_context or left == 0:
                line, matched, left = line - 1, matched - 1, min(left + 1, PAGE)
            position = f"{self._log}.{line}.{matched}"
        if position is not None:
            query["before"] = position
        query["limit"] = str(left)
        self._lines_before, self._count_before = self._lines, self._count
        return query

    def _take(self, record: Any) -> Sequence[SearchRecord]:
        match record:
            case Hit():
                if record.workload != self._log:
                    self._enter(record.workload)
                if record.seq <= self._newest:
                    return []
                self._newest = record.seq
                if not record.context:
                    self._match = record.seq
                    self._matched += 1
                    self._count += 1
                self.heard = True
                return [record]
            case Progress(workload, lines):
                if workload != self._log:
                    self._enter(workload)
                self._lines = self._lines_before + lines
                return [Progress(workload, self._lines)]
            case SearchEnd():
                return self._end(record)
        raise AssertionError(record)

    def _enter(self, workload: str) -> None:
        """The logs before that of this workload are searched."""
        self._log = workload
        self._start = f"{workload}.0.0"
        self._newest = self._matched = 0
        self._match = None
        self.heard = True

    def _start_at(self, position: str) -> None:
        self._start = position
        self._match = None
        found = re.fullmatch(r"(.+)\.([0-9]+)\.([0-9]+)", position)
        # The server refuses a malformed one.
        if found is not None:
            self._log, self._newest, self._matched = found[1], int(found[2]), int(found[3])

    def _end(self, end: SearchEnd) -> Sequence[SearchEnd]:
        self._workloads += end.workloads
        self.heard = True
        has_more = end.next is not None and self._count > self._count_before
        if has_more and (self._limit is None or self._count < self._limit):
            # The next answer searches the rest of that log, and counts it again.
            self._workloads -= 1
            self._start_at(end.next or "")
            self._goes_on = True
            return []
        self.done = True
        return [SearchEnd(self._count, self._workloads, end.complete, end.next)]
