"""The newest workloads, kept up to date by a list and the changes after it, without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ..client import (
    ChangeRecord,
    Reset,
    Workload,
    WorkloadChanged,
    WorkloadDeleted,
    WorkloadProgress,
)
from .wanted import Wanted

__all__ = ["Board"]


class Board:
    """At most `limit` workloads, newest first: those that are `wanted`.

    `is_stale`: a list is needed, since the workload that moved up is not known here. The caller may
    set it, too. The board needs each change after the moment of the list.
    """

    def __init__(self, wanted: Wanted, limit: int | None) -> None:
        self.wanted = wanted
        self.limit = limit
        self.is_stale = True
        self._rows: dict[str, Workload] = {}
        # How many rows there may be, and were when the list was asked for; and whether older
        # workloads were left out.
        self._room = self._asked = 0
        self._is_cut = False
        # Changes that came since the list was asked for. Bound: those of one request.
        self._later: list[ChangeRecord] | None = None

    @property
    def rows(self) -> Sequence[Workload]:
        """The workloads, newest first."""
        # Ids sort by the time of creation.
        return sorted(self._rows.values(), key=lambda workload: workload.id, reverse=True)

    def make_room(self, rows: int) -> int:
        """Show so many rows, if the limit allows that; return how many to list."""
        room = rows if self.limit is None else min(rows, self.limit)
        if room > self._room and self._is_cut:
            self.is_stale = True
        self._room = room
        self._cut()
        return room

    def begin_list(self) -> None:
        """A list of so many workloads as `make_room` says is asked for now. Call `fill` with it; if
        it fails, set `is_stale`."""
        # If the board becomes stale from now on, this list is too old.
        self.is_stale = False
        self._asked = self._room
        self._later = []

    def fill(self, listed: Iterable[Workload]) -> None:
        """Show what was listed."""
        self._rows = {workload.id: workload for workload in listed}
        self._is_cut = len(self._rows) >= self._asked
        if self._is_cut and self._room > self._asked:
            self.is_stale = True
        self._cut()
        # The list may be older than these.
        later, self._later = self._later or [], None
        for record in later:
            self.change(record)

    def change(self, record: ChangeRecord) -> None:
        """Take a change."""
        if self._later is not None:
            self._later.append(record)
        match record:
            case WorkloadChanged(workload=workload):
                if self.wanted.selects(workload):
                    self._put(workload)
                else:
                    self._remove(workload.id)
            case WorkloadDeleted(id=workload_id):
                self._remove(workload_id)
            case WorkloadProgress(id=workload_id, lines=lines, bytes=size):
                known = self._rows.get(workload_id)
                if known is not None and not known.status.final:
                    self._rows[workload_id] = msgspec.structs.replace(
                        known, lines=lines, bytes=size
                    )
            case Reset():
                self.is_stale = True

    def _put(self, workload: Workload) -> None:
        known = self._rows.get(workload.id)
        if known is not None and not workload.status.final and workload.lines < known.lines:
            # A record that was stored before the progress that is shown.
            workload = msgspec.structs.replace(workload, lines=known.lines, bytes=known.bytes)
        if known is None and self._is_cut and self._rows and workload.id < min(self._rows):
            # Older than all rows: it was left out.
            return
        self._rows[workload.id] = workload
        self._cut()

    def _cut(self) -> None:
        while len(self._rows) > self._room:
            del self._rows[min(self._rows)]
            self._is_cut = True

    def _remove(self, workload_id: str) -> None:
        if self._rows.pop(workload_id, None) is not None and self._is_cut:
            self.is_stale = True
