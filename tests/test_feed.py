"""Logs that another node extends, over a shared store in memory and in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.testing

from tests.nodes import LOST, PATIENCE, Cluster, Reader, TestNode, cluster
from tests.outlets import BatchOutlet
from tests.shared_stores import forget_end, forget_lines
from tests.steps import InvariantError, Steps, explore
from tests.stores import batch
from tests.test_scenarios import living_tasks
from trio_logs import Batch, End, Gap, Outcome, Status
from trio_logs.api.stream import LogStream
from trio_logs.broker import BrokerLimits, LogPlace
from trio_logs.broker.shown import Shown, decode, encode
from trio_logs.broker.subscription import Subscription
from trio_logs.errors import FencedError, IncompleteAnswerError, LogClosedError, StoreError
from trio_logs.formats import TEXT
from trio_logs.records import Detached, Reset, Unfinished, now
from trio_logs.selection import Selection
from trio_logs.store import Retention
from trio_logs.store.shared import SHOWN_BYTES

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked

OK = Outcome(Status.SUCCEEDED, 0)


def numbered(first: int, last: int) -> dict[int, str]:
    return {number: f"line {number}" for number in range(first, last + 1)}


async def write(node: TestNode, first: int, last: int, log: str = "w") -> None:
    for line in numbered(first, last).values():
        await node.write(log, line)


@asynccontextmanager
async def followed(
    limits: BrokerLimits | None = None,
) -> AsyncIterator[tuple[Cluster, TestNode, TestNode, trio.Nursery]]:
    """Two nodes, of which the first one owns the log "w", and a nursery for readers."""
    async with (
        cluster("a", "b", limits=limits) as (all_nodes, a, b),
        trio.open_nursery() as nursery,
    ):
        await all_nodes.create("w")
        await a.take("w")
        yield all_nodes, a, b, nursery


async def test_readers_elsewhere_get_lines_and_the_end_at_once(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as (all_nodes, a, b), trio.open_nursery() as nursery:
        await all_nodes.create("w")
        early, late = Reader(), Reader()
        # Before any node owns the log.
        nursery.start_soon(early.run, b)
        await settled()
        await a.take("w")
        began = trio.current_time()
        await write(a, 1, 3)
        await settled()
        assert early.lines == numbered(1, 3)
        nursery.start_soon(late.run, b)
        await write(a, 4, 5)
        with await a.broker.open("w", a.owned["w"]) as log:
            await log.write("line 6")
        end = await a.close("w", OK)
        await early.until_end()
        await late.until_end()
        assert trio.current_time() == began
        assert early.lines == late.lines == numbered(1, 6)
        assert early.end == late.end == end == End(OK, 6, 6 * 7 - 1)
        # Two feeds would have looked twice as often.
        assert b.broker.statistics().lines_published == 6


async def test_nothing_is_left_once_the_last_reader_has_gone(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as (all_nodes, a, b):
        await all_nodes.create("w")
        await a.take("w")
        await write(a, 1, 1)
        before = living_tasks()
        for _ in range(3):
            with b.broker.subscribe("w", 1) as one, b.broker.subscribe("w") as other:
                assert len(await one.receive()) == 1
                with trio.move_on_after(1):
                    await other.receive()
                await settled()
                assert b.broker.statistics().feeds == 1
                assert b.store.watched == {"w"}
                assert len(living_tasks()) == len(before) + 1
            await settled()
            statistics = b.broker.statistics()
            assert (statistics.feeds, statistics.topics, statistics.subscriptions) == (0, 0, 0)
            assert b.store.watched == set()
            assert living_tasks() == before
        # Nor of a reader that has read to the end.
        reader = Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run, b)
            await settled()
            await a.close("w", OK)
        await settled()
        assert (b.broker.statistics().topics, b.store.watched) == (0, set())
        assert a.store.watched == set()
        # The reader of a log that has ended needs no feed.
        with b.broker.subscribe("w", 1) as one:
            await one.receive()
            assert b.broker.statistics().feeds == 0


async def test_lines_that_come_between_the_look_up_and_the_watch(autojump_clock: Clock) -> None:
    """The store watches before the head is read: news of a line before that does not come."""
    async with followed() as (_, a, b, nursery):
        await write(a, 1, 1)
        reader = Reader()
        b.store.switch.hang("watch")
        nursery.start_soon(reader.run, b)
        await settled()
        await write(a, 2, 2)
        assert reader.lines == numbered(1, 1)
        began = trio.current_time()
        b.store.switch.recover()
        await reader.until(2)
        assert trio.current_time() == began
        await a.close("w", OK)


async def test_news_that_is_lost_is_found_by_the_next_look(autojump_clock: Clock) -> None:
    async with followed() as (_, a, b, nursery):
        reader = Reader()
        nursery.start_soon(reader.run, b)
        await settled()
        b.store.loses = lambda workload_id: True
        began = trio.current_time()
        await write(a, 1, 2)
        await a.close("w", OK)
        await reader.until_end()
        assert 0 < trio.current_time() - began <= 5
        assert reader.lines == numbered(1, 2)


@pytest.mark.parametrize("mode", ["fails", "hangs"])
async def test_a_store_that_is_away_ends_nothing(mode: str, autojump_clock: Clock) -> None:
    async with followed() as (_, a, b, nursery):
        await write(a, 1, 1)
        reader = Reader()
        nursery.start_soon(reader.run, b)
        await reader.until(1)
        b.store.set_mode(mode)
        await write(a, 2, 3)
        await trio.sleep(120)
        assert reader.lines == numbered(1, 1)
        assert not reader.is_detached
        b.store.set_mode("works")
        with trio.fail_after(15):
            await reader.until(3)
        await a.close("w", OK)
        assert (await reader.until_end()).lines == 3


async def test_the_lag_of_feeds_is_counted(autojump_clock: Clock) -> None:
    async with followed() as (_, a, b, nursery):
        reader = Reader()
        nursery.start_soon(reader.run, b)
        await settled()
        assert b.broker.statistics().feed_lag == 0
        b.store.switch.hang("read")
        await write(a, 1, 1)
        await trio.sleep(3)
        assert b.broker.statistics().feed_lag == pytest.approx(3)
        assert a.broker.statistics().feeds == 0
        b.store.switch.recover()
        await reader.until(1)
        await settled()
        assert b.broker.statistics().feed_lag == 0
        await a.close("w", OK)


async def test_a_hole_that_retention_left_is_a_gap(autojump_clock: Clock) -> None:
    async with followed() as (_, a, b, nursery):
        await write(a, 1, 2)
        live = Reader(3)
        nursery.start_soon(live.run, b)
        await settled()
        b.store.switch.hang("log", "read")
        await write(a, 3, 6)
        while await a.store.trim(Retention(max_bytes=15)):
            pass
        b.store.switch.recover()
        await live.until(6)
        assert [(gap.first, gap.last, gap.reason) for gap in live.gaps] == [(3, 4, "retention")]
        assert live.lines[5] == "line 5"
        # All lines are gone, also those that the feed has not read.
        b.store.switch.hang("log", "read")
        await write(a, 7, 8)
        while await a.store.trim(Retention(max_bytes=0)):
            pass
        b.store.switch.recover()
        await live.until(8)
        assert [(gap.first, gap.last) for gap in live.gaps] == [(3, 4), (7, 8)]
        await write(a, 9, 9)
        await a.close("w", OK)
        await live.until_end()
        assert live.lines[9] == "line 9"


async def test_a_gap_of_the_store_is_the_same_for_a_feed(autojump_clock: Clock) -> None:
    """The owner's store fails for so long that its window loses lines."""
    limits = BrokerLimits(3000, 3000)
    async with cluster("a", "b", limits=limits) as (all_nodes, a, b):
        await all_nodes.create("w")
        await a.take("w")
        here, there = Reader(), Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, a)
            nursery.start_soon(there.run, b)
            await write(a, 1, 1)
            with await a.broker.open("w", a.owned["w"]) as log:
                a.store.set_mode("fails")
                for number in range(2, 60):
                    await log.writelines([f"line {number}"])
                    await trio.sleep(1)
                await here.until(59)
                assert there.lines == numbered(1, 1)
                a.store.set_mode("works")
                await there.until(59)
            await a.close("w", OK)
        assert here.lines == numbered(1, 59)
        [gap] = there.gaps
        assert (gap.first, gap.reason) == (2, "store")
        assert 2 < gap.last < 59
        assert {**there.lines, **dict.fromkeys(range(2, gap.last + 1))} == {
            **numbered(1, 59),
            **dict.fromkeys(range(2, gap.last + 1)),
        }
        assert await all_nodes.stored("w") == there.lines


