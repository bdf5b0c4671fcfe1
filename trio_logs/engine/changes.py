"""The changes of workload records, which readers follow as they follow a log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import trio

from ..broker import Bell
from ..records import Change, Detached, Reset, Workload
from ..store import ChangePage, WorkloadStore
from ..store.shared import SharedStore
from .change_feed import ChangeFeed
from .change_reader import ChangeReader
from .store_calls import StoreCalls

__all__ = ["Changes"]


class Changes:
    """Numbered by the store, told by a window in memory, and read from the store by readers that
    are behind it. `written` is that of `ChangeFeed`. `shared` is the store if nodes share it."""

    def __init__(
        self,
        store: WorkloadStore,
        calls: StoreCalls,
        written: Callable[[], Iterable[tuple[str, int, int]]],
        shared: SharedStore | None = None,
    ) -> None:
        self._store = store
        self._calls = calls
        elsewhere = None if shared is None else shared.progress
        self._feed = ChangeFeed(store, written, elsewhere)
        store.listen(self._feed.publish)
        if shared is not None:
            shared.watch_losses(self._feed.restart)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell readers of changes, until cancelled. Raises StoreError if the store can't be read at
        the start."""
        what = "read the position of the newest change"
        newest = await self._calls.once(what, self._store.position)
        self._feed.head = max(self._feed.head, newest)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed.tell)
            nursery.start_soon(self._feed.look)
            task_status.started()

    @property
    def position(self) -> int:
        """The position of the newest change that is known to be durable: a list that is read
        afterwards has this change, and a reading after it gets all later ones."""
        return self._feed.head

    @property
    def published(self) -> int:
        """How many changes there were since the start."""
        return self._feed.published

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return len(self._feed)

    def read(self, after: int | None = None, *, bell: Bell | None = None) -> ChangeReader:
        """A reader of the changes after a position; by default, of new changes only."""
        return ChangeReader(self._feed, after, self._first_page, bell)

    async def until_ended(
        self, workload_id: str, get: Callable[[str], Awaitable[Workload]]
    ) -> None:
        """Return once a workload has ended or is deleted, and at a shutdown. `get` reads its
        record. Raises what `get` raises, and StoreError."""
        with self.read() as reader:
            await reader.load()
            ended = (await get(workload_id)).status.final
            while not ended:
                for record in await reader.receive():
                    if isinstance(record, Reset):
                        # Its end may be among the changes that are lost, or that came before this
                        # node noticed the loss.
                        ended |= (await get(workload_id)).status.final
                    ended |= isinstance(record, Detached) or (
                        isinstance(record, Change)
                        and record.id == workload_id
                        and (record.workload is None or record.workload.status.final)
                    )

    def detach(self) -> None:
        """End every reading where it is, later ones too; readers may resume there."""
        self._feed.detach()

    async def _first_page(self, after: int) -> ChangePage:
        """The page that a new reader needs, within the patience."""
        return await self._calls.once("read the changes", partial(self._feed.fetch, after))
