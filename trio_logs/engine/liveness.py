"""Which nodes are dead, by their counters and without a clock of another machine; no I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..store.shared import Node

__all__ = ["POLLS", "POLLS_AFTER_FAILURE", "Liveness"]

POLLS = 5
"""Polls in a row that find a counter unchanged: then its node is dead."""

POLLS_AFTER_FAILURE = 15
"""The same, after a poll of this node has failed. Then the database was away for the other nodes,
too, and they may take longer to come back."""


class Liveness:
    """Judges the other nodes by their counters, which this node reads in its polls of the store.

    During a stall of the store, the counter of every node stands still. So only polls that succeed
    in time count. A poll that fails or is slow makes this node forget all earlier ones.
    """

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        # For each node: its counter at the last poll, and how many polls in a row have found that
        # counter unchanged.
        self._seen: dict[str, tuple[int, int]] = {}
        # Polls that have to succeed until `POLLS` are enough again.
        self._unsettled = 0

    def see(self, nodes: Collection[Node]) -> Sequence[Node]:
        """A poll has succeeded in time. Returns the nodes that are dead."""
        enough = POLLS_AFTER_FAILURE if self._unsettled else POLLS
        self._unsettled = max(0, self._unsettled - 1)
        before, self._seen = self._seen, {}
        dead = []
        for node in nodes:
            if node.id == self._own_id:
                continue
            counter, unchanged = before.get(node.id, (None, 0))
            unchanged = unchanged + 1 if counter == node.counter else 0
            self._seen[node.id] = node.counter, unchanged
            if unchanged >= enough:
                dead.append(node)
        return dead

    def forget(self, *, failed: bool) -> None:
        """A poll has failed, or was slow."""
        self._seen.clear()
        if failed:
            self._unsettled = POLLS_AFTER_FAILURE
