"""The broker where it is hard: holes, cancellation, bounds, threads."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.failing_parts import FailingStore
from tests.outlets import BatchOutlet
from trio_logs import Batch, Detached, End, Gap, LogBroker, Outcome, Status, open_broker
from trio_logs.broker import BrokerLimits, LogWriter, group
from trio_logs.broker.subscription import Subscription
from trio_logs.errors import LogClosedError, WorkloadNotFoundError
from trio_logs.records import Record
from trio_logs.store import Retention
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore


async def records(broker: LogBroker, workload_id: str, position: int = 1) -> list[Record]:
    with broker.subscribe(workload_id, position) as subscription:
        return [record async for record in subscription]


async def test_a_hole_is_a_gap_and_what_comes_meanwhile_is_not_in_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The store is slow, and lines are published while it looks for lines that are gone."""

    class SlowStore(MemoryStore):
        async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch | Gap]:
            found = await super().read(workload_id, first, max_bytes)
            await trio.sleep(1)
            return found

    store = SlowStore()
    async with open_broker(store, BrokerLimits(0, 0)) as broker, trio.open_nursery() as nursery:
        for _ in range(3):
            await broker.publish("w", "old")
        await trio.testing.wait_all_tasks_blocked()
        await store.trim(Retention(max_bytes=0))
        with broker.subscribe("w", 1) as subscription:
            async with trio.open_nursery() as publishing:
                publishing.start_soon(broker.publish, "w", "new")
                assert list(await subscription.receive()) == [Gap(1, 3)]
            [batch] = await subscription.receive()
            assert isinstance(batch, Batch)
            assert (batch.first, batch.lines) == (4, [b"new"])
        nursery.cancel_scope.cancel()


async def test_readers_at_one_place_share_a_read(autojump_clock: trio.testing.MockClock) -> None:
    """Also when the one who reads for all of them is cancelled."""
    reads = []

    class SlowStore(MemoryStore):
        async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch | Gap]:
            reads.append(first)
            await trio.sleep(1)
            return await super().read(workload_id, first, max_bytes)

    async def read(broker: LogBroker) -> None:
        assert [type(record) for record in await records(broker, "w")] == [Batch, End]

    async with open_broker(SlowStore(), BrokerLimits(0, 0)) as broker:
        await broker.publish("w", "line")
        await broker.close("w")
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.5):
                async with trio.open_nursery() as impatient:
                    impatient.start_soon(read, broker)
                    await trio.testing.wait_all_tasks_blocked()
                    for _ in range(50):
                        nursery.start_soon(read, broker)
        assert reads == [1, 1]
        await read(broker)
        assert reads == [1, 1]


async def test_cancelling_receive_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[bytes] = []
    async with open_broker() as broker:
        with broker.subscribe("w", 1) as subscription:
            for number in range(50):
                await broker.publish("w", str(number))
                for _ in range(3):
                    with trio.CancelScope() as scope:
                        scope.cancel()
                        await subscription.receive()
                    assert scope.cancelled_caught
                if number % 5 == 0:
                    for record in await subscription.receive():
                        assert isinstance(record, Batch)
                        seen += record.lines
            await broker.close("w")
            async for record in subscription:
                seen += record.lines if isinstance(record, Batch) else [b"end"]
    assert seen == [*(str(number).encode() for number in range(50)), b"end"]


async def test_a_cancelled_write_is_whole_or_not_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class StuckStore(MemoryStore):
        stuck = True

        async def append(self, *args: object, **kwargs: object) -> None:
            while self.stuck:
                await trio.sleep(1)
            await super().append(*args, **kwargs)  # type: ignore[arg-type]

    store = StuckStore()
    async with open_broker(store) as broker:
        written = 0
        with await broker.open("w") as log:
            # The topic's task holds what it took, the channel 8 writes; then the writer waits.
            while True:
                with trio.move_on_after(10) as scope:
                    await log.write(f"line {written}\n")
                if scope.cancelled_caught:
                    break
                written += 1
            with await broker.open("v") as other:
                await other.write("taken\n")
                await trio.testing.wait_all_tasks_blocked()
                await other.write("waits\n")
                await other.write("waits, too\n")
            found = broker.statistics()
            assert found.channel_items == 8 + 2
            assert found.channel_items_max == found.channel_capacity == 8
            store.stuck = False
        await broker.close("w")
        end = (await records(broker, "w"))[-1]
    assert isinstance(end, End)
    assert end.lines == written


