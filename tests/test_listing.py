"""Lists of workloads: all stores against a naive filter, and the parameters over HTTP."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live import Live
from tests.shared_stores import PostgresDatabase
from tests.stores import append, running
from tests.test_api import problem
from trio_logs.records import Outcome, Status, Workload, WorkloadSpec
from trio_logs.store import Store, WorkloadQuery
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

# What SQL, LIKE, JSON and C strings take for something else, and letters that only Unicode folds.
HARD = ["%", "_", "'", '"', "\\", "\0", "a", "A", "é", "É", "ſ", "ı", "\U0001f600", " ", "\n", "="]
texts = st.lists(st.sampled_from(HARD), max_size=3).map("".join)
label_names = st.sampled_from(["a", "A", "%", '"', "é", "a\0", ",", "éa"])
records = st.lists(
    st.tuples(
        st.none() | texts,
        st.lists(texts, max_size=3),
        st.dictionaries(label_names, texts, max_size=2),
        st.sampled_from(Status),
        st.integers(0, 5),
    ),
    max_size=8,
)
queries = st.builds(
    WorkloadQuery,
    limit=st.integers(1, 9),
    before=st.none() | st.integers(0, 9).map(lambda number: f"0{number}aA"),
    statuses=st.frozensets(st.sampled_from(Status), max_size=3),
    labels=st.dictionaries(label_names, texts, max_size=1),
    name=st.none() | texts,
    id=st.none() | st.sampled_from(["", "0", "03", "A", "aA", "aa", "05aA", "%", "_", "\0", "é"]),
    search=st.none() | texts,
    since=st.none() | st.integers(0, 5),
    until=st.none() | st.integers(0, 5),
)


def ascii_lower(text: str) -> str:
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def admits(query: WorkloadQuery, workload: Workload) -> bool:
    """What the contract says of all parameters but `status` and the page."""
    spec = workload.spec
    searched = [spec.name or "", workload.id, " ".join(spec.command)]
    return (
        all(
            name in spec.labels and spec.labels[name] == query.labels[name] for name in query.labels
        )
        and query.name in (None, spec.name)
        and (query.id is None or workload.id.startswith(query.id) or workload.id.endswith(query.id))
        and any(ascii_lower(query.search or "") in ascii_lower(text) for text in searched)
        and (query.since is None or query.since <= workload.created_at)
        and (query.until is None or workload.created_at <= query.until)
    )


async def put(store: Store, workload: Workload) -> None:
    """Bring a workload to its status as the engine does."""
    await store.create(replace(workload, status=Status.QUEUED))
    if workload.status is not Status.QUEUED:
        await store.start(workload.id, 7, "here")
    if workload.status.final:
        await append(store, workload.id, [], outcome=Outcome(workload.status), finished_at=8)


@settings(max_examples=20)
@given(records, st.lists(queries, min_size=5, max_size=15), st.sets(st.integers(0, 7), max_size=2))
def test_all_stores_list_what_a_naive_filter_finds(
    lasting_postgres: PostgresDatabase,
    given_records: list[tuple[str | None, list[str], dict[str, str], Status, int]],
    given_queries: list[WorkloadQuery],
    deleted: set[int],
) -> None:
    workloads = [
        Workload(
            f"0{number}aA",
            WorkloadSpec(tuple(command), name=name, labels=labels),
            created_at,
            status,
        )
        for number, (name, command, labels, status, created_at) in enumerate(given_records)
    ]

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with (
                running(MemoryStore()) as memory,
                running(SQLiteStore(Path(folder, "x.db"))) as sqlite,
                running(lasting_postgres.node()) as shared,
            ):
                stores: list[Store] = [memory, sqlite, shared]
                left = [each for number, each in enumerate(workloads) if number not in deleted]
                for store in stores:
                    for workload in workloads:
                        await put(store, workload)
                        # A log without a workload is never listed.
                        await append(store, f"{workload.id}-log", [])
                    for workload in workloads:
                        if workload not in left:
                            await store.delete(workload.id)
                # An SQLite store counts all workloads by its indexes alone.
                for query in [*given_queries, WorkloadQuery()]:
                    found = [each for each in left[::-1] if admits(query, each)]
                    page = [
                        each.id
                        for each in found
                        if (query.before is None or each.id < query.before)
                        and (not query.statuses or each.status in query.statuses)
                    ]
                    counts = Counter(each.status for each in found)
                    for store in stores:
                        listed = [each.id for each in await store.workloads(query)]
                        assert listed == page[: query.limit], (store, query)
                        assert await store.count(query) == {
                            status: counts[status] for status in Status
                        }, (store, query)
                listed = await memory.workloads(WorkloadQuery())
                assert listed == await sqlite.workloads(WorkloadQuery())
                assert listed == await shared.workloads(WorkloadQuery())

    trio.run(main)
    lasting_postgres.clear()


async def test_hard_texts_in_every_field(make_store: Callable[[], Store]) -> None:
    """Each character, and each pair of them, in each field; also where two fields meet."""
    pairs = [first + second for first, second in product(HARD, repeat=2)]
    workloads = [
        Workload(
            f"A{number:02}é",
            WorkloadSpec((text, text[::-1]), name=text, labels={f"x{text}": text}),
            number,
        )
        for number, text in enumerate([*HARD, *pairs[::7]])
        if "=" not in text
    ]
    queries = [
        replace(WorkloadQuery(limit=500), **{field: text})
        for text in (*HARD, *pairs)
        for field in ("name", "search", "id")
    ]
    queries += [
        WorkloadQuery(limit=500, labels={f"{start}{name}": value})
        for start, name, value in product(("x", ""), HARD, HARD)
    ]
    async with running(make_store()) as store:
        for workload in workloads:
            await store.create(workload)
        for query in queries:
            expected = [each.id for each in workloads[::-1] if admits(query, each)]
            found = [each.id for each in await store.workloads(query)]
            assert found == expected, query


async def listed(live: Live, *parameters: tuple[str, str]) -> list[str]:
    answer = await live.client.get("/v1/workloads", params=list(parameters))
    assert answer.status_code == 200, answer.text
    assert answer.json()["next"] is None
    return [each["name"] for each in answer.json()["workloads"]]


async def test_the_parameters_of_a_list(open_server: OpenServer) -> None:
    async with open_server() as live:
        made = {}
        for name, code, labels in (
            ("one", "0", {"a": "b"}),
            ("50%_o'f\"\0é", "3", {"a": "b", "c": "d=e"}),
            ("", "0", {}),
        ):
            made[name] = await live.submit("sh", "-c", f"exit {code}", name=name, labels=labels)
            await live.finished(made[name]["id"])
        hard = "50%_o'f\"\0é"
        assert await listed(live) == ["", hard, "one"]
        assert await listed(live, ("status", "failed")) == [hard]
        assert await listed(live, ("status", "failed"), ("status", "lost")) == [hard]
        several = [("status", "failed"), ("status", "succeeded"), ("status", "failed")]
        assert await listed(live, *several) == ["", hard, "one"]
        assert await listed(live, ("label", "a=b"), ("label", "c=d=e")) == [hard]
        assert await listed(live, ("name", hard)) == [hard]
        assert await listed(live, ("name", "")) == [""]
        assert await listed(live, ("name", "ONE")) == []
        one = made["one"]["id"]
        assert await listed(live, ("id", one)) == ["one"]
        assert await listed(live, ("id", one[-6:])) == ["one"]
        assert await listed(live, ("id", one[:2])) == ["", hard, "one"]
        assert await listed(live, ("id", one[1:-1])) == []
        assert await listed(live, ("search", "SH -C EXIT 3")) == [hard]
        assert await listed(live, ("search", "\0é")) == [hard]
        assert await listed(live, ("search", "\0É")) == []
        assert await listed(live, ("search", one[2:].upper())) == ["one"]
        assert await listed(live, ("search", "one\0sh")) == []
        created = made[hard]["created_at"]
        assert await listed(live, ("since", created)) == ["", hard]
        assert await listed(live, ("until", created)) == [hard, "one"]
        assert await listed(live, ("since", created), ("until", created)) == [hard]
        assert await listed(live, ("since", "1h"), ("until", "0s")) == ["", hard, "one"]
        assert await listed(live, ("until", "1h")) == []


async def test_counts_of_a_list(open_server: OpenServer) -> None:
    async with open_server() as live:
        for number in range(3):
            made = await live.submit("false" if number else "true", labels={"a": "b"})
            await live.finished(made["id"])
        await live.finished((await live.submit("true"))["id"])

        async def page(**parameters: Any) -> dict[str, Any]:
            answer = await live.client.get("/v1/workloads", params=parameters)
            return dict(answer.json())

        assert list(await page()) == ["workloads", "next", "position"]
        assert list(await page(counts="false")) == ["workloads", "next", "position"]
        of_label = {**dict.fromkeys(Status, 0), "failed": 2, "succeeded": 1}
        found = await page(counts="true", label="a=b", limit=1)
        assert len(found["workloads"]) == 1
        assert (found["total"], found["counts"]) == (3, of_label)
        # The pages and the statuses do not change the counts, and the pages not the total.
        found = await page(counts="true", label="a=b", limit=1, status="failed")
        assert (found["total"], found["counts"]) == (2, of_label)
        found = await page(counts="1", label="a=b", status="failed", before=found["next"])
        assert (found["total"], found["counts"], len(found["workloads"])) == (2, of_label, 1)
        found = await page(counts="true", status=["queued", "succeeded"])
        assert (found["total"], found["counts"]["failed"]) == (2, 2)


@pytest.mark.parametrize(
    "query",
    [
        "status=",
        "status=failed&status=done",
        "name=a&name=a",
        "id=a&id=b",
        "search=a&search=b",
        "since=1h&since=2h",
        "since=yesterday",
        "until=",
        "counts=yes",
        "counts=true&counts=true",
        "limit=0",
        "limit=501",
        "before=%25",
        "label=a",
        "label=a=b&label=a=c",
        "names=a",
    ],
)
async def test_a_list_refuses_what_it_can_not_read(open_server: OpenServer, query: str) -> None:
    async with open_server() as live:
        problem(await live.client.get(f"/v1/workloads?{query}"), 400)


@pytest.mark.parametrize("route", ["/v1/workloads?", "/v1/search?filter=x&"])
async def test_there_is_a_bound_on_labels(open_server: OpenServer, route: str) -> None:
    async with open_server() as live:
        labels = [f"label=name{number}=x" for number in range(101)]
        answer = await live.client.get(route + "&".join(labels[1:]))
        assert answer.status_code == 200
        problem(await live.client.get(route + "&".join(labels)), 400)


async def test_a_workload_that_changes_its_status_is_listed_once(tmp_path: Path) -> None:
    """A list of several statuses sees one state of the database."""
    query = WorkloadQuery(statuses=frozenset([Status.QUEUED, Status.RUNNING]))
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        for number in range(40):
            await store.create(Workload(f"{number:02}", WorkloadSpec(("x",)), number))
        async with trio.open_nursery() as nursery:

            async def start_all() -> None:
                for number in range(40):
                    await store.start(f"{number:02}", number)
                nursery.cancel_scope.cancel()

            nursery.start_soon(start_all)
            while True:
                assert len(await store.workloads(query)) == 40
