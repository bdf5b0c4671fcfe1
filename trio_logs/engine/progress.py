"""How far the logs of running workloads have grown, without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..records import Change, Progress

__all__ = ["ProgressTable"]


class ProgressTable:
    """The newest progress of each running workload. `tick` counts looks; a reader keeps the tick of
    its last progress, so it gets only the workloads whose logs have grown since.

    Bound: one entry for each log that is written.
    """

    def __init__(self) -> None:
        self.tick = 0
        # The tick of the last growth, and the progress, in the order of ticks.
        self._grown: dict[str, tuple[int, Progress]] = {}
        # Workloads that have ended, while their logs are still among those that are written.
        self._ended: set[str] = set()

    def look(self, written: Iterable[tuple[str, int, int]]) -> bool:
        """Compare with the logs that are written now: the id, the lines, and the bytes of each.
        Returns whether a log has grown."""
        self.tick += 1
        seen = set()
        has_grown = False
        for workload_id, lines, size in written:
            seen.add(workload_id)
            if workload_id in self._ended:
                continue
            _, known = self._grown.get(workload_id, (0, None))
            if lines > (0 if known is None else known.lines):
                self._grown.pop(workload_id, None)
                self._grown[workload_id] = self.tick, Progress(workload_id, lines, size)
                has_grown = True
        for workload_id in self._grown.keys() - seen:
            del self._grown[workload_id]
        self._ended &= seen
        return has_grown

    def since(self, tick: int) -> Sequence[Progress]:
        """The progress of the workloads whose logs have grown after a tick."""
        found: list[Progress] = []
        for grown_at, progress in reversed(self._grown.values()):
            if grown_at <= tick:
                break
            found.append(progress)
        return found

    def settle(self, change: Change) -> None:
        """Once a workload has ended, its record has the final numbers, and progress would take them
        back."""
        if change.workload is None or change.workload.status.final:
            self._grown.pop(change.id, None)
            self._ended.add(change.id)

    def clear(self) -> None:
        """Forget all: nobody reads."""
        self._grown.clear()
        self._ended.clear()
