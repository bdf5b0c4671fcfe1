"""The stores against each other, at random."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.shared_stores import PostgresDatabase
from tests.stores import append, batch, running
from trio_logs.records import Batch, Gap, Run, now
from trio_logs.store import Retention, Store
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

HOUR = 3_600_000_000
"""In microseconds: so long that a test takes next to nothing of it."""

steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(1, 5),
        st.integers(0, 3),
        st.sampled_from(["stdout", "stderr", "gap"]),
        st.sampled_from([0, 0, 0, 1, 4]),
    ),
    max_size=25,
)
hours = st.integers(0, 40).map(lambda number: number * HOUR)


@settings(max_examples=25)
@given(steps, st.integers(1, 60), st.integers(1, 2000), hours, st.none() | hours)
@example([("a", 2, 1, "stdout", 0)] * 5, 2, 3, HOUR, None)
def test_the_stores_agree(
    lasting_postgres: PostgresDatabase,
    written: list[tuple[str, int, int, str, int]],
    first: int,
    size: int,
    moment: int,
    cut: int | None,
) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with (
                running(MemoryStore()) as memory,
                running(SQLiteStore(Path(folder, "x.db"))) as sqlite,
                running(lasting_postgres.node()) as shared,
            ):
                stores: list[Store] = [memory, sqlite, shared]
                heads, time = {"a": 0, "b": 0}, 0
                for name, count, wait, stream, repeated in written:
                    time += wait
                    expected = max(heads[name] + 1 - repeated, 1)
                    record: Batch | Gap = batch(expected, count, time * HOUR, stream)
                    if stream == "gap":
                        record = Gap(expected, record.last, "store", time * HOUR)
                    heads[name] = max(heads[name], record.last)
                    for store in stores:
                        await append(store, name, [record])
                if cut is not None:
                    retention = Retention(max_age=(now() - cut) / 1_000_000)
                    for store in stores:
                        while await store.trim(retention):
                            pass
                for name in heads:
                    for other in (sqlite, shared):
                        assert await memory.log(name) == await other.log(name)
                        found = await memory.read(name, first, size)
                        assert found == await other.read(name, first, size)
                        for last, limit in ((first, 3), (first, 100), (10**9, 2)):
                            runs = await memory.scan(name, last, limit)
                            assert runs == await other.scan(name, last, limit)
                    everything = await memory.read(name, 1, 10**9)
                    limit = size % 7 + 1
                    for last, backwards in ((first, False), (10**9, False), (first + 9, True)):
                        expected = [
                            one for one in everything if one.first <= last and one.last >= first
                        ]
                        expected = expected[::-1] if backwards else expected
                        for store in stores:
                            visitor = Visited(limit)
                            await store.visit(name, first, last, visitor, newest_first=backwards)
                            assert visitor.seen == expected[:limit]
                    for head in (0, *(one.last for one in everything)):
                        position = await memory.find(name, moment, head)
                        assert position == await sqlite.find(name, moment, head)
                        assert position == await shared.find(name, moment, head)
                        check_find(everything, moment, head, position)

    trio.run(main)
    lasting_postgres.clear()


class Visited:
    """Keeps the records that it is shown, up to `limit` of them."""

    def __init__(self, limit: int) -> None:
        self.seen: list[Batch | Gap] = []
        self._limit = limit

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        record = load()
        if isinstance(record, Batch):
            names = ("first", "count", "time", "stream", "partial", "continues")
            assert all(getattr(run, each) == getattr(record, each) for each in names)
        else:
            assert run == record
        self.seen.append(record)
        return len(self.seen) < self._limit


def check_find(everything: list[Batch | Gap], moment: int, head: int, position: int) -> None:
    """`position` parts the lines up to `head` that are older from those that are not."""
    known = [one for one in everything if one.last <= head]
    assert all(one.time < moment for one in known if one.last < position)
    assert all(one.time >= moment for one in known if one.first >= position)
    if not any(one.time < moment for one in known):
        assert position == 1
    elif all(one.time < moment for one in known):
        assert position == head + 1