async def test_a_ring_is_skipped_where_one_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with open_broker() as broker:
        with broker.subscribe("w", 1) as listens, broker.subscribe("w", 1):
            for number in range(1, 5):
                await broker.publish("w", "line")
                await listens.receive()
                # One that listens is not skipped; the other's first ring waits for ever.
                assert broker.statistics().rings_skipped == number - 1
        # What was counted stays when the readers are gone.
        assert broker.statistics().rings_skipped == 3
        assert broker.statistics().lines_delivered == broker.statistics().lines_published == 4


async def test_what_was_pushed_is_known_and_when(autojump_clock: trio.testing.MockClock) -> None:
    """A push takes no step of its reader, who asks for it when the next heartbeat is due."""
    sent: list[Batch] = []
    accepts = True

    def send_each(targets: Sequence[int], batch: Batch) -> Sequence[int]:
        assert list(targets) == [7]
        if accepts:
            sent.append(batch)
        return [] if accepts else targets

    async with open_broker() as broker, trio.open_nursery() as nursery:
        await broker.publish("w", "first")
        await trio.testing.wait_all_tasks_blocked()
        with broker.subscribe("w", 1) as subscription:
            subscription.write_to(BatchOutlet(send_each), 7)
            assert subscription.written_at == -math.inf
            assert [record.lines for record in await subscription.receive()] == [[b"first"]]
            nursery.start_soon(publish_later, broker)
            with trio.move_on_after(10) as waiting:
                await subscription.receive()
            assert waiting.cancelled_caught
            assert [batch.lines for batch in sent] == [[b"later"]]
            assert subscription.written_at == trio.current_time() - 9
            accepts = False
            nursery.start_soon(publish_later, broker)
            assert [batch.lines for batch in await subscription.receive()] == [[b"later"]]
            assert len(sent) == 1


async def publish_later(broker: LogBroker) -> None:
    await trio.sleep(1)
    await broker.publish("w", "later")


