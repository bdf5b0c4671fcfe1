"""The `push` backend: a workload runs elsewhere, and its client sends the log over HTTP.

For each stream, the client names the offset of the first byte that it sends. As in TCP, bytes that
were received already are skipped, so sending them again never doubles anything. Only bytes that the
store has are acknowledged, so a crash of the service loses none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from ..errors import InvalidSpecError, NotReadyError, TrioLogsError
from ..records import Outcome, Reason, Status, WorkloadSpec
from . import Execution
from .inbox import Inbox, ended, moved

__all__ = ["PushBackend", "PushLimits"]


@dataclass(frozen=True, slots=True)
class PushLimits:
    """`patience`: the seconds that a client may be away before its workload is `lost`. They begin
    anew when the server starts."""

    patience: float = 3600.0


class PushBackend:
    """See `Backend` for the methods. The service makes the instance, because its routes need it."""

    outlives_server = True

    def __init__(self, limits: PushLimits | None = None) -> None:
        self._limits = limits or PushLimits()
        self._inboxes: dict[str, Inbox] = {}

    def check(self, spec: WorkloadSpec) -> None:
        for name, value in (("env", spec.env), ("cwd", spec.cwd), ("pty", spec.pty)):
            if value:
                raise InvalidSpecError(f"{name}: a pushed workload runs elsewhere, and has its own")

    async def run(self, execution: Execution) -> Outcome:
        inbox = Inbox(execution.log, self._limits.patience)
        # Before the first checkpoint: a client that reads `running` finds the inbox.
        self._inboxes[execution.id] = inbox
        why = _shutting_down
        try:
            outcome = Outcome(Status.STOPPED, reason=Reason.STOP_REQUESTED)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_on_stop, execution, nursery.cancel_scope)
                outcome = await inbox.outcome()
                nursery.cancel_scope.cancel()
            why = ended
            return outcome
        finally:
            # With a shared store, this node may have taken the log over from itself.
            if self._inboxes.get(execution.id) is inbox:
                del self._inboxes[execution.id]
            inbox.close(moved if inbox.is_fenced else why)

    async def reap(self, handle: str) -> None:
        """Do nothing: no part of a pushed workload runs here."""

    def inbox(self, workload_id: str) -> Inbox | None:
        """The inbox of a running workload."""
        return self._inboxes.get(workload_id)


def _shutting_down() -> TrioLogsError:
    return NotReadyError("the service is shutting down: go on when it is back")


async def _cancel_on_stop(execution: Execution, scope: trio.CancelScope) -> None:
    await execution.stop.wait()
    scope.cancel()
