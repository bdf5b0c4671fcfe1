"""The nodes of a shared store, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import trio

from ...errors import FencedError, TokenMismatchError
from ...records import now
from ..shared import LIVING_SECONDS, Node

__all__ = ["Members"]


@dataclass(slots=True)
class _Member:
    """A node, the marks of its tokens, and when it was heard of, on Trio's clock."""

    node: Node
    marks: Mapping[str, bytes]
    heard_at: float


class Members:
    """The nodes that have joined, and were neither buried nor left. See `SharedStore`."""

    def __init__(self) -> None:
        self._known: dict[str, _Member] = {}

    @property
    def nodes(self) -> list[Node]:
        """All nodes, by id, without the numbers of their workloads."""
        return [member.node for _, member in sorted(self._known.items())]

    def join(self, node: Node, marks: Mapping[str, bytes]) -> None:
        moment = trio.current_time()
        for member in self._known.values():
            if member.heard_at > moment - LIVING_SECONDS and member.marks != marks:
                raise TokenMismatchError(
                    f"node {member.node.id} has other tokens: give all nodes the same"
                    " TRIO_LOGS_TOKEN and TRIO_LOGS_READ_ONLY_TOKEN"
                )
        self._known[node.id] = _Member(replace(node, seen_at=now()), marks, moment)

    def beat(self, node_id: str, address: str | None, *, draining: bool) -> None:
        member = self.check(node_id)
        counter = member.node.counter + 1
        member.node = replace(
            member.node, counter=counter, seen_at=now(), address=address, draining=draining
        )
        member.heard_at = trio.current_time()

    def check(self, node_id: str) -> _Member:
        """The node. Raises FencedError if it is gone."""
        if node_id not in self._known:
            raise FencedError(f"node {node_id} was taken for dead, and owns nothing any more")
        return self._known[node_id]

    def dead(self, node_id: str, counter: int) -> Node | None:
        """The node, if its counter has not moved."""
        member = self._known.get(node_id)
        return None if member is None or member.node.counter != counter else member.node

    def remove(self, node_id: str) -> None:
        self._known.pop(node_id, None)