class Pushed:
    """Readers of one log that are sent to one after the other, with a step between them; it says
    what is sent to whom."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(group, "AT_ONCE", 1)
        self.outlet = BatchOutlet(self.send_each)
        self.sent: dict[int, list[int]] = {}
        self.then: Callable[[], object] = lambda: None

    def send_each(self, targets: Sequence[int], batch: Batch) -> list[int]:
        for target in targets:
            self.sent.setdefault(target, []).append(batch.first)
        self.then()
        return []

    async def read(self, subscription: Subscription, target: int) -> None:
        with subscription:
            await subscription.load()
            subscription.write_to(self.outlet, target)
            async for record in subscription:
                if isinstance(record, Batch):
                    self.sent.setdefault(target, []).append(record.first)


async def test_a_reader_that_leaves_while_lines_are_sent_goes_on_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed = Pushed(monkeypatch)
    async with open_broker() as broker, trio.open_nursery() as nursery:
        with ExitStack() as stack:
            readers = [stack.enter_context(broker.subscribe("w", 1)) for _ in range(10)]
            for target, reader in enumerate(readers):
                await reader.load()
                reader.write_to(pushed.outlet, target)
                nursery.start_soon(reader.receive)
            pushed.then = nursery.cancel_scope.cancel
            await trio.testing.wait_all_tasks_blocked()
            await broker.publish("w", "line")
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                assert 1 <= len(pushed.sent) <= 2
                for target, reader in enumerate(readers):
                    assert len(reader.ready()) == (target not in pushed.sent)
                await broker.close("w")


async def test_a_reader_that_comes_while_lines_are_sent_gets_them_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed = Pushed(monkeypatch)
    async with open_broker() as broker, trio.open_nursery() as nursery:
        late = broker.subscribe("w", 1)

        def come() -> None:
            pushed.then = lambda: None
            nursery.start_soon(pushed.read, late, 0)

        pushed.then = come
        for target in range(1, 20):
            nursery.start_soon(pushed.read, broker.subscribe("w", 1), target)
        await trio.testing.wait_all_tasks_blocked()
        await broker.publish("w", "line")
        await trio.testing.wait_all_tasks_blocked()
        await broker.publish("w", "another")
        await broker.close("w")
    assert pushed.sent == {target: [1, 2] for target in range(20)}


async def test_who_declines_the_second_of_two_batches_goes_on_there() -> None:
    calls = 0

    def send_each(targets: Sequence[int], batch: Batch) -> Sequence[int]:
        nonlocal calls
        calls += 1
        return [] if calls == 1 else targets

    async with open_broker() as broker, trio.open_nursery() as nursery:
        with broker.subscribe("w", 1) as subscription:
            await subscription.load()
            subscription.write_to(BatchOutlet(send_each), 7)
            # More lines than a batch may have.
            nursery.start_soon(broker.publish, "w", "line\n" * 1500)
            [batch] = await subscription.receive()
            assert isinstance(batch, Batch)
            assert (batch.first, batch.last) == (1001, 1500)


async def test_the_last_line_lacks_its_end_and_is_not_pushed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        with await broker.open("w") as log, broker.subscribe("w", 1) as subscription:
            await subscription.load()
            subscription.write_to(BatchOutlet(lambda ports, batch: []), 7)
            await log.write("one\ntwo")
            with trio.move_on_after(1):
                await subscription.receive()
            nursery.start_soon(broker.close, "w")
            records = [record async for record in subscription]
            assert [record.lines for record in records if isinstance(record, Batch)] == [[b"two"]]
            assert isinstance(records[-1], End)


async def test_who_is_sent_to_is_not_woken(autojump_clock: trio.testing.MockClock) -> None:
    steps = Counter[str]()

    class CountSteps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            steps[task.name] += 1

    async def receive(subscription: Subscription) -> None:
        await subscription.receive()

    async with open_broker() as broker, trio.open_nursery() as nursery:
        with broker.subscribe("w", 1) as pushed, broker.subscribe("w", 1) as rung:
            await pushed.load()
            pushed.write_to(BatchOutlet(lambda ports, batch: []), 7)
            nursery.start_soon(receive, pushed, name="pushed")
            nursery.start_soon(receive, rung, name="rung")
            await trio.testing.wait_all_tasks_blocked()
            instrument = CountSteps()
            trio.lowlevel.add_instrument(instrument)
            for _ in range(3):
                await broker.publish("w", "line")
                await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.remove_instrument(instrument)
            assert steps["rung"] > 0
            assert steps["pushed"] == 0
            await broker.close("w")


async def test_windows_are_bounded_together(autojump_clock: trio.testing.MockClock) -> None:
    limits = BrokerLimits(window_bytes=2000, windows_bytes=5000)
    async with open_broker(limits=limits) as broker:
        for round_ in range(20):
            for name in "abcdef":
                await broker.publish(name, f"{name} {round_}")
                await trio.testing.wait_all_tasks_blocked()
                assert broker.statistics().window_bytes <= 5000
        for name in "abcdef":
            await broker.close(name)
            found = await records(broker, name)
            lines = [line for one in found if isinstance(one, Batch) for line in one.lines]
            assert lines == [f"{name} {round_}".encode() for round_ in range(20)]
        assert broker.statistics().window_bytes == 0


async def test_publish_and_subscribe_from_threads() -> None:
    async with open_broker() as broker:
        with broker.subscribe("w", 1) as subscription:
            token = trio.lowlevel.current_trio_token()
            threads = [
                threading.Thread(target=publish_from_thread, args=(broker, number, token))
                for number in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                await trio.to_thread.run_sync(thread.join)
            await broker.close("w")
            lines = [
                line
                async for record in subscription
                if isinstance(record, Batch)
                for line in record.lines
            ]
    assert len(lines) == 100
    for which in range(4):
        mine = [line for line in lines if line.startswith(b"%d " % which)]
        assert mine == [b"%d %d" % (which, number) for number in range(25)]


def publish_from_thread(broker: LogBroker, which: int, token: trio.lowlevel.TrioToken) -> None:
    """From a thread that Trio did not start."""
    for number in range(25):
        trio.from_thread.run(broker.publish, "w", f"{which} {number}", trio_token=token)


async def test_close_does_not_wait_for_a_forgotten_writer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_broker() as broker:
        log: LogWriter = await broker.open("w")
        await log.write("one\n")
        # The topic's task waits for more from this writer.
        await trio.testing.wait_all_tasks_blocked()
        end = await broker.close("w", Outcome(Status.FAILED, 1))
        assert (end.lines, end.outcome.exit_code) == (1, 1)
        with pytest.raises(LogClosedError):
            await log.write("two\n")
        with pytest.raises(LogClosedError):
            await broker.publish("w", "three")
        log.close()


async def test_a_log_goes_on_where_the_store_has_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    for number in range(3):
        async with open_broker(store) as broker:
            with broker.subscribe("w") as subscription:
                await broker.publish("w", str(number))
                [batch] = await subscription.receive()
                assert isinstance(batch, Batch)
                assert (batch.first, batch.lines) == (number + 1, [str(number).encode()])


async def test_detach_ends_readers_where_they_are(autojump_clock: trio.testing.MockClock) -> None:
    async with open_broker() as broker:
        await broker.publish("w", "one")
        with broker.subscribe("w", 1) as behind, broker.subscribe("quiet") as quiet:
            broker.detach()
            with broker.subscribe("w", 1) as late:
                for subscription in (behind, quiet, late):
                    assert [record async for record in subscription] == [Detached()]
                    with pytest.raises(trio.EndOfChannel):
                        await subscription.receive()


async def test_a_log_that_must_exist(autojump_clock: trio.testing.MockClock) -> None:
    async with open_broker() as broker:
        with (
            broker.subscribe("nope", 1, must_exist=True) as subscription,
            pytest.raises(WorkloadNotFoundError),
        ):
            await subscription.receive()
        assert broker.statistics().topics == 0


async def test_a_flush_returns_when_all_before_it_is_durable(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is durable is whole lines: the start of one waits for its end."""

    class SlowStore(MemoryStore):
        async def append(self, *arguments: Any, **keywords: Any) -> None:
            await trio.sleep(1)
            await super().append(*arguments, **keywords)

    store = SlowStore()
    async with open_broker(store) as broker:
        with await broker.open("w") as log:
            assert await log.flush() == 0
            for data, durable in ((b"one\ntw", 4), (b"o", 4), (b"\n", 8), (b"", 8)):
                await log.write(data)
                assert await log.flush() == durable
                state = await store.log("w")
                assert (state.bytes if state else 0) == durable


