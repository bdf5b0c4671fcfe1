"""Requests of clients to the owners of workloads, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ..shared import Request

__all__ = ["Requests"]


class Requests:
    """The requests that were not answered yet, each with the node to which it goes."""

    def __init__(self) -> None:
        # By number, in order.
        self._waiting: dict[int, tuple[str, Request]] = {}
        self._last = 0

    def add(self, owner: str, workload_id: str, content: bytes) -> None:
        """Add a request to a node, under the next number."""
        self._last += 1
        self._waiting[self._last] = (owner, Request(self._last, workload_id, content))

    def take(self, owner: str, after: int) -> Sequence[Request]:
        """The requests to a node with a number above `after`; those up to it go."""
        mine = {n: request for n, (whose, request) in self._waiting.items() if whose == owner}
        for number in [number for number in mine if number <= after]:
            del self._waiting[number]
        return [request for number, request in mine.items() if number > after]

    def move(self, workload_id: str, owner: str) -> None:
        """A workload has another owner: its requests go there, under new numbers."""
        for request in self.drop(workload_id):
            self.add(owner, workload_id, request.content)

    def drop(self, workload_id: str) -> Sequence[Request]:
        """Remove the requests that concern a workload, and return them."""
        mine = [
            request for _, request in self._waiting.values() if request.workload_id == workload_id
        ]
        for request in mine:
            del self._waiting[request.number]
        return mine
