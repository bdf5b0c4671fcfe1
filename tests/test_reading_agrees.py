"""Random selections of random logs: a reading delivers what a naive filter of the whole log does,
in history, live, and across the seam."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trio_logs import Batch, End, Gap, open_broker
from trio_logs.broker import BrokerLimits, Found
from trio_logs.filtering import Filter
from trio_logs.lines import LineSplitter
from trio_logs.records import Position, Stop
from trio_logs.selection import Selection
from trio_logs.store.memory import MemoryStore

PIECES = ["a", "b", "ab", "\n", "\n", "\r", "\r\n", "\x1b[31m", "é", "aaaaaaaaaaaa"]
WRITES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
        st.sampled_from(["stdout", "stderr"]),
    ),
    max_size=8,
)
FILTERS = st.none() | st.builds(
    Filter,
    st.sampled_from(["a", "ab", "b$", "^a", "A", "é", "a.*b"]),
    regex=st.booleans(),
    case=st.booleans(),
    invert=st.booleans(),
)
LINE = st.none() | st.integers(1, 20)


@dataclass(frozen=True)
class Part:
    number: int
    stream: str
    text: str
    data: bytes
    line: tuple[str, int]
    """The same for all parts of an over-long line."""


def parts_of(batches: Sequence[Batch | Gap]) -> Iterator[Part]:
    lines: dict[str, int] = {}
    for batch in batches:
        if isinstance(batch, Gap):
            continue
        rest = batch.data
        for number in range(batch.first, batch.last + 1):
            data, newline, rest = rest.partition(b"\n")
            if not (batch.continues and number == batch.first):
                lines[batch.stream] = number
            line = batch.stream, lines.setdefault(batch.stream, number)
            text = (data.removesuffix(b"\r") if newline else data).decode(errors="replace")
            yield Part(number, batch.stream, text, data + newline, line)


def is_asked_for(part: Part, selection: Selection) -> bool:
    if not selection.first <= part.number <= (selection.last or 10**9):
        return False
    if selection.stream not in (None, part.stream):
        return False
    if (found := selection.filter) is None:
        return True
    pattern = found.text if found.regex else re.escape(found.text)
    # `$` is the very end.
    pattern = pattern.replace("$", r"\Z")
    flags = re.DOTALL if found.case else re.DOTALL | re.IGNORECASE
    # A part may end within an escape, which loses its start only.
    visible = re.sub(r"\x1b\[(31m)?", "", part.text)
    return (re.search(pattern, visible, flags) is not None) != found.invert


def expected(parts: Sequence[Part], selection: Selection, head: int, *, follow: bool) -> list[Part]:
    asked = [part for part in parts if is_asked_for(part, selection)]
    if not follow:
        asked = [part for part in asked if part.number <= head]
    if selection.tail is not None:
        known = [part for part in asked if part.number <= head]
        # The order of lines is that of their last parts.
        order = sorted({part.line for part in known}, key=lambda line: _last(known, line))
        kept = set(order[len(order) - min(selection.tail, len(order)) :])
        asked = [part for part in asked if part.line in kept or part.number > head]
    if selection.limit is not None:
        order = list(dict.fromkeys(part.line for part in asked))
        asked = [part for part in asked if part.line in order[: selection.limit]]
    return asked


def _last(parts: Sequence[Part], line: tuple[str, int]) -> int:
    return max(part.number for part in parts if part.line == line)


def check(
    found: Sequence[Found], asked: Sequence[Part], everything: Sequence[Part], selection: Selection
) -> None:
    batches = [record for record in found if isinstance(record, Batch)]
    shown = list(parts_of(batches))
    assert [part.number for part in shown] == [part.number for part in asked]
    assert [part.data for part in shown] == [part.data for part in asked]
    numbers = [record.line for record in found if isinstance(record, Position)]
    assert numbers == sorted(numbers)
    ends = [record for record in found if isinstance(record, End | Stop)]
    assert len(ends) <= 1
    assert all(record is found[-1] for record in ends)
    if ends and isinstance(ends[0], Stop) and ends[0].reason == "limit":
        # From there on, the rest of what is asked for comes.
        without = Selection(
            stream=selection.stream,
            first=selection.first,
            last=selection.last,
            filter=selection.filter,
        )
        rest = {part.number for part in everything if is_asked_for(part, without)}
        first = min((part.number for part in asked), default=0)
        left = {number for number in rest if number >= first} - {p.number for p in asked}
        if selection.tail is None:
            assert all(number >= ends[0].next for number in left)


async def run(
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
    selection: Selection,
    *,
    follow: bool,
    has_window: bool,
) -> None:
    store = MemoryStore()
    limits = None if has_window else BrokerLimits(0, 0)
    async with open_broker(store, limits) as broker:

        async def write(writes: list[tuple[str, str]]) -> None:
            with await broker.open("w") as log:
                for text, stream in writes:
                    await log.write(text, stream)
                    # A batch for each write.
                    await log.flush()

        await write(before)
        head = await broker.head("w")
        found: list[Found] = []
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    with broker.read("w", selection, follow=follow) as reading:
                        started.set()
                        async for record in reading:
                            found.append(record)

                started = trio.Event()
                nursery.start_soon(read)
                await started.wait()
                await trio.testing.wait_all_tasks_blocked(0.0005)
                await write(after)
                await broker.close("w")
        stored = await store.read("w", 1, 10**9)
        everything = list(parts_of(stored))
        asked = expected(everything, selection, head, follow=follow)
        check(found, asked, everything, selection)
        if follow and selection.last is None and selection.limit is None:
            assert isinstance(found[-1], End)
        if not follow and selection.last is not None and selection.limit is None:
            last = found[-1]
            assert isinstance(last, End) or (isinstance(last, Stop) and last.reason == "to")
        await check_resumes(broker, found, everything, selection, follow=follow)


async def check_resumes(
    broker: Any, found: list[Found], parts: Sequence[Part], selection: Selection, *, follow: bool
) -> None:
    """A resume after any id that was sent completes the answer. A tail does not count then, so
    lines between the parts of its first line come, too."""
    if selection.limit is not None or not follow:
        return
    asked = [part for part in parts if is_asked_for(part, selection)]
    for record in found:
        if isinstance(record, Batch | Position):
            after = record.last if isinstance(record, Batch) else record.line
            with broker.read("w", selection, after=after) as reading:
                rest = [each async for each in reading]
            shown = [n for b in rest if isinstance(b, Batch) for n in range(b.first, b.last + 1)]
            assert shown == [part.number for part in asked if part.number > after]


@pytest.mark.parametrize("has_window", [True, False], ids=["window", "store"])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=WRITES,
    after=WRITES,
    first=LINE,
    last=LINE,
    stream=st.sampled_from([None, "stdout", "stderr"]),
    found=FILTERS,
    tail=st.none() | st.integers(0, 5),
    limit=st.none() | st.integers(0, 5),
    follow=st.booleans(),
)
def test_a_reading_agrees_with_a_naive_filter(
    has_window: bool,
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
    first: int | None,
    last: int | None,
    stream: str | None,
    found: Filter | None,
    tail: int | None,
    limit: int | None,
    follow: bool,
    short_lines: None,
) -> None:
    if last is not None and first is not None:
        first, last = sorted((first, last))
    selection = Selection(
        tail=tail, stream=stream, first=first or 1, last=last, filter=found, limit=limit
    )
    follow = follow and last is None
    trio.run(lambda: run(before, after, selection, follow=follow, has_window=has_window))


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of more than 8 bytes come in parts, and a batch has 3 lines at most."""
    monkeypatch.setattr(LineSplitter.__init__, "__defaults__", (8, 3))
