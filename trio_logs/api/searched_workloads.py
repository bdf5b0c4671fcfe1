"""The workloads whose logs a search looks at, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import trio

from ..engine import Engine
from ..errors import WorkloadNotFoundError
from ..records import Workload
from ..store import WorkloadQuery
from .search_parameters import SearchQuery

__all__ = ["SearchedWorkloads"]

PAGE = 100
"""Records that one call of the store reads, and that are in memory."""


class SearchedWorkloads:
    """Finds the workloads that a search selects, one after the other.

    A workload that is deleted meanwhile is left out. Call `check` first.
    """

    def __init__(self, engine: Engine, query: SearchQuery) -> None:
        self._engine = engine
        self._query = query
        self._ids: Iterator[str] | None = None
        self._page: list[Workload] = []
        # The last workload of the pages so far, and whether older ones may exist.
        self._before: str | None = None
        self._has_more = True

    async def check(self) -> None:
        """Read the first records. Raises WorkloadNotFoundError for an unknown `workload`, and
        StoreError."""
        position = self._query.before
        ids = sorted(self._query.ids, reverse=True)
        if ids:
            for each in ids:
                await self._engine.get(each)
            self._has_more = False
            # Ids sort by the time of creation.
            self._ids = iter(
                [each for each in ids if position is None or each <= position.workload_id]
            )
            return
        if position is not None:
            self._before = position.workload_id
            with suppress(WorkloadNotFoundError):
                self._page = [await self._engine.get(position.workload_id)]
        if not self._page:
            await self._read_page()

    async def next(self) -> Workload | None:
        """The next workload, or None after the last one. Raises StoreError."""
        while (found := await self._next()) is not None:
            if self._query.selects(found):
                return found
        return None

    async def _next(self) -> Workload | None:
        if self._ids is not None:
            for each in self._ids:
                with suppress(WorkloadNotFoundError):
                    return await self._engine.get(each)
            await trio.lowlevel.checkpoint()
            return None
        if not self._page and self._has_more:
            await self._read_page()
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._page.pop(0) if self._page else None

    async def _read_page(self) -> None:
        query = WorkloadQuery(PAGE, self._before, labels=self._query.labels)
        page = await self._engine.list(query)
        self._has_more = page.is_cut or len(page) == PAGE
        if page:
            self._before = page[-1].id
        self._page = page
