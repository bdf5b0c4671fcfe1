"""Lines that have not ended, as readers of the broker get them."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from tests.failing_parts import FailingStore
from tests.screens import Viewer, expected_text
from tests.steps import shuffled
from trio_logs import Batch, Detached, End, LogBroker, open_broker
from trio_logs.api.stream import LogStream
from trio_logs.broker import BrokerLimits, Found
from trio_logs.broker.unfinished import PERIOD
from trio_logs.filtering import Filter
from trio_logs.formats import NDJSON
from trio_logs.records import Gap, Stop, Unfinished
from trio_logs.selection import Selection
from trio_logs.server import Port
from trio_logs.store import Retention
from trio_logs.store.memory import MemoryStore

Clock = trio.testing.MockClock
EVERYTHING = Selection()


class Reader(Viewer):
    """Follows a log, and notes when each unfinished line came."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []
        self.times: dict[str, list[float]] = {}
        self.scope = trio.CancelScope()

    async def read(
        self, broker: LogBroker, selection: Selection = EVERYTHING, **options: Any
    ) -> None:
        with self.scope, broker.read("w", selection, unfinished=True, **options) as reading:
            async for record in reading:
                self.found.append(record)
                self.take([record])
                if isinstance(record, Unfinished):
                    self.times.setdefault(record.stream, []).append(trio.current_time())


def pacing() -> int:
    """How many pacing tasks there are."""
    names = [task.name for task in _tasks(trio.lowlevel.current_root_task())]
    return sum(name.startswith("unfinished lines") for name in names)


def _tasks(task: trio.lowlevel.Task | None) -> list[trio.lowlevel.Task]:
    if task is None:
        return []
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return [task, *(found for child in children for found in _tasks(child))]


@asynccontextmanager
async def following(
    selection: Selection = EVERYTHING, *, store: Any = None, **options: Any
) -> AsyncIterator[tuple[LogBroker, Any, Reader]]:
    """A log that is written, and a reader of it."""
    async with open_broker(store) as broker, trio.open_nursery() as nursery:
        reader = Reader()
        with await broker.open("w") as log:
            nursery.start_soon(_read, reader, broker, selection, options)
            await trio.testing.wait_all_tasks_blocked()
            yield broker, log, reader
        nursery.cancel_scope.cancel()
    assert reader.faults == []


async def _read(
    reader: Reader, broker: LogBroker, selection: Selection, options: dict[str, Any]
) -> None:
    await reader.read(broker, selection, **options)


async def settle() -> None:
    """Until the next round is over."""
    await trio.sleep(2 * PERIOD)
    await trio.testing.wait_all_tasks_blocked()


async def test_a_prompt_comes_at_once_and_its_line_replaces_it(autojump_clock: Clock) -> None:
    async with following() as (_, log, reader):
        start = trio.current_time()
        await log.write("Name: ")
        await trio.testing.wait_all_tasks_blocked()
        assert reader.events == [("stdout", "Name: ")]
        assert trio.current_time() == start
        await log.write("Ada\nAge: ")
        await settle()
        assert reader.events == [("stdout", "Name: "), ("stdout", "Age: ")]
        assert reader.lines == ["Name: Ada"]
        assert reader.texts == {"stdout": "Age: "}


async def test_a_bar_is_shown_four_times_a_second(autojump_clock: Clock) -> None:
    async with following() as (_, log, reader):
        for number in range(300):
            await log.write(f"\r{number}/300")
            await trio.sleep(0.01)
        await settle()
        times = reader.times["stdout"]
        assert 12 <= len(times) <= 13
        assert all(later - earlier >= PERIOD for earlier, later in pairwise(times))
        assert reader.texts == {"stdout": "299/300"}
        await log.write("\n")
        await trio.testing.wait_all_tasks_blocked()
        assert reader.texts == {}
        assert len(reader.lines) == 1


async def test_a_line_after_the_same_text_shows_it_again(autojump_clock: Clock) -> None:
    async with following() as (_, log, reader):
        for _ in range(3):
            await log.write("> ")
            await settle()
            assert reader.texts == {"stdout": "> "}
            await log.write("\n")
        await settle()
        assert reader.events == [("stdout", "> ")] * 3


