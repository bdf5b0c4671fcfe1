"""Deletions of workloads, each in a task of the engine."""

from __future__ import annotations

from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial

import trio

from ..broker import LogBroker
from ..errors import NotReadyError, StoreError
from ..store import WorkloadStore
from .store_calls import StoreCalls

__all__ = ["Deletions"]


@dataclass(slots=True, eq=False)
class _Deletion:
    """`done` is set once the store has answered. `error` is what it said, and what callers are told
    if the engine ends before that."""

    done: trio.Event = field(default_factory=trio.Event)
    error: str | None = "the service ended before the store had deleted the workload"


class Deletions:
    """Deletes workloads, and has their readers told so at the right time.

    A client may disconnect or lose patience while a commit hangs, which succeeds later. Its task
    could not tell readers then, so a task of the engine deletes, and waits for as long as it takes.
    """

    def __init__(self, store: WorkloadStore, broker: LogBroker, calls: StoreCalls) -> None:
        self._store = store
        self._broker = broker
        self._calls = calls
        # Bound: one for each workload. A client that asks again waits for the same deletion.
        self._under_way: dict[str, _Deletion] = {}
        self._nursery: trio.Nursery

    def open(self, nursery: trio.Nursery) -> None:
        """Run deletions as children of this nursery, with the context variables of this task."""
        self._nursery = nursery
        self._context = copy_context()

    async def delete(self, workload_id: str) -> None:
        """Return once the workload is deleted. Raises StoreError if the store fails, or does not
        answer within the patience, and NotReadyError once the engine has ended."""
        # A caller that is cancelled together with the engine must not find the engine closed.
        await trio.lowlevel.checkpoint_if_cancelled()
        deletion = self._under_way.get(workload_id) or self._start(workload_id)
        await self._calls.once("delete the workload", deletion.done.wait)
        if deletion.error is not None:
            raise StoreError(deletion.error)

    def _start(self, workload_id: str) -> _Deletion:
        deletion = _Deletion()
        # In the engine's context: the caller's would keep its request in memory.
        name = f"deletion of {workload_id}"
        start = partial(self._nursery.start_soon, self._run, workload_id, deletion, name=name)
        try:
            self._context.run(start)
        except RuntimeError as error:
            raise NotReadyError("the service has ended: delete again when it is back") from error
        self._under_way[workload_id] = deletion
        return deletion

    async def _run(self, workload_id: str, deletion: _Deletion) -> None:
        # Before: a reader that finds the lines gone must be told the right reason. After: the same
        # for readers that came meanwhile.
        self._broker.forget(workload_id)
        try:
            await self._store.delete(workload_id)
            deletion.error = None
        except StoreError as error:
            deletion.error = str(error)
        finally:
            self._broker.forget(workload_id)
            del self._under_way[workload_id]
            deletion.done.set()
