"""Promise 5: a store that fails takes no log, no reader and no writer down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.failing_parts import FailingStore
from trio_logs import Batch, End, Gap, LogBroker, Outcome, Status, open_broker
from trio_logs.broker import BrokerLimits
from trio_logs.errors import FencedError, LogClosedError, StoreError
from trio_logs.records import Record, Reset
from trio_logs.selection import Selection
from trio_logs.store.memory import MemoryStore

PATIENCE = 30.0
FAILED = Outcome(Status.FAILED, 3)


Clock = trio.testing.MockClock


@asynccontextmanager
async def failing(
    limits: BrokerLimits | None = None,
) -> AsyncIterator[tuple[LogBroker, FailingStore]]:
    store = FailingStore(MemoryStore())
    async with open_broker(store, limits, patience=PATIENCE) as broker:
        yield broker, store


class Reader:
    """Notes each line that it gets, and when."""

    def __init__(self) -> None:
        self.lines: dict[int, bytes] = {}
        self.at: dict[int, float] = {}
        self.gaps: list[Gap] = []
        self.ends: list[End] = []
        self._began = trio.current_time()

    async def run(self, broker: LogBroker, position: int = 1) -> None:
        with broker.subscribe("w", position) as subscription:
            async for record in subscription:
                self.note(record)

    def note(self, record: Record) -> None:
        due = position_of(record)
        expected = max((*self.lines, *(gap.last for gap in self.gaps)), default=0) + 1
        match record:
            case Batch(first=first):
                assert due == expected or not self.lines
                for number, line in enumerate(record.lines, first):
                    self.lines[number] = line
                    self.at[number] = trio.current_time() - self._began
            case Gap():
                assert due == expected
                self.gaps.append(record)
            case End():
                assert record.lines == expected - 1
                self.ends.append(record)


def position_of(record: Record) -> int:
    return getattr(record, "first", 0)


async def stored(store: FailingStore) -> list[Batch | Gap]:
    found: list[Batch | Gap] = []
    first = 1
    while read := await store.inner.read("w", first, 1 << 20):
        found += read
        first = found[-1].last + 1
    return found


@pytest.mark.parametrize("mode", ["fails", "hangs", "unknown"])
async def test_within_the_patience_nothing_is_lost_or_delivered_too_early(
    mode: str, autojump_clock: Clock
) -> None:
    reader = Reader()
    async with failing() as (broker, store), trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, broker)
        await broker.publish("w", "one")
        await trio.testing.wait_all_tasks_blocked()
        store.set_mode(mode)
        await broker.publish("w", "two")
        await trio.sleep(20)
        assert list(reader.lines) == [1]
        statistics = broker.statistics()
        assert (statistics.lines_unsaved, round(statistics.oldest_wait)) == (1, 20)
        assert (statistics.store_error is None) is (mode == "hangs")
        store.set_mode("works")
        await trio.sleep(5)
        assert reader.lines == {1: b"one", 2: b"two"}
        assert reader.at[2] >= 20
        statistics = broker.statistics()
        assert (statistics.lines_unsaved, statistics.oldest_wait) == (0, 0)
        assert (statistics.store_error, statistics.logs_failing) == (None, 0)
        await broker.close("w")
    assert [record.last for record in await stored(store)] == [1, 2]


async def test_a_workload_is_held_back_for_the_patience_and_no_longer(
    autojump_clock: Clock,
) -> None:
    began = trio.current_time()
    async with failing() as (broker, store):
        with await broker.open("w") as log:
            store.set_mode("hangs")
            for _ in range(8 + 1):
                await log.write("line\n")
            assert trio.current_time() - began < 1
            for _ in range(100):
                await log.write("line\n")
            assert PATIENCE <= trio.current_time() - began < PATIENCE + 1
            store.set_mode("works")
        await trio.sleep(10)
        await broker.close("w")


@pytest.mark.parametrize("mode", ["fails", "hangs", "unknown"])
async def test_past_the_patience_lines_are_delivered_from_memory_and_stored_later(
    mode: str, autojump_clock: Clock
) -> None:
    reader, late = Reader(), Reader()
    async with failing() as (broker, store), trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, broker)
        await broker.publish("w", "one")
        store.set_mode(mode)
        for number in range(2, 12):
            await broker.publish("w", f"line {number}")
            await trio.sleep(10)
        assert list(reader.lines) == list(range(1, 12))
        assert PATIENCE <= reader.at[2] <= PATIENCE + 1
        # What came after that is delivered at once.
        assert round(reader.at[11]) == 30 + 90 - 30
        # A reader that comes now gets what the window holds.
        nursery.start_soon(late.run, broker, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert list(late.lines) == list(range(2, 12))
        store.set_mode("works")
        await trio.sleep(10)
        assert broker.statistics().lines_unsaved == 0
        end = await broker.close("w", FAILED)
        assert end == End(FAILED, 11, reader_bytes(reader))
    assert reader.ends == late.ends == [end]
    assert not reader.gaps
    assert {n: line for each in await stored(store) for n, line in lines_of(each)} == reader.lines
    state = await store.inner.log("w")
    assert state is not None
    assert (state.lines, state.bytes, state.end) == (11, end.bytes, end)


def reader_bytes(reader: Reader) -> int:
    return sum(len(line) + 1 for line in reader.lines.values())


def lines_of(record: Batch | Gap) -> list[tuple[int, bytes]]:
    return list(enumerate(record.lines, record.first)) if isinstance(record, Batch) else []


async def test_what_the_window_cannot_hold_is_a_declared_gap(autojump_clock: Clock) -> None:
    """For readers meanwhile, for later ones, and in the store."""
    reader = Reader()
    limits = BrokerLimits(window_bytes=3000, windows_bytes=3000)
    async with failing(limits) as (broker, store), trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, broker)
        await broker.publish("w", "one")
        await trio.sleep(1)
        store.set_mode("fails")
        for number in range(2, 102):
            await broker.publish("w", f"line {number}")
            await trio.sleep(1)
        assert broker.statistics().window_bytes <= 3000
        assert list(reader.lines) == list(range(1, 102))
        # A reader in the lost range is told now; one before it needs the store, and gets its error.
        with broker.subscribe("w", 10) as lost:
            [gap, *_] = await lost.receive()
            assert (gap.first, gap.reason) == (10, "store")
            [batch, *_] = await lost.receive()
            assert batch.first == gap.last + 1
        with broker.subscribe("w", 1) as early:
            with pytest.raises(StoreError, match="injected before"):
                await early.receive()
            store.set_mode("works")
            [batch] = await early.receive()
            assert batch.lines == [b"one"]
        await trio.sleep(10)
        late = Reader()
        nursery.start_soon(late.run, broker)
        await trio.testing.wait_all_tasks_blocked()
        end = await broker.close("w")
    again = Reader()
    async with open_broker(store) as broker:
        await again.run(broker)
    for each in (late, again):
        [gap] = each.gaps
        assert (gap.first, gap.reason) == (2, "store")
        assert list(each.lines) == [1, *range(gap.last + 1, 102)]
        assert all(reader.lines[number] == line for number, line in each.lines.items())
    state = await store.inner.log("w")
    assert state is not None
    assert (state.lines, state.bytes) == (101, reader_bytes(reader)) == (end.lines, end.bytes)


async def test_times_never_step_back_after_a_declared_gap(autojump_clock: Clock) -> None:
    """Else, a search by time goes wrong there."""
    async with failing(BrokerLimits(3000, 3000)) as (broker, store):
        await broker.publish("w", "one")
        await trio.sleep(1)
        store.set_mode("fails")
        for number in range(2, 82):
            await broker.publish("w", f"line {number}")
            await trio.sleep(1)
        store.set_mode("works")
        await trio.sleep(10)
        await broker.publish("w", "last")
        await broker.close("w")
    kept = await stored(store)
    assert any(isinstance(record, Gap) for record in kept)
    times = [record.time for record in kept]
    assert times == sorted(times)
    for record in kept:
        if isinstance(record, Batch):
            first = await store.inner.find("w", record.time, kept[-1].last)
            assert first <= record.first
            assert await store.inner.find("w", record.time + 1, kept[-1].last) == record.last + 1


async def test_a_flush_waits_and_then_fails(autojump_clock: Clock) -> None:
    began = trio.current_time()
    async with failing() as (broker, store):
        with await broker.open("w") as log:
            await log.write("one\n")
            assert await log.flush() == 4
            store.set_mode("fails")
            await log.write("two\n")
            with pytest.raises(StoreError, match="injected before"):
                await log.flush()
            assert PATIENCE <= trio.current_time() - began < PATIENCE + 1
            with pytest.raises(StoreError):
                await log.flush()
            assert trio.current_time() - began < PATIENCE + 1
            store.set_mode("works")
            await trio.sleep(10)
            assert await log.flush() == 8
        await broker.close("w")


@pytest.mark.parametrize("unended", [b"", b"unended"])
async def test_an_end_that_was_stored_although_the_store_said_no(
    unended: bytes, autojump_clock: Clock
) -> None:
    """Its readers get it once the store answers, in the same subscription."""
    reader = Reader()
    async with failing() as (broker, store), trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, broker)
        with await broker.open("w") as log:
            await log.write(b"one\n" + unended)
        await trio.sleep(1)
        store.set_mode("unknown")
        with pytest.raises(StoreError, match="injected after append"):
            await broker.close("w", FAILED)
        state = await store.inner.log("w")
        assert state is not None
        assert state.end is not None
        assert not reader.ends
        store.set_mode("works")
        await trio.sleep(10)
        assert reader.ends == [state.end]
        assert await broker.close("w") == state.end


@pytest.mark.parametrize("unended", [b"", b"unended"])
async def test_the_end_comes_once_and_only_when_it_is_durable(
    unended: bytes, autojump_clock: Clock
) -> None:
    reader = Reader()
    began = trio.current_time()
    async with failing() as (broker, store), trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, broker)
        with await broker.open("w") as log:
            await log.write(b"one\n" + unended)
        await trio.sleep(1)
        store.set_mode("hangs")
        with pytest.raises(StoreError, match="not stored yet: the store does not answer"):
            await broker.close("w", FAILED)
        assert trio.current_time() - began == pytest.approx(1 + PATIENCE)
        await trio.testing.wait_all_tasks_blocked()
        assert len(reader.lines) == 1 + bool(unended)
        assert not reader.ends
        # Another outcome does not count: the first stands.
        with pytest.raises(StoreError):
            await broker.close("w", Outcome(Status.SUCCEEDED))
        with pytest.raises(LogClosedError):
            await broker.open("w")
        store.set_mode("works")
        with trio.move_on_after(60):
            while True:
                try:
                    end = await broker.close("w")
                    break
                except StoreError:
                    await trio.sleep(1)
        assert end.outcome == FAILED
    assert reader.ends == [end]
    state = await store.inner.log("w")
    assert state is not None
    assert state.end == end


async def test_a_store_that_comes_and_goes_while_it_catches_up(autojump_clock: Clock) -> None:
    reader = Reader()
    async with failing() as (broker, store), trio.open_nursery() as nursery:
        nursery.start_soon(reader.run, broker)
        await broker.publish("w", "line 0")
        store.set_mode("fails")
        for number in range(1, 100):
            await broker.publish("w", f"line {number}")
            await trio.sleep(1)
            if number > PATIENCE + 1:
                store.set_mode(("works", "fails", "hangs", "unknown")[number % 4])
        store.set_mode("works")
        await trio.sleep(20)
        await broker.close("w")
    assert list(reader.lines) == list(range(1, 101))
    assert not reader.gaps
    assert [n for each in await stored(store) for n, _ in lines_of(each)] == list(range(1, 101))


async def test_a_store_that_hangs_while_it_catches_up_holds_nothing_up(
    autojump_clock: Clock,
) -> None:
    """Neither the workload nor a flush waits for longer than the patience, nor does `close`."""
    async with failing() as (broker, store):
        with await broker.open("w") as log:
            store.set_mode("fails")
            await log.write("one\n")
            await trio.sleep(PATIENCE + 1)
            store.set_mode("hangs")
            await trio.sleep(10)
            await log.write("two\n")
            await trio.testing.wait_all_tasks_blocked()
            # The store takes the first line, so the source waits while it takes the second.
            store.switch.hang_again("append")
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            with trio.fail_after(PATIENCE + 1):
                for _ in range(100):
                    await log.write("more\n")
                with pytest.raises(StoreError):
                    await log.flush()
            assert trio.current_time() - began == pytest.approx(PATIENCE)
        with trio.fail_after(1), pytest.raises(StoreError):
            await broker.close("w")
        store.set_mode("works")
        await trio.sleep(10)
        assert (await broker.close("w")).lines == 102


async def test_many_logs_fail_together_and_recover_together(autojump_clock: Clock) -> None:
    async with failing() as (broker, store):
        store.set_mode("hangs")
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(broker.publish, f"w{number}", "line")
                await trio.lowlevel.checkpoint()
            store.set_mode("works")
            await trio.testing.wait_all_tasks_blocked()
            store.set_mode("fails")
            for number in range(20):
                nursery.start_soon(broker.publish, f"w{number}", "another")
        await trio.sleep(PATIENCE + 10)
        assert broker.statistics().logs_failing == 20
        assert broker.statistics().lines_unsaved == 20
        store.set_mode("works")
        await trio.sleep(10)
        assert broker.statistics().logs_failing == 0
        assert broker.statistics().lines_unsaved == 0


async def test_a_log_that_cannot_be_looked_up_raises_and_may_be_tried_again(
    autojump_clock: Clock,
) -> None:
    async with failing() as (broker, store):
        await broker.publish("w", "one")
        await broker.close("w")
        await trio.testing.wait_all_tasks_blocked()
        assert broker.statistics().topics == 0
        store.set_mode("fails")
        for attempt in (broker.open("w"), broker.close("w"), broker.publish("w", "two")):
            with pytest.raises(StoreError):
                await attempt
        with broker.subscribe("w", 1) as subscription:
            with pytest.raises(StoreError):
                await subscription.receive()
            store.set_mode("works")
            assert [record.lines for record in await subscription.receive()] == [[b"one"]]
        assert broker.statistics().topics == 0


async def test_a_broker_that_ends_meanwhile_says_what_is_lost(autojump_clock: Clock) -> None:
    store = FailingStore(MemoryStore())
    began = trio.current_time()
    with pytest.RaisesGroup(
        pytest.RaisesExc(StoreError, match="3 lines could not be stored"),
        flatten_subgroups=True,
        allow_unwrapped=True,
    ):
        async with open_broker(store, patience=PATIENCE) as broker:
            await broker.publish("w", "one")
            await trio.testing.wait_all_tasks_blocked()
            store.set_mode("hangs")
            await broker.publish("w", "two\nthree\nfour")
    # Bounded, whatever the patience is.
    assert trio.current_time() - began == pytest.approx(10)


async def test_a_fenced_writer_ends_alone(autojump_clock: Clock) -> None:
    """Another writer has taken the log over: writers, flushes and closers are told, and readers
    find the log where the store has it."""
    async with failing() as (broker, store), trio.open_nursery() as nursery:
        reader = Reader()
        with await broker.open("w") as log:
            await log.write("one\n")
            await log.flush()
            nursery.start_soon(reader.run, broker)
            await trio.testing.wait_all_tasks_blocked()
            await store.inner.fence("w")
            await log.write("two\n")
            with pytest.raises(LogClosedError):
                await log.flush()
            with pytest.raises(LogClosedError):
                await log.write("three\n")
        await trio.testing.wait_all_tasks_blocked()
        assert list(reader.lines) == [1]
        assert not reader.ends
        # A new writer goes on where the store has it, with the new epoch.
        await broker.publish("w", "second")
        assert (await broker.close("w")).lines == 2
    assert issubclass(FencedError, LogClosedError)


async def test_a_tail_from_memory_needs_no_store(autojump_clock: Clock) -> None:
    async with failing() as (broker, store):
        await broker.publish("w", "one\ntwo\nthree")
        await trio.testing.wait_all_tasks_blocked()
        with await broker.open("w"):
            store.set_mode("fails")
            with broker.read("w", Selection(tail=2), follow=False) as reading:
                got: list[Record | Reset] = [record async for record in reading]
        assert [record.lines for record in got if isinstance(record, Batch)] == [[b"two", b"three"]]
        store.set_mode("works")