async def test_streams_have_a_line_each(autojump_clock: Clock) -> None:
    async with following() as (_, log, reader):
        await log.write("out", "stdout")
        await log.write("err", "stderr")
        await settle()
        assert reader.texts == {"stdout": "out", "stderr": "err"}
        await log.write("\n", "stderr")
        await settle()
        assert reader.texts == {"stdout": "out"}
        assert reader.lines == ["err"]


@pytest.mark.parametrize("follow", [True, False])
async def test_a_reader_that_arrives_gets_the_current_one_after_the_history(
    autojump_clock: Clock, follow: bool
) -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        with await broker.open("w") as log:
            await log.write("one\ntwo\n10%\r20%")
            await trio.testing.wait_all_tasks_blocked()
            reader = Reader()
            nursery.start_soon(_read, reader, broker, EVERYTHING, {"follow": follow})
            await settle()
            [batch, text] = reader.found
            assert isinstance(batch, Batch)
            assert text == Unfinished("stdout", "20%")
            nursery.cancel_scope.cancel()


LATE = Selection(until=1)


@pytest.mark.parametrize(
    ("selection", "after", "shown"),
    [
        (EVERYTHING, None, ["stdout", "stderr"]),
        (Selection(tail=0), None, ["stdout", "stderr"]),
        (Selection(tail=1), None, ["stdout", "stderr"]),
        (Selection(first=4), None, ["stdout", "stderr"]),
        (Selection(first=5), None, []),
        (Selection(last=3), None, []),
        (Selection(last=4), None, ["stdout", "stderr"]),
        (Selection(limit=3), None, []),
        (Selection(limit=4), None, ["stdout", "stderr"]),
        (Selection(stream="stderr"), None, ["stderr"]),
        (Selection(filter=Filter("out ")), None, ["stdout"]),
        (Selection(filter=Filter("out ", invert=True)), None, ["stderr"]),
        (Selection(filter=Filter("OUT", case=False), stream="stderr"), None, []),
        (LATE, None, []),
        (Selection(until=2**60), None, ["stdout", "stderr"]),
        (EVERYTHING, 2, ["stdout", "stderr"]),
        (EVERYTHING, 3, ["stdout", "stderr"]),
        (EVERYTHING, 9, ["stdout", "stderr"]),
    ],
)
@pytest.mark.parametrize("limits", [None, BrokerLimits(0, 0)], ids=["window", "store"])
async def test_a_reader_that_does_not_follow(
    selection: Selection, after: int | None, shown: list[str], limits: BrokerLimits | None
) -> None:
    """Behind its last line, and before the record that ends its answer."""
    async with open_broker(limits=limits) as broker:
        with await broker.open("w") as log:
            await log.write("1\n2\n3\nout of")
            await log.write("err", "stderr")
            await trio.testing.wait_all_tasks_blocked()
            reader = Reader()
            await reader.read(broker, selection, after=after, follow=False)
    texts = {"stdout": "out of", "stderr": "err"}
    assert reader.events == [(stream, texts[stream]) for stream in shown]
    kinds = [type(record) for record in reader.found]
    if shown:
        tail = [*([Unfinished] * len(shown)), *([Stop] if selection.last else [])]
        assert kinds[-len(tail) :] == tail


async def test_a_reader_that_does_not_follow_gets_what_was_there_when_it_began() -> None:
    """Lines that come meanwhile are not in its answer, and neither is what they replace."""
    async with open_broker() as broker:
        with await broker.open("w") as log:
            await log.write("1\nprompt")
            await trio.testing.wait_all_tasks_blocked()
            with broker.read("w", follow=False, unfinished=True) as reading:
                [batch] = await reading.receive()
                await log.write("\nnext")
                await trio.testing.wait_all_tasks_blocked()
                assert await reading.receive() == [Unfinished("stdout", "prompt")]
                with pytest.raises(trio.EndOfChannel):
                    await reading.receive()
    assert isinstance(batch, Batch)


async def test_only_who_asks_gets_them(autojump_clock: Clock) -> None:
    found: list[Found] = []

    async def read(reading: Any) -> None:
        with reading:
            async for record in reading:
                found.append(record)

    async with following() as (broker, log, _), trio.open_nursery() as nursery:
        nursery.start_soon(read, broker.read("w"))
        nursery.start_soon(read, broker.subscribe("w", 1))
        await log.write("prompt")
        await settle()
        assert found == []
        assert pacing() == 1
        nursery.cancel_scope.cancel()


