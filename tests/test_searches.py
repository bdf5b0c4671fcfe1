"""Searches take turns: two slices at once, first come first served, and a turn is never lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.failing_parts import FailingStore
from tests.live import PATIENCE
from tests.searching import batch_of, expected_search, put
from tests.stores import running
from trio_logs.broker import Finding, Matches, Place, Searches
from trio_logs.broker.sieve import TailSieve
from trio_logs.errors import BusyError
from trio_logs.filtering import Filter
from trio_logs.records import Batch, Gap, Run
from trio_logs.selection import Selection, Tail
from trio_logs.store import Store
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore


class Note:
    """A visitor that notes what it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        self.seen.append(run.first)
        return True


@pytest.fixture
async def store() -> AsyncIterator[FailingStore]:
    async with running(MemoryStore()) as memory:
        await put(memory, "w", [batch_of(n, ["a", "b"]) for n in range(1, 301, 2)])
        yield FailingStore(memory)


class Crowd:
    """Searches of one slice each; `begun` are those that had a turn, in that order."""

    def __init__(self, searches: Searches) -> None:
        self._searches = searches
        self.begun: list[str] = []

    async def search(self, name: str) -> None:
        with self._searches.place() as place:
            await self.search_from(place, name)

    async def search_from(self, place: Place, name: str) -> None:
        await place.wait()
        self.begun.append(name)
        await place.slice("w", 1, 300, Note())


async def test_two_slices_run_at_once_and_the_others_in_turn(store: FailingStore) -> None:
    searches = Searches(store)
    crowd = Crowd(searches)
    store.switch.hang("visit")
    async with trio.open_nursery() as nursery:
        for name in "abcde":
            nursery.start_soon(crowd.search, name)
            await trio.testing.wait_all_tasks_blocked()
        assert crowd.begun == ["a", "b"]
        found = searches.statistics()
        assert (found.running, found.waiting, found.slices) == (2, 3, 2)
        store.switch.hang_again("visit")
        with trio.fail_after(PATIENCE):
            await store.switch.until_called("visit", 4)
        await trio.testing.wait_all_tasks_blocked()
        # Both turns became free in one step, and Trio runs the two tasks in any order.
        assert (crowd.begun[:2], set(crowd.begun[2:])) == (["a", "b"], {"c", "d"})
        store.switch.recover()
    assert crowd.begun[4:] == ["e"]
    found = searches.statistics()
    assert (found.running, found.waiting, found.slices) == (0, 0, 5)


async def test_a_wait_that_is_cancelled_keeps_its_place(store: FailingStore) -> None:
    searches = Searches(store)
    crowd = Crowd(searches)
    store.switch.hang("visit")
    async with trio.open_nursery() as nursery:
        with searches.place() as a, searches.place() as b, searches.place() as place:
            await a.wait()
            await b.wait()
            with trio.move_on_after(0.001):
                await place.wait()
            assert not place.has_turn
            nursery.start_soon(crowd.search, "younger")
            await trio.testing.wait_all_tasks_blocked()
            assert searches.statistics().waiting == 1
            nursery.start_soon(crowd.search_from, place, "place")
            await trio.testing.wait_all_tasks_blocked()
            assert searches.statistics().waiting == 2
            a.__exit__(None, None, None)
            with trio.fail_after(PATIENCE):
                await store.switch.until_called("visit", 1)
            await trio.testing.wait_all_tasks_blocked()
            assert crowd.begun == ["place"]
            store.switch.recover()
            with trio.fail_after(PATIENCE):
                while len(crowd.begun) < 2 or searches.statistics().running > 1:
                    await trio.testing.wait_all_tasks_blocked(0.001)
    assert (searches.statistics().running, searches.statistics().waiting) == (0, 0)


async def test_a_place_that_missed_its_turn_is_the_next(store: FailingStore) -> None:
    """It was elsewhere when the turn was free, and asks again after others."""
    searches = Searches(store)
    crowd = Crowd(searches)
    async with trio.open_nursery() as nursery:
        with ExitStack() as stack:
            a, b, c, d, place = (stack.enter_context(searches.place()) for _ in range(5))
            await a.wait()
            await b.wait()
            with trio.move_on_after(0.001):
                await place.wait()
            nursery.start_soon(c.wait)
            await trio.testing.wait_all_tasks_blocked()
            a.__exit__(None, None, None)
            await trio.testing.wait_all_tasks_blocked()
            assert c.has_turn
            store.switch.hang("visit")
            nursery.start_soon(crowd.search_from, d, "younger")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(crowd.search_from, place, "place")
            await trio.testing.wait_all_tasks_blocked()
            assert crowd.begun == []
            b.__exit__(None, None, None)
            await trio.testing.wait_all_tasks_blocked()
            assert crowd.begun == ["place"]
            nursery.cancel_scope.cancel()
    assert (searches.statistics().running, searches.statistics().waiting) == (0, 0)


