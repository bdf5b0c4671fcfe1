"""News of logs that other nodes extend, end, take over or delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..store.shared import SharedStore
from .bell import Listener

__all__ = ["News"]


class News:
    """Rings the feeds and sources of this node when another node has changed their log."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        # Bound: the logs that have a feed or a source here.
        self._listeners: dict[str, set[Listener]] = {}
        store.watch_logs(self._ring)

    def __len__(self) -> int:
        """How many logs are watched."""
        return len(self._listeners)

    @contextmanager
    def heard_by(self, workload_id: str, listener: Listener) -> Iterator[None]:
        """Ring the listener for news of the log. Within the block, await `watch` first: only news
        after that is certain to come."""
        self._listeners.setdefault(workload_id, set()).add(listener)
        try:
            yield
        finally:
            listeners = self._listeners[workload_id]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[workload_id]
                self._store.unwatch(workload_id)

    async def watch(self, workload_id: str) -> None:
        """Return once the store tells of each later change. Raises StoreError."""
        await self._store.watch(workload_id)

    def _ring(self, workload_id: str | None) -> None:
        if workload_id is not None:
            for listener in self._listeners.get(workload_id, ()):
                listener.ring()
            return
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.ring()
