"""Random selections of random logs: each answer has what a naive filter of the whole log has, in
history, live, across the seam, and in each representation."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.live import parse_events
from tests.naive import Part, expected, is_asked_for, missing, parts_of
from trio_logs import Batch, End, Gap, LogBroker, open_broker
from trio_logs import filtering as filtering_room
from trio_logs.api import stream
from trio_logs.api.stream import LogStream
from trio_logs.broker import BrokerLimits, Found, reading, sieve, source, writer
from trio_logs.broker.numbering import Numbering
from trio_logs.broker.writer import Written
from trio_logs.filtering import Filter
from trio_logs.formats import JSON_EVENTS, NDJSON, TEXT, TEXT_EVENTS, Format
from trio_logs.lines import LineSplitter
from trio_logs.records import Position, Reset, Stop
from trio_logs.selection import Selection
from trio_logs.server import Port, Ports
from trio_logs.store import LogState
from trio_logs.store.memory import MemoryStore

START = 1_000_000_000
TICK = 1_000
"""Microseconds between two writes."""

EXAMPLES = int(os.environ.get("EXAMPLES", "200"))
"""`make campaign` tries more."""

PIPE_BYTES = 65_536

FORMATS = (TEXT_EVENTS, JSON_EVENTS, NDJSON, TEXT)

PIECES = ["a", "b", "ab", "\n", "\n", "\r", "\r\n", "\x1b[31m", "a\x1b[31mb", "é", "aaaaaaaaaaaaaa"]
WRITE = st.tuples(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    st.sampled_from(["stdout", "stderr"]),
)
LOST = st.integers(1, 4)
"""So many lines that the store could not take."""

FILTERS = st.builds(
    Filter,
    st.sampled_from(["a", "ab", "b$", "^a", "A", "é", "a.*b"]),
    regex=st.booleans(),
    case=st.booleans(),
    invert=st.booleans(),
)
LINE = st.integers(1, 20)
TIME = st.integers(0, 15).map(lambda tick: START + tick * TICK)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "first": LINE,
    "last": LINE,
    "since": TIME,
    "until": TIME,
    "stream": st.sampled_from(["stdout", "stderr"]),
    "filter": FILTERS,
    "tail": st.integers(0, 5),
    "limit": st.integers(0, 5),
}


@dataclass(frozen=True)
class Case:
    """A log of which `stored` is in the store and `before` in the window, if there is one, when
    the readers come; `after` is written then."""

    stored: list[tuple[str, str] | int]
    before: list[tuple[str, str]]
    after: list[tuple[str, str]]
    selection: Selection
    follow: bool
    has_window: bool


@st.composite
def cases(draw: st.DrawFn) -> Case:
    # With all of them, hardly a line would be left.
    names = draw(st.sets(st.sampled_from(sorted(OPTIONS)), max_size=4))
    options = {name: draw(OPTIONS[name]) for name in sorted(names)}
    if names >= {"first", "last"}:
        options["first"], options["last"] = sorted((options["first"], options["last"]))
    selection = Selection(**options)
    return Case(
        stored=draw(st.lists(WRITE | WRITE | WRITE | LOST, max_size=8)),
        before=draw(st.lists(WRITE, max_size=5)),
        after=draw(st.lists(WRITE, max_size=8)),
        selection=selection,
        follow=selection.last is None and draw(st.booleans()),
        has_window=draw(st.booleans()),
    )


class Clock:
    """The wall clock, which steps with each write."""

    def __init__(self) -> None:
        self.time = START

    def tick(self) -> None:
        self.time += TICK

    def now(self) -> int:
        return self.time


@contextmanager
def small_parts(*, short_slices: bool) -> Iterator[Clock]:
    """Lines of more than 12 bytes come in parts, and a batch has 3 lines at most. With
    `short_slices`, a slice of a search ends after each line."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LineSplitter.__init__, "__defaults__", (12, 3))
        for room in (reading, source, stream, writer):
            patch.setattr(room, "now", clock.now)
        if short_slices:
            patch.setattr(sieve, "SLICE_SECONDS", 0.0)
            patch.setattr(filtering_room, "CALL_SECONDS", 1e-9)
        yield clock


