"""The queue of a shared store, as one node sees it."""

from __future__ import annotations

from .limits import EngineLimits
from .nodes import Nodes
from .queue import Queue

__all__ = ["SharedQueue"]


class SharedQueue(Queue):
    """Workloads wait in the store, so their number is that of the last beat, and those that this
    node has submitted since. The bound may be exceeded by what others submit within a beat."""

    def __init__(self, limits: EngineLimits, nodes: Nodes) -> None:
        super().__init__(limits)
        self._nodes = nodes
        self._beat = nodes.beats
        self._submitted = 0

    def __len__(self) -> int:
        return self._nodes.queued + (self._submitted if self._beat == self._nodes.beats else 0)

    async def refresh(self) -> None:
        if len(self) >= self.capacity:
            # It may have become shorter since the last beat.
            await self._nodes.refresh()

    def count(self) -> None:
        """This node has submitted a workload that waits."""
        if self._beat != self._nodes.beats:
            self._beat, self._submitted = self._nodes.beats, 0
        self._submitted += 1
