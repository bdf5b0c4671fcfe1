"""Lists of workloads: the stores agree, labels have an index, and an abandoned query ends."""

from __future__ import annotations

import os
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from tests.live import open_live
from tests.stores import running
from trio_logs.records import Outcome, Status, Workload, WorkloadSpec
from trio_logs.settings import Settings
from trio_logs.store import WorkloadQuery
from trio_logs.store.memory import MemoryStore
from trio_logs.store.query import PAGE_BYTES
from trio_logs.store.sqlite import SQLiteStore, workloads
from trio_logs.store.sqlite.readers import MAX_READERS

STATES = (Status.QUEUED, Status.RUNNING, Status.FAILED, Status.SUCCEEDED)


def any_labels(rng: random.Random) -> dict[str, str]:
    return {name: rng.choice(["", "x", "x=y", "É"]) for name in "ab" if rng.random() < 0.5}


def any_query(rng: random.Random) -> WorkloadQuery:
    return WorkloadQuery(
        limit=rng.choice([1, 3, 50]),
        before=rng.choice([None, "20", "50"]),
        statuses=frozenset(rng.sample(STATES, rng.choice([0, 0, 1, 2]))),
        labels=any_labels(rng),
        name=rng.choice([None, None, "a", "a=b", "É", ""]),
        id=rng.choice([None, None, None, "0", "1", "05"]),
        search=rng.choice([None, None, None, "a", "é", "MAKE t", "0"]),
        since=rng.choice([None, None, 20]),
        until=rng.choice([None, None, 50]),
    )


@pytest.mark.parametrize("seed", range(3))
async def test_the_stores_list_the_same(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    found = 0
    async with running(MemoryStore()) as memory, running(SQLiteStore(tmp_path / "x.db")) as sqlite:
        for number in range(60):
            name, status = rng.choice([None, "a", "a=b", "É", ""]), rng.choice([*STATES, None])
            spec = WorkloadSpec(("make", "test"), name=name, labels=any_labels(rng))
            for store in (memory, sqlite):
                await store.create(Workload(f"{number:02}", spec, number))
                await change(store, f"{number:02}", status)
        for _ in range(int(os.environ.get("QUERIES", "300"))):
            query = any_query(rng)
            listed = await memory.workloads(query)
            assert await sqlite.workloads(query) == listed, query
            assert await sqlite.count(query) == await memory.count(query), query
            found += len(listed)
    assert found > 50


async def test_a_page_that_its_bytes_end_has_a_next_one(tmp_path: Path) -> None:
    async with open_live(Settings(data=tmp_path), store=MemoryStore()) as live:
        for number in range(6):
            spec = WorkloadSpec(("x",), env={"X": "x" * (PAGE_BYTES // 4)})
            await live.service.store.create(Workload(f"{number}", spec, number))
        sizes, cursor = [], ""
        while cursor is not None:
            parameters = {"before": cursor} if cursor else {}
            answer = (await live.client.get("/v1/workloads", params=parameters)).json()
            sizes.append(len(answer["workloads"]))
            cursor = answer["next"]
        assert sizes == [4, 2]


async def change(store: Any, workload: str, status: Status | None) -> None:
    """Bring a new workload to a status; None: it is deleted."""
    if status is Status.QUEUED:
        return
    await store.start(workload, 1)
    if status is not Status.RUNNING:
        outcome = Outcome(status or Status.FAILED, 0)
        await store.append(
            workload, [], expected=1, epoch=0, size=0, outcome=outcome, finished_at=2
        )
    if status is None:
        await store.delete(workload)


def filled(path: Path, count: int) -> apsw.Connection:
    """A database with workloads that all have the label `all=yes` and the name `many`. The oldest
    one alone has `one=yes`."""

    async def main() -> None:
        async with running(SQLiteStore(path)) as store, trio.open_nursery() as nursery:
            for number in range(count):
                labels = {"all": "yes"} | ({} if number else {"one": "yes"})
                name = "many" if number else "few"
                spec = WorkloadSpec(("x",), name=name, labels=labels)
                nursery.start_soon(store.create, Workload(f"{number:06}", spec, number))

    trio.run(main)
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)


RARE: list[dict[str, Any]] = [
    {"labels": {"one": "yes"}},
    {"labels": {"none": "yes"}},
    {"labels": {"all": "yes", "one": "yes"}},
    {"labels": {"one": "yes", "all": "yes"}, "statuses": frozenset([Status.QUEUED])},
    {"labels": {"one": "yes"}, "search": "x"},
    {"labels": {"one": "yes"}, "name": "few"},
    {"labels": {"all": "yes"}, "name": "few"},
    {"name": "few"},
]


def test_what_few_workloads_have_is_found_by_an_index(tmp_path: Path) -> None:
    """In a number of steps that does not depend on how many workloads there are."""
    with closing(filled(tmp_path / "x.db", 8000)) as connection:
        steps = 0

        def count() -> bool:
            nonlocal steps
            steps += 1
            return False

        connection.set_progress_handler(count, 10)
        for function in (workloads.page, workloads.count):
            for query in RARE:
                steps = 0
                found = function(connection, WorkloadQuery(**query))
                # To count 1,000 of what is common takes 8,000 instructions.
                assert steps * 10 < 20_000, (function, query, steps * 10)
                number = len(found) if isinstance(found, list) else sum(found.values())
                assert number == ("none" not in query.get("labels", {}))
        # A scan would need more.
        workloads.page(connection, WorkloadQuery(search="nowhere"))
        assert steps * 10 > 40_000


def count_endlessly(connection: apsw.Connection, *_: Any, **__: Any) -> Any:
    """A query that does not end by itself."""
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    return connection.execute(f"{endless} SELECT count(*) FROM n").get


class EndlessLists(SQLiteStore):
    """Its lists never end by themselves, once it `is_endless`."""

    is_endless = False

    async def workloads(self, query: WorkloadQuery) -> list[Workload]:
        if not self.is_endless:
            return await super().workloads(query)
        return list(await self._database.read(count_endlessly))


async def test_a_query_ends_with_its_request(tmp_path: Path) -> None:
    """Abandoned queries would hold up all others."""
    store = EndlessLists(tmp_path / "x.db")
    async with open_live(Settings(data=tmp_path), store=store) as live:
        store.is_endless = True
        before = store.statistics().reads
        host, _, port = live.url.rpartition("//")[2].rpartition(":")
        head = f"GET /v1/workloads HTTP/1.1\r\nHost: {host}\r\n"
        head += f"Authorization: Bearer {live.service.token}\r\n\r\n"
        # More than there are threads.
        for _ in range(20):
            stream = await trio.open_tcp_stream(host, int(port))
            await stream.send_all(head.encode())
            with trio.fail_after(20):
                while store.statistics().reads == before:
                    await trio.sleep(0.001)
            before += 1
            await stream.aclose()
        with trio.fail_after(20):
            answer = await live.client.get("/v1/workloads/none")
        assert answer.status_code == 404


@pytest.mark.parametrize("lists", ["workloads", "count"])
async def test_all_lists_at_once_leave_threads_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: str
) -> None:
    monkeypatch.setattr(workloads, "select", count_endlessly)
    async with running(SQLiteStore(tmp_path / "x.db")) as store, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(getattr(store, lists), WorkloadQuery())
        with trio.fail_after(20):
            while store.statistics().reads < MAX_READERS // 2:
                await trio.sleep(0.001)
            assert await store.workload("none") is None
        nursery.cancel_scope.cancel()