async def test_a_log_that_another_node_deletes(autojump_clock: Clock) -> None:
    async with followed() as (_, a, b, nursery):
        await write(a, 1, 2)
        at_head = Reader()
        nursery.start_soon(at_head.run, b)
        await at_head.until(2)
        b.store.switch.hang("log")
        await a.close("w", OK)
        await a.store.delete("w")
        a.broker.forget("w")
        b.store.switch.recover()
        await settled()
        assert at_head.is_detached
        assert (b.broker.statistics().topics, b.store.watched) == (0, set())


async def test_a_reader_that_comes_late_to_a_topic_that_was_deleted(autojump_clock: Clock) -> None:
    """It does not run while its node loses the log, and while the log ends elsewhere and goes."""
    async with cluster("a", "b") as (all_nodes, a, b):
        await all_nodes.create("w")
        await b.take("w")
        await write(b, 1, 1)
        with b.broker.subscribe("w", 1) as slow:
            assert len(await slow.receive()) == 1
            await a.take("w")
            await settled()
            await a.close("w", OK)
            await a.store.delete("w")
            b.broker.forget("w")
            with trio.fail_after(10):
                got = [record async for record in slow]
            assert [type(record) for record in got] == [Detached]
        assert b.broker.statistics().topics == 0


async def test_the_head_of_a_log_elsewhere_is_that_of_the_store(autojump_clock: Clock) -> None:
    """A reader that was told of a line finds it, wherever it asks next."""
    async with cluster("a", "b") as (all_nodes, a, b):
        await all_nodes.create("w")
        await a.take("w")
        b.store.loses = lambda workload_id: True
        with b.broker.subscribe("w", 1) as follower:
            with trio.move_on_after(1):
                await follower.receive()
            await write(a, 1, 3)
            assert await b.broker.head("w", settled=False) == 0
            assert await b.broker.head("w") == 3
            await write(a, 4, 5)
            with b.broker.read("w", follow=False) as reading:
                found = [record async for record in reading]
            assert [record.last for record in found if isinstance(record, Batch)][-1] == 5
            # It has the line from the owner's node, which was faster than the feed.
            await write(a, 6, 6)
            with b.broker.read("w", after=6) as resumed:
                await write(a, 7, 7)
                assert [each.first for each in await resumed.receive()] == [7]
            await write(a, 8, 8)
            with b.broker.read("w", after="end", follow=False) as not_ended:
                [reset, *_] = await not_ended.receive()
                assert reset.reason == "not_ended"
            await a.close("w", OK)


