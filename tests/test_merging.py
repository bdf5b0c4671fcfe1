"""Several logs in one sequence: the merge against a naive one, and what comes live."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores import append
from trio_logs import Batch, End, Gap, LogBroker, Outcome, Status, open_broker
from trio_logs.broker import (
    BrokerLimits,
    Gone,
    Item,
    LogPlace,
    MergeStatistics,
    Merging,
    merging,
)
from trio_logs.errors import WorkloadNotFoundError
from trio_logs.filtering import Filter
from trio_logs.records import Detached, Position, Reset
from trio_logs.selection import Selection
from trio_logs.store.memory import MemoryStore

DONE = Outcome(Status.SUCCEEDED, 0)
EVERYTHING = Selection()

LogScript = list[tuple[int, int, str]]
"""The batches of a log: how much later than the one before, how many lines, and the stream; with
no lines, a gap of two."""

log_scripts = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from(["stdout", "stderr"])),
    max_size=6,
)
selections = st.builds(
    Selection,
    tail=st.none() | st.integers(0, 8),
    since=st.none() | st.integers(0, 12),
    stream=st.none() | st.just("stderr"),
    filter=st.none() | st.builds(Filter, st.sampled_from(["1", "log0", "nothing"])),
)


async def write(store: MemoryStore, name: str, script: LogScript, *, ended: bool) -> None:
    """A log with these batches."""
    records: list[Batch | Gap] = []
    first, time = 1, 1
    for later, count, stream in script:
        time += later
        if count:
            data = b"".join(b"%s %d\n" % (name.encode(), first + n) for n in range(count))
            records.append(Batch(first, count, time, stream, data))
        else:
            records.append(Gap(first, first + 1, "store", time))
        first = records[-1].last + 1
    await append(store, name, records, outcome=DONE if ended else None, finished_at=time)


async def read_alone(broker: LogBroker, place: LogPlace) -> list[Any]:
    """What one log alone has."""
    with broker.read(
        place.workload_id, place.selection, after=place.after, follow=False, must_exist=True
    ) as reading:
        try:
            return [each async for each in reading if not isinstance(each, Position)]
        except WorkloadNotFoundError:
            return [Gone()]


async def naive(broker: LogBroker, places: Sequence[LogPlace]) -> list[Item]:
    """All records, sorted. A record without a time belongs to the one before it."""
    keyed = []
    for index, place in enumerate(places):
        time = 0
        for order, record in enumerate(await read_alone(broker, place)):
            if isinstance(record, Batch):
                time = record.time
            keyed.append(((time, index, order), (index, record)))
    return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]


async def read_all(reader: Merging, *, fresh: int) -> list[Item]:
    """All records but positions, of which the first `fresh` are the first."""
    found: list[Item] = []
    with reader:
        first = await reader.receive()
        assert [index for index, _ in first] == list(range(fresh))
        assert all(isinstance(record, Position) for _, record in first)
        while True:
            try:
                found += await reader.receive()
            except trio.EndOfChannel:
                return [(index, each) for index, each in found if not isinstance(each, Position)]


@given(
    scripts=st.lists(st.tuples(log_scripts, st.booleans()), min_size=1, max_size=5),
    selection=selections,
    after=st.none() | st.integers(0, 4),
    held=st.sampled_from([1, 600, 1024 * 1024]),
)
@settings(max_examples=150)
def test_history_is_that_of_a_naive_merge(
    scripts: list[tuple[LogScript, bool]], selection: Selection, after: int | None, held: int
) -> None:
    async def main() -> None:
        store = MemoryStore()
        for number, (script, ended) in enumerate(scripts):
            await write(store, f"log{number}", script, ended=ended)
        places = [LogPlace(f"log{number}", selection) for number in range(len(scripts))]
        places[0] = LogPlace("log0", selection, after)
        places.append(LogPlace("unknown", selection))
        async with open_broker(store) as broker:
            expected = await naive(broker, places)
            reader = broker.merge(places, follow=False)
            assert await read_all(reader, fresh=len(places)) == expected
            assert broker.statistics().merges == MergeStatistics(0, 0)
            assert broker.statistics().topics == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "HELD_BYTES", held)
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_batches_stay_whole_and_ties_come_in_the_order_of_the_places() -> None:
    store = MemoryStore()
    await write(store, "a", [(0, 3, "stdout"), (0, 2, "stderr"), (5, 1, "stdout")], ended=True)
    await write(store, "b", [(0, 2, "stdout"), (1, 1, "stdout")], ended=True)
    async with open_broker(store) as broker:
        for names in (["a", "b"], ["b", "a"]):
            reader = broker.merge([LogPlace(name) for name in names])
            found = await read_all(reader, fresh=2)
            order = [
                f"{names[index]}{record.first}-{record.last}"
                if isinstance(record, Batch)
                else f"{names[index]} end"
                for index, record in found
            ]
            first, second = (["a1-3", "a4-5"], ["b1-2"])[:: 1 if names[0] == "a" else -1]
            assert order == [*first, *second, "b3-3", "b end", "a6-6", "a end"]


async def test_a_position_is_the_number_before_the_next_line_due() -> None:
    store = MemoryStore()
    await write(store, "a", [(0, 3, "stdout"), (1, 4, "stdout")], ended=False)
    await write(store, "b", [(0, 1, "stdout"), (5, 2, "stdout")], ended=True)
    places = [
        LogPlace("a", Selection(tail=2)),
        LogPlace("a", Selection(tail=0)),
        LogPlace("b", Selection(since=6)),
        LogPlace("b", EVERYTHING, 2),
        LogPlace("b", EVERYTHING, "end", ended=True),
        LogPlace("b", EVERYTHING, 9),
    ]
    async with open_broker(store) as broker:
        with broker.merge(places) as reader:
            assert reader.places() is None
            found = await reader.receive()
            assert [(index, getattr(each, "line", None)) for index, each in found] == [
                *[(0, 5), (1, 7), (2, 1), (3, 2), (5, 0)]
            ]
            assert reader.places() == [5, 7, 1, 2, "end", 0]
            later = await reader.receive()
            assert (5, Reset("beyond_head", later[0][1].detail)) == later[0]  # type: ignore[union-attr]
            assert reader.places() == [7, 7, "end", "end", "end", "end"]


async def receive_until(reader: Merging, found: list[Item], mark: int) -> None:
    """Receive until there are so many items."""
    with trio.fail_after(100):
        while len(found) < mark:
            found += await reader.receive()


async def test_history_ends_where_it_began_and_lines_follow_as_they_come(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    await write(store, "a", [(0, 1, "stdout"), (9, 1, "stdout")], ended=False)
    await write(store, "b", [(1, 1, "stdout")], ended=False)
    async with open_broker(store) as broker:
        with broker.merge([LogPlace("a"), LogPlace("b")]) as reader:
            found = [*await reader.receive()]
            # It is newer than all of the history, but the history is fixed by now.
            await broker.publish("b", "new")
            await broker.publish("a", "new")
            await receive_until(reader, found, 7)
            order = [(index, record.first) for index, record in found if isinstance(record, Batch)]
            assert order[:3] == [(0, 1), (1, 1), (0, 2)]
            assert sorted(order[3:]) == [(0, 3), (1, 2)]
            await broker.close("a")
            await receive_until(reader, found, 8)
            assert isinstance(found[-1][1], End)
            assert not reader.is_over
            await broker.publish("b", "last")
            await broker.close("b")
            await receive_until(reader, found, 10)
            with pytest.raises(trio.EndOfChannel):
                await reader.receive()
            assert reader.is_over


async def test_without_follow_it_ends_at_the_last_line_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    await write(store, "a", [(0, 2, "stdout")], ended=False)
    async with open_broker(store) as broker:
        reader = broker.merge([LogPlace("a")], follow=False)
        found = await read_all(reader, fresh=1)
        assert [record.last for _, record in found if isinstance(record, Batch)] == [2]


async def test_until_ends_logs_that_go_on(autojump_clock: trio.testing.MockClock) -> None:
    store = MemoryStore()
    await write(store, "a", [(0, 2, "stdout"), (9, 1, "stdout")], ended=False)
    await write(store, "b", [(0, 1, "stdout")], ended=True)
    selection = Selection(until=5)
    async with open_broker(store) as broker:
        places = [LogPlace("a", selection), LogPlace("b", selection)]
        with trio.fail_after(100):
            found = await read_all(broker.merge(places), fresh=2)
    assert [type(record) for _, record in found] == [Batch, Batch, End]


async def test_a_log_that_is_deleted_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    store = MemoryStore()
    rows: LogScript = [(1, 1000, "stdout")] * 30
    await write(store, "a", rows, ended=True)
    await write(store, "b", rows, ended=True)
    async with open_broker(store) as broker:
        with broker.merge([LogPlace("a"), LogPlace("b")]) as reader:
            await reader.receive()
            found = [*await reader.receive()]
            await store.delete("a")
            broker.forget("a")
            with trio.fail_after(100):
                while not reader.is_over:
                    found += await reader.receive()
    of_a = [record for index, record in found if index == 0]
    assert isinstance(of_a[-2], Gap)
    assert (of_a[-2].reason, of_a[-2].last) == ("deleted", 30_000)
    assert of_a[-1] == Gone()
    assert [record.last for index, record in found if index and isinstance(record, Batch)][-1] == (
        30_000
    )


async def test_a_broker_that_detaches_ends_all(autojump_clock: trio.testing.MockClock) -> None:
    store = MemoryStore()
    await write(store, "a", [(0, 2, "stdout")], ended=False)
    async with open_broker(store) as broker:
        with broker.merge([LogPlace("a")]) as reader:
            found: list[Item] = []
            await receive_until(reader, found, 2)
            broker.detach()
            assert await reader.receive() == [(0, Detached())]
            with pytest.raises(trio.EndOfChannel):
                await reader.receive()


@pytest.mark.parametrize("held", [1, 1024 * 1024])
async def test_rows_are_held_within_bounds(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its turn comes, a row that is larger than its log's share is a place and a time."""
    monkeypatch.setattr(merging, "HELD_BYTES", held)
    store = MemoryStore()
    count = 40
    for number in range(count):
        await write(store, f"log{number}", [(number, 1000, "stdout")] * 20, ended=True)
    share = max(1, min(64 * 1024, held // count))
    row = 1000 * 120
    most = 0
    async with open_broker(store) as broker:
        places = [LogPlace(f"log{number}") for number in range(count)]
        with broker.merge(places) as reader:
            lines = 0
            while not reader.is_over:
                items = await reader.receive()
                lines += sum(each.count for _, each in items if isinstance(each, Batch))
                rows = [each for part in reader._parts for each in part.held]
                most = max(most, sum(each.weight for each in rows if isinstance(each, Batch)))
    assert lines == count * 20_000
    assert most <= count * share + row


async def test_a_busy_log_starves_no_other(autojump_clock: trio.testing.MockClock) -> None:
    """The one is always ready in memory; the other one needs the store."""
    store = MemoryStore()
    async with open_broker(store, BrokerLimits(window_bytes=300_000)) as broker:
        for name in ("busy", "behind"):
            await broker.publish(name, "first")
        with broker.merge([LogPlace("busy"), LogPlace("behind")]) as reader:
            found: list[Item] = []
            await receive_until(reader, found, 4)
            with await broker.open("behind") as log:
                for number in range(40):
                    await log.writelines([f"{number} " + "x" * 100] * 200)
                await log.flush()
            with trio.fail_after(10), await broker.open("busy") as log:
                while not any(index == 1 for index, _ in found[4:]):
                    await log.writelines(["busy " + "x" * 100] * 500)
                    await log.flush()
                    found += await reader.receive()
            assert any(index == 0 for index, _ in found[4:])


async def follow(reader: Merging, found: list[Item], rng: random.Random) -> None:
    """Follow to the end, cancelled now and then."""
    with reader:
        while True:
            with trio.move_on_after(rng.choice([0, 0, 0.001, 0.01, 1])):
                try:
                    found += await reader.receive()
                except trio.EndOfChannel:
                    return


@pytest.mark.parametrize("seed", range(8))
async def test_each_log_is_complete_and_in_order_while_it_is_written(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    rng = random.Random(seed)
    limits = BrokerLimits(window_bytes=rng.choice([1, 2000, 4_000_000]))
    names = [f"log{number}" for number in range(7)]
    store = MemoryStore()
    async with open_broker(store, limits) as broker:

        async def write_lines(name: str) -> None:
            for _ in range(rng.randint(1, 40)):
                await trio.sleep(rng.choice([0, 0.002, 0.05]))
                with await broker.open(name) as log:
                    await log.writelines([name] * rng.randint(1, 30))
            await broker.close(name)

        found: list[Item] = []
        for name in names:
            await broker.publish(name, "known")
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(write_lines, name)
            await trio.sleep(rng.choice([0, 0.1, 3]))
            places = [LogPlace(name) for name in names]
            nursery.start_soon(follow, broker.merge(places), found, rng)
        assert broker.statistics().subscriptions == 0
    for index, name in enumerate(names):
        records = [each for number, each in found if number == index]
        assert isinstance(records[-1], End), name
        numbers = [
            number
            for each in records
            if isinstance(each, Batch)
            for number in range(each.first, each.last + 1)
        ]
        assert numbers == list(range(1, records[-1].lines + 1)), name
