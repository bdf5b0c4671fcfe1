"""Reads of the store, cut into pieces that readers share."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_logs import Batch, End, Gap, LogBroker, open_broker
from trio_logs.broker import history
from trio_logs.broker.history import READ_BYTES as PIECE
from trio_logs.broker.history import History
from trio_logs.store.memory import MemoryStore

LINES = 10
"""In a batch, which is as large as a piece."""


class CountingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch | Gap]:
        self.reads.append((first, max_bytes))
        return await super().read(workload_id, first, max_bytes)


async def store_of(*numbers: int) -> CountingStore:
    """A log "w" of these batches; what is left out was removed."""
    store = CountingStore()
    data = (b"x" * (PIECE // LINES) + b"\n") * LINES
    for number in range(numbers[-1] + 1):
        batch = Batch(1 + number * LINES, LINES, number, "stdout", data)
        await store.append("w", [batch], expected=batch.first, epoch=0, size=len(data))
    kept = [batch for batch in store._logs["w"].records if batch.first // LINES in numbers]
    store._logs["w"].records[:] = kept
    return store


async def read_all(log: History, first: int = 1, head: int = 100) -> list[int]:
    """The first lines of the batches, read piece by piece."""
    found = []
    while piece := await log.read("w", first, PIECE, head):
        assert len(piece) == 1
        found.append(piece[0].first)
        first = piece[-1].last + 1
    return found


async def test_one_read_brings_several_pieces() -> None:
    store = await store_of(*range(10))
    log = History(store)
    assert await read_all(log) == list(range(1, 101, 10))
    assert store.reads == [(first, 4 * PIECE) for first in (1, 41, 81, 101)]
    assert await read_all(log) == list(range(1, 101, 10))
    # An empty answer is remembered for the same head only: with another one, more may have come.
    assert len(store.reads) == 4
    assert await log.read("w", 101, PIECE, 110) == []
    assert store.reads[4:] == [(101, 4 * PIECE)]
    assert log.statistics() == history.HistoryStatistics(reads=5, batches_read=10, reuses=18)


async def test_readers_share_an_empty_answer(autojump_clock: trio.testing.MockClock) -> None:
    """Retention has emptied a finished log, and many readers open it at once."""
    store = await store_of(*range(4))
    store._logs["w"].records.clear()
    steps = 0

    class CountSteps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal steps
            steps += 1

    async def read(broker: LogBroker) -> None:
        with broker.subscribe("w", 1) as subscription:
            assert await subscription.receive() == [Gap(1, 40, "retention")]
            assert isinstance((await subscription.receive())[0], End)

    async with open_broker(store) as broker:
        await broker.close("w")
        instrument = CountSteps()
        trio.lowlevel.add_instrument(instrument)
        async with trio.open_nursery() as nursery:
            for _ in range(400):
                nursery.start_soon(read, broker)
        trio.lowlevel.remove_instrument(instrument)
    assert len(store.reads) == 1
    # In proportion to the readers: with a read for each, they wait for each other, 80,000 times.
    assert steps < 400 * 20


async def test_a_read_from_the_middle_of_a_batch() -> None:
    log = History(await store_of(*range(10)))
    assert await read_all(log, 14) == list(range(11, 101, 10))


async def test_readers_share_the_pieces_of_reads_that_overlap() -> None:
    log = History(await store_of(*range(4)))
    first = [await log.read("w", first, PIECE, 100) for first in (11, 21)]
    again = [await log.read("w", first, PIECE, 100) for first in (1, 11, 21)]
    assert all(piece is other for piece, other in zip(first, again[1:], strict=True))


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_RECENT", 6)
    store = await store_of(*range(12))
    log = History(store)
    await read_all(log)
    count = len(store.reads)
    await log.read("w", 101, PIECE, 100)
    assert len(store.reads) == count
    await log.read("w", 1, PIECE, 100)
    assert len(store.reads) == count + 1


async def test_a_deleted_log_is_not_remembered() -> None:
    store = await store_of(*range(8))
    async with open_broker(store) as broker:
        with broker.subscribe("w", 1) as subscription:
            [batch] = await subscription.receive()
            assert isinstance(batch, Batch)
            await store.delete("w")
            broker.forget("w")
            assert await subscription.receive() == [Gap(11, 80, "deleted")]


async def test_a_log_is_deleted_before_the_broker_hears_of_it() -> None:
    store = await store_of(*range(8))
    async with open_broker(store) as broker:
        with broker.subscribe("w", 1) as subscription:
            [batch] = await subscription.receive()
            assert isinstance(batch, Batch)
            await store.delete("w")
            # One read brought four batches.
            with trio.fail_after(5):
                records = [record async for record in subscription]
            assert records[3:] == [Gap(41, 80, "deleted")]


async def test_what_is_read_while_its_log_is_deleted_is_not_remembered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A log that takes its name is another one."""

    class SlowStore(CountingStore):
        async def read(self, *arguments: Any) -> list[Batch | Gap]:
            found = await super().read(*arguments)
            await trio.sleep(1)
            return found

    store = SlowStore()
    async with open_broker(store) as broker:
        await broker.publish("w", "old secret")
        await broker.close("w")
        with broker.subscribe("w", 1) as late:
            await late.load()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(late.receive)
                await trio.sleep(0.5)
                await store.delete("w")
                broker.forget("w")
            # Also while a reader of the old one is there.
            await broker.publish("w", "new")
            await broker.close("w")
            assert broker.statistics().subscriptions == 1
            with broker.subscribe("w", 1) as other:
                [batch] = await other.receive()
                assert isinstance(batch, Batch)
                assert batch.lines == [b"new"]
        assert broker.statistics().topics == broker.statistics().subscriptions == 0


async def test_a_hole_between_two_pieces_is_a_gap() -> None:
    store = await store_of(0, 2)
    async with open_broker(store) as broker:
        with broker.subscribe("w", 1) as subscription:
            received = [*await subscription.receive(), *await subscription.receive()]
    assert [getattr(record, "first", None) for record in received] == [1, 11, 21]
    assert received[1] == Gap(11, 20, "retention")
    assert len(store.reads) == 1