async def test_what_was_written_is_durable_when_its_broker_ends(tmp_path: Path) -> None:
    async with open_broker(SQLiteStore(tmp_path / "db")) as broker:
        for number in range(1, 21):
            await broker.publish(f"w{number % 3}", str(number))
    async with open_broker(SQLiteStore(tmp_path / "db")) as broker:
        stored = [await broker._store.log(f"w{number}") for number in range(3)]
    assert [state.lines for state in stored if state] == [6, 7, 7]


async def test_a_position_before_the_first_line_is_the_first_line() -> None:
    async with open_broker() as broker:
        await broker.publish("w", "one")
        await broker.close("w")
        for position in (0, -5):
            batch, end = await records(broker, "w", position)
            assert isinstance(batch, Batch)
            assert (batch.first, isinstance(end, End)) == (1, True)


async def test_a_flush_of_a_log_that_ends_does_not_wait_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whether it comes before the end, or in the middle of it."""

    class SlowStore(MemoryStore):
        async def append(self, *arguments: Any, **keywords: Any) -> None:
            await trio.sleep(1)
            await super().append(*arguments, **keywords)

    async with open_broker(SlowStore()) as broker, trio.open_nursery() as nursery:
        with await broker.open("w") as log:
            await log.write(b"one\n")
            nursery.start_soon(broker.close, "w")
            with trio.fail_after(60):
                assert await log.flush() == 4
                with pytest.raises(LogClosedError):
                    await log.flush()
                with pytest.raises(LogClosedError):
                    await log.write(b"late\n")


async def test_a_log_that_is_forgotten_while_it_ends_has_one_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ends: list[End] = []
    store = FailingStore(MemoryStore())

    async def close(outcome: Outcome) -> None:
        ends.append(await broker.close("w", outcome))

    async with open_broker(store) as broker, trio.open_nursery() as nursery:
        await broker.publish("w", "line")
        await broker.flush()
        store.set_mode("hangs")
        nursery.start_soon(close, Outcome(Status.FAILED, 3))
        await trio.testing.wait_all_tasks_blocked()
        broker.forget("w")
        with pytest.raises(LogClosedError):
            await broker.open("w")
        nursery.start_soon(close, Outcome(Status.SUCCEEDED))
        await trio.testing.wait_all_tasks_blocked()
        store.set_mode("works")
    assert [end.outcome for end in ends] == [Outcome(Status.FAILED, 3)] * 2


async def test_a_forgotten_log_does_not_hold_up_the_flush_of_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    began = trio.current_time()
    async with open_broker(store) as broker:
        await broker.publish("gone", "line")
        await trio.testing.wait_all_tasks_blocked()
        broker.forget("gone")
        await broker.publish("w", "line")
    assert trio.current_time() == began
    assert await store.read("w", 1, 100) != []


async def test_writers_that_open_a_log_while_its_source_is_fenced() -> None:
    """Whichever step they reach meanwhile, none begins a source on a topic that is cut off."""
    store = MemoryStore()

    async def again(broker: LogBroker) -> None:
        with suppress(LogClosedError):
            await broker.publish("w", "again")

    async with open_broker(store) as broker:
        with broker.subscribe("w", 1):
            await broker.publish("w", "one\ntwo")
            await broker.flush()
            await store.delete("w")
            await broker.publish("w", "three")
            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(again, broker)
                    await trio.lowlevel.checkpoint()
        await broker.flush()
        assert broker.statistics().lines_unsaved == 0
        end = await broker.close("w")
        assert 1 <= end.lines <= 30
        await trio.testing.wait_all_tasks_blocked()
        assert broker.statistics().window_bytes == 0


async def test_a_reader_of_a_log_that_does_not_exist_yet_outlasts_a_deletion(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_broker() as broker:
        with broker.subscribe("w", 1) as subscription:
            await subscription.load()
            broker.forget("w")
            await broker.publish("w", "line")
            with trio.fail_after(1):
                [batch] = await subscription.receive()
    assert isinstance(batch, Batch)


async def test_readers_at_the_head_of_a_deleted_log_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No source is left that could send its end."""
    store = MemoryStore()
    found: dict[str, list[Record]] = {}

    async def read(name: str, position: int | None) -> None:
        with broker.subscribe("w", position) as subscription:
            found[name] = [record async for record in subscription]

    async with open_broker(store) as broker:
        await broker.publish("w", "line")
    async with open_broker(store) as broker:
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, "all", 1)
                nursery.start_soon(read, "live", None)
                await trio.testing.wait_all_tasks_blocked()
                await store.delete("w")
                broker.forget("w")
    assert [type(record) for record in found["all"]] == [Batch, Detached]
    assert found["live"] == [Detached()]