async def test_the_pacing_task_lives_as_long_as_a_reader_asks(autojump_clock: Clock) -> None:
    async with open_broker() as broker, trio.open_nursery() as nursery:
        assert pacing() == 0
        readers = [Reader() for _ in range(3)]
        with await broker.open("w") as log:
            for reader in readers:
                nursery.start_soon(reader.read, broker)
            await trio.testing.wait_all_tasks_blocked()
            assert pacing() == 1
            await log.write("one")
            await settle()
            for reader in readers:
                reader.scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert pacing() == 0
            # Nobody asked when this changed.
            await log.write(" more")
            late = Reader()
            nursery.start_soon(late.read, broker)
            await settle()
            assert late.events == [("stdout", "one more")]
            late.scope.cancel()
    assert [reader.events for reader in readers] == [[("stdout", "one")]] * 3


WITH_X = Selection(filter=Filter("x"))


async def test_a_filter_that_hides_the_line_clears_its_text(autojump_clock: Clock) -> None:
    selection = Selection(filter=Filter("x", invert=True))
    async with following(selection) as (_, log, reader):
        await log.write("ab")
        await settle()
        assert reader.texts == {"stdout": "ab"}
        await log.write("x")
        await settle()
        # The text does not match any more.
        assert reader.events == [("stdout", "ab"), ("stdout", "")]
        await log.write("\nab")
        await settle()
        await log.write("x\n")
        await settle()
        assert reader.events[2:] == [("stdout", "ab"), ("stdout", "")]
        assert reader.lines == []


async def test_a_filter_looks_at_the_text_of_the_line(autojump_clock: Clock) -> None:
    async with following(WITH_X) as (_, log, reader):
        await log.write("abc")
        await settle()
        assert reader.events == []
        await log.write(" x")
        await settle()
        assert reader.events == [("stdout", "abc x")]
        await log.write("\n")
        await settle()
        assert reader.lines == ["abc x"]
        assert len(reader.events) == 1


# Too many instructions for a text of this length in Trio's thread.
SLOW = Selection(filter=Filter(r"(\pL|[0-9])%", regex=True))
LONG = "x" * 3000


async def test_a_filter_that_takes_long_runs_in_a_thread() -> None:
    assert not SLOW.chooses_quickly({"stdout": LONG})
    async with following(SLOW) as (broker, log, reader), trio.open_nursery() as nursery:
        streams = Streams(SLOW)
        nursery.start_soon(streams.follow, broker, 0)
        nursery.start_soon(streams.follow, broker, 1)
        with trio.fail_after(20):
            for number in range(3):
                await log.write(f"\r{LONG} {number}%")
                wanted = {"stdout": f"{LONG} {number}%"}
                while [reader.texts, *streams.texts] != [wanted] * 3:
                    await trio.sleep(0.01)
            await log.write("\r nothing")
            while [reader.texts, *streams.texts] != [{}] * 3:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert streams.faults == []


class Streams:
    """Answers as NDJSON, which a publisher writes to directly; `refuses` says for which port."""

    def __init__(self, selection: Selection = EVERYTHING) -> None:
        self.viewers: dict[int, Viewer] = {}
        self.ends: dict[int, str] = {}
        self.sizes: list[int] = []
        self.refuses = lambda port: False
        self._selection = selection

    @property
    def texts(self) -> list[dict[str, str]]:
        return [viewer.texts for viewer in self.viewers.values()]

    @property
    def faults(self) -> list[str]:
        return [fault for viewer in self.viewers.values() for fault in viewer.faults]

    async def follow(self, broker: LogBroker, number: int) -> None:
        self.viewers[number] = Viewer()
        reading = broker.read("w", self._selection, unfinished=True)
        async with LogStream(reading, NDJSON, 15, Port(number, self)) as stream:  # type: ignore[arg-type]
            async for chunk in stream:
                self._take(number, chunk)

    def send_each(self, ports: Sequence[int], chunk: bytes) -> Sequence[int]:
        assert chunk
        self.sizes.append(len(ports))
        refused = [port for port in ports if self.refuses(port)]
        for port in ports:
            if port not in refused:
                self._take(port, chunk)
        return refused

    def _take(self, port: int, chunk: bytes) -> None:
        for line in chunk.splitlines():
            found = json.loads(line)
            match found.get("event"):
                case None:
                    data = found["text"].encode() + b"\n"
                    self.viewers[port].take([Batch(found["seq"], 1, 0, found["stream"], data)])
                case "unfinished":
                    self.viewers[port].take([Unfinished(found["stream"], found["text"])])
                case name:
                    self.ends[port] = name