async def test_searches_and_merges_see_logs_of_other_nodes(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as (all_nodes, a, b), trio.open_nursery() as nursery:
        for name, owner in (("w", a), ("v", b)):
            await all_nodes.create(name)
            await owner.take(name)
            await write(owner, 1, 2, name)
        got: list[tuple[int, int]] = []

        async def merge() -> None:
            with b.broker.merge([LogPlace("w"), LogPlace("v")]) as merging:
                async for index, record in merging:
                    if isinstance(record, Batch):
                        got.extend((index, n) for n in range(record.first, record.last + 1))

        nursery.start_soon(merge)
        await settled()
        assert sorted(got) == [(0, 1), (0, 2), (1, 1), (1, 2)]
        await write(a, 3, 3)
        await write(b, 3, 3, "v")
        await settled()
        assert sorted(got[4:]) == [(0, 3), (1, 3)]
        for name, owner in (("w", a), ("v", b)):
            await owner.close(name, OK)


async def test_push_moves_between_nodes_while_readers_follow(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c") as (all_nodes, *nodes), trio.open_nursery() as nursery:
        a, b, c = nodes
        await all_nodes.create("w")
        await a.take("w")
        readers = {node.name: Reader() for node in nodes}
        for node in nodes:
            nursery.start_soon(readers[node.name].run, node)
        await settled()
        began = trio.current_time()
        line = 0
        for owner in (a, b, c, a, c, b, b, a):
            await owner.take("w")
            await write(owner, line + 1, line + 3)
            line += 3
            await settled()
            assert all(reader.lines == numbered(1, line) for reader in readers.values())
            # The source is here, and the feeds are elsewhere.
            assert [node.broker.statistics().live for node in nodes] == [
                int(node is owner) for node in nodes
            ]
            assert [node.broker.statistics().feeds for node in nodes] == [
                int(node is not owner) for node in nodes
            ]
        assert trio.current_time() == began
        await a.close("w", OK)
        for reader in readers.values():
            assert (await reader.until_end()).lines == line


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_reader_that_comes_late_to_a_topic_that_has_lost_its_log(
    leaves: bool, autojump_clock: Clock
) -> None:
    """It does not run while its node takes the log and loses it again. The only other reader may
    leave while that is looked up."""
    async with cluster("a", "b") as (all_nodes, a, b):
        await all_nodes.create("w")
        await a.take("w")
        await write(a, 1, 1)
        slow = Reader()
        with b.broker.subscribe("w", 1) as subscription, ExitStack() as others:
            for record in await subscription.receive():
                slow.note(record)
            await b.take("w")
            await write(b, 2, 2)
            if leaves:
                others.enter_context(b.broker.subscribe("w"))
                b.store.switch.hang("log")
            await a.take("w")
            await write(a, 3, 3)
            b.broker.fence("w")
            await settled()
            others.close()
            b.store.switch.recover()
            await a.close("w", OK)
            with trio.fail_after(10):
                async for record in subscription:
                    slow.note(record)
        assert slow.lines == numbered(1, 3)
        assert slow.end is not None
        await settled()
        assert b.broker.statistics().topics == 0


async def test_a_fenced_source_ends_its_writers_and_flushes(autojump_clock: Clock) -> None:
    async with followed() as (_, a, b, nursery):
        reader = Reader()
        nursery.start_soon(reader.run, a)
        log = await a.broker.open("w", a.owned["w"])
        await log.write("line 1\n")
        await log.flush()
        a.store.set_mode("hangs")
        await log.write("never\n")
        failed: list[Exception] = []

        async def flush() -> None:
            with pytest.raises(FencedError):
                await log.flush()
            failed.append(FencedError())

        nursery.start_soon(flush)
        await settled()
        await b.take("w")
        await write(b, 2, 2)
        a.store.set_mode("works")
        await settled()
        assert failed
        for call in (
            log.write("x"),
            log.flush(),
            a.broker.open("w", 1),
            a.broker.close("w", OK, 1),
        ):
            with pytest.raises(FencedError):
                await call
        log.close()
        # Nor can an owner be left out once there is one.
        for call in (a.broker.open("w"), a.broker.close("w")):
            with pytest.raises(LogClosedError):
                await call
        await reader.until(2)
        assert a.broker.statistics().fenced == 1
        await b.close("w", OK)
        await reader.until_end()
        assert reader.lines == numbered(1, 2)


async def test_a_source_that_is_quiet_learns_that_its_log_has_moved(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as (all_nodes, a, b), trio.open_nursery() as nursery:
        await all_nodes.create("w")
        for loses in (False, True):
            a.store.loses = lambda workload_id, loses=loses: loses
            await a.take("w")
            log = await a.broker.open("w", a.owned["w"])
            await settled()
            await b.take("w")
            await trio.sleep(15 if loses else 0.001)
            await settled()
            assert a.broker.statistics().live == 0
            with pytest.raises(FencedError):
                await log.write("late")
            log.close()
        # The engine knows at once.
        await a.take("w")
        log = await a.broker.open("w", a.owned["w"])
        reader = Reader()
        nursery.start_soon(reader.run, a)
        a.broker.fence()
        with pytest.raises(FencedError):
            await log.flush()
        log.close()
        await b.take("w")
        await write(b, 1, 1)
        await b.close("w", OK)
        await reader.until_end()


async def test_a_source_that_has_lost_its_log_judges_no_position(autojump_clock: Clock) -> None:
    """A reader resumes at a node that still takes itself for the owner."""
    async with cluster("a", "b") as (all_nodes, a, b), trio.open_nursery() as nursery:
        await all_nodes.create("w")
        await b.take("w")
        await write(b, 1, 2)
        b.store.set_mode("hangs")
        await a.take("w")
        await write(a, 3, 5)
        got: list[object] = []

        async def resume() -> None:
            with b.broker.read("w", after=5) as reading:
                async for record in reading:
                    got.append(record)

        nursery.start_soon(resume)
        await trio.sleep(20)
        assert not got
        b.store.set_mode("works")
        await trio.sleep(12)
        assert not got
        await write(a, 6, 6)
        await a.close("w", OK)
        await settled()
        assert [type(each) for each in got] == [Batch, End]
        # An owner tells at once what it never had.
        await all_nodes.create("v")
        await b.take("v")
        await write(b, 1, 1, "v")
        with b.broker.read("v", after=7) as reading:
            [reset, *_] = await reading.receive()
            assert isinstance(reset, Reset)
        await b.close("v", OK)


async def test_the_dead_are_buried(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c") as (all_nodes, a, b, c), trio.open_nursery() as nursery:
        await all_nodes.create("w", backend="process")
        await a.claim("w")
        there, here = Reader(), Reader()
        nursery.start_soon(there.run, b)
        nursery.start_soon(here.run, c)
        await write(a, 1, 2)
        all_nodes.kill("a")
        await all_nodes.bury("a", b)
        for reader in (there, here):
            end = await reader.until_end()
            assert (end.outcome, end.lines) == (LOST, 2)


async def test_lines_from_memory_of_a_node_that_is_fenced_are_reset(autojump_clock: Clock) -> None:
    """Its readers were told lines that nobody else has."""
    async with followed() as (_, a, b, nursery):
        told, kept = Reader(), Reader()
        readings: list[object] = []
        merged: list[object] = []
        raw: list[bytes] = []

        async def merge() -> None:
            with a.broker.merge([LogPlace("w")]) as merging:
                async for _, record in merging:
                    merged.append(record)

        async def follow_as_text() -> None:
            # Plain text can't tell: it is cut, so that its client does not take it for the log.
            async with LogStream(a.broker.read("w"), TEXT, 15) as stream:
                with pytest.raises(IncompleteAnswerError):
                    async for chunk in stream:
                        raw.append(chunk)

        async def read() -> None:
            with a.broker.read("w", Selection(tail=1)) as reading:
                async for record in reading:
                    readings.append(record)

        for follow in (partial(told.run, a), read, merge, follow_as_text):
            nursery.start_soon(follow)
        await write(a, 1, 2)
        await settled()
        readings.clear()
        a.store.set_mode("fails")
        with await a.broker.open("w", a.owned["w"]) as log:
            await log.write("told from memory\n")
            await trio.sleep(PATIENCE + 1)
            assert told.lines[3] == "told from memory"
        await b.take("w")
        await b.write("w", "another line 3")
        nursery.start_soon(kept.run, b)
        await trio.sleep(10)
        assert not told.resets
        a.store.set_mode("works")
        await trio.sleep(6)
        [reset] = told.resets
        assert any(isinstance(each, Reset) for each in merged)
        await write(b, 4, 4)
        await told.until(4)
        assert reset.reason == "beyond_head"
        assert told.lines == {**numbered(1, 4), 3: "another line 3"} == kept.lines
        # A tail counts no more: the first line that is asked for is the first one.
        await settled()
        assert [type(each) for each in readings[:2]] == [Batch, Reset]
        assert [each.first for each in readings if isinstance(each, Batch)][1] == 1
        assert raw == [b"line 1\n", b"line 2\n", b"told from memory\n"]
        await b.close("w", OK)
        await settled()
        assert not kept.resets
        assert isinstance(merged[-1], End)
        [place] = [index for index, each in enumerate(merged) if isinstance(each, Reset)]
        before, after = merged[:place], merged[place:]
        assert [each.last for each in before if isinstance(each, Batch)][-1] == 3
        again = [line for each in after if isinstance(each, Batch) for line in each.lines]
        assert again == [b"line 1", b"line 2", b"another line 3", b"line 4"]


async def test_a_failover_to_a_replica_that_lags(autojump_clock: Clock) -> None:
    """The owner appends what its window holds again, also while nothing is written. Readers
    elsewhere wait, and get nothing twice."""
    async with followed() as (all_nodes, a, b, nursery):
        here, there = Reader(), Reader()
        nursery.start_soon(here.run, a)
        nursery.start_soon(there.run, b)
        await write(a, 1, 6)
        await there.until(6)
        await all_nodes.fail_over("w", 2)
        await settled()
        assert await all_nodes.stored("w") == numbered(1, 6)
        # In the middle of writes.
        await all_nodes.fail_over("w", 4)
        await write(a, 7, 8)
        late = Reader()
        nursery.start_soon(late.run, b)
        await a.close("w", OK)
        for reader in (here, there, late):
            assert (await reader.until_end()).lines == 8
            assert reader.lines == numbered(1, 8)
            assert not reader.resets


async def test_a_flush_while_lines_are_stored_again(autojump_clock: Clock) -> None:
    """The error does not blame the store, which answers."""
    async with cluster("a") as (all_nodes, a):
        await all_nodes.create("w")
        await a.take("w")
        await write(a, 1, 6)
        a.store.switch.hang("append")
        await all_nodes.fail_over("w", 2)
        await settled()
        with await a.broker.open("w", a.owned["w"]) as log:
            with pytest.raises(StoreError, match="are stored first; try again"):
                await log.flush()
            a.store.switch.recover()
            await settled()
            assert await log.flush() == 6 * 7
        await a.close("w", OK)


async def test_lines_that_neither_the_window_nor_the_replica_has(autojump_clock: Clock) -> None:
    limits = BrokerLimits(1500, 1500)
    async with cluster("a", "b", limits=limits) as (all_nodes, a, b):
        await all_nodes.create("w")
        await a.take("w")
        here, there, late = Reader(), Reader(), Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.run, a)
            nursery.start_soon(there.run, b)
            await write(a, 1, 20)
            await there.until(20)
            await all_nodes.fail_over("w", 3)
            await write(a, 21, 22)
            nursery.start_soon(late.run, b)
            await a.close("w", OK)
        assert here.lines == there.lines == numbered(1, 22)
        [gap] = late.gaps
        assert (gap.first, gap.reason) == (4, "store")
        assert 4 < gap.last < 20
        assert await all_nodes.stored("w") == late.lines


async def test_readers_wait_for_lines_that_a_failover_has_lost(autojump_clock: Clock) -> None:
    """A reader behind the window of its node is told no gap before the owner has appended again."""
    limits = BrokerLimits(1500, 1500)
    async with followed(limits) as (all_nodes, a, b, nursery):
        live, slow = Reader(), Reader()
        nursery.start_soon(live.run, b)
        await write(a, 1, 12)
        await live.until(12)
        a.store.set_mode("hangs")
        await all_nodes.fail_over("w", 4)
        await settled()
        nursery.start_soon(slow.run, b)
        await trio.sleep(20)
        assert slow.lines == numbered(1, 4)
        assert not slow.gaps
        a.store.set_mode("works")
        await slow.until(12)
        await a.close("w", OK)
        for reader in (live, slow):
            await reader.until_end()
        assert live.lines == numbered(1, 12)
        # The window of the owner had no room for all of them, either.
        [gap] = slow.gaps
        assert (gap.first, gap.reason) == (5, "store")
        assert gap.last < 12
        assert slow.lines == await all_nodes.stored("w")


async def test_a_reader_that_finds_the_failover_first(autojump_clock: Clock) -> None:
    """The store lacks lines that it had, and no news has told so."""
    limits = BrokerLimits(1500, 1500)
    async with followed(limits) as (all_nodes, a, b, nursery):
        readers = [(node, Reader()) for node in (a, b)]
        nursery.start_soon(Reader().run, b)
        await write(a, 1, 12)
        await settled()
        forget_lines(all_nodes.tables, "w", 4)
        for node, reader in readers:
            nursery.start_soon(reader.run, node)
        await settled()
        for _, reader in readers:
            await reader.until(12)
            assert [gap.reason for gap in reader.gaps] == ["store"]
            assert reader.lines == await all_nodes.stored("w")
        await a.close("w", OK)


async def test_a_reader_waits_for_an_append_that_hangs_after_a_failover(
    autojump_clock: Clock,
) -> None:
    """The append finds the failover out, once the store answers. Until then, the reader behind the
    window asks the store some times a second."""
    limits = BrokerLimits(1500, 1500)
    async with cluster("a", limits=limits) as (all_nodes, a), trio.open_nursery() as nursery:
        await all_nodes.create("w")
        await a.take("w")
        live, slow = Reader(), Reader()
        nursery.start_soon(live.run, a)
        await write(a, 1, 12)
        a.store.switch.hang("append")
        forget_lines(all_nodes.tables, "w", 4)
        with await a.broker.open("w", a.owned["w"]) as log:
            await log.writelines(["line 13"])
        await settled()
        before = len(a.store.switch.calls)
        nursery.start_soon(slow.run, a)
        # In a loop without a pause, virtual time would stand still.
        for _ in range(1000):
            await trio.lowlevel.checkpoint()
        assert len(a.store.switch.calls) - before < 10
        await trio.sleep(5)
        assert 10 < len(a.store.switch.calls) - before < 60
        assert slow.lines == numbered(1, 4)
        a.store.switch.recover()
        await slow.until(13)
        await a.close("w", OK)
        await slow.until_end()
        assert [gap.reason for gap in slow.gaps] == ["store"]
        assert slow.lines == await all_nodes.stored("w")
        assert live.lines == numbered(1, 13)


async def test_readers_that_find_the_same_failover_together(autojump_clock: Clock) -> None:
    limits = BrokerLimits(1500, 1500)
    async with followed(limits) as (all_nodes, a, b, nursery):
        nursery.start_soon(Reader().run, b)
        await write(a, 1, 12)
        await settled()
        forget_lines(all_nodes.tables, "w", 4)
        readers = [Reader() for _ in range(4)]
        for reader in readers:
            nursery.start_soon(reader.run, b)
        await settled()
        assert not any(reader.gaps for reader in readers)
        await all_nodes.fail_over("w", 4)
        for reader in readers:
            await reader.until(12)
            assert [gap.reason for gap in reader.gaps] == ["store"]
            assert reader.lines == await all_nodes.stored("w")
        await a.close("w", OK)


async def read_first(subscription: Subscription, reader: Reader) -> None:
    """Read the first four lines: what follows is behind the window, and was not read ahead."""
    subscription.max_bytes = 1
    while reader.next <= 4:
        for record in await subscription.receive():
            reader.note(record)


@pytest.mark.parametrize("dies", [False, True])
async def test_readers_of_an_end_that_a_failover_has_lost(
    dies: bool, autojump_clock: Clock
) -> None:
    """They wait while its owner may store it again. If the log goes on in another way, they end
    where they are, and the next reader gets that."""
    limits = BrokerLimits(1500, 1500)
    async with cluster("a", "b", limits=limits) as (all_nodes, a, b):
        await all_nodes.create("w", backend="process")
        await a.claim("w")
        [owned] = all_nodes.tables.owned("a")
        with a.broker.subscribe("w", 1) as here, b.broker.subscribe("w", 1) as there:
            for subscription in (here, there):
                with trio.move_on_after(1):
                    await subscription.receive()
            await write(a, 1, 12)
            end = await a.close("w", OK)
            await settled()
            readers = [(here, Reader()), (there, Reader())]
            for subscription, reader in readers:
                await read_first(subscription, reader)
            assert b.broker.statistics().feeds == 0
            held = a.broker.held("w", 5)
            for node in (a, b):
                node.broker._topics.history.forget("w")
            forget_end(all_nodes.tables, owned, "a", 4)
            async with trio.open_nursery() as nursery:
                for subscription, reader in readers:
                    nursery.start_soon(go_on, subscription, reader)
                await trio.sleep(2)
                assert all(reader.lines == numbered(1, 4) for _, reader in readers)
                if dies:
                    await all_nodes.bury("a", b)
                else:
                    lost = Gap(5, held[0].first - 1, "store", held[0].time)
                    await a.store.append(
                        "w",
                        [lost, *held],
                        expected=5,
                        epoch=owned.epoch,
                        size=end.bytes,
                        outcome=OK,
                    )
            for _, reader in readers:
                assert reader.is_detached is dies
                assert reader.end == (None if dies else end)
                assert [gap.reason for gap in reader.gaps] == ([] if dies else ["store"])
            late = Reader()
            await late.run(b)
            assert late.end is not None
            assert late.end.outcome == (LOST if dies else OK)
            assert late.lines == await all_nodes.stored("w")


async def test_a_close_that_is_repeated_knows_an_end_that_a_failover_has_lost(
    autojump_clock: Clock,
) -> None:
    async with cluster("a") as (all_nodes, a):
        await all_nodes.create("w", backend="process")
        await a.claim("w")
        [owned] = all_nodes.tables.owned("a")
        await write(a, 1, 3)
        with a.broker.keeping("w"):
            a.store.set_mode("fails")
            with pytest.raises(StoreError):
                await a.close("w", OK)
            a.store.set_mode("works")
            while all_nodes.tables.owned("a"):
                await trio.sleep(0.1)
            forget_end(all_nodes.tables, owned, "a", 1)
            assert await a.close("w", OK) == End(OK, 3, 21)


async def go_on(subscription: Subscription, reader: Reader) -> None:
    async for record in subscription:
        reader.note(record)


async def test_a_failover_that_is_mended_while_readers_look(autojump_clock: Clock) -> None:
    """They get nothing from the replica. When they ask for the reason, the owner has appended the
    lines again."""
    limits = BrokerLimits(1500, 1500)
    async with followed(limits) as (all_nodes, a, b, nursery):
        nursery.start_soon(Reader().run, b)
        await write(a, 1, 12)
        await settled()
        b.store.switch.hang("log")
        forget_lines(all_nodes.tables, "w", 4)
        readers = [Reader() for _ in range(2)]
        for reader in readers:
            nursery.start_soon(reader.run, b)
        await settled()
        assert all(reader.lines == numbered(1, 4) for reader in readers)
        await all_nodes.fail_over("w", 4)
        await settled()
        b.store.switch.recover()
        for reader in readers:
            await reader.until(12)
            assert [gap.reason for gap in reader.gaps] == ["store"]
            assert reader.lines == await all_nodes.stored("w")
        await a.close("w", OK)


async def test_a_failover_amid_lines_that_came_together(autojump_clock: Clock) -> None:
    async with followed() as (all_nodes, a, b, nursery):
        reader = Reader()
        nursery.start_soon(reader.run, b)
        await a.write("w", *numbered(1, 5).values())
        await reader.until(5)
        await all_nodes.fail_over("w", 3)
        await settled()
        assert await all_nodes.stored("w") == numbered(1, 5)
        await a.close("w", OK)
        await reader.until_end()


async def test_a_failover_while_lines_are_delivered_from_memory(autojump_clock: Clock) -> None:
    async with followed() as (all_nodes, a, b, nursery):
        here, there = Reader(), Reader()
        nursery.start_soon(here.run, a)
        nursery.start_soon(there.run, b)
        await write(a, 1, 4)
        await there.until(4)
        a.store.set_mode("fails")
        with await a.broker.open("w", a.owned["w"]) as log:
            await log.writelines(["line 5"])
            await here.until(5)
        await all_nodes.fail_over("w", 2)
        a.store.set_mode("works")
        await there.until(5)
        await a.close("w", OK)
        for reader in (here, there):
            await reader.until_end()
            assert reader.lines == numbered(1, 5)


async def test_a_failover_while_the_end_comes_with_a_last_line(autojump_clock: Clock) -> None:
    """The last line has no newline, so it is appended with the end. The lines before it, which the
    owner appends again first, must not end the log."""
    async with followed() as (all_nodes, a, b, nursery):
        here, there = Reader(), Reader()
        nursery.start_soon(here.run, a)
        nursery.start_soon(there.run, b)
        await write(a, 1, 5)
        with await a.broker.open("w", a.owned["w"]) as log:
            await log.write("line 6")
        await there.until(5)
        a.store.set_mode("fails")
        nursery.start_soon(a.close, "w", OK)
        await trio.sleep(2)
        forget_lines(all_nodes.tables, "w", 3)
        a.store.set_mode("works")
        for reader in (here, there):
            assert (await reader.until_end()).lines == 6
            assert reader.lines == numbered(1, 6) == await all_nodes.stored("w")
        assert await a.close("w", OK) == here.end == there.end


async def test_lines_that_are_lost_with_their_owner_are_reset(autojump_clock: Clock) -> None:
    async with followed() as (all_nodes, a, b, nursery):
        live = Reader()
        nursery.start_soon(live.run, b)
        await write(a, 1, 6)
        await live.until(6)
        all_nodes.kill("a")
        await all_nodes.fail_over("w", 4)
        await trio.sleep(20)
        assert not live.resets
        await all_nodes.bury("a", b)
        c = await all_nodes.add("c")
        await c.take("w")
        await settled()
        assert len(live.resets) == 1
        assert live.lines == numbered(1, 4)
        await c.write("w", "another line 5")
        await c.close("w", OK)
        await live.until_end()
        assert live.lines == {**numbered(1, 4), 5: "another line 5"}
        # So is a reader that resumes, at once.
        began = trio.current_time()
        with b.broker.read("w", after=6) as resumed:
            [reset, *_] = await resumed.receive()
            assert isinstance(reset, Reset)
        assert trio.current_time() == began


@pytest.mark.parametrize("left", [4, 6])
async def test_a_new_owner_that_has_replaced_lost_lines_before_the_next_look(
    left: int, autojump_clock: Clock
) -> None:
    """The log has no fewer lines than before, but others, unless the failover has lost none."""
    async with (
        cluster("a", "b", "c") as (all_nodes, a, b, c),
        trio.open_nursery() as nursery,
    ):
        await all_nodes.create("w")
        await a.take("w")
        live, found = Reader(), Reader()
        nursery.start_soon(live.run, b)
        await write(a, 1, 6)
        await live.until(6)
        b.store.loses = lambda workload_id: True
        all_nodes.kill("a")
        await all_nodes.fail_over("w", left)
        await all_nodes.bury("a", c)
        await c.take("w")
        for number in range(left + 1, 9):
            await c.write("w", f"another line {number}")
        await c.close("w", OK)
        await live.until_end()
        await found.run(b)
        assert live.lines == found.lines == await all_nodes.stored("w")
        assert live.lines[6] == ("another line 6" if left < 6 else "line 6")
        assert len(live.resets) == (left < 6)


async def test_a_new_owner_that_has_replaced_lost_lines_before_it_is_looked_up(
    autojump_clock: Clock,
) -> None:
    async with (
        cluster("a", "b", "c") as (all_nodes, a, b, c),
        trio.open_nursery() as nursery,
    ):
        await all_nodes.create("w")
        await a.take("w")
        live = Reader()
        nursery.start_soon(live.run, b)
        await write(a, 1, 6)
        await live.until(6)
        b.store.switch.hang("log")
        all_nodes.kill("a")
        await all_nodes.fail_over("w", 4)
        await all_nodes.bury("a", c)
        await settled()
        b.store.switch.hang_again("log")
        await settled()
        assert b.broker.statistics().feeds == 0
        await c.take("w")
        for number in range(5, 9):
            await c.write("w", f"another line {number}")
        b.store.switch.recover()
        await c.close("w", OK)
        await live.until_end()
        assert live.lines == await all_nodes.stored("w")
        assert live.resets


async def test_a_reader_behind_the_window_while_the_new_owner_is_looked_up(
    autojump_clock: Clock,
) -> None:
    limits = BrokerLimits(1500, 1500)
    async with (
        cluster("a", "b", "c", limits=limits) as (all_nodes, a, b, c),
        trio.open_nursery() as nursery,
    ):
        await all_nodes.create("w")
        await a.take("w")
        live, slow = Reader(), Reader()
        nursery.start_soon(live.run, b)
        await write(a, 1, 12)
        await live.until(12)
        all_nodes.kill("a")
        forget_lines(all_nodes.tables, "w", 4)
        switch = b.store.switch
        switch.hang("log")
        nursery.start_soon(slow.run, b)
        await settled()
        assert slow.lines == numbered(1, 4)
        # Its question hangs on, and the feed finds that the lines are lost.
        asked = switch._hanging["log"]
        switch.hang("log")
        await all_nodes.bury("a", c)
        await settled()
        switch.hang_again("log")
        await settled()
        assert b.broker.statistics().feeds == 0
        asked.set()
        await settled()
        assert not slow.gaps
        await c.take("w")
        for number in range(5, 14):
            await c.write("w", f"another line {number}")
        switch.recover()
        await c.close("w", OK)
        for reader in (live, slow):
            await reader.until_end()
            assert reader.lines == await all_nodes.stored("w")
        assert live.resets
        assert not slow.resets


async def test_a_failover_that_a_reader_finds_after_its_source_was_fenced(
    autojump_clock: Clock,
) -> None:
    limits = BrokerLimits(1500, 1500)
    async with followed(limits) as (all_nodes, a, b, nursery):
        await write(a, 1, 12)
        slow = Reader()
        a.store.switch.hang("log")
        forget_lines(all_nodes.tables, "w", 4)
        nursery.start_soon(slow.run, a)
        await settled()
        assert slow.lines == numbered(1, 4)
        asked = a.store.switch._hanging["log"]
        # The successor is looked up for longer.
        a.store.switch.hang("log")
        a.broker.fence("w")
        await settled()
        asked.set()
        await trio.sleep(1)
        assert not slow.gaps
        a.store.switch.recover()
        await b.take("w")
        await b.write("w", "another line 5")
        await b.close("w", OK)
        await slow.until_end()
        assert slow.lines == {**numbered(1, 4), 5: "another line 5"}
        assert not slow.resets


async def test_an_end_with_an_unknown_result_comes_once(autojump_clock: Clock) -> None:
    async with followed() as (_, a, b, nursery):
        here, there = Reader(), Reader()
        nursery.start_soon(here.run, a)
        nursery.start_soon(there.run, b)
        with await a.broker.open("w", a.owned["w"]) as log:
            await log.write("line 1\nline 2")
        await settled()
        a.store.set_mode("unknown")
        with pytest.raises(StoreError):
            await a.close("w", OK)
        assert there.end is not None
        assert here.end is None
        a.store.set_mode("works")
        await here.until_end()
        assert here.end == there.end
        assert here.lines == there.lines == numbered(1, 2)
        assert await a.close("w", OK) == here.end == await a.broker.close("w", OK, 1)


@pytest.mark.parametrize("shows", [False, True])
async def test_streams_that_are_written_to_directly_move_with_their_log(
    shows: bool, autojump_clock: Clock
) -> None:
    got: list[int] = []
    written: list[int] = []

    def send_each(ports: Sequence[int], batch: Batch) -> Sequence[int]:
        assert list(ports) == [7]
        written.append(batch.first)
        got.append(batch.first)
        return ()

    async def follow(node: TestNode) -> None:
        with node.broker.read("w", unfinished=shows) as reading:
            reading.write_to(BatchOutlet(send_each), 7)
            async for record in reading:
                if isinstance(record, Batch):
                    got.extend(range(record.first, record.last + 1))
                elif isinstance(record, Gap):
                    got.extend(range(-record.first, -record.last - 1, -1))

    async with followed() as (_, a, b, nursery):
        nursery.start_soon(follow, b)
        await settled()
        line = 0
        for owner in (a, b, a):
            await owner.take("w")
            await write(owner, line + 1, line + 4)
            line += 4
            await settled()
        # In lines that memory does not have, the streams read by themselves.
        append = partial(a.store.append, "w", epoch=a.owned["w"])
        b.store.switch.hang("log")
        await append([Gap(13, 14, "store", now())], expected=13, size=84)
        await append([batch(15)], expected=15, size=91)
        b.store.switch.recover()
        await settled()
        await append([], expected=16, size=91, outcome=OK)
    assert got == [*range(1, 13), -13, -14, 15]
    # All but a few, which came while the stream moved.
    assert len(written) >= 6


class Unended:
    """Notes what a reader is shown of lines that have not ended, and when; lines stand as they
    are."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.at: list[float] = []

    async def run(self, at: TestNode) -> None:
        with at.broker.read("w", unfinished=True) as reading:
            async for record in reading:
                match record:
                    case Unfinished(stream, text):
                        self.got.append(f"{stream}: {text}")
                    case Batch():
                        self.got += [line.decode() for line in record.lines]
                    case _:
                        continue
                self.at.append(trio.current_time())


async def test_unfinished_lines_reach_readers_elsewhere_once_a_second(
    autojump_clock: Clock,
) -> None:
    async with followed() as (_, a, b, nursery):
        log = await a.broker.open("w", a.owned["w"])
        await log.write("line 1\n$ ")
        await log.flush()
        # The feed runs already.
        nursery.start_soon(Reader().run, b)
        await settled()
        reader = Unended()
        began = trio.current_time()
        nursery.start_soon(reader.run, b)
        await trio.sleep(2)
        assert reader.got == ["line 1", "stdout: $ "]
        assert reader.at[-1] == began
        await log.write("l")
        await log.write("s", "stderr")
        await trio.sleep(2)
        assert reader.got[2:] == ["stdout: $ l", "stderr: s"]
        # The line replaces it; the next prompt is the same as before, and comes after the line.
        await log.write("s\n$ ")
        await trio.sleep(2)
        assert reader.got[4:6] == ["$ ls", "stdout: $ "]
        # Only the newest, once a second, for as long as it is asked for.
        start, count = trio.current_time(), len(reader.got)
        for number in range(300):
            await log.write(f"\r{number} %")
            await trio.sleep(0.1)
        assert 25 <= len(reader.got) - count <= 31
        assert min(y - x for x, y in pairwise(reader.at) if x > start) >= 0.9
        await trio.sleep(2)
        assert reader.got[-1] == "stdout: 299 %"
        # A second reader at the same node gets the current one.
        second = Unended()
        nursery.start_soon(second.run, b)
        await trio.sleep(1)
        assert second.got == ["line 1", "$ ls", "stdout: 299 %", "stderr: s"]
        log.close()
        await a.close("w", OK)
        await settled()
        # The lines, without their ends, come as they are.
        assert reader.got[-1] == "s"
        assert reader.got[-2].endswith("\r299 %")


async def test_a_reader_elsewhere_that_does_not_follow_gets_the_unfinished_line(
    autojump_clock: Clock,
) -> None:
    async with cluster("a", "b") as (all_nodes, a, b):
        await all_nodes.create("w")
        await a.take("w")
        log = await a.broker.open("w", a.owned["w"])
        for number in range(3):
            await log.write(f"line {number}\n{number} $ ")
            await log.flush()
            for node in (b, a):
                with node.broker.read("w", follow=False, unfinished=True) as reading:
                    found = [record async for record in reading]
                assert found[-1] == Unfinished("stdout", f"{number} $ ")
                assert [each.last for each in found if isinstance(each, Batch)][-1] == number + 1
                with node.broker.merge([LogPlace("w")], follow=False, unfinished=True) as merging:
                    merged = [record async for _, record in merging]
                assert merged[-1] == found[-1]
        # Nobody answers, and nobody waits for long.
        a.store.switch.hang("show_unfinished")
        began = trio.current_time()
        with b.broker.read("w", follow=False, unfinished=True) as reading:
            assert [record async for record in reading]
        assert trio.current_time() - began <= 3
        log.close()


async def test_nobody_tells_unfinished_lines_that_nobody_asks_for(autojump_clock: Clock) -> None:
    async with followed() as (_, a, b, nursery):
        log = await a.broker.open("w", a.owned["w"])
        told: list[bytes] = []
        b.store.tell_shown = lambda _, content: told.append(content)  # type: ignore[method-assign]
        plain = Reader()
        nursery.start_soon(plain.run, b)
        for number in range(20):
            await log.write(f"\r{number} %")
            await trio.sleep(1)
        assert not told
        with b.broker.read("w", unfinished=True) as reading, trio.move_on_after(3):
            await reading.receive()
        await trio.sleep(30)
        count = len(told)
        assert count
        await log.write("\rmore")
        await trio.sleep(30)
        assert len(told) == count
        log.close()
        await a.close("w", OK)


def test_long_unfinished_lines_fit_into_a_notification() -> None:
    rests = {"stdout": b"x" * 5000, "stderr": "ä\x1b[1m".encode() * 2000, "system": b"\0" * 4000}
    content = encode(7, rests)
    assert len(content) <= SHOWN_BYTES
    shown = decode(content)
    assert shown is not None
    assert shown.line == 7
    assert set(shown.texts) == set(rests)
    for stream, text in shown.texts.items():
        assert rests[stream].decode().endswith(text)
    assert decode(encode(0, {"stdout": b"$ "})) == Shown(0, {"stdout": "$ "})
    assert decode(b"[]") is None
    assert decode(encode(7, {f"stream{n}": b"$ " for n in range(500)})) == Shown(7, {})


async def follow_to_the_end(steps: Steps) -> None:
    """A reader is cancelled at each step, while the log moves to its node and away again."""
    async with followed() as (_, a, b, nursery):
        cut, whole = Reader(), Reader()

        async def write_all() -> None:
            for number, owner in enumerate((a, b, a), 1):
                await owner.take("w")
                await write(owner, number, number)
                await trio.sleep(1)
            await a.close("w", OK)

        nursery.start_soon(write_all)
        nursery.start_soon(whole.run, a)
        with steps.armed():
            await cut.run(b)
        # It resumes.
        if cut.end is None:
            await cut.run(b)
        for reader in (cut, whole):
            await reader.until_end()
            if reader.lines != numbered(1, 3):
                raise InvariantError(f"{reader.lines}")
        await settled()
        for each in (a, b):
            found = each.broker.statistics()
            if (found.feeds, found.topics, len(each.store.watched)) != (0, 0, 0):
                raise InvariantError(f"{each.name} holds {found}")


async def take_over(steps: Steps) -> None:
    """The start of a source for a log that has readers here is cancelled at each step."""
    async with followed() as (_, a, b, nursery):
        await write(a, 1, 1)
        reader = Reader()
        nursery.start_soon(reader.run, b)
        await settled()
        await b.take("w")
        with steps.armed():
            await write(b, 2, 2)
        # What was written is there or not, and what follows is as ever.
        log = await b.broker.open("w", b.owned["w"])
        if await log.flush() == 7:
            await log.writelines(["line 2"])
        await log.writelines(["line 3"])
        log.close()
        await b.close("w", OK)
        await reader.until_end()
        if reader.lines != numbered(1, 3):
            raise InvariantError(f"{reader.lines}")


@pytest.mark.parametrize("scenario", [follow_to_the_end, take_over])
def test_cancelled_at_each_step(
    scenario: Callable[[Steps], Awaitable[None]], record_figure: Callable[[str], None]
) -> None:
    steps = explore(scenario)
    record_figure(f"{scenario.__name__}: cancelled at {steps} steps")