async def store_lines(
    store: MemoryStore, items: Sequence[tuple[str, str] | int], clock: Clock
) -> None:
    """A batch for each write, and a gap for each number of lines."""
    numbering = Numbering(LogState())
    records: list[Batch | Gap] = []
    for item in items:
        clock.tick()
        if isinstance(item, int):
            lost = Gap(numbering.next, numbering.next + item - 1, "store", clock.time)
            records.append(lost)
            numbering.next += item
        else:
            text, name = item
            records += numbering.number([Written(clock.time, name, text.encode())])
    streams = numbering.streams()
    size = sum(each.bytes for each in streams.values())
    await store.append("w", records, expected=1, epoch=0, size=size, streams=streams)


async def write_lines(broker: LogBroker, items: Sequence[tuple[str, str]], clock: Clock) -> None:
    with await broker.open("w") as log:
        for text, name in items:
            clock.tick()
            await log.write(text, name)
            # A batch for each write.
            await log.flush()


class Readers:
    """A reading, and for each representation two streams that share what is written directly."""

    def __init__(self, broker: LogBroker, case: Case) -> None:
        self._broker = broker
        self._case = case
        self._ports = Ports()
        self.found: list[Found] = []
        self.answers: dict[Format, list[bytes]] = {form: [] for form in FORMATS}

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            for form in FORMATS * 2:
                nursery.start_soon(self._stream, form)

    async def _read(self) -> None:
        with self._broker.read("w", self._case.selection, follow=self._case.follow) as reading:
            async for record in reading:
                self.found.append(record)

    async def _stream(self, form: Format) -> None:
        read_end, write_end = os.pipe()
        try:
            port = self._ports.add(lambda rest: pytest.fail("a pipe takes as much as this"))
            self._ports.open(port, write_end)
            log = self._broker.read("w", self._case.selection, follow=self._case.follow)
            async with LogStream(log, form, math.inf, Port(port, self._ports)) as body:
                async for chunk in body:
                    pytest.fail(f"the port did not take {chunk!r}")
        finally:
            os.close(write_end)
            self.answers[form].append(unchunked(os.read(read_end, PIPE_BYTES)))
            os.close(read_end)


def unchunked(body: bytes) -> bytes:
    """The bytes of chunks (RFC 9112, section 7.1)."""
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        data += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return data


async def check(case: Case, clock: Clock) -> None:
    store = MemoryStore()
    await store_lines(store, case.stored, clock)
    async with open_broker(store, None if case.has_window else BrokerLimits(0, 0)) as broker:
        await write_lines(broker, case.before, clock)
        head = await broker.head("w")
        readers = Readers(broker, case)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(readers.run)
                await trio.testing.wait_all_tasks_blocked(0.0005)
                await write_lines(broker, case.after, clock)
                await broker.close("w")
        stored = await store.read("w", 1, 10**9)
        everything = list(parts_of(stored))
        asked = expected(everything, case.selection, head, follow=case.follow)
        check_records(case, readers.found, asked, everything)
        check_gaps(case, readers.found, asked, missing(stored), head)
        for form, answers in readers.answers.items():
            for answer in answers:
                check_answer(form, answer, asked, missing(readers.found))
        await check_resumes(broker, case, readers.found, everything)


def check_records(
    case: Case, found: Sequence[Found], asked: Sequence[Part], everything: Sequence[Part]
) -> None:
    selection = case.selection
    shown = list(parts_of([record for record in found if isinstance(record, Batch)]))
    assert [part.number for part in shown] == [part.number for part in asked]
    assert [part.data for part in shown] == [part.data for part in asked]
    numbers = [record.line for record in found if isinstance(record, Position)]
    assert numbers == sorted(numbers)
    ends = [record for record in found if isinstance(record, End | Stop)]
    assert len(ends) <= 1
    assert all(record is found[-1] for record in ends)
    last = found[-1] if found else None
    if selection.limit is None:
        if case.follow and selection.until is None:
            assert isinstance(last, End)
        elif selection.last is not None:
            assert isinstance(last, End) or (isinstance(last, Stop) and last.reason == "to")
    elif isinstance(last, Stop) and last.reason == "limit" and selection.tail is None:
        # From there on, the rest of what is asked for comes.
        rest = {part.number for part in everything if is_asked_for(part, selection)}
        first = min((part.number for part in asked), default=0)
        left = {number for number in rest if number >= first} - {part.number for part in asked}
        assert all(number >= last.next for number in left)