@contextmanager
def counted_steps() -> Iterator[Counter[str]]:
    """Steps of tasks within the block, by the name of the task."""
    steps = Counter[str]()

    class CountSteps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            steps[task.name] += 1

    instrument = CountSteps()
    trio.lowlevel.add_instrument(instrument)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(instrument)


@pytest.mark.parametrize(
    "selection", [EVERYTHING, Selection(filter=Filter("%")), Selection(stream="stdout")]
)
async def test_a_thousand_streams_get_four_a_second_and_do_not_wake(
    autojump_clock: Clock, selection: Selection
) -> None:
    streams = Streams(selection)
    async with open_broker() as broker, trio.open_nursery() as nursery:
        with await broker.open("w") as log:
            for number in range(1000):
                nursery.start_soon(streams.follow, broker, number, name="stream")
            await trio.testing.wait_all_tasks_blocked()
            # The first round may find some streams on their way to the head.
            await log.write("0%")
            await settle()
            streams.sizes.clear()
            with counted_steps() as steps:
                for number in range(100):
                    await log.write(f"\r{number}%")
                    await trio.sleep(0.01)
                await settle()
                await log.write("\n")
                await trio.testing.wait_all_tasks_blocked()
            assert steps["stream"] == 0
            # One write for each stream and round; the line, which ends the bar, is one more.
            assert 4 * 1000 <= sum(streams.sizes) <= 6 * 1000
            await broker.close("w")
    events = [viewer.events for viewer in streams.viewers.values()]
    assert events == [events[0]] * 1000
    assert events[0][-1] == ("stdout", "99%")
    assert 5 <= len(events[0]) <= 6
    assert streams.faults == []
    assert set(streams.ends.values()) == {"end"}


async def test_the_end_replaces_it(autojump_clock: Clock) -> None:
    async with following() as (broker, log, reader):
        await log.write("last words")
        await settle()
        await broker.close("w")
        await trio.testing.wait_all_tasks_blocked()
        assert [type(record) for record in reader.found] == [Unfinished, Batch, End]
        assert reader.texts == {}


@pytest.mark.parametrize("is_pushed", [False, True], ids=["read", "pushed"])
async def test_no_text_stays_after_the_end_of_a_filtered_log(
    autojump_clock: Clock, is_pushed: bool
) -> None:
    """The last line is hidden, and the end follows it at once."""
    selection = Selection(filter=Filter("x", invert=True))
    streams = Streams(selection)
    async with following(selection) as (broker, log, reader), trio.open_nursery() as nursery:
        nursery.start_soon(streams.follow, broker, 0)
        await log.write("x\r50%")
        await settle()
        assert [reader.texts, *streams.texts] == [{"stdout": "50%"}] * 2
        await broker.close("w")
        await trio.testing.wait_all_tasks_blocked()
        assert reader.found[1:-1] == [Unfinished("stdout", "")]
        assert isinstance(reader.found[-1], End)
        assert streams.viewers[0].events == [("stdout", "50%"), ("stdout", "")]
        assert streams.ends == {0: "end"}


async def test_a_shutdown_does_not_clear_it(autojump_clock: Clock) -> None:
    """The log goes on, and the client resumes."""
    async with following() as (broker, log, reader):
        await log.write("one\nprompt")
        await settle()
        reader.found.clear()
        broker.detach()
        await trio.testing.wait_all_tasks_blocked()
        assert reader.found == [Detached()]
        assert reader.texts == {"stdout": "prompt"}


async def test_a_deletion_clears_it(autojump_clock: Clock) -> None:
    """The log ends and is deleted before the reader has its last line."""
    store = MemoryStore()
    async with open_broker(store, BrokerLimits(0, 0)) as broker:
        with await broker.open("w") as log, broker.read("w", unfinished=True) as reading:
            await log.write("prompt")
            assert await reading.receive() == [Unfinished("stdout", "prompt")]
            await broker.close("w")
            await store.delete("w")
            broker.forget("w")
            gone = Gap(1, 1, "deleted")
            assert await reading.receive() == [Unfinished("stdout", ""), gone]


