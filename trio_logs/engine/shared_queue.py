"""The queue of a shared store, as one node sees it."""

from __future__ import annotations

from .limits import EngineLimits
from .nodes import Nodes
from .queue import Queue

__all__ = ["SharedQueue"]


class SharedQueue(Queue):
    """Workloads wait in the store. This node knows how many waited at its last beat, with which
    weight, and adds what it has submitted since. It does not know what other nodes have submitted
    since. So the bounds may be exceeded by the submissions of about a second."""

    def __init__(self, limits: EngineLimits, nodes: Nodes) -> None:
        super().__init__(limits)
        self._nodes = nodes
        self._beat = nodes.beats
        self._submitted = 0
        self._submitted_bytes = 0

    def __len__(self) -> int:
        return self._nodes.queued + (self._submitted if self._beat == self._nodes.beats else 0)

    @property
    def waiting_bytes(self) -> int:
        since = self._submitted_bytes if self._beat == self._nodes.beats else 0
        return self._nodes.queued_bytes + since

    async def refresh(self, weight: int) -> None:
        if len(self) >= self.capacity or self.is_full_with(weight):
            # It may have become shorter since the last beat.
            await self._nodes.refresh()

    def count(self, weight: int) -> None:
        """This node has submitted a workload that waits."""
        if self._beat != self._nodes.beats:
            self._beat, self._submitted = self._nodes.beats, 0
            self._submitted_bytes = 0
        self._submitted += 1
        self._submitted_bytes += weight