async def test_a_place_that_is_left_gives_its_turn_to_others(store: FailingStore) -> None:
    searches = Searches(store)
    with searches.place() as first, searches.place() as second:
        await first.wait()
        await second.wait()
        await second.wait()
        assert first.has_turn
        assert second.has_turn
        with searches.place() as third:
            with trio.move_on_after(0.001):
                await third.wait()
            assert not third.has_turn
            first.__exit__(None, None, None)
            await third.wait()
            assert third.has_turn
    assert searches.statistics().running == 0


async def test_a_ninth_search_is_refused(store: FailingStore) -> None:
    searches = Searches(store)
    contexts = [searches.admit() for _ in range(8)]
    for each in contexts:
        each.__enter__()
    with pytest.raises(BusyError, match="8 searches"), searches.admit():
        pass
    contexts[0].__exit__(None, None, None)
    with searches.admit():
        assert searches.statistics().admitted == 8
    assert searches.statistics().refused == 1


class Slow:
    """A visitor in the middle of a record until it is let go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.seen = 0

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        self.seen += 1
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return True


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_cancelled_slice_returns_at_once_and_sees_no_further_record(
    kind: str, tmp_path: Path
) -> None:
    """Although its thread is still in a record: then the thread ends."""
    made: Store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "x.db")
    async with running(made) as inner:
        await put(inner, "w", [batch_of(n, ["a"]) for n in range(1, 100)])
        searches = Searches(inner)
        slow = Slow()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(searches.slice, "w", 1, 99, slow)
            await trio.to_thread.run_sync(slow.begun.wait)
            nursery.cancel_scope.cancel()
            start = time.monotonic()
        assert time.monotonic() - start < 5
        assert searches.statistics().running == 0
        slow.go_on.set()
        # The threads of the store are free again: all of them, at the same time.
        note = Note()
        await searches.slice("w", 1, 99, note)
        assert len(note.seen) == 99
    assert slow.seen == 1


def test_a_tail_looks_at_a_batch_in_several_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the expression is, a slice ends after one call of RE2."""
    monkeypatch.setattr("trio_logs.broker.sieve.SLICE_SECONDS", 0.0)
    monkeypatch.setattr("trio_logs.filtering.CALL_SECONDS", 1e-9)
    selection = Selection(tail=2, filter=Filter("a", regex=True))
    tail = Tail(selection, 1, 6)
    looking = TailSieve(selection, tail)
    batch = batch_of(1, ["a", "b", "a", "b", "a", "b"])
    for _ in range(5):
        looking.begin()
        assert not looking.see(batch)
        assert (looking.next, tail.done) == (6, False)
    looking.begin()
    assert not looking.see(batch)
    assert (looking.next, tail.start().first) == (0, 3)


@pytest.mark.parametrize("seed", range(20))
async def test_turns_are_neither_lost_nor_doubled(seed: int) -> None:
    """Searches that wait, are cancelled, leave, and come again, at random. In virtual time, by a
    store whose visits take time; at the end, two can search at once."""
    await shuffle_turns(seed)


async def shuffle_turns(seed: int) -> None:
    chance = random.Random(seed)
    running_now = 0

    class Waiting(MemoryStore):
        async def visit(self, *arguments: object, **options: object) -> None:
            nonlocal running_now
            running_now += 1
            assert running_now <= 2
            try:
                for _ in range(chance.randrange(3)):
                    await trio.lowlevel.checkpoint()
            finally:
                running_now -= 1

    searches = Searches(Waiting())

    async def search() -> None:
        for _ in range(4):
            with trio.CancelScope() as scope, searches.place() as place:
                for _ in range(3):
                    nursery.start_soon(cancel_later, scope)
                    with trio.CancelScope() as waiting:
                        nursery.start_soon(cancel_later, waiting)
                        await place.wait()
                    if place.has_turn:
                        await place.slice("w", 1, 1, Note())

    async def cancel_later(scope: trio.CancelScope) -> None:
        for _ in range(chance.randrange(12)):
            await trio.lowlevel.checkpoint()
        if chance.randrange(2):
            scope.cancel()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(search)
        found = searches.statistics()
        assert (found.running, found.waiting) == (0, 0)
        with searches.place() as one, searches.place() as two:
            await one.wait()
            await two.wait()