async def test_a_gap_in_the_place_of_its_line_clears_it(autojump_clock: Clock) -> None:
    """The line is gone before the reader has it."""
    store = MemoryStore()
    async with open_broker(store, BrokerLimits(0, 0)) as broker:
        with await broker.open("w") as log, broker.read("w", unfinished=True) as reading:
            viewer = Viewer()
            await log.write("prompt")
            viewer.take(await reading.receive())
            assert viewer.texts == {"stdout": "prompt"}
            await log.write(" one\n")
            await trio.testing.wait_all_tasks_blocked()
            await store.trim(Retention(max_bytes=0))
            assert await reading.receive() == [Gap(1, 1)]
            viewer.take(await reading.receive())
            assert viewer.events == [("stdout", "prompt"), ("stdout", "")]


async def test_a_text_waits_for_the_lines_before_it(autojump_clock: Clock) -> None:
    """The store hangs: a bar that ran ahead of its lines would show what may be lost."""

    class SlowStore(MemoryStore):
        async def append(self, *arguments: Any, **options: Any) -> None:
            await trio.sleep(5)
            await super().append(*arguments, **options)

    async with following(store=SlowStore()) as (_, log, reader):
        await log.write("10%")
        await settle()
        await log.write("\n20%")
        await settle()
        assert reader.texts == {"stdout": "10%"}
        await log.write("\r30%")
        await trio.sleep(5)
        await settle()
        assert reader.lines == ["10%"]
        assert reader.texts == {"stdout": "30%"}
        # No line comes before this one, so nothing waits.
        await log.write("\r40%")
        await settle()
        assert reader.texts == {"stdout": "40%"}


async def test_a_store_that_fails_for_long_holds_no_text_back(autojump_clock: Clock) -> None:
    """After the patience, lines are delivered from memory, and so are the texts behind them."""
    store = FailingStore(MemoryStore())
    async with following(store=store) as (broker, log, reader):
        store.switch.fail("append")
        await log.write("one\n50%")
        await settle()
        assert reader.found == []
        await trio.sleep(40)
        assert reader.lines == ["one"]
        assert reader.texts == {"stdout": "50%"}
        store.switch.recover()
        while broker.statistics().lines_unsaved:
            await trio.sleep(1)


@pytest.mark.parametrize("is_pushed", [False, True], ids=["read", "pushed"])
async def test_positions_come_although_a_bar_never_rests(
    autojump_clock: Clock, is_pushed: bool
) -> None:
    """Only an id moves the place from which a client resumes; unfinished lines have none."""
    streams = Streams()
    port = Port(0, streams) if is_pushed else None  # type: ignore[arg-type]
    chunks: list[bytes] = []

    async def follow() -> None:
        reading = broker.read("w", Selection(filter=Filter("%")), unfinished=True)
        async with LogStream(reading, NDJSON, 15, port) as stream:
            async for chunk in stream:
                chunks.append(chunk)

    streams._take = lambda port, chunk: chunks.append(chunk)  # type: ignore[method-assign]
    async with open_broker() as broker, trio.open_nursery() as nursery:
        with await broker.open("w") as log:
            nursery.start_soon(follow)
            for number in range(130):
                await log.write(f"\r{number}%")
                await trio.sleep(0.25)
                await log.write("hidden\n", "stderr")
                await trio.sleep(0.25)
        nursery.cancel_scope.cancel()
    objects = [json.loads(line) for chunk in chunks for line in chunk.splitlines()]
    positions = [int(each["id"]) for each in objects if each["event"] == "position"]
    assert len(positions) == 4
    assert positions == sorted({*positions})
    assert sum(each["event"] == "unfinished" for each in objects) > 100


async def test_a_reader_that_declines_goes_on_by_itself(autojump_clock: Clock) -> None:
    """A port may refuse any write, of a line or of a round."""
    rng = random.Random(5)
    streams = Streams()
    streams.refuses = lambda port: rng.random() < 0.3
    async with open_broker() as broker, trio.open_nursery() as nursery:
        with await broker.open("w") as log:
            for number in range(10):
                nursery.start_soon(streams.follow, broker, number)
            for number in range(200):
                await log.write(f"\r{number}%" if number % 7 else "\n")
                await trio.sleep(rng.random() / 5)
            await log.write("\rlast")
            await settle()
            assert streams.texts == [{"stdout": "last"}] * 10
            await broker.close("w")
    lines = [viewer.lines for viewer in streams.viewers.values()]
    assert lines == [lines[0]] * 10
    assert len(lines[0]) == 30
    assert streams.faults == []


