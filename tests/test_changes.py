"""Changes of workload records: how stores number and return them, and how readers follow them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.failing_disk import Disk
from tests.failing_disk import disk as disk
from tests.stores import append, batch, running, workload
from trio_logs.engine.change_feed import TICK_SECONDS, ChangeFeed
from trio_logs.engine.change_reader import ChangeReader
from trio_logs.engine.change_window import MAX_BYTES, MAX_CHANGES, ChangeWindow
from trio_logs.engine.changes import Changes
from trio_logs.engine.progress import ProgressTable
from trio_logs.engine.store_calls import StoreCalls
from trio_logs.errors import StoreError
from trio_logs.records import (
    Change,
    Detached,
    Outcome,
    Position,
    Progress,
    Reset,
    Status,
    WorkloadSpec,
)
from trio_logs.store import Store
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

MakeStore = Callable[[], Store]

SUCCEEDED = Outcome(Status.SUCCEEDED, 0, reason="exited")


def seen(changes: Any) -> list[tuple[int, str, str | None]]:
    return [
        (each.position, each.id, each.workload and each.workload.status.value) for each in changes
    ]


async def finish(store: Store, workload_id: str) -> None:
    await append(store, workload_id, [batch(1, 2)], outcome=SUCCEEDED, finished_at=9)


# The stores.


async def test_each_change_of_a_record_takes_a_position(make_store: MakeStore) -> None:
    told: list[Change] = []
    async with running(make_store()) as store:
        store.listen(told.append)
        assert await store.position() == 0
        await store.create(workload("a"))
        await store.start("a", 5)
        await store.remember("a", "handle")
        await append(store, "a", [batch(1, 2)])
        assert await store.position() == 2
        await append(store, "a", [batch(3)], outcome=SUCCEEDED, finished_at=9)
        assert seen(told) == [(1, "a", "queued"), (2, "a", "running"), (3, "a", "succeeded")]
        # The record is that of the change: with its lines, and nothing that came later.
        assert told[0].workload == workload("a", created_at=told[0].workload.created_at)
        assert told[1].workload is not None
        assert (told[1].workload.started_at, told[1].workload.lines) == (5, 0)
        assert told[2].workload == await store.workload("a")
        assert told[2].workload.lines == 3
        await store.delete("a")
        assert (told[3], len(told)) == (Change(4, "a", None), 4)
        assert await store.position() == 4


async def test_what_changes_no_record_takes_no_position(make_store: MakeStore) -> None:
    told: list[Change] = []
    async with running(make_store()) as store:
        store.listen(told.append)
        # A log without a record; and records that do not exist.
        await append(store, "log", [batch(1)])
        await finish_again(store)
        await store.start("nothing", 1)
        await store.delete("nothing")
        await store.delete("log")
        assert (told, await store.position()) == ([], 0)
        assert (await store.changes(0, 1000)).changes == []


async def finish_again(store: Store) -> None:
    await append(store, "other", [batch(1)], outcome=SUCCEEDED, finished_at=9)
    # As after an unknown result.
    await store.append("other", [], expected=2, epoch=0, size=7, outcome=SUCCEEDED, finished_at=9)


async def test_a_repeated_end_is_no_change(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await store.create(workload("other"))
        await finish_again(store)
        assert await store.position() == 2


async def test_pages_have_the_last_change_of_each(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        for name in "abc":
            await store.create(workload(name))  # 1 to 3
        await store.start("a", 5)  # 4
        await store.delete("b")  # 5
        await finish(store, "c")  # 6
        await store.create(workload("d"))  # 7
        whole = await store.changes(0, 10**9)
        expected = [
            (4, "a", "running"),
            (5, "b", None),
            (6, "c", "succeeded"),
            (7, "d", "queued"),
        ]
        assert seen(whole.changes) == expected
        assert (whole.position, whole.newest, whole.forgotten) == (7, 7, 0)
        # In the smallest pages; each begins after the one before.
        found, position = [], 0
        while position < 7:
            page = await store.changes(position, 1)
            assert len(page.changes) == 1
            assert page.changes[0].position == page.position > position
            found += page.changes
            position = page.position
        assert seen(found) == expected
        assert (await store.changes(7, 1)).changes == []
        assert (await store.changes(99, 1)).newest == 7


async def test_the_oldest_deletions_are_forgotten(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite.positions", "memory.store", "postgres.transaction"):
        monkeypatch.setattr(f"trio_logs.store.{module}.KEPT_DELETIONS", 2)
    async with running(make_store()) as store:
        for number in range(4):
            await store.create(workload(f"w{number}"))
            await store.delete(f"w{number}")
            page = await store.changes(0, 10**9)
            kept_now = [(2 * n + 2, f"w{n}", None) for n in range(max(0, number - 1), number + 1)]
            assert seen(page.changes) == kept_now
            assert page.forgotten == max(0, 2 * (number - 1))


async def test_positions_outlive_a_restart(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        await store.create(workload("a"))
        await store.create(workload("b"))
        await store.delete("a")
    async with running(make_store()) as store:
        assert await store.position() == 3
        assert seen((await store.changes(0, 10**9)).changes) == [(2, "b", "queued"), (3, "a", None)]
        await store.start("b", 1)
        assert await store.position() == 4


async def test_a_cancelled_caller_changes_nothing_for_listeners(make_store: MakeStore) -> None:
    told: list[Change] = []
    async with running(make_store()) as store:
        store.listen(told.append)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(store.create, workload(f"w{number:02}"))
            # Some are under way, and the others are not begun.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        # What was under way is settled once this is.
        await store.create(workload("x"))
        assert [each.position for each in told] == list(range(1, len(told) + 1))
        page = await store.changes(0, 10**9)
        assert seen(page.changes) == seen(told)


# The window and the table of progress.


def change(position: int, name: str = "w", **spec: Any) -> Change:
    record = replace(workload(name), spec=WorkloadSpec(("true",), **spec))
    return Change(position, name, record)


def test_the_window_is_bounded_and_has_no_hole() -> None:
    window = ChangeWindow()
    assert not window.holds(0)
    for position in range(1, MAX_CHANGES + 11):
        window.append(change(position))
    assert [window.holds(n) for n in (10, 11, MAX_CHANGES + 10, MAX_CHANGES + 11)] == [
        *(False, True, True, False)
    ]
    assert window.after(9, 10**9) == ()
    assert [each.position for each in window.after(10, 1)] == [11]
    assert [each.position for each in window.after(MAX_CHANGES + 8, 10**9)] == [
        *(MAX_CHANGES + 9, MAX_CHANGES + 10)
    ]
    assert window.after(MAX_CHANGES + 10, 10**9) == ()
    # A hole: what is before it can only come from the store.
    window.append(change(MAX_CHANGES + 13))
    assert not window.holds(MAX_CHANGES + 10)
    assert window.after(MAX_CHANGES + 10, 10**9) == ()
    assert len(window.after(MAX_CHANGES + 12, 10**9)) == 1


def test_the_window_bounds_bytes() -> None:
    window = ChangeWindow()
    for position in range(1, 9):
        window.append(change(position, env={"A": "x" * (MAX_BYTES // 4)}))
    assert [window.holds(n) for n in range(4, 9)] == [False, False, True, True, True]
    # Even if it is too heavy, the newest one stays.
    window.append(change(9, env={"A": "x" * 2 * MAX_BYTES}))
    assert [window.holds(n) for n in (8, 9)] == [False, True]


def test_progress_is_of_logs_that_have_grown() -> None:
    table = ProgressTable()
    assert table.look([("a", 1, 7), ("b", 0, 0)])
    assert table.since(0) == [Progress("a", 1, 7)]
    assert not table.look([("a", 1, 7), ("b", 0, 0)])
    assert table.look([("a", 1, 7), ("b", 3, 21)])
    assert table.since(2) == [Progress("b", 3, 21)]
    # A reader that missed a tick gets what grew in it.
    assert sorted(table.since(0), key=lambda each: each.id) == [
        *(Progress("a", 1, 7), Progress("b", 3, 21))
    ]
    assert table.since(table.tick) == []
    # A workload that has ended makes no progress, though its log is still in memory for a moment.
    table.settle(Change(1, "b", workload("b", status=Status.SUCCEEDED)))
    assert not table.look([("a", 1, 7), ("b", 4, 28)])
    assert table.since(0) == [Progress("a", 1, 7)]
    table.settle(Change(1, "a", None))
    assert table.since(0) == []
    # A log that is no more written is forgotten.
    table.look([])
    assert table.look([("b", 4, 28)])
    assert table.since(0) == [Progress("b", 4, 28)]


# The readers.


class Following:
    """A store, its changes, and a reader's view of the records."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.written: dict[str, tuple[int, int]] = {}
        self.changes = Changes(store, StoreCalls(30), self._lengths)

    def _lengths(self) -> list[tuple[str, int, int]]:
        return [(name, *sizes) for name, sizes in self.written.items()]


