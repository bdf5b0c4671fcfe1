"""Which workloads are kept: bounds of records, and the label that keeps a log for longer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
import trio

from tests.live import PATIENCE, open_live
from tests.server_process import running_server
from tests.stores import append, batch, running, workload
from trio_logs.client import Client, WorkloadDeleted
from trio_logs.engine import keep_pruned
from trio_logs.records import Outcome, Status, WorkloadSpec, kept_seconds, now
from trio_logs.records.clock import SteadyClock
from trio_logs.settings import Settings
from trio_logs.store import Retention, Store, WorkloadQuery
from trio_logs.store.sqlite import SQLiteStore

HOUR = 3_600 * 1_000_000
MakeStore = Callable[[], Store]


async def put(store: Store, workload_id: str, hours: float | None, keep: str = "") -> None:
    """A workload whose two lines and end are so many hours old; without hours, it runs."""
    labels = {"trio-logs.keep": keep} if keep else {}
    spec = WorkloadSpec(("true",), name=workload_id, labels=labels)
    await store.create(replace(workload(workload_id), spec=spec))
    time = now() - int((hours or 0) * HOUR)
    outcome = None if hours is None else Outcome(Status.SUCCEEDED)
    lines = [batch(1, time=time - HOUR), batch(2, time=time)]
    await append(store, workload_id, lines, outcome=outcome, finished_at=time)


async def left(store: Store, *workload_ids: str) -> list[int]:
    """How many lines each log has."""
    return [len(await store.read(each, 1, 1_000_000)) for each in workload_ids]


@pytest.mark.parametrize(
    ("labels", "seconds"),
    [
        ({"trio-logs.keep": "90d"}, 90 * 86_400),
        ({"trio-logs.keep": "1h30m", "a": "b"}, 5_400),
        ({"trio-logs.keep": "999999999999d"}, 36_500 * 86_400),
        ({"trio-logs.keep": "for ever"}, None),
        ({"trio-logs.keep": ""}, None),
        ({"keep": "1d"}, None),
        ({}, None),
    ],
)
def test_the_label(labels: dict[str, str], seconds: float | None) -> None:
    assert kept_seconds(labels) == seconds


async def test_a_label_keeps_lines_longer(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await put(store, "old", 10)
        await put(store, "kept", 10, "12h")
        # A label that is shorter than the bound changes nothing.
        await put(store, "short", 10, "1h")
        await put(store, "partly", 9.5, "10h")
        await put(store, "runs", None, "12h")
        retention = Retention(max_age=2 * 3600)
        while await store.trim(retention):
            pass
        logs = ("old", "kept", "short", "partly", "runs")
        assert await left(store, *logs) == [0, 2, 0, 1, 2]
        # Others come and go, also beside lines that are kept.
        await put(store, "new", 3)
        await put(store, "recent", 0)
        assert await store.trim(Retention(max_age=4.5 * 3600)) == 0
        assert await store.trim(retention) == 2
        assert await store.trim(retention) == 0
        assert await left(store, *logs, "new", "recent") == [0, 2, 0, 1, 2, 0, 2]
        # The label does not count against the bound of bytes.
        while await store.trim(Retention(max_bytes=0)):
            pass
        assert sum(await left(store, *logs, "recent")) == 0


async def test_lines_below_the_bound_go_once_they_are_old(make_store: MakeStore) -> None:
    """Where a log is kept, a store remembers what it has looked at."""
    async with running(make_store()) as store:
        await put(store, "kept", 10, "12h")
        await put(store, "log", 5)
        for hours, lines in ((8, 2), (5.5, 1), (4, 0), (12, 0)):
            while await store.trim(Retention(max_age=hours * 3600)):
                pass
            assert await left(store, "kept", "log") == [2, lines]
        # As with a clock that was set back, lines are older than those that were looked at before.
        await put(store, "other", 9)
        while await store.trim(Retention(max_age=8 * 3600)):
            pass
        assert await left(store, "kept", "other") == [2, 0]


async def test_lines_are_removed_after_a_clock_that_was_ahead(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0
    # Retention goes by the time that the process believes.
    monkeypatch.setattr(
        SteadyClock, "believed", lambda clock, wall, elapsed: wall + round(ahead * HOUR)
    )
    retention = Retention(max_age=12 * 3600)
    async with running(make_store()) as store:
        await put(store, "kept", 1, "99d")
        ahead = 40
        assert await store.trim(retention) == 0
        ahead = 0
        # They are older than the bound was while the clock was ahead.
        await put(store, "log", 0)
        ahead = 11.5
        assert await store.trim(retention) == 1
        assert await left(store, "kept", "log") == [2, 1]


async def test_expired_records(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await put(store, "a", 3)
        await put(store, "b", 10)
        await put(store, "c", 10, "12h")
        await put(store, "d", 8)
        await put(store, "e", None)
        await append(store, "no-record", [batch(1)], outcome=Outcome(Status.FAILED), finished_at=1)
        for retention, limit, found in (
            (Retention(), 9, []),
            (Retention(max_age=1, max_bytes=1), 9, []),
            (Retention(max_record_age=3600), 9, ["b", "d", "a"]),
            (Retention(max_record_age=3600), 2, ["b", "d"]),
            (Retention(max_record_age=9 * 3600), 9, ["b"]),
            (Retention(max_records=5), 9, []),
            # The label does not raise the bound of the number of records.
            (Retention(max_records=3), 9, ["b", "c"]),
            # The one that runs stays.
            (Retention(max_records=0), 9, ["b", "c", "d", "a"]),
            (Retention(max_records=0), 3, ["b", "c", "d"]),
            (Retention(max_records=3, max_record_age=3600), 9, ["b", "d", "a", "c"]),
        ):
            assert await store.expired(retention, limit) == found, retention
        await store.delete("b")
        assert await store.expired(Retention(max_records=3), 9) == ["c"]


async def test_a_deleted_log_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    async with running(SQLiteStore(path)) as store:
        await put(store, "kept", 1, "12h")
        await store.delete("kept")
        # Writes are in order: the rows of the log are removed before this one is created.
        with trio.fail_after(PATIENCE):
            while store.statistics().bytes:
                await put(store, f"n{now()}", 0)
                await store.trim(Retention(max_bytes=0))
    with apsw.Connection(str(path)) as connection:
        assert connection.execute("SELECT count(*) FROM kept").get == 0


async def test_workloads_beyond_the_bounds_are_deleted(tmp_path: Path) -> None:
    async with open_live(Settings(data=tmp_path / "data")) as live:
        for name, hours in (("a", 2), ("b", 3), ("c", 1)):
            await put(live.service.store, name, hours)
        async with (
            Client(live.url, live.service.token) as client,
            trio.open_nursery() as nursery,
        ):
            position = await client.position()
            engine, store = live.service.engine, live.service.store
            nursery.start_soon(keep_pruned, engine, store, Retention(max_records=1))
            deleted = []
            with trio.fail_after(PATIENCE):
                async with aclosing(client.events(position)) as events:
                    async for record in events:
                        assert isinstance(record, WorkloadDeleted)
                        deleted.append(record.id)
                        if len(deleted) == 2:
                            break
            assert deleted == ["b", "a"]
            nursery.cancel_scope.cancel()
        assert [each.id for each in await store.workloads(WorkloadQuery())] == ["c"]


async def test_a_malformed_label_is_refused(tmp_path: Path) -> None:
    async with open_live(Settings(data=tmp_path / "data")) as live:
        for keep, status in (("90d", 201), ("for ever", 422)):
            body = {"command": ["true"], "labels": {"trio-logs.keep": keep}}
            answer = await live.client.post("/v1/workloads", json=body)
            assert answer.status_code == status
        assert answer.json()["detail"] == "the label trio-logs.keep is a duration, such as 90d"


async def test_the_options_of_serve(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    async with running(SQLiteStore(data / "trio_logs.db")) as store:
        # After a start, one in ten may go by its age at once.
        young = [f"w{number}" for number in range(10)]
        for name, hours in (("kept", 4.0), ("old", 3.0), *dict.fromkeys(young, 1.5).items()):
            await put(store, name, hours, "5h" if name == "kept" else "")
    with running_server(data, "--record-age", "2h", "--record-count", "11") as server:
        async with Client(server.url, server.token) as client:
            deleted = []
            with trio.fail_after(PATIENCE):
                async with aclosing(client.events("0")) as events:
                    while len(deleted) < 2:
                        record = await anext(events)
                        if isinstance(record, WorkloadDeleted):
                            deleted.append(record.id)
            # The first is too old, the second is one too many, and ended before all others.
            assert deleted == ["old", "kept"]
            assert [each.id async for each in client.list()] == young[::-1]


async def test_many_ends_are_looked_at_before_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.engine.pruning.PRUNE_SECONDS", 10**9)
    monkeypatch.setattr("trio_logs.engine.pruning.AT_ONCE", 3)
    async with open_live(Settings(data=tmp_path / "data")) as live, trio.open_nursery() as nursery:
        engine, store = live.service.engine, live.service.store
        nursery.start_soon(keep_pruned, engine, store, Retention(max_records=1))
        # The first check finds nothing to delete.
        with trio.fail_after(PATIENCE):
            while not store.statistics().reads:
                await trio.sleep(0.001)
        for _ in range(4):
            found, _ = await engine.submit(WorkloadSpec(("true",)))
            await engine.finished(found.id)
        with trio.fail_after(PATIENCE):
            while len(await store.workloads(WorkloadQuery())) > 1:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