class Story:
    """What workloads write, and what readers of it may see: each line has texts of its own, so a
    text that comes after its line is found out."""

    def __init__(self, rng: random.Random, selection: Selection) -> None:
        self.rng = rng
        self.selection = selection
        self.rests = {"stdout": b"", "stderr": b""}
        self.lines = {"stdout": 0, "stderr": 0}

    def piece(self) -> tuple[str, bytes]:
        """The next write."""
        rng = self.rng
        stream = rng.choice(["stdout", "stderr"])
        data = b""
        for _ in range(rng.randint(1, 4)):
            number = self.lines[stream]
            kind = rng.random()
            if kind < 0.25:
                data += b"\r\n" if kind < 0.05 else b"\n"
                self.lines[stream] += 1
            else:
                data += f"\r{stream} {number}: {rng.choice('ax█')}{rng.randint(0, 99)}".encode()
        self.rests[stream] = (self.rests[stream] + data).rpartition(b"\n")[2]
        return stream, data

    def texts(self) -> dict[str, str]:
        """What a reader shows after a pause."""
        chosen = self.selection
        texts = {stream: expected_text(rest) for stream, rest in self.rests.items()}
        return {
            stream: text
            for stream, text in texts.items()
            if text
            and chosen.stream in (None, stream)
            and (chosen.filter is None or chosen.filter.matches(text))
        }


def check_order(viewer: Viewer, events: Sequence[object]) -> None:
    """No text comes after its own line."""
    done = {"stdout": -1, "stderr": -1}
    for event in events:
        match event:
            case Batch():
                for line in event.lines:
                    if found := re.search(rb"\w+ (\d+):", line):
                        done[event.stream] = int(found[1])
            case Unfinished(stream, text):
                if found_text := re.search(r"\w+ (\d+):", text):
                    assert int(found_text[1]) > done[stream], viewer.events


SELECTIONS = [
    EVERYTHING,
    Selection(stream="stderr"),
    Selection(filter=Filter("x")),
    Selection(filter=Filter("a", invert=True), stream="stdout"),
]


def random_run(seed: int) -> None:
    """Random writes, cut anywhere; readers that come, go and decline; a pause now and then."""
    rng = random.Random(seed)
    selection = rng.choice(SELECTIONS)
    story = Story(rng, selection)
    streams = Streams(selection)
    streams.refuses = lambda port: port % 2 == 0 and rng.random() < 0.2

    async def main() -> None:
        async with open_broker() as broker, trio.open_nursery() as nursery:
            readers = [Reader() for _ in range(3)]
            with await broker.open("w") as log:
                for number, reader in enumerate(readers):
                    nursery.start_soon(_read, reader, broker, selection, {})
                    nursery.start_soon(streams.follow, broker, number)
                for _ in range(5):
                    for _ in range(rng.randint(1, 10)):
                        stream, data = story.piece()
                        cut = rng.randint(0, len(data))
                        for part in (data[:cut], data[cut:]):
                            if part:
                                await log.write(part, stream)
                            await trio.sleep(rng.choice([0, 0, 0.01, 0.1, 0.3]))
                    late = Reader()
                    nursery.start_soon(_read, late, broker, selection, {})
                    readers.append(late)
                    number = len(streams.viewers)
                    nursery.start_soon(streams.follow, broker, number)
                    await settle()
                    for viewer in (*readers, *streams.viewers.values()):
                        assert viewer.texts == story.texts(), viewer.events
                    if rng.random() < 0.5:
                        readers.pop(0).scope.cancel()
                await broker.close("w")
        for reader in readers:
            assert reader.texts == {}
            check_order(reader, reader.found)
            for times in reader.times.values():
                gaps = [later - earlier for earlier, later in pairwise(times)]
                # The one before the end may come early, to clear it.
                assert all(gap > PERIOD - 1e-9 for gap in gaps[:-1]), gaps
        for viewer in streams.viewers.values():
            assert viewer.texts == {}
            check_order(viewer, viewer.taken)
        faults = [fault for reader in readers for fault in reader.faults]
        assert faults + streams.faults == []
        assert set(streams.ends.values()) == {"end"}

    with shuffled(seed):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("seed", range(20))
def test_random_runs(seed: int) -> None:
    random_run(seed)