# Whole searches, at random.


pieces = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "c", "x\x1b[1ma", ""]), min_size=1, max_size=6),
        st.sampled_from(["stdout", "stdout", "stderr", "gap"]),
    ),
    max_size=12,
)


def log_of(made: Sequence[tuple[list[str], str]]) -> list[Batch | Gap]:
    records: list[Batch | Gap] = []
    first = 1
    for lines, stream in made:
        record: Batch | Gap = batch_of(first, lines, stream=stream)
        if stream == "gap":
            record = Gap(first, record.last, "store", 1)
        records.append(record)
        first = record.last + 1
    return records


sizes = st.sampled_from([1, 150, 10**6])


@settings(max_examples=80)
@given(
    made=pieces,
    context=st.integers(0, 5),
    limits=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    stream=st.sampled_from([None, None, "stderr"]),
    slice_bytes=sizes,
    lines_bytes=sizes,
    at_once=st.sampled_from([1, 2, 500]),
)
@example([(["a", "b", "b", "a"], "stdout")] * 3, 2, [4], None, 1, 1, 1)
@example([(["a"], "stdout"), (["b"], "stdout"), (["b", "a"], "stdout")], 2, [4], None, 1, 1, 500)
def test_a_log_is_found_in_pages_of_any_size(
    made: list[tuple[list[str], str]],
    context: int,
    limits: list[int],
    stream: str | None,
    slice_bytes: int,
    lines_bytes: int,
    at_once: int,
) -> None:
    """Page after page, each with its own limit, in slices and pieces of any size: together they are
    the whole."""
    log = log_of(made)
    selection = Selection(filter=Filter("a"), stream=stream)

    async def main() -> list[tuple[str, int, bool]]:
        found: list[tuple[str, int, bool]] = []
        async with running(MemoryStore()) as memory:
            await put(memory, "w", log)
            with Searches(memory).place() as place:
                after, page = 0, 0
                while True:
                    limit = limits[page % len(limits)]
                    finding = Finding(
                        memory, place, "w", selection, after=after, limit=limit, context=context
                    )
                    await finding.load()
                    while not finding.is_over:
                        lines = await finding.step()
                        assert len(lines) <= max(lines_bytes // 100 + 1, 1)
                        found += [("w", one.seq, one.is_context) for one in lines]
                    if not finding.is_limited:
                        return found
                    assert finding.count == limit
                    assert finding.searched > after
                    after, page = finding.searched, page + 1

    bounds = {
        "SLICE_BYTES": slice_bytes,
        "LINES_BYTES": lines_bytes,
        "MATCHES_AT_ONCE": at_once,
    }
    with patch.multiple("trio_logs.broker.finding", **bounds):
        found = trio.run(main)
    assert found == expected_search({"w": log}, "a", context=context, stream=stream)


@settings(max_examples=60)
@given(made=pieces, first=st.integers(1, 40), last=st.none() | st.integers(1, 60), tile_bytes=sizes)
def test_tiles_have_each_line_once(
    made: list[tuple[list[str], str]], first: int, last: int | None, tile_bytes: int
) -> None:
    log = log_of(made)
    head = log[-1].last if log else 0
    selection = Selection(filter=Filter("a"), first=first, last=last)
    stop = head if last is None else min(head, last)

    async def main() -> None:
        async with running(MemoryStore()) as memory:
            await put(memory, "w", log)
            with Searches(memory).place() as place:
                matches = Matches(memory, place, "w", selection, head)
                lines: list[int] = []
                at: list[int] = []
                while (tile := await matches.next()) is not None:
                    lines += range(tile.first, tile.last + 1)
                    at += tile.at
                    assert tile.count == len(tile.at)
        assert lines == list(range(first, stop + 1))
        everything = expected_search({"w": log}, "a")
        assert at == [number for _, number, _ in everything if first <= number <= stop]
        assert matches.count == len(at)

    with patch.multiple("trio_logs.broker.matches", TILE_BYTES=tile_bytes):
        trio.run(main)
