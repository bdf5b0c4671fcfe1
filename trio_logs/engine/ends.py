"""The ends that this node has stored, of which a failover of the database may lose the newest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from ..errors import BehindError, FencedError
from ..records import End, Gap, Outcome, Reason, Status, now
from ..store import LogState
from ..store.shared import Owned, SharedStore

__all__ = ["Ends"]

_log = structlog.get_logger("trio_logs.nodes")

KEPT = 1000
"""Ends that are kept. A standby lags by seconds, in which a node ends far fewer workloads."""

LOST = Outcome(
    Status.LOST,
    error="The database has lost the end of the workload in a failover.",
    reason=Reason.SERVER_LOST,
)


@dataclass(slots=True)
class Ends:
    """The newest ends, by workload; each with the epoch with which this node owned it."""

    _newest: dict[str, tuple[int, End]] = field(default_factory=dict)

    def add(self, workload_id: str, epoch: int, end: End) -> None:
        """This end is durable, as far as the database has said."""
        self._newest.pop(workload_id, None)
        self._newest[workload_id] = epoch, end
        if len(self._newest) > KEPT:
            del self._newest[next(iter(self._newest))]

    def has(self, owned: Owned) -> bool:
        """Whether the end of what this node still owns, by the store, is one of these."""
        epoch, _ = self._newest.get(owned.workload.id, (None, None))
        return epoch == owned.epoch

    async def store(self, store: SharedStore, owned: Owned) -> None:
        """Store the end again of a workload that does not run here any more: one of these, with a
        gap for lines that the database has lost with it, or else LOST. Raises StoreError."""
        workload_id = owned.workload.id
        state = await store.log(workload_id) or LogState()
        end = End(LOST, state.lines, state.bytes)
        if self.has(owned):
            _, end = self._newest[workload_id]
        at = now()
        gaps = [Gap(state.lines + 1, end.lines, "store", at)] if state.lines < end.lines else []
        with suppress(BehindError, FencedError):
            # Otherwise it was deleted, or another node has buried this one, since it was read.
            await store.append(
                workload_id,
                gaps,
                expected=state.lines + 1,
                epoch=owned.epoch,
                size=end.bytes,
                streams=state.streams,
                outcome=end.outcome,
                finished_at=at,
            )
            _log.warning(
                "the database has lost the end of a workload: stored again", workload=workload_id
            )
