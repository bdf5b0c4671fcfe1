"""Changes of records that a failover to a database which is behind has lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.nodes_stage import cluster
from tests.postgres_server import PostgresServer, running_postgres
from tests.shared_stores import PostgresDatabase, forget_changes, forget_end, joined
from tests.stores import workload
from trio_logs.engine.change_feed import ChangeFeed
from trio_logs.engine.change_reader import ChangeReader, ChangeRecord
from trio_logs.engine.changes import Changes
from trio_logs.engine.store_calls import StoreCalls
from trio_logs.records import Change, Detached, Position, Progress, Reset, Status
from trio_logs.store import ChangePage
from trio_logs.store.memory import MemoryTables, SharedMemoryStore
from trio_logs.store.shared import SharedStore

Clock = trio.testing.MockClock

BASE = 2**32
"""The positions of the second timeline come after this one."""


class Heard:
    """What a store tells of changes, in order; a number stands for a loss."""

    def __init__(self, store: SharedStore) -> None:
        self.told: list[Change | int] = []
        self._told = trio.Event()
        store.listen(self._note)
        store.watch_losses(self._note)

    def _note(self, told: Change | int) -> None:
        self.told.append(told)
        self._told.set()

    @property
    def positions(self) -> list[int | str]:
        return [
            each.position if isinstance(each, Change) else f"lost to {each}" for each in self.told
        ]

    async def until(self, last: int | str) -> None:
        """Wait until this was told."""
        with trio.fail_after(20):
            while last not in self.positions:
                self._told = trio.Event()
                await self._told.wait()


def fail_over(server: PostgresServer) -> None:
    """The server becomes its own standby, and is promoted."""
    server.stop()
    Path(server.folder, "data", "standby.signal").touch()
    server.start()
    server.execute("SELECT pg_promote()")


def lag(database: PostgresDatabase, position: int) -> None:
    """The standby lacks what has changed after a position: workloads that were created."""
    later = f"workloads WHERE changed > {position}"
    database.execute(
        f"DELETE FROM logs WHERE number IN (SELECT number FROM {later}); DELETE FROM {later};"
        f" UPDATE positions SET newest = {position}"
    )


async def create(store: SharedStore, *names: str) -> None:
    for name in names:
        await store.create(workload(name))


@asynccontextmanager
async def following(store: SharedStore) -> AsyncIterator[Changes]:
    async with trio.open_nursery() as nursery:
        changes = Changes(store, StoreCalls(30), lambda: (), store)
        await nursery.start(changes.run)
        yield changes
        nursery.cancel_scope.cancel()


async def until(reader: ChangeReader, is_last: Callable[[ChangeRecord], bool]) -> list[str]:
    """What the reader gets, in short, up to a record."""
    found: list[str] = []
    with trio.fail_after(20):
        while True:
            for record in await reader.receive():
                match record:
                    case Reset():
                        found.append(record.reason)
                    case Position():
                        found.append(f"at {record.line}")
                    case Change():
                        found.append(f"{record.position} {record.id}")
                if is_last(record):
                    return found


def is_change(workload_id: str) -> Callable[[ChangeRecord], bool]:
    return lambda record: isinstance(record, Change) and record.id == workload_id


def is_position(position: int) -> Callable[[ChangeRecord], bool]:
    return lambda record: record == Position(position)


# The store over PostgreSQL, on timelines of a real server.


async def test_changes_go_on_after_each_failover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_logs.store.postgres.news.RETRY", (0.05, 0.1))
    with running_postgres() as server:
        database = PostgresDatabase(server)
        async with joined(database.node, "a", "b") as (a, b), following(b) as changes:
            heard = Heard(a)
            with changes.read() as reader:
                await reader.load()
                await create(a, "1", "2")
                await create(b, "3")
                await heard.until(3)
                # The standby has everything.
                await trio.to_thread.run_sync(fail_over, server)
                await create(a, "4")
                await heard.until(BASE + 1)
                assert heard.positions == [1, 2, 3, BASE + 1]
                expected = ["at 0", "1 1", "2 2", "3 3", f"{BASE + 1} 4"]
                assert await until(reader, is_change("4")) == expected
                # The standby lacks the change that was told last. No node changes anything.
                lag(database, 3)
                await trio.to_thread.run_sync(fail_over, server)
                await heard.until("lost to 3")
                assert await until(reader, is_position(3)) == ["beyond_head", "at 3"]
                assert changes.position == 3
                # More than were lost, so their numbers would exist again.
                await create(b, "5", "6", "7")
                await heard.until(2 * BASE + 3)
                later = [2 * BASE + number for number in (1, 2, 3)]
                assert heard.positions[4:] == ["lost to 3", *later]
                expected = [f"{2 * BASE + 1} 5", f"{2 * BASE + 2} 6", f"{2 * BASE + 3} 7"]
                assert await until(reader, is_change("7")) == expected
            # A client may resume from each position.
            for lost in (4, BASE, BASE + 1, BASE + 2, 2 * BASE - 1, 2 * BASE + 4):
                with changes.read(lost) as resumed:
                    found = await until(resumed, lambda record: isinstance(record, Position))
                    assert found == ["beyond_head", f"at {2 * BASE + 3}"]
            with changes.read(3) as resumed:
                assert await until(resumed, is_change("7")) == ["at 3", *expected]


async def test_a_database_that_has_passed_the_lost_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node looks only once it has changed something itself."""
    monkeypatch.setattr("trio_logs.store.postgres.news.RETRY", (1000.0, 1000.0))
    with running_postgres() as server:
        database = PostgresDatabase(server)
        async with joined(database.node, "a") as [a]:
            heard = Heard(a)
            await create(a, "1", "2", "3")
            await heard.until(3)
            lag(database, 1)
            # It can't listen again, and waits for a long time.
            await trio.to_thread.run_sync(server.stop)
            while a.is_up:
                await trio.sleep(0.01)
            Path(server.folder, "data", "standby.signal").touch()
            await trio.to_thread.run_sync(server.start)
            await trio.to_thread.run_sync(server.execute, "SELECT pg_promote()")
            async with joined(database.node, "b") as [b]:
                await create(b, "4", "5", "6", "7")
            assert heard.positions == [1, 2, 3]
            await create(a, "8")
            await heard.until(f"lost to {BASE + 5}")
            await create(a, "9")
            await heard.until(BASE + 6)
            assert heard.positions == [1, 2, 3, f"lost to {BASE + 5}", BASE + 6]


