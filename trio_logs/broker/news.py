"""News of logs that other nodes extend, end, take over or delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ..store.shared import SharedStore
from .bell import Listener
from .history import History

__all__ = ["News"]


class Follower(Listener, Protocol):
    """A feed, or the guard of a source: it is rung for news of its log."""

    def asked(self) -> None:
        """Another node asks for the unfinished lines."""

    def shown(self, content: bytes) -> None:
        """Another node tells what they are."""


class News:
    """Rings the feeds and sources of this node when another node has changed their log, or any log
    may have changed. Then the pieces of `history` are forgotten, too."""

    def __init__(self, store: SharedStore, history: History) -> None:
        self._store = store
        self._history = history
        # Bound: the logs that have a feed or a source here.
        self._followers: dict[str, set[Follower]] = {}
        store.watch_logs(self._ring)
        store.watch_unfinished(self._ask, self._show)

    @contextmanager
    def heard_by(self, workload_id: str, follower: Follower) -> Iterator[None]:
        """Within the block, ring the follower for news of the log. Await `watch` first: news of a
        change before its return may not come."""
        self._followers.setdefault(workload_id, set()).add(follower)
        try:
            yield
        finally:
            followers = self._followers[workload_id]
            followers.discard(follower)
            if not followers:
                del self._followers[workload_id]
                self._store.unwatch(workload_id)

    async def watch(self, workload_id: str) -> None:
        """Return once the store tells of each later change. Raises StoreError."""
        await self._store.watch(workload_id)

    async def ask(self, workload_id: str) -> None:
        """Ask the other nodes for the unfinished lines of a log. Raises StoreError."""
        await self._store.ask_unfinished(workload_id)

    async def show(self, workload_id: str, content: bytes) -> None:
        """Tell the other nodes the unfinished lines of a log. Raises StoreError."""
        await self._store.show_unfinished(workload_id, content)

    def _ring(self, workload_id: str | None) -> None:
        if workload_id is None:
            self._history.forget()
        chosen = self._followers if workload_id is None else (workload_id,)
        for each in chosen:
            for follower in self._followers.get(each, ()):
                follower.ring()

    def _ask(self, workload_id: str) -> None:
        for follower in self._followers.get(workload_id, ()):
            follower.asked()

    def _show(self, workload_id: str, content: bytes) -> None:
        for follower in self._followers.get(workload_id, ()):
            follower.shown(content)