@asynccontextmanager
async def following(store: Store) -> AsyncIterator[Following]:
    async with running(store), trio.open_nursery() as nursery:
        found = Following(store)
        await nursery.start(found.changes.run)
        yield found
        nursery.cancel_scope.cancel()


async def test_a_reader_at_the_head_gets_each_change(make_store: MakeStore) -> None:
    async with following(make_store()) as world:
        await world.store.create(workload("a"))
        with world.changes.read() as reader:
            assert await reader.receive() == [Position(1)]
            assert reader.ready() == []
            await world.store.start("a", 5)
            await finish(world.store, "a")
            await world.store.delete("a")
            found: list[Any] = []
            while len(found) < 3:
                found += await reader.receive()
            assert seen(found) == [(2, "a", "running"), (3, "a", "succeeded"), (4, "a", None)]
            assert reader.position == world.changes.position == 4
            assert (world.changes.readers, world.changes.published) == (1, 4)
        assert world.changes.readers == 0


async def test_the_store_is_not_read_for_readers_at_the_head(make_store: MakeStore) -> None:
    async with following(make_store()) as world:
        await world.store.create(workload("a"))
        reads = world.store.statistics().reads
        with world.changes.read() as new, world.changes.read(0) as old:
            assert await new.receive() == [Position(1)]
            assert [await old.receive()] == [[Position(0)]]
            assert seen(await old.receive()) == [(1, "a", "queued")]
            await world.store.start("a", 5)
            assert seen(await new.receive()) == seen(await old.receive()) == [(2, "a", "running")]
        assert world.store.statistics().reads == reads


