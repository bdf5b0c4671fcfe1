"""The changes of workload records as their readers see them: the head, the window, the progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import trio

from ..errors import StoreError
from ..records import Change, Progress
from ..store import ChangePage, WorkloadStore
from .change_window import ChangeWindow
from .progress import ProgressTable

__all__ = ["ChangeFeed"]

READ_BYTES = 64 * 1024
"""About how many bytes of changes a reader gets at once, so that readers take turns."""

AT_ONCE = 64
"""Readers that are rung in one step."""

PAUSE_SECONDS = 0.0005, 0.25
"""Seconds from one round of rings to the next, for each reader, and at most. A reader gets all
changes of a round in one chunk. So the cost of changes depends on the time, not on the number of
changes times readers, and many readers take no more than a part of a core."""

TICK_SECONDS = 1.05
"""Seconds from one look for progress to the next. Readers take progress at most once a second; the
rest makes up for a reader that is rung late in one round and early in the next."""


class Listener(Protocol):
    """A reader that waits for changes."""

    def ring(self) -> bool:
        """Wake the reader, without waiting; False if an earlier ring is still unanswered."""


class ChangeFeed:
    """The state of the changes, and the tasks that tell readers of it. The state changes in plain
    functions only: on Trio, each is atomic.

    `head` is the position of the newest change that readers at the head have. The store may have
    later ones, whose callbacks are still to come. `published` counts changes. `restarts` counts how
    often changes were lost that readers have: each reader has to begin anew. `written` returns the
    id, the lines and the bytes of the log of each workload that runs here, and `elsewhere` how far
    the logs of all running workloads have come, those of other nodes included.
    """

    def __init__(
        self,
        store: WorkloadStore,
        written: Callable[[], Iterable[tuple[str, int, int]]],
        elsewhere: Callable[[], Awaitable[Sequence[Progress]]] | None = None,
    ) -> None:
        self._store = store
        self._written = written
        self._elsewhere = elsewhere
        # What the store said last. Bound: the workloads that run at all nodes.
        self._known: Sequence[Progress] = ()
        self._window = ChangeWindow()
        self.progress = ProgressTable()
        self.head = 0
        self.published = 0
        self.restarts = 0
        self.is_detached = False
        # Bound: the streams that may be open.
        self._readers: dict[Listener, None] = {}
        self._news = trio.Event()
        # A reader holds progress back until the next look.
        self._owes = False
        self._arrival = trio.Event()
        # The page that was read last: after a restart, many readers resume at the same position.
        self._recent: tuple[int, ChangePage] | None = None
        self._reading = trio.Lock()

    def __len__(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def publish(self, change: Change) -> None:
        """A change is durable. The store calls it, in the order of positions."""
        self._window.append(change)
        self.head = change.position
        self.published += 1
        if self._readers:
            self.progress.settle(change)
            self._news.set()

    def restart(self, newest: int) -> None:
        """The store has lost changes that readers may have. Go on after the position of its newest
        change."""
        self.restarts += 1
        self.head = newest
        self._window.clear()
        self._recent = None
        # A workload that has ended may run again.
        self.progress.clear()
        self._news.set()

    def add(self, reader: Listener) -> None:
        """Tell this reader of changes from now on."""
        if not self._readers:
            # Growth counts from here.
            self.progress.look(self._all_written())
        self._readers[reader] = None
        self._arrival.set()

    def discard(self, reader: Listener) -> None:
        """Stop telling this reader."""
        del self._readers[reader]
        if not self._readers:
            self.progress.clear()

    def owe(self) -> None:
        """Ring all readers after the next look, even if no log has grown."""
        self._owes = True

    def detach(self) -> None:
        """End every reading where it is, later ones too; readers may resume there."""
        self.is_detached = True
        for reader in self._readers:
            reader.ring()

    def is_behind(self, position: int) -> bool:
        """Whether there are changes after the position, and the window lacks the next one."""
        return position < self.head and not self._window.holds(position + 1)

    def after(self, position: int) -> Sequence[Change]:
        """The changes of the window after a position, about 64 KiB."""
        return self._window.after(position, READ_BYTES)

    async def fetch(self, after: int) -> ChangePage:
        """A page of the store. Readers take turns, so they leave the threads of the store to
        others. Raises StoreError."""
        async with self._reading:
            if self._recent is not None:
                known_after, page = self._recent
                if known_after == after and page.newest >= max(after, self.head):
                    return page
            restarts = self.restarts
            page = await self._store.changes(after, READ_BYTES)
            if self.restarts == restarts:
                self._recent = after, page
            return page

    async def tell(self) -> None:
        """Ring the readers in rounds, until cancelled."""
        each, longest = PAUSE_SECONDS
        while True:
            await self._news.wait()
            self._news = trio.Event()
            # A reader that arrives meanwhile looks by itself before it waits.
            for count, reader in enumerate(tuple(self._readers), 1):
                if reader in self._readers:
                    reader.ring()
                if count % AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            await trio.sleep(min(each * len(self._readers), longest))

    async def look(self) -> None:
        """Look for progress while there are readers, until cancelled."""
        while True:
            if not self._readers:
                self._arrival = trio.Event()
                await self._arrival.wait()
            await trio.sleep(TICK_SECONDS)
            if self._elsewhere is not None:
                # While the store is away, what it said before stands.
                with suppress(StoreError):
                    self._known = await self._elsewhere()
            if self._readers and (self.progress.look(self._all_written()) or self._owes):
                self._owes = False
                self._news.set()

    def _all_written(self) -> Iterator[tuple[str, int, int]]:
        here = set()
        for log in self._written():
            here.add(log[0])
            yield log
        for each in self._known:
            if each.id not in here:
                yield each.id, each.lines, each.bytes
