"""The body of an answer that is a search over logs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import trio

from ..broker import Finding, FoundLine
from ..records import Workload, rfc3339
from ..service import Service
from .search_body import SearchBody, encode_line
from .search_parameters import SearchPosition, SearchQuery
from .searched_workloads import SearchedWorkloads

__all__ = ["FoundObject", "SearchStream"]

PROGRESS_SECONDS = 0.5
"""Seconds between two signs of progress, so that a busy machine has one each second, too."""


class FoundObject(msgspec.Struct, omit_defaults=True):
    """A line of a workload's log, which matches or, with `context`, is near a line that matches.
    `partial`: the line goes on in the next object of its stream."""

    seq: int
    time: str
    stream: str
    text: str
    workload: str
    partial: bool = False
    context: bool = False


_encoder = msgspec.json.Encoder()


class SearchStream(SearchBody):
    """The lines that match, log by log."""

    def __init__(self, service: Service, query: SearchQuery, workloads: SearchedWorkloads) -> None:
        super().__init__(service)
        self._query = query
        self._workloads = workloads
        self._finding: Finding | None = None
        # Matches that were found in earlier answers, of the log that is searched now.
        self._earlier = 0
        self._count = 0
        self._searched = 0
        self._lines = 0
        self._progress_at = -math.inf

    async def step(self) -> bytes:
        if self._progress_at == -math.inf:
            self._progress_at = trio.current_time() + PROGRESS_SECONDS
        finding = self._finding
        if finding is None or finding.is_over:
            return await self._next_log(finding)
        if trio.current_time() >= self._progress_at:
            self._progress_at = trio.current_time() + PROGRESS_SECONDS
            lines = self._lines + finding.looked_at
            progress = {"event": "progress", "workload": finding.workload_id, "lines": lines}
            return encode_line(progress)
        # Only the wait for the turn is cut short: a slice would have to begin anew.
        with trio.move_on_at(self._progress_at):
            await self.place.wait()
        if not self.place.has_turn:
            return b""
        return _lines(finding.workload_id, await finding.step())

    async def _next_log(self, finding: Finding | None) -> bytes:
        """Go on with the next workload, or end the answer."""
        position = None
        if finding is not None:
            self._count += finding.count
            self._lines += finding.looked_at
            self._searched += 1
            if self._count >= self._query.limit:
                count = self._earlier + finding.count
                position = SearchPosition(finding.workload_id, finding.searched, count)
                if finding.is_limited:
                    return self._end(position)
        workload = await self._workloads.next()
        if workload is None:
            return self._end(None)
        if position is not None:
            return self._end(position)
        await self._begin(workload)
        return b""

    async def _begin(self, workload: Workload) -> None:
        before = self._query.before
        is_resumed = before is not None and before.workload_id == workload.id
        line, self._earlier = (before.line, before.count) if before and is_resumed else (0, 0)
        limit = self._query.limit - self._count
        if self._query.per_workload is not None:
            limit = min(limit, self._query.per_workload - self._earlier)
        self._finding = Finding(
            self.service.store,
            self.place,
            workload.id,
            self._query.selection,
            after=line,
            limit=max(limit, 0),
            context=self._query.context,
        )
        await self._finding.load()

    def _end(self, position: SearchPosition | None) -> bytes:
        self.is_over = True
        return encode_line(
            {
                "event": "end",
                "count": self._count,
                "workloads": self._searched,
                "complete": position is None,
                "next": None if position is None else str(position),
            }
        )


def _lines(workload_id: str, found: Sequence[FoundLine]) -> bytes:
    return _encoder.encode_lines(
        [
            FoundObject(
                line.seq,
                rfc3339(line.time),
                line.stream,
                line.text.decode(),
                workload_id,
                line.partial,
                line.is_context,
            )
            for line in found
        ]
    )
