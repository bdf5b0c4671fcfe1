"""What embedders get by `broker.read`: tails, times, streams, positions, with and without more to
come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from trio_logs import Batch, End, Gap, LogBroker, open_broker
from trio_logs.broker import BrokerLimits
from trio_logs.broker.pending import Found
from trio_logs.records import Position, Reset
from trio_logs.selection import Selection
from trio_logs.store import LogStore, Retention
from trio_logs.store.memory import MemoryStore

Clock = trio.testing.MockClock
LONG = b"x" * 150_000
"""A line of three parts: the limit is 64 KiB."""


async def read(broker: LogBroker, selection: Selection, **options: Any) -> list[Found]:
    with broker.read("w", selection, **options) as reading:
        return [record async for record in reading if not isinstance(record, Position)]


def numbers(records: list[Found]) -> list[int]:
    return [n for one in records if isinstance(one, Batch) for n in range(one.first, one.last + 1)]


def texts(records: list[Found]) -> list[bytes]:
    return [line for one in records if isinstance(one, Batch) for line in one.lines]


def joined(records: list[Found], stream: str = "stdout") -> bytes:
    return b"".join(one.data for one in records if isinstance(one, Batch) and one.stream == stream)


@asynccontextmanager
async def ten_lines(
    store: LogStore | None = None, limits: BrokerLimits | None = None
) -> AsyncIterator[LogBroker]:
    """A log that goes on, whose odd lines are on `stderr`."""
    async with open_broker(store, limits) as broker:
        for number in range(1, 11):
            stream = "stderr" if number % 2 else "stdout"
            await broker.publish("w", f"line {number}", stream)
            await trio.testing.wait_all_tasks_blocked()
        await broker.flush()
        yield broker


@pytest.mark.parametrize("limits", [None, BrokerLimits(0, 0)], ids=["window", "store"])
@pytest.mark.parametrize(
    ("selection", "after", "expected"),
    [
        (Selection(), None, range(1, 11)),
        (Selection(tail=0), None, []),
        (Selection(tail=3), None, [8, 9, 10]),
        (Selection(tail=99), None, range(1, 11)),
        (Selection(tail=2, stream="stdout"), None, [8, 10]),
        (Selection(stream="stderr"), None, [1, 3, 5, 7, 9]),
        (Selection(), 7, [8, 9, 10]),
        (Selection(), 10, []),
        # A reader that comes back gets all that it missed.
        (Selection(tail=1), 7, [8, 9, 10]),
        (Selection(stream="stdout"), 7, [8, 10]),
    ],
)
@pytest.mark.parametrize("ended", [False, True], ids=["open", "ended"])
async def test_what_is_asked_for(
    selection: Selection,
    after: int | None,
    expected: list[int],
    limits: BrokerLimits | None,
    ended: bool,
) -> None:
    async with ten_lines(limits=limits) as broker:
        if ended:
            await broker.close("w")
        found = await read(broker, selection, after=after, follow=False)
    assert numbers(found) == list(expected)
    assert [type(one) for one in found if not isinstance(one, Batch)] == [End] * ended


@pytest.mark.parametrize("limits", [None, BrokerLimits(0, 0)], ids=["window", "store"])
async def test_times(limits: BrokerLimits | None) -> None:
    async with ten_lines(limits=limits) as broker:
        times = [
            one.time
            for one in await read(broker, Selection(), follow=False)
            if isinstance(one, Batch)
        ]
        since, until = times[3], times[6]
        wanted = [n for n, time in enumerate(times, 1) if since <= time <= until]
        found = await read(broker, Selection(since=since, until=until), follow=False)
        assert numbers(found) == wanted
        found = await read(broker, Selection(tail=2, until=until), follow=False)
        assert numbers(found) == [n for n, time in enumerate(times, 1) if time <= until][-2:]
        found = await read(broker, Selection(since=since), after=8, follow=False)
        assert numbers(found) == [9, 10]
        # It follows, and ends by itself: nothing that comes now is as old as that.
        with trio.fail_after(2):
            assert numbers(await read(broker, Selection(since=since, until=until))) == wanted
        await broker.close("w")
        found = await read(broker, Selection(since=since, until=until))
        assert numbers(found) == wanted
        assert isinstance(found[-1], End)


@pytest.mark.parametrize(("after", "reason"), [(11, "beyond_head"), ("end", "not_ended")])
async def test_a_position_that_the_log_never_had(after: Any, reason: str) -> None:
    async with ten_lines() as broker:
        [reset, *found] = await read(broker, Selection(tail=1), after=after, follow=False)
        assert isinstance(reset, Reset)
        assert reset.reason == reason
        assert numbers(found) == list(range(1, 11))


async def test_a_reader_that_follows_a_tail(autojump_clock: Clock) -> None:
    found: list[Found] = []

    async def follow() -> None:
        found.extend(await read(broker, Selection(tail=2)))

    async with ten_lines() as broker, trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        await broker.publish("w", "line 11")
        await broker.close("w")
    assert numbers(found) == [9, 10, 11]
    assert isinstance(found[-1], End)


async def test_a_tail_that_retention_has_cut_starts_with_a_gap() -> None:
    store = MemoryStore()
    async with ten_lines(store, BrokerLimits(0, 0)) as broker:
        await store.trim(Retention(max_bytes=3 * len("line 9\n")))
        found = await read(broker, Selection(tail=5), follow=False)
        assert isinstance(found[0], Gap)
        assert (found[0].first, found[0].last) == (6, numbers(found)[0] - 1)
        assert numbers(found)[-1] == 10


async def test_a_cancelled_receive_loses_nothing(autojump_clock: Clock) -> None:
    """Wherever the wait ends: at the look-up, the search for the tail, the read, or the bell."""

    class SlowStore(MemoryStore):
        async def log(self, *arguments: Any) -> Any:
            await trio.sleep(1)
            return await super().log(*arguments)

        async def scan(self, *arguments: Any) -> Any:
            await trio.sleep(1)
            return await super().scan(*arguments)

        async def read(self, *arguments: Any) -> Any:
            await trio.sleep(1)
            return await super().read(*arguments)

    store = SlowStore()
    async with ten_lines(store, BrokerLimits(0, 0)) as broker:
        await broker.close("w")
    found: list[Found] = []
    async with open_broker(store, BrokerLimits(0, 0)) as broker:
        with broker.read("w", Selection(tail=4, stream="stdout")) as reading:
            patience = 0.25
            while not (found and isinstance(found[-1], End)):
                with trio.move_on_after(patience):
                    found += await reading.receive()
                patience += 0.25
    assert numbers(found) == [4, 6, 8, 10]


async def test_a_reading_that_ends_has_what_the_store_has() -> None:
    """The record of a workload, which the store commits with the last lines, may tell of the end
    before the log does: a client that sees it asks for the log without following."""
    going = trio.Event()

    class SlowStore(MemoryStore):
        async def append(self, *arguments: Any, **options: Any) -> None:
            await super().append(*arguments, **options)
            if options["outcome"] is not None:
                await going.wait()

    store = SlowStore()
    found: list[Found] = []
    heads: list[int] = []
    async with open_broker(store) as broker, trio.open_nursery() as nursery:
        with await broker.open("w") as log:
            await log.write(b"first\nlast", "stdout")
        nursery.start_soon(broker.close, "w")
        await trio.testing.wait_all_tasks_blocked()
        state = await store.log("w")
        assert state is not None
        assert (state.lines, state.end is None) == (2, False)
        assert await broker.head("w", settled=False) == 1

        async def read_all() -> None:
            found.extend(await read(broker, Selection(), follow=False))

        async def ask() -> None:
            heads.append(await broker.head("w"))

        nursery.start_soon(read_all)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        going.set()
    assert (texts(found), heads) == ([b"first", b"last"], [2])
    assert isinstance(found[-1], End)


async def test_a_reading_that_ends_waits_a_second_for_a_store_that_hangs(
    autojump_clock: Clock,
) -> None:
    going = trio.Event()

    class StuckStore(MemoryStore):
        async def append(self, *arguments: Any, **options: Any) -> None:
            if options["expected"] > 1:
                await going.wait()
            await super().append(*arguments, **options)

    async with open_broker(StuckStore()) as broker:
        await broker.publish("w", "one")
        await broker.flush()
        await broker.publish("w", "two")
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        assert texts(await read(broker, Selection(), follow=False)) == [b"one"]
        assert trio.current_time() - start == pytest.approx(1)
        going.set()


@pytest.mark.parametrize("ended", [False, True], ids=["unfinished", "finished"])
@pytest.mark.parametrize("limits", [None, BrokerLimits(0, 0)], ids=["window", "store"])
async def test_a_tail_has_all_parts_of_an_over_long_line(
    ended: bool, limits: BrokerLimits | None
) -> None:
    """Also while the line goes on: then the parts that are there, and those that come."""
    async with open_broker(limits=limits) as broker:
        with await broker.open("w") as log:
            await log.write(b"before\n" + LONG + b"\n" * ended)
            await log.flush()
            found = await read(broker, Selection(tail=1), follow=False)
            if ended:
                assert joined(found) == LONG + b"\n"
                assert numbers(found) == [2, 3, 4]
                return
            # The last part waits for more.
            assert LONG.startswith(joined(found))
            assert numbers(found) == [2, 3]
            async with trio.open_nursery() as nursery:

                async def follow() -> None:
                    found[:] = await read(broker, Selection(tail=1))

                nursery.start_soon(follow)
                await trio.testing.wait_all_tasks_blocked()
                await log.write(b"y\nafter\n")
                await log.flush()
                await broker.close("w")
            assert joined(found) == LONG + b"y\nafter\n"


@pytest.mark.parametrize("limits", [None, BrokerLimits(0, 0)], ids=["window", "store"])
async def test_a_tail_of_two_streams_that_interleave(limits: BrokerLimits | None) -> None:
    """An over-long line, with lines of another stream between its parts."""
    async with open_broker(limits=limits) as broker:
        with await broker.open("w") as log:
            for start in range(0, len(LONG), 70_000):
                await log.write(LONG[start : start + 70_000])
                await log.flush()
                await log.write(b"other\n", "stderr")
                await log.flush()
            await log.write(b"\n")
            await log.flush()
            everything = await read(broker, Selection(), follow=False)
            parts = [one for one in everything if isinstance(one, Batch) and one.stream == "stdout"]
            others = [n for n in numbers(everything) if n not in {one.first for one in parts}]
            assert (len(parts), len(others)) == (3, 3)
            assert parts[0].last < others[0] < parts[1].last < others[1] < others[2] < parts[2].last

            found = await read(broker, Selection(tail=1), follow=False)
            assert joined(found) == LONG + b"\n"
            assert joined(found, "stderr") == b""
            found = await read(broker, Selection(tail=2), follow=False)
            assert joined(found) == LONG + b"\n"
            assert joined(found, "stderr") == b"other\n"
            assert numbers(found) == sorted([*(one.first for one in parts), others[2]])
            found = await read(broker, Selection(tail=2, stream="stderr"), follow=False)
            assert texts(found) == [b"other"] * 2
            await broker.close("w")
        # A reader that follows passes over the lines in between, too.
        found = await read(broker, Selection(tail=1))
        assert joined(found) == LONG + b"\n"
        assert joined(found, "stderr") == b""
        assert isinstance(found[-1], End)
