"""What a node's store is told by the tables that it shares."""

from __future__ import annotations

from typing import Protocol

from ...records import Change

__all__ = ["Observer"]


class Observer(Protocol):
    """A node's store, which is told what happens in the tables."""

    def tell_change(self, change: Change) -> None:
        """A record has changed."""

    def tell_losses(self, newest: int) -> None:
        """The tables have fallen back to this position."""

    def tell_log(self, workload_id: str) -> None:
        """Another node has changed a log."""

    def tell_work(self, node_id: str | None) -> None:
        """There is work for this node; None: for any node."""

    def tell_asked(self, workload_id: str) -> None:
        """Another node asks for unfinished lines."""

    def tell_shown(self, workload_id: str, content: bytes) -> None:
        """Another node shows unfinished lines."""
