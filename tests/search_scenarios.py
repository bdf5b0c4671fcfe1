"""Searches as scenarios of `tests.scenarios`: cancelled at each of their steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from tests.scenarios import Scenario, World
from tests.searching import batch_of, expected_search, objects, put
from tests.steps import InvariantError
from trio_logs.api.matches import MatchesStream
from trio_logs.api.search_parameters import parse_matches_query, parse_search_query
from trio_logs.api.search_stream import SearchStream
from trio_logs.api.searched_workloads import SearchedWorkloads
from trio_logs.broker.searches import SearchStatistics
from trio_logs.store import Store, Visitor
from trio_logs.store.memory.copies import show

__all__ = ["SEARCHES"]

LOGS = {
    "a1": [batch_of(n, ["hit", "x", "y", "hit"]) for n in (1, 5, 9)],
    "a2": [batch_of(n, ["x", "hit"]) for n in (1, 3)],
}


class _Steps:
    """A store that shows records to a visitor in a step each, not in a thread, whose moments no
    seed repeats."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.run, self.statistics = inner.run, inner.statistics

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def visit(
        self,
        workload_id: str,
        first: int,
        last: int,
        visitor: Visitor,
        *,
        newest_first: bool = False,
    ) -> None:
        records = self._inner._some(workload_id, first, last, newest_first=newest_first)
        for record in records:
            await trio.lowlevel.checkpoint()
            if not show([record], visitor):
                break


class Search(Scenario):
    """Three clients search, so that one waits for its turn; the scenario is one of them, and two
    others stay."""

    def wrapped(self, store: Store) -> Any:
        return _Steps(store)

    async def prepare(self, world: World) -> None:
        for name, log in LOGS.items():
            await put(world.store, name, log)
        self.left = 2
        for _ in range(2):
            world.nursery.start_soon(self.stay, world)

    async def stay(self, world: World) -> None:
        await self.find(world)
        await self.match(world)
        self.left -= 1

    async def run(self, world: World) -> None:
        await self.match(world)
        await self.find(world)

    async def match(self, world: World) -> None:
        selection = parse_matches_query([("filter", "hit")], 0)
        with world.broker.searches.admit():
            body = MatchesStream(world.service, "a1", selection, 12)
            found = await _read(body)
        at = [number for each in found for number in each.get("at", ())]
        if at != [1, 4, 5, 8, 9, 12] or found[-1] != {"event": "end", "count": 6, "lines": 12}:
            raise InvariantError(f"matches: {found}")

    async def find(self, world: World) -> None:
        lines: list[tuple[str, int, bool]] = []
        parameters = [("filter", "hit"), ("limit", "3"), ("context", "1")]
        before: Sequence[tuple[str, str]] = ()
        while True:
            query = parse_search_query([*parameters, *before], 0)
            with world.broker.searches.admit():
                workloads = SearchedWorkloads(world.engine, query)
                await workloads.check()
                found = await _read(SearchStream(world.service, query, workloads))
            lines += [
                (each["workload"], each["seq"], each.get("context", False))
                for each in found
                if "seq" in each
            ]
            if found[-1]["complete"]:
                break
            before = [("before", found[-1]["next"])]
        if lines != expected_search(LOGS, "hit", context=1):
            raise InvariantError(f"found: {lines}")

    async def check(self, world: World) -> None:
        with trio.fail_after(5):
            while self.left:
                await trio.sleep(0.01)
        await self.run(world)
        found = world.broker.searches.statistics()
        if found != SearchStatistics(0, 0, 0, found.slices, 0):
            raise InvariantError(f"{found}")


async def _read(body: MatchesStream | SearchStream) -> list[dict[str, Any]]:
    """What a client gets; all but the signs of progress."""
    received = b""
    async with body:
        async for chunk in body:
            received += chunk
    return [each for each in objects(received) if each.get("event") != "progress"]


SEARCHES: dict[str, type[Scenario]] = {"search": Search}
