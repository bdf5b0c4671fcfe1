"""Both stores against the same table of duties, and against each other at random."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_logs.errors import StoreError
from trio_logs.records import Batch, End, Outcome, Status, Workload, WorkloadSpec, now
from trio_logs.store import LogState, LogStore, Retention, Selection, WorkloadQuery
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.store.sqlite.logs import TRIM_ROWS

MakeStore = Callable[[], LogStore]
OK = Outcome(Status.SUCCEEDED, 0)
HOUR = 3_600_000_000
"""In microseconds: so long that a test takes next to nothing of it."""


@asynccontextmanager
async def running(store: LogStore) -> AsyncIterator[LogStore]:
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield store
        nursery.cancel_scope.cancel()


def batch(
    first: int, count: int = 1, time: int = 0, stream: str = "stdout", **flags: bool
) -> Batch:
    data = b"".join(b"line %d\n" % number for number in range(first, first + count))
    return Batch(first, count, time, stream, data, **flags)


def workload(workload_id: str, **fields: object) -> Workload:
    spec = WorkloadSpec(("true",), name=workload_id, labels={"kind": workload_id[0]})
    return replace(Workload(workload_id, spec, now()), **fields)  # type: ignore[arg-type]


async def test_a_log_is_read_back_as_it_was_appended(make_store: MakeStore) -> None:
    written = [
        batch(1, 3, time=10),
        batch(4, 1, time=11, stream="stderr", partial=True),
        batch(5, 200, time=11, stream="stderr", continues=True),
        replace(batch(205, 1, time=12), data=bytes(range(256)) * 2),
    ]
    async with running(make_store()) as store:
        assert await store.log("w") is None
        await store.append("w", written[:2])
        await store.append("w", written[2:])
        assert await store.read("w", 1, 10**9) == written
        assert await store.read("w", 3, 1) == written[:1]
        assert await store.read("w", 4, 10**9) == written[1:]
        assert await store.read("w", 100, 1) == written[2:3]
        assert await store.read("w", 206, 1) == []
        assert await store.read("other", 1, 1) == []
        size = sum(len(one.data) for one in written)
        assert await store.log("w") == LogState(205, size, time=12)
        await store.append("w", [], outcome=OK, finished_at=5)
        assert await store.log("w") == LogState(205, size, End(OK, 205, size))


async def test_what_was_appended_survives_a_restart(tmp_path: Path) -> None:
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        await store.create(workload("a1"), key="k", fingerprint=b"f")
        await store.start("a1", 7)
        await store.remember("a1", "handle")
        await store.append("a1", [batch(1, 5)])
    assert (tmp_path / "x.db").stat().st_mode & 0o777 == 0o600
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        [(found, handle)] = await store.unfinished()
        assert (found.status, found.started_at, found.lines, handle) == ("running", 7, 5, "handle")
        assert await store.read("a1", 1, 1) == [batch(1, 5)]
        assert await store.find_key("k") == ("a1", b"f")
        assert await store.find_key("other") is None
        assert store.statistics().bytes > 0


async def test_workload_records(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        for workload_id in ("a1", "a2", "b1", "b2"):
            await store.create(workload(workload_id))
        await store.start("a2", 5)
        outcome = Outcome(Status.FAILED, 3, "SIGKILL", "sentence")
        await store.append("b1", [batch(1)], outcome=outcome, finished_at=9)
        found = await store.workload("b1")
        assert found is not None
        assert (found.status, found.exit_code, found.signal, found.error) == (
            Status.FAILED,
            3,
            "SIGKILL",
            "sentence",
        )
        assert (found.finished_at, found.lines, found.bytes) == (9, 1, 7)
        assert await store.workload("c") is None

        async def ids(query: WorkloadQuery) -> list[str]:
            return [item.id for item in await store.workloads(query)]

        assert await ids(WorkloadQuery()) == ["b2", "b1", "a2", "a1"]
        assert await ids(WorkloadQuery(limit=2)) == ["b2", "b1"]
        assert await ids(WorkloadQuery(before="b1")) == ["a2", "a1"]
        assert await ids(WorkloadQuery(status=Status.QUEUED)) == ["b2", "a1"]
        assert await ids(WorkloadQuery(labels={"kind": "a"})) == ["a2", "a1"]
        assert await ids(WorkloadQuery(labels={"kind": "a", "x": "y"})) == []
        assert [item.id for item, _ in await store.unfinished()] == ["a1", "a2", "b2"]
        await store.delete("b1")
        assert await store.workload("b1") is None
        assert await store.log("b1") is None
        assert await store.read("b1", 1, 1) == []


async def test_retention_by_bytes_takes_finished_workloads_first(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        data = [Batch(n, 1, 100 + n, "stdout", bytes([n]) * 200 + b"\n") for n in range(1, 201)]
        await store.append("running", data)
        await store.append("finished", [replace(b, time=b.time + 500) for b in data])
        await store.append("finished", [], outcome=OK, finished_at=1)
        # Less than one of them: the finished one goes whole before the running one is touched.
        bound = 20_000
        while await store.trim(Retention(max_bytes=bound)):
            left = [await store.read(name, 1, 1) for name in ("finished", "running")]
            if left[1][0].first > 1:
                assert left[0] == []
        assert store.statistics().bytes <= bound
        assert store.statistics().batches_trimmed > 200
        [oldest] = await store.read("running", 1, 1)
        assert oldest.first > 1
        assert (await store.read("running", 200, 1))[0].last == 200
        assert await store.log("finished") == LogState(200, 200 * 201, End(OK, 200, 200 * 201))


async def test_retention_by_age(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        old, new = now() - 3_600_000_000, now()
        await store.append("w", [batch(1, time=old), batch(2, time=old), batch(3, time=new)])
        assert await store.trim(Retention(max_age=7_200)) == 0
        assert await store.trim(Retention(max_age=1_800)) == 2
        assert await store.read("w", 1, 1) == [batch(3, time=new)]
        assert await store.seek("w", Selection(tail=1), 3) == 3
        # A tail that reaches beyond what is left starts in the gap, and where it can't be known how
        # far it reaches, at its beginning.
        assert await store.seek("w", Selection(tail=2), 3) == 2
        assert await store.seek("w", Selection(tail=2, stream="stdout"), 3) == 1


async def test_times_are_found_in_what_retention_has_left(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await store.append("w", [batch(number, time=number * HOUR) for number in range(1, 21)])
        while await store.trim(Retention(max_age=(now() - 15.5 * HOUR) / 1_000_000)):
            pass
        assert [one.first for one in await store.read("w", 1, 10**9)] == [16, 17, 18, 19, 20]
        assert await store.seek("w", Selection(since=18 * HOUR), 20) == 18
        assert await store.seek("w", Selection(tail=2, until=18 * HOUR), 20) == 17
        # What is gone may have been as late.
        assert await store.seek("w", Selection(since=16 * HOUR), 20) == 1


async def test_a_tail_of_what_is_rare_starts_with_the_first_of_it(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await store.append("w", [batch(1), batch(2, stream="stderr"), batch(3, 50)])
        assert await store.seek("w", Selection(tail=5, stream="stderr"), 52) == 2
        assert await store.seek("w", Selection(tail=5, stream="system"), 52) == 53


async def test_a_log_that_ends_in_a_fragment_goes_on_with_it(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await store.append("w", [batch(1, time=5, partial=True)])
        assert await store.log("w") == LogState(1, 7, None, 5, "stdout")
        await store.append("w", [batch(2, time=6, continues=True)])
        assert await store.log("w") == LogState(2, 14, None, 6)


async def test_a_long_log_is_removed_in_pieces(tmp_path: Path) -> None:
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        long = [batch(number) for number in range(1, 2 * TRIM_ROWS + 2)]
        for name in ("one", "two"):
            await store.create(workload(name))
            await store.append(name, long, outcome=OK, finished_at=1)
        held = store.statistics().bytes
        before = store.statistics().commits.count
        await store.delete("one")
        # At once for everybody, though most of it is there yet.
        assert await store.workload("one") is None
        assert store.statistics().bytes > held // 2
        while store.statistics().bytes > held // 2:
            await trio.sleep(0.01)
        assert store.statistics().commits.count >= before + 3
        await store.delete("two")
    # What it could not remove is left to the next.
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        while store.statistics().bytes > 0:
            await trio.sleep(0.01)
        assert store.statistics().batches_trimmed == 0
        assert await store.workloads(WorkloadQuery()) == []


async def test_a_file_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with running(SQLiteStore(path)) as store:
        await store.append("w", [batch(1, 100)])
        held = store.statistics().bytes
    earlier = apsw.Connection(str(path))
    earlier.execute("DROP INDEX trimmable; DROP INDEX by_status")
    earlier.execute("ALTER TABLE workloads DROP COLUMN held")
    earlier.execute("CREATE TABLE history (bytes INTEGER NOT NULL); PRAGMA user_version = 1")
    earlier.close()
    async with running(SQLiteStore(path)) as store:
        assert store.statistics().bytes == held > 0
        assert await store.read("w", 1, 1) == [batch(1, 100)]


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    later = apsw.Connection(str(path))
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="it is of version 99")):
        async with running(SQLiteStore(path)):
            pass


async def test_records_do_not_count_as_history(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await store.append("live", [batch(1, 10)])
        for number in range(300):
            await store.create(workload(f"w{number:03}"))
        assert store.statistics().bytes == 70 + 1
        assert await store.trim(Retention(max_bytes=1000)) == 0
        await store.delete("live")
        while store.statistics().bytes > 0:
            await trio.sleep(0.01)


async def test_a_store_that_fails_says_so_and_stops(tmp_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="could not open")):
        async with running(SQLiteStore(tmp_path / "missing" / "x.db")):
            pass
    path = tmp_path / "x.db"
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="could not commit")):
        async with running(SQLiteStore(path)) as store:
            await store.append("w", [batch(1)])
            # The same number again breaks the caller's duty and the unique index.
            await store.append("w", [batch(1)])


async def test_all_topics_share_a_commit(tmp_path: Path) -> None:
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(store.append, f"w{number}", [batch(1)])
            # They ask in this step, and the writer wakes up in the next.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            assert store.statistics().writes_waiting == 200
        assert store.statistics().writes_waiting == 0
        assert 1 <= store.statistics().commits.count <= 3


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(1, 5),
        st.integers(0, 3),
        st.sampled_from(["stdout", "stderr"]),
    ),
    max_size=25,
)
moments = st.none() | st.integers(0, 40).map(lambda hours: hours * HOUR)
selections = st.builds(
    Selection, st.none() | st.integers(0, 12), moments, moments, st.sampled_from([None, "stderr"])
)


@settings(max_examples=25)
@given(
    steps,
    selections,
    st.integers(1, 60),
    st.integers(1, 2000),
    moments,
    st.randoms(),
)
def test_the_stores_agree(
    written: list[tuple[str, int, int, str]],
    selection: Selection,
    first: int,
    size: int,
    cut: int | None,
    rng: random.Random,
) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x.db")
            async with running(MemoryStore()) as memory, running(SQLiteStore(path)) as sqlite:
                heads, time = {"a": 0, "b": 0}, 0
                for name, count, wait, stream in written:
                    time += wait
                    one = batch(heads[name] + 1, count, time * HOUR, stream)
                    heads[name] += count
                    for store in (memory, sqlite):
                        await store.append(name, [one])
                if cut is not None:
                    retention = Retention(max_age=(now() - cut) / 1_000_000)
                    for store in (memory, sqlite):
                        while await store.trim(retention):
                            pass
                for name in heads:
                    assert await memory.log(name) == await sqlite.log(name)
                    found = await memory.read(name, first, size)
                    assert found == await sqlite.read(name, first, size)
                    heads_of_name = [one.last for one in await memory.read(name, 1, 10**9)]
                    head = rng.choice([0, *heads_of_name])
                    start = await memory.seek(name, selection, head)
                    assert start == await sqlite.seek(name, selection, head)
                    await check_seek(memory, name, selection, start, head)

    trio.run(main)


async def check_seek(
    store: LogStore, name: str, selection: Selection, start: int, head: int
) -> None:
    """From `start` to `head`, filtering leaves just what is selected."""
    everything = [one for one in await store.read(name, 1, 10**9) if one.last <= head]
    admitted = [
        number
        for one in everything
        if selection.admits(one)
        for number in range(one.first, one.last + 1)
    ]
    if selection.tail is not None:
        admitted = admitted[len(admitted) - min(selection.tail, len(admitted)) :]
    shown = [
        number
        for one in everything
        if selection.admits(one)
        for number in range(one.first, one.last + 1)
        if number >= start
    ]
    assert shown == admitted