def check_gaps(
    case: Case, found: Sequence[Found], asked: Sequence[Part], lost: Sequence[int], head: int
) -> None:
    """Gaps are clipped to the range, told in their place, and told whatever the filter."""
    selection = case.selection
    told = missing(found)
    assert told == sorted(set(told))
    last = selection.last or 10**9
    due = [number for number in lost if selection.first <= number <= last]
    if selection.tail is selection.since is selection.until is selection.limit is None:
        assert told == due
    else:
        assert set(told) <= set(due)
        between = range(asked[0].number, asked[-1].number) if asked else ()
        assert set(told) >= {number for number in due if number in between}
    numbers: list[int] = []
    for record in found:
        if isinstance(record, Batch | Gap):
            numbers += range(record.first, record.last + 1)
    assert numbers == sorted(numbers)


def check_answer(form: Format, answer: bytes, asked: Sequence[Part], told: Sequence[int]) -> None:
    if form is TEXT:
        assert answer == b"".join(part.data for part in asked)
        return
    lost: list[int] = []
    lines: list[tuple[int, str]] = []
    if form is NDJSON:
        objects = [json.loads(line) for line in answer.split(b"\n")[:-1]]
        lines = [(each["seq"], each["text"]) for each in objects if "seq" in each]
        gaps = [each for each in objects if each.get("event") == "gap"]
    else:
        events = parse_events(answer)
        gaps = [data for name, _, data in events if name == "gap"]
        for name, event_id, data in events:
            if name == "message":
                text = json.loads(data)["text"] if form is JSON_EVENTS else data
                lines.append((int(event_id), text))
    for gap in gaps:
        lost += range(gap["from"], gap["to"] + 1)
    texts = [part.text for part in asked]
    if form is TEXT_EVENTS:
        texts = [text.replace("\r", "\n") for text in texts]
    assert lines == list(zip([part.number for part in asked], texts, strict=True))
    assert lost == told


async def check_resumes(
    broker: LogBroker, case: Case, found: Sequence[Found], parts: Sequence[Part]
) -> None:
    """A resume after any id that was sent completes the answer. A tail does not count then, so
    lines between the parts of its first line come, too."""
    if case.selection.limit is not None or not case.follow:
        return
    asked = [part.number for part in parts if is_asked_for(part, case.selection)]
    for record in found:
        if isinstance(record, Batch | Position):
            after = record.last if isinstance(record, Batch) else record.line
            with broker.read("w", case.selection, after=after) as reading:
                rest = [each async for each in reading]
            assert not any(isinstance(each, Reset) for each in rest)
            shown = [n for b in rest if isinstance(b, Batch) for n in range(b.first, b.last + 1)]
            assert shown == [number for number in asked if number > after]


def one_line(text: str, **options: Any) -> Case:
    """A stored log of one write, and three lines that come one by one."""
    return Case([(text, "stdout")], [], [("a\n", "stdout")] * 3, Selection(**options), True, True)


@pytest.mark.parametrize("short_slices", [True, False], ids=["short slices", "slices"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
@example(case=one_line("b\na\nb\n", filter=Filter("a", regex=True), tail=1))
@example(case=one_line("a\x1b[31mb\n", filter=Filter("ab")))
@example(case=one_line("a\n", until=START + TICK))
@example(case=one_line("a\n", since=START + 3 * TICK))
def test_an_answer_agrees_with_a_naive_filter(short_slices: bool, case: Case) -> None:
    with small_parts(short_slices=short_slices) as clock:
        selection = case.selection
        if selection.filter is not None:
            # Made anew, for the shorter calls of RE2.
            selection = replace(selection, filter=replace(selection.filter))
        trio.run(check, replace(case, selection=selection), clock)