async def test_a_reader_behind_the_window_reads_the_store(make_store: MakeStore) -> None:
    store = make_store()
    async with running(store):
        for name in "abc":
            await store.create(workload(name))
        await store.delete("b")
    async with following(make_store()) as world:
        # Before the first change, a new reader is where the store is.
        assert world.changes.position == 4
        with world.changes.read() as reader:
            assert await reader.receive() == [Position(4)]
        for name in "ac":
            await world.store.start(name, 5)
        with world.changes.read(2) as reader:
            await reader.load()
            assert not reader.is_behind
            found = await reader.receive()
            assert found[0] == Position(2)
            assert seen(found[1:]) == [(4, "b", None), (5, "a", "running"), (6, "c", "running")]
            assert (reader.position, reader.ready()) == (6, [])


async def test_a_reader_that_falls_behind_goes_on_with_the_store(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.engine.change_window.MAX_CHANGES", 2)
    async with following(make_store()) as world:
        with world.changes.read(0) as reader:
            assert await reader.receive() == [Position(0)]
            for name in "abcd":
                await world.store.create(workload(name))
            await world.store.delete("a")
            assert reader.is_behind
            assert reader.ready() == []
            assert seen(await reader.receive()) == [
                *((2, "b", "queued"), (3, "c", "queued"), (4, "d", "queued"), (5, "a", None)),
            ]
            await world.store.start("b", 5)
            assert seen(await reader.receive()) == [(6, "b", "running")]


async def test_a_position_that_was_never_given(make_store: MakeStore) -> None:
    async with following(make_store()) as world:
        await world.store.create(workload("a"))
        with world.changes.read(2) as reader:
            [reset, position] = await reader.receive()
            assert isinstance(reset, Reset)
            assert (reset.reason, position) == ("beyond_head", Position(1))
            await world.store.start("a", 5)
            assert seen(await reader.receive()) == [(2, "a", "running")]


async def test_a_position_that_is_too_old(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite.positions", "memory.store", "postgres.transaction"):
        monkeypatch.setattr(f"trio_logs.store.{module}.KEPT_DELETIONS", 1)
    monkeypatch.setattr("trio_logs.engine.change_window.MAX_CHANGES", 1)
    async with following(make_store()) as world:
        with world.changes.read(1) as slow:
            await world.store.create(workload("a"))
            await slow.load()
            for name in "bc":
                await world.store.create(workload(name))
            await world.store.delete("a")  # 4
            with world.changes.read(3) as reader:
                assert await reader.receive() == [Position(3)]
                assert seen(await reader.receive()) == [(4, "a", None)]
            await world.store.delete("b")  # 5
            with world.changes.read(3) as reader:
                [reset, position] = await reader.receive()
                assert isinstance(reset, Reset)
                assert (reset.reason, position) == ("too_old", Position(5))
            # The last deletion that is not kept is the fourth change: a reader that has it is fine.
            with world.changes.read(4) as reader:
                assert await reader.receive() == [Position(4)]
                assert seen(await reader.receive()) == [(5, "b", None)]
            # A reader may fall so far behind while it reads.
            assert await slow.receive() == [Position(1)]
            [reset, position] = await slow.receive()
            assert isinstance(reset, Reset)
            assert (reset.reason, position) == ("too_old", Position(5))


async def silence(reader: ChangeReader) -> None:
    """Nothing comes for several looks."""
    with trio.move_on_after(5) as waited:
        await reader.receive()
    assert waited.cancelled_caught


async def test_progress_is_looked_for_only_for_readers(autojump_clock: Any) -> None:
    async with following(MemoryStore()) as world:
        world.written = {"a": (1, 7)}
        await trio.sleep(5)
        assert world.changes._feed.progress.tick == 0
        with world.changes.read():
            await trio.sleep(5)
            tick = world.changes._feed.progress.tick
            assert tick == 5
        await trio.sleep(5)
        assert world.changes._feed.progress.tick == tick


async def test_progress_comes_at_most_once_a_second(autojump_clock: Any) -> None:
    async with following(MemoryStore()) as world:
        await world.store.create(workload("a"))
        world.written = {"a": (1, 7)}
        with trio.fail_after(60), world.changes.read() as reader:
            assert await reader.receive() == [Position(1)]
            # A log that does not grow makes no progress.
            await silence(reader)
            for lines in range(2, 5):
                world.written["a"] = lines, 7 * lines
                start = trio.current_time()
                assert await reader.receive() == [Progress("a", lines, 7 * lines)]
                assert trio.current_time() - start <= TICK_SECONDS
            await silence(reader)
            # A new reader gets what is new; one that resumes may lack the numbers of now.
            with world.changes.read() as new, world.changes.read(1) as resumed:
                assert await new.receive() == [Position(1)]
                assert await resumed.receive() == [Position(1)]
                assert await resumed.receive() == [Progress("a", 4, 28)]
                await silence(new)
                await silence(resumed)


async def test_progress_that_is_early_waits_for_the_next_look(autojump_clock: Any) -> None:
    """A reader that resumes right before a look has some already; it gets the rest a little late,
    even if nothing grows any more."""
    async with following(MemoryStore()) as world:
        world.written = {"a": (1, 7)}
        with trio.fail_after(60), world.changes.read() as first:
            assert await first.receive() == [Position(0)]
            await trio.sleep(0.9)
            with world.changes.read(0) as reader:
                assert await reader.receive() == [Position(0)]
                assert await reader.receive() == [Progress("a", 1, 7)]
                start = trio.current_time()
                world.written["a"] = 2, 14
                assert await first.receive() == [Progress("a", 2, 14)]
                assert trio.current_time() - start < 0.5
                assert await reader.receive() == [Progress("a", 2, 14)]
                assert 1 <= trio.current_time() - start <= 2 * TICK_SECONDS
                await silence(first)


async def test_no_progress_comes_after_the_end(autojump_clock: Any) -> None:
    async with following(MemoryStore()) as world:
        await world.store.create(workload("a"))
        with trio.fail_after(60), world.changes.read() as reader, world.changes.read() as slow:
            world.written = {"a": (1, 7)}
            assert await slow.receive() == [Position(1)]
            assert await reader.receive() == [Position(1)]
            assert await reader.receive() == [Progress("a", 1, 7)]
            await finish(world.store, "a")
            world.written["a"] = 2, 14
            for each in (reader, slow):
                assert seen(await each.receive()) == [(2, "a", "succeeded")]
                assert each.ready() == []
            await silence(reader)


async def test_readers_are_told_in_rounds(autojump_clock: Any) -> None:
    """A change is told at once. The next round waits, for longer if there are more readers."""
    rings: list[float] = []

    class Reader:
        def ring(self) -> bool:
            rings.append(trio.current_time())
            return True

    async with running(MemoryStore()) as store, trio.open_nursery() as nursery:
        feed = ChangeFeed(store, lambda: ())
        nursery.start_soon(feed.tell)
        for _ in range(200):
            feed.add(Reader())
        start = trio.current_time()
        for position in range(1, 101):
            feed.publish(change(position))
            await trio.sleep(0.001)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    rounds = sorted({round(at - start, 3) for at in rings})
    assert len(rings) == 200 * len(rounds)
    assert rounds == [0, 0.1]


async def test_a_shutdown_ends_each_reading(make_store: MakeStore) -> None:
    async with following(make_store()) as world:
        with world.changes.read() as reader:
            assert await reader.receive() == [Position(0)]
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    assert await reader.receive() == [Detached()]

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                world.changes.detach()
            with pytest.raises(trio.EndOfChannel):
                await reader.receive()
        with world.changes.read(0) as late:
            assert await late.receive() == [Position(0)]
            assert await late.receive() == [Detached()]


async def test_a_shared_bell_wakes_a_reader_of_several_things(make_store: MakeStore) -> None:
    from trio_logs import Bell

    bell = Bell()
    async with following(make_store()) as world:
        with world.changes.read(0, bell=bell) as reader:
            assert reader.ready() == ()
            await reader.load()
            assert reader.ready() == [Position(0)]
            await world.store.create(workload("a"))
            await bell.wait()
            assert seen(reader.ready()) == [(1, "a", "queued")]
        # It belongs to the caller.
        assert bell.ring()
    bell.close()


async def test_many_that_resume_together_read_the_store_once(make_store: MakeStore) -> None:
    store = make_store()
    async with running(store):
        await store.create(workload("a"))
        await store.create(workload("b"))
    async with following(make_store()) as world:
        reads = world.store.statistics().reads
        found: list[Any] = []

        async def read() -> None:
            with world.changes.read(1) as reader:
                found.append(await reader.receive())

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(read)
        assert [seen(each[1:]) for each in found] == 50 * [[(2, "b", "queued")]]
        if world.store.statistics().reads:  # the store in memory counts none of these
            assert world.store.statistics().reads - reads == 1
        first = found[0][1]
        assert all(each[1] is first for each in found)


async def test_a_page_serves_only_while_it_is_new(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        feed = ChangeFeed(store, lambda: ())
        store.listen(feed.publish)
        assert (await feed.fetch(1)).newest == 0
        await store.create(workload("a"))
        await store.create(workload("b"))
        assert seen((await feed.fetch(1)).changes) == [(2, "b", "queued")]


async def test_a_page_does_not_serve_a_later_position(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        feed = ChangeFeed(store, lambda: ())
        assert (await feed.fetch(1)).newest == 0
        # The store has this change, and the feed has not heard of it yet.
        await store.create(workload("a"))
        assert (await feed.fetch(1)).newest == 1


async def test_progress_waits_for_the_changes_before_it(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.engine.change_feed.READ_BYTES", 1)
    async with following(make_store()) as world:
        with world.changes.read() as reader:
            assert await reader.receive() == [Position(0)]
            await world.store.create(workload("a"))
            await world.store.create(workload("b"))
            world.changes._feed.progress.look([("b", 1, 7)])
            assert seen(await reader.receive()) == [(1, "a", "queued")]
            last, progress = await reader.receive()
            assert (seen([last]), progress) == ([(2, "b", "queued")], Progress("b", 1, 7))


async def test_readers_cost_the_writer_nothing(autojump_clock: Any) -> None:
    """Readers that take nothing hold nobody up, and hold no changes: all share the window."""
    async with following(MemoryStore()) as world:
        with ExitStack() as stack:
            readers = [stack.enter_context(world.changes.read()) for _ in range(50)]
            for reader in readers:
                assert await reader.receive() == [Position(0)]
            start = trio.current_time()
            for number in range(MAX_CHANGES + 100):
                await world.store.create(workload(f"{number:05}"))
            assert trio.current_time() == start
            assert all(reader.is_behind and reader.ready() == [] for reader in readers)
            found: list[Any] = []
            while len(found) < MAX_CHANGES + 100:
                found += await readers[0].receive()
            assert [each.position for each in found] == list(range(1, MAX_CHANGES + 101))


async def test_a_change_is_told_once_it_is_durable(tmp_path: Path, disk: Disk) -> None:
    """While the disk hangs, nobody hears of the change; if the disk fails, nobody ever does."""
    async with following(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as world:
        with trio.fail_after(30), world.changes.read() as reader:
            assert await reader.receive() == [Position(0)]
            disk.hang()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.store.create, workload("a"))
                await disk.wait_until_hung()
                assert (reader.ready(), world.changes.position) == ([], 0)
                disk.healthy()
            assert seen(await reader.receive()) == [(1, "a", "queued")]
            disk.failing()
            with pytest.raises(StoreError):
                await world.store.create(workload("b"))
            disk.healthy()
            assert (reader.ready(), world.changes.position) == ([], 1)
            # The failed change has left no hole.
            await world.store.create(workload("c"))
            assert seen(await reader.receive()) == [(2, "c", "queued")]
