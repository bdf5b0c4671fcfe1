"""Both stores against the same table of duties, and against each other at random."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import apsw
import trio

from tests.stores import append, batch, running, workload
from trio_logs.records import Batch, End, Gap, Outcome, Reason, Run, Status, now
from trio_logs.store import LogState, Retention, Store, StreamState, WorkloadQuery
from trio_logs.store.sqlite import SQLiteStore, queries
from trio_logs.store.sqlite.removal import TRIM_ROWS

MakeStore = Callable[[], Store]
OK = Outcome(Status.SUCCEEDED, 0)
HOUR = 3_600_000_000
"""In microseconds: so long that a test takes next to nothing of it."""


async def test_a_log_is_read_back_as_it_was_appended(make_store: MakeStore) -> None:
    written = [
        batch(1, 3, time=10),
        batch(4, 1, time=11, stream="stderr", partial=True),
        batch(5, 200, time=11, stream="stderr", continues=True),
        replace(batch(205, 1, time=12), data=bytes(range(256)) * 2),
    ]
    async with running(make_store()) as store:
        assert await store.log("w") is None
        await append(store, "w", written[:2])
        await append(store, "w", written[2:])
        assert await store.read("w", 1, 10**9) == written
        assert await store.read("w", 3, 1) == written[:1]
        assert await store.read("w", 4, 10**9) == written[1:]
        assert await store.read("w", 100, 1) == written[2:3]
        assert await store.read("w", 206, 1) == []
        assert await store.read("other", 1, 1) == []
        size = sum(len(one.data) for one in written)
        assert await store.log("w") == LogState(205, size, time=12)
        await append(store, "w", [], outcome=OK, finished_at=5)
        assert await store.log("w") == LogState(205, size, End(OK, 205, size))


async def test_what_was_appended_survives_a_restart(tmp_path: Path) -> None:
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        await store.create(workload("a1"), key="k", fingerprint=b"f")
        await store.start("a1", 7)
        await store.remember("a1", "handle")
        await append(store, "a1", [batch(1, 5)])
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
        outcome = Outcome(Status.FAILED, 3, "SIGKILL", "sentence", Reason.SIGNALED)
        await append(store, "b1", [batch(1)], outcome=outcome, finished_at=9)
        found = await store.workload("b1")
        assert found is not None
        assert (found.status, found.exit_code, found.signal, found.error, found.reason) == (
            Status.FAILED,
            3,
            "SIGKILL",
            "sentence",
            "signaled",
        )
        assert await store.log("b1") == LogState(1, 7, End(outcome, 1, 7))
        assert (found.finished_at, found.lines, found.bytes) == (9, 1, 7)
        assert await store.workload("c") is None

        async def ids(query: WorkloadQuery) -> list[str]:
            return [item.id for item in await store.workloads(query)]

        assert await ids(WorkloadQuery()) == ["b2", "b1", "a2", "a1"]
        assert await ids(WorkloadQuery(limit=2)) == ["b2", "b1"]
        assert await ids(WorkloadQuery(before="b1")) == ["a2", "a1"]
        assert await ids(WorkloadQuery(statuses=frozenset([Status.QUEUED]))) == ["b2", "a1"]
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
        await append(store, "running", data)
        await append(store, "finished", [replace(b, time=b.time + 500) for b in data])
        await append(store, "finished", [], outcome=OK, finished_at=1)
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
        await append(store, "w", [batch(1, time=old), batch(2, time=old), batch(3, time=new)])
        assert await store.trim(Retention(max_age=7_200)) == 0
        assert await store.trim(Retention(max_age=1_800)) == 2
        assert await store.read("w", 1, 1) == [batch(3, time=new)]
        assert await store.scan("w", 3, 10) == [Run(3, 1, new, "stdout")]


async def test_times_are_found_in_what_retention_has_left(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await append(store, "w", [batch(number, time=number * HOUR) for number in range(1, 21)])
        while await store.trim(Retention(max_age=(now() - 15.5 * HOUR) / 1_000_000)):
            pass
        assert [one.first for one in await store.read("w", 1, 10**9)] == [16, 17, 18, 19, 20]
        assert await store.find("w", 18 * HOUR, 20) == 18
        assert await store.find("w", 18 * HOUR + 1, 20) == 19
        assert await store.find("w", 20 * HOUR + 1, 20) == 21
        # The lines that are gone may have been as late.
        assert await store.find("w", 16 * HOUR, 20) == 1
        assert await store.find("other", HOUR, 0) == 1


async def test_lines_that_go_while_a_time_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    async with running(SQLiteStore(path)) as store:
        await append(store, "w", [batch(number, time=number) for number in range(1, 20)])
        statements = 0

        def trim(*_: object) -> bool:
            nonlocal statements
            statements += 1
            if statements == 2:
                retention.execute("DELETE FROM batches WHERE first < 15")
            return True

        connect = partial(apsw.Connection, str(path))
        with closing(connect()) as retention, closing(connect()) as reader:
            reader.exec_trace = trim
            assert queries.find(reader, "w", 17, 19) == 17
    assert statements > 2


async def test_runs_are_scanned_from_the_newest(make_store: MakeStore) -> None:
    written = [
        batch(1, 3, time=1, partial=True),
        batch(4, 1, time=2, stream="stderr"),
        batch(5, 1, time=2, continues=True),
        Gap(6, 9, "store", 3),
        batch(10, 2, time=4),
    ]
    async with running(make_store()) as store:
        await append(store, "w", written)
        runs = [
            Run(10, 2, 4, "stdout"),
            Run(5, 1, 2, "stdout", continues=True),
            Run(4, 1, 2, "stderr"),
            Run(1, 3, 1, "stdout", partial=True),
        ]
        assert await store.scan("w", 11, 10) == runs
        assert await store.scan("w", 10, 1) == runs[:1]
        assert await store.scan("w", 9, 2) == runs[1:3]
        assert await store.scan("w", 3, 2) == runs[3:]
        assert await store.scan("w", 0, 2) == []
        assert await store.scan("other", 5, 2) == []


async def test_the_state_of_each_stream_is_that_of_the_last_append(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        fragments = [batch(1, partial=True), batch(2, stream="stderr", partial=True)]
        both = {"stdout": StreamState(7, unfinished=True), "stderr": StreamState(7, True)}
        for _ in range(2):
            await store.append("w", fragments, expected=1, epoch=0, size=14, streams=both)
            assert await store.log("w") == LogState(2, 14, None, streams=both)
        # The gap stands for the rest of one line, and for 100 bytes.
        after = {**both, "stderr": StreamState(107)}
        gap = [Gap(3, 3, "store", 5)]
        await store.append("w", gap, expected=3, epoch=0, size=114, streams=after)
        assert await store.log("w") == LogState(3, 114, None, 5, after)
        # The log is ahead of this append.
        await store.append("w", fragments, expected=1, epoch=0, size=14, streams=both)
        await store.append("w", [], expected=4, epoch=0, size=114, outcome=OK)
        assert await store.log("w") == LogState(3, 114, End(OK, 3, 114), 0, after)
        # Retention does not change what the log had.
        while await store.trim(Retention(max_age=0)):
            pass
        assert await store.log("w") == LogState(3, 114, End(OK, 3, 114), 0, after)


async def test_a_long_log_is_removed_in_pieces(tmp_path: Path) -> None:
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        long = [batch(number) for number in range(1, 2 * TRIM_ROWS + 2)]
        for name in ("one", "two"):
            await store.create(workload(name))
            await append(store, name, long, outcome=OK, finished_at=1)
        held = store.statistics().bytes
        before = store.statistics().commits.count
        await store.delete("one")
        # At once, while its rows are removed bit by bit.
        assert await store.workload("one") is None
        while store.statistics().bytes > held // 2:
            await trio.sleep(0.01)
        assert store.statistics().commits.count >= before + 4
        await store.delete("two")
    # What it could not remove is left to the next.
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        while store.statistics().bytes > 0:
            await trio.sleep(0.01)
        assert store.statistics().batches_trimmed == 0
        assert await store.workloads(WorkloadQuery()) == []


async def test_records_do_not_count_as_history(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await append(store, "live", [batch(1, 10)])
        for number in range(300):
            await store.create(workload(f"w{number:03}"))
        assert store.statistics().bytes == 70 + 1
        assert await store.trim(Retention(max_bytes=1000)) == 0
        await store.delete("live")
        while store.statistics().bytes > 0:
            await trio.sleep(0.01)


async def test_all_topics_share_a_commit(tmp_path: Path) -> None:
    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                write = partial(store.append, expected=1, epoch=0, size=7)
                nursery.start_soon(write, f"w{number}", [batch(1)])
            # They ask in this step, and the writer wakes up in the next.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            assert store.statistics().writes_waiting == 200
        assert store.statistics().writes_waiting == 0
        assert 1 <= store.statistics().commits.count <= 3
