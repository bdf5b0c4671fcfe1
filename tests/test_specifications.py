"""Specifications of a mebibyte: the queue, lists and starts hold a bounded number of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.command_line import STARTED
from tests.failing_parts import FailingStore
from tests.server_process import ServerProcess, running_server
from tests.stage import engine
from tests.stores import running
from trio_logs.engine import EngineLimits
from trio_logs.errors import BusyError, StoreError
from trio_logs.records import Status, Workload, WorkloadSpec
from trio_logs.store import Store, WorkloadQuery
from trio_logs.store.memory import MemoryStore

MakeStore = Callable[[], Store]

MIB = 1024 * 1024
LARGE = 700_000
"""Characters of an argument."""


def large(workload_id: str, size: int = LARGE, **fields: object) -> Workload:
    spec = WorkloadSpec(("true", "x" * size), labels={"a": "b"})
    return replace(Workload(workload_id, spec, 1), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "query",
    [
        WorkloadQuery(),
        WorkloadQuery(statuses=frozenset([Status.QUEUED])),
        WorkloadQuery(labels={"a": "b"}),
    ],
)
async def test_a_page_ends_by_its_bytes(make_store: MakeStore, query: WorkloadQuery) -> None:
    query = replace(query, max_bytes=250_000)
    async with running(make_store()) as store:
        for number in range(5):
            await store.create(large(f"w{number}", 100_000))
        first = await store.workloads(query)
        assert ([each.id for each in first], first.is_cut) == (["w4", "w3", "w2"], True)
        second = await store.workloads(replace(query, before="w2"))
        assert ([each.id for each in second], second.is_cut) == (["w1", "w0"], False)
        whole = await store.workloads(replace(query, max_bytes=10**7, limit=3))
        assert (whole, whole.is_cut) == (first, False)
        [one] = await store.workloads(replace(query, max_bytes=1))
        assert one == first[0]


async def test_unfinished_workloads_come_in_pages(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        for number in range(8):
            await store.create(large(f"w{number}"))
        await store.start("w7", 5)
        await store.remember("w7", "handle")
        pages, after, last = list[list[str]](), "", None
        while found := await store.unfinished(after):
            pages.append([each.id for each, _ in found])
            after, last = found[-1][0].id, found[-1][1]
        assert [each for page in pages for each in page] == [f"w{number}" for number in range(8)]
        assert (len(pages), last) == (2, "handle")


async def test_the_bytes_that_wait_are_bounded(autojump_clock: object) -> None:
    spec = WorkloadSpec(("wait", "x" * 10_000), backend="stage")
    async with engine(EngineLimits(running=1, queued_bytes=25_000)) as parts:
        # The first one runs, and two wait.
        ids = [(await parts.engine.submit(spec))[0].id for _ in range(3)]
        with pytest.raises(
            BusyError, match=r"have 21\d\d\d bytes of specifications, and 25000 is the limit"
        ):
            await parts.engine.submit(spec)
        # A small one has room still.
        await parts.submit("wait")
        await parts.engine.stop(ids[1])
        workload, _ = await parts.engine.submit(spec)
        assert workload.spec == spec
        parts.stage.release.set()
        while (await parts.engine.get(workload.id)).status is not Status.SUCCEEDED:
            await trio.sleep(1)
        assert parts.engine._queue.waiting_bytes == 0


async def test_a_stop_shows_the_whole_workload_or_fails(autojump_clock: object) -> None:
    """It takes effect in either case, though the store fails."""
    store = FailingStore(MemoryStore())
    async with engine(EngineLimits(running=1), store) as parts:
        await parts.submit("wait")
        small = await parts.submit("wait", "small")
        large = await parts.submit("wait", "x" * 10_000)
        store.switch.fail("workload")
        assert (await parts.engine.stop(small.id)).spec == small.spec
        with pytest.raises(StoreError):
            await parts.engine.stop(large.id)
        store.switch.recover()
        await trio.testing.wait_all_tasks_blocked()
        assert (await parts.engine.get(large.id)).status is Status.STOPPED


COUNT = 80
SPECIFICATION = {
    "command": ["sleep", "600"],
    "env": {f"VARIABLE_{number}": "x" * 110_000 for number in range(9)},
}
"""About a mebibyte of JSON. The kernel takes it, since no variable has 128 KiB."""

BOUND = 50 * MIB
"""How much the memory of the service may grow. The specifications have 76 MiB."""


def test_memory_does_not_grow_with_the_specifications(tmp_path: Path) -> None:
    with large_server(tmp_path) as server:
        for _ in range(8):
            submit_large(server)
        before = server.memory("RssAnon")
        ids = [submit_large(server) for _ in range(COUNT)]
        assert server.memory("RssAnon") - before < BOUND
        with ThreadPoolExecutor(4) as threads:
            lists = list(threads.map(list_all, [server] * 4))
        assert all(found[:COUNT] == ids[::-1] and len(found) == COUNT + 8 for found in lists)
        assert server.memory("RssAnon") - before < BOUND + 20 * MIB
        server.kill()
    with large_server(tmp_path) as server:
        # The peak of the start, which takes up the queue.
        assert server.memory("VmHWM") - before < BOUND + 20 * MIB
        assert server.metric("trio_logs_workloads_queued") == COUNT + 6
        assert server.stop() == 0


def large_server(tmp_path: Path) -> AbstractContextManager[ServerProcess]:
    return running_server(tmp_path, "--max-running", "1", prefix=STARTED)


def submit_large(server: ServerProcess) -> str:
    answer = server.post("/v1/workloads", SPECIFICATION)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def list_all(server: ServerProcess) -> list[str]:
    """The ids of all pages, none of which is large."""
    found: list[str] = []
    with server.client() as client:
        before = ""
        while True:
            answer = client.get(f"/v1/workloads?limit=500{before}")
            page = answer.json()
            assert len(answer.content) < 6 * MIB
            found += [each["id"] for each in page["workloads"]]
            if page["next"] is None:
                return found
            before = f"&before={page['next']}"