# Nodes over tables in memory.


async def test_an_end_that_was_lost_is_told_again(autojump_clock: Clock) -> None:
    async with cluster("a") as made:
        a = made.members["a"]
        workload_id = (await a.submit("in turns", "write")).id
        await a.stage.started.wait()
        b = await made.start("b")
        [owned] = made.tables.owned(a.id)
        running = await made.tables.position()
        with b.engine.changes.read() as reader:
            a.stage.turn.set()
            a.stage.release.set()
            await until(reader, is_change(workload_id))
            forget_end(made.tables, owned, a.id, 1)
            forget_changes(made.tables, running)
            # The owner looks after each outage, and stores the end at the position that was lost.
            a.store.go_away()
            await trio.sleep(3)
            a.store.come_back()
            found = await until(reader, is_change(workload_id))
            assert found == ["beyond_head", f"at {running}", f"{running + 1} {workload_id}"]
            assert b.engine.changes.position == running + 1


async def test_who_waits_for_an_end_looks_again(autojump_clock: Clock) -> None:
    """The database has passed the position of the end before the node knows of the failover."""
    async with cluster("a") as made:
        a = made.members["a"]
        workload_id = (await a.submit("in turns", "write")).id
        await a.stage.started.wait()
        b = await made.start("b")
        found: list[Status] = []

        async def wait() -> None:
            found.append((await b.engine.finished(workload_id)).status)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            made.tables._observers.remove(b.store)
            a.stage.turn.set()
            a.stage.release.set()
            await a.until(workload_id, Status.SUCCEEDED)
            await trio.sleep(10)
            assert not found
            made.tables._observers.append(b.store)
            b.store.tell_losses(await made.tables.position())
        assert found == [Status.SUCCEEDED]


class SlowStore(SharedMemoryStore):
    """Gives pages late."""

    def __init__(self) -> None:
        super().__init__(MemoryTables())
        self.asked, self.answers = trio.Event(), trio.Event()
        self.changes = self._changes

    async def _changes(self, after: int, max_bytes: int) -> ChangePage:
        page = await self.tables.changes(after, max_bytes)
        self.asked.set()
        await self.answers.wait()
        return page


async def test_a_page_from_before_the_failover(autojump_clock: Clock) -> None:
    """A reader that gets it begins anew, and no other reader gets it."""
    store = SlowStore()
    await create(store, "1", "2", "3", "4")
    async with following(store) as changes, trio.open_nursery() as nursery:
        found: list[str] = []

        async def read() -> None:
            with changes.read(1) as reader:
                found.extend(await until(reader, is_change("5")))

        nursery.start_soon(read)
        await store.asked.wait()
        forget_changes(store.tables, 3)
        store.answers.set()
        await trio.testing.wait_all_tasks_blocked()
        with changes.read(1) as later:
            await later.load()
            await create(store, "5")
            assert await until(later, is_change("5")) == ["at 1", "2 2", "3 3", "4 5"]
    assert found == ["at 1", "2 2", "3 3", "4 4", "beyond_head", "at 3", "4 5"]


async def test_a_reader_of_several_things_begins_anew(autojump_clock: Clock) -> None:
    """Where it does not read the store, and where the window has other changes at its position."""
    store = SharedMemoryStore(MemoryTables())
    async with following(store) as changes:
        await create(store, "1", "2", "3")
        with changes.read() as at_head, changes.read(1) as behind:
            assert await until(at_head, lambda _: True) == ["at 3"]
            await behind.load()
            forget_changes(store.tables, 1)
            assert behind.ready() == [Position(1)]
            for reader in (at_head, behind):
                assert not reader.is_behind
                [reset, position] = reader.ready()
                assert isinstance(reset, Reset)
                assert (reset.reason, position) == ("beyond_head", Position(1))
                assert reader.ready() == []
            await create(store, "4", "5", "6", "7")
            for reader in (at_head, behind):
                assert await until(reader, is_change("7")) == ["2 4", "3 5", "4 6", "5 7"]
            # Twice, and readers come to it at a shutdown only.
            forget_changes(store.tables, 4)
            forget_changes(store.tables, 3)
            changes.detach()
            assert at_head.ready() == [Detached()]
            assert at_head.ready() == []


async def test_progress_of_a_workload_whose_end_was_lost() -> None:
    store = SharedMemoryStore(MemoryTables())
    await create(store, "1")
    feed = ChangeFeed(store, lambda: [("1", 5, 35)])
    with ChangeReader(feed, 0, feed.fetch):
        feed.publish(Change(2, "1", workload("1", status=Status.SUCCEEDED)))
        assert not feed.progress.look([("1", 5, 35)])
        feed.restart(1)
        assert feed.progress.look([("1", 5, 35)])
        assert feed.progress.since(0) == [Progress("1", 5, 35)]
