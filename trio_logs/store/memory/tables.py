"""The tables that several nodes share, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...errors import FencedError
from ...records import Change, End, Outcome, Progress, Status, Workload
from ..shared import PUSHED, Node, Owned, Remains, Request
from .members import Members
from .observer import Observer
from .store import MemoryStore

__all__ = ["MemoryTables"]


class MemoryTables(MemoryStore):
    """What a shared database keeps beside the logs and records of `MemoryStore`. `SharedStore` has
    the duties of each method; here, they are plain functions that act for the node `node_id`."""

    def __init__(self) -> None:
        super().__init__()
        self._members = Members()
        self._owners: dict[str, str] = {}
        # By number, in order.
        self._requests: dict[int, Request] = {}
        self._last_request = 0
        self._remains: dict[str, tuple[str, Remains]] = {}
        self._observers: list[Observer] = []
        self.listen(self._tell_change)

    def observe(self, observer: Observer) -> None:
        """Tell this node's store what happens."""
        self._observers.append(observer)

    def others(self, observer: Observer) -> Sequence[Observer]:
        """All nodes but this one."""
        return [each for each in self._observers if each is not observer]

    def tell_log(self, workload_id: str, by: Observer) -> None:
        """Tell all nodes but the one that did it that a log has changed."""
        for observer in self.others(by):
            observer.tell_log(workload_id)

    def _tell_change(self, change: Change) -> None:
        for observer in self._observers:
            observer.tell_change(change)
        if change.workload is not None and change.workload.status is Status.QUEUED:
            self._tell_work(None)

    def _tell_work(self, node_id: str | None) -> None:
        for observer in self._observers:
            observer.tell_work(node_id)

    def join(self, node: Node, marks: Mapping[str, bytes]) -> None:
        self._members.join(node, marks)

    def beat(self, node_id: str, *, address: str | None, draining: bool) -> Sequence[Node]:
        self._members.beat(node_id, address, draining=draining)
        return self.nodes()

    def nodes(self) -> Sequence[Node]:
        queued = [each for each in self._workloads.values() if self._is_waiting(each)]
        weight = sum(each.weight for each in queued)
        running = [self._owners.get(each.id) for each in self._workloads.values() if _runs(each)]
        return [
            replace(
                node,
                running=running.count(node.id),
                queued=len(queued),
                queued_bytes=weight,
            )
            for node in self._members.nodes
        ]

    def bury(self, node_id: str, counter: int, outcome: Outcome, at: int) -> Sequence[str] | None:
        node = self._members.dead(node_id, counter)
        if node is None:
            return None
        ended = []
        left = self._let_go(node_id)
        for workload_id in left:
            workload = self._workloads[workload_id]
            if _is_pushed(workload):
                continue
            handle = self._handles.get(workload_id)
            if handle is not None:
                remains = Remains(workload_id, workload.spec.backend, handle)
                self._remains[workload_id] = (node.host, remains)
            state = self._logs[workload_id].state
            end = End(outcome, state.lines, state.bytes)
            self._logs[workload_id].state = replace(state, end=end)
            self._logs[workload_id].finished_at = at
            self._ended(workload_id, outcome, at)
            ended.append(workload_id)
        self._tell_logs(left)
        return ended

    def leave(self, node_id: str) -> None:
        owned = [self._workloads[each.workload.id] for each in self.owned(node_id)]
        if not any(_runs(each) and not _is_pushed(each) for each in owned):
            self._tell_logs(self._let_go(node_id))

    def _tell_logs(self, left: Sequence[str]) -> None:
        """Tell all nodes that these logs have no owner any more."""
        for workload_id in left:
            for observer in self._observers:
                observer.tell_log(workload_id)
        self._tell_work(None)

    def _let_go(self, node_id: str) -> Sequence[str]:
        """Remove a node; return the workloads that it owned."""
        self._members.remove(node_id)
        left = sorted(each for each, owner in self._owners.items() if owner == node_id)
        for workload_id in left:
            self._raise_epoch(workload_id)
            del self._owners[workload_id]
        return left

    def claim(self, node_id: str, limit: int, started_at: int, by: Observer) -> Sequence[Owned]:
        self._members.check(node_id)
        waiting = [each for _, each in sorted(self._workloads.items()) if self._is_waiting(each)]
        return [self._own(each, node_id, started_at, by) for each in waiting[:limit]]

    def adopt(self, node_id: str, limit: int, started_at: int, by: Observer) -> Sequence[Owned]:
        self._members.check(node_id)
        left = [
            each
            for each_id, each in sorted(self._workloads.items())
            if _is_pushed(each) and not each.status.final and each_id not in self._owners
        ]
        return [self._own(each, node_id, started_at, by) for each in left[:limit]]

    def withdraw(self, node_id: str, workload_id: str, by: Observer) -> Owned | None:
        self._members.check(node_id)
        workload = self._workloads.get(workload_id)
        if workload is None or workload.status is not Status.QUEUED or workload_id in self._owners:
            return None
        return self._own(workload, node_id, None, by)

    def take(self, node_id: str, workload_id: str, started_at: int, by: Observer) -> Owned | None:
        self._members.check(node_id)
        workload = self._workloads.get(workload_id)
        if workload is None or workload.status.final:
            return None
        return self._own(workload, node_id, started_at, by)

    def _own(self, workload: Workload, node_id: str, started_at: int | None, by: Observer) -> Owned:
        self._owners[workload.id] = node_id
        epoch = self._raise_epoch(workload.id)
        if started_at is not None and workload.status is Status.QUEUED:
            workload = replace(workload, status=Status.RUNNING, started_at=started_at)
        if _runs(workload) and workload.node != node_id:
            workload = replace(workload, node=node_id)
            self._change(workload.id, workload)
        # Its requests wait for the new owner.
        self._tell_work(node_id)
        self.tell_log(workload.id, by)
        return Owned(workload, epoch)

    def _raise_epoch(self, workload_id: str) -> int:
        log = self._logs[workload_id]
        log.state = replace(log.state, epoch=log.state.epoch + 1)
        return log.state.epoch

    def _is_waiting(self, workload: Workload) -> bool:
        is_free = workload.id not in self._owners and not _is_pushed(workload)
        return is_free and workload.status is Status.QUEUED

    def owned(self, node_id: str) -> Sequence[Owned]:
        return [
            Owned(self._workloads[workload_id], self._logs[workload_id].state.epoch)
            for workload_id, owner in sorted(self._owners.items())
            if owner == node_id
        ]

    def remember_owned(self, workload_id: str, epoch: int, handle: str) -> None:
        log = self._logs.get(workload_id)
        if log is None or log.state.epoch != epoch or log.state.end is not None:
            raise FencedError(f"workload {workload_id} has another owner, or has ended")
        self._handles[workload_id] = handle

    def request(self, workload_id: str, content: bytes) -> bool:
        owner = self._owners.get(workload_id)
        if owner is None:
            return False
        self._last_request += 1
        request = Request(self._last_request, workload_id, content)
        self._requests[self._last_request] = request
        self._tell_work(owner)
        return True

    def requests(self, node_id: str, answered: Collection[int]) -> Sequence[Request]:
        for number in answered:
            self._requests.pop(number, None)
        waiting = self._requests.values()
        return [each for each in waiting if self._owners.get(each.workload_id) == node_id]

    def progress(self) -> Sequence[Progress]:
        running = filter(_runs, self._workloads.values())
        return [Progress(each.id, each.lines, each.bytes) for each in running]

    def remains(self, host: str) -> Sequence[Remains]:
        return [remains for where, remains in self._remains.values() if where == host]

    def forget_remains(self, workload_ids: Sequence[str]) -> None:
        for workload_id in workload_ids:
            self._remains.pop(workload_id, None)

    def _is_kept(self, workload_id: str) -> bool:
        return workload_id in self._logs

    def _ended(self, workload_id: str, outcome: Outcome, finished_at: int) -> None:
        self._disown(workload_id)
        super()._ended(workload_id, outcome, finished_at)

    def _discard(self, workload_id: str) -> None:
        self._disown(workload_id)
        super()._discard(workload_id)

    def _disown(self, workload_id: str) -> None:
        self._owners.pop(workload_id, None)
        waiting = self._requests.items()
        self._requests = {n: each for n, each in waiting if each.workload_id != workload_id}


def _runs(workload: Workload) -> bool:
    return workload.status is Status.RUNNING


def _is_pushed(workload: Workload) -> bool:
    return workload.spec.backend == PUSHED
