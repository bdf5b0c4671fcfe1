"""What this node has run: a failover of the database may lose its end."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..records import End
from ..store.shared import Owned

__all__ = ["Past"]

KEPT = 10_000
"""Workloads that are kept. A standby lags by seconds, in which a node begins far fewer."""


@dataclass(slots=True)
class Past:
    """The workloads that this node has begun or ended last; each with the epoch with which it owned
    it, and the end, once that is durable as far as the database has said."""

    _newest: dict[str, tuple[int, End | None]] = field(default_factory=dict)

    def add(self, workload_id: str, epoch: int, end: End | None = None) -> None:
        """The node has begun to run it or, with `end`, has ended it."""
        self._newest.pop(workload_id, None)
        self._newest[workload_id] = epoch, end
        if len(self._newest) > KEPT:
            del self._newest[next(iter(self._newest))]

    def __contains__(self, owned: Owned) -> bool:
        """Whether this node has begun what it still owns, by the database."""
        epoch, _ = self._newest.get(owned.workload.id, (None, None))
        return epoch == owned.epoch

    def end(self, owned: Owned) -> End | None:
        """The end of what this node still owns, by the database."""
        return self._newest[owned.workload.id][1] if owned in self else None
