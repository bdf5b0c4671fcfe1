"""What the stores carry: `python -m tests.store_speed [SECONDS]` compares SQLite and PostgreSQL.

The server flushes each commit to the disk, as a real one does; SQLite runs with `NORMAL`, its
default, and with `FULL`, which flushes each commit, too.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import trio

from tests.postgres_server import running_postgres
from tests.shared_stores import PostgresDatabase
from tests.stores import running
from trio_logs.records import Batch, now
from trio_logs.store import Store
from trio_logs.store.sqlite import SQLiteStore

LINE = b"[%7d/9999] CC src/module_%05d/file_%05d.c -O2 -Wall -Iinclude -o build/obj_%05d.o\n"


def lines(first: int, count: int) -> Batch:
    """A batch of made-up lines of a compiler, of about 90 bytes each."""
    data = b"".join(LINE % (n, n % 977, n, n * 7 % 99991) for n in range(first, first + count))
    return Batch(first, count, now(), "stdout", data)


async def write(store: Store, name: str, count: int, deadline: float, done: list[int]) -> None:
    """Append batches of so many lines to a log, one after the other, until the deadline."""
    first, size = 1, 0
    batch = lines(1, count)
    while trio.current_time() < deadline:
        record = Batch(first, count, now(), "stdout", batch.data)
        size += len(batch.data)
        await store.append(name, [record], expected=first, epoch=0, size=size)
        first += count
        done[0] += 1


async def appends(store: Store, what: str, logs: int, count: int, seconds: float) -> None:
    """Print how fast so many logs grow at once."""
    done = [0]
    before, cpu = store.statistics().commits, time.process_time()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(logs):
            name = f"{what}{number}"
            nursery.start_soon(write, store, name, count, start + seconds, done)
    spent = trio.current_time() - start
    after, cpu = store.statistics().commits, time.process_time() - cpu
    commits = after.count - before.count
    print(
        f"  {logs:4} logs x {count:4} lines: {done[0] / spent:9,.0f} appends/s"
        f" {done[0] * count / spent:12,.0f} lines/s, a commit"
        f" {1000 * (after.seconds - before.seconds) / commits:6.2f} ms,"
        f" {1e6 * cpu / done[0]:5.0f} us CPU an append"
    )


async def reads(store: Store, name: str, seconds: float) -> None:
    """Print how fast a log is read from its start."""
    state = await store.log(name)
    assert state is not None
    start, found, calls, first = trio.current_time(), 0, 0, 1
    while trio.current_time() < start + seconds:
        page = await store.read(name, first, 512 * 1024)
        calls += 1
        found += sum(each.last + 1 - each.first for each in page)
        first = page[-1].last + 1 if page and page[-1].last < state.lines else 1
    spent = trio.current_time() - start
    print(f"  reads of 512 KiB: {calls / spent:9,.0f} reads/s {found / spent:12,.0f} lines/s")


async def measure(store: Store, seconds: float) -> None:
    for what, logs, count in (("one", 1, 1), ("few", 50, 640), ("many", 200, 5)):
        await appends(store, what, logs, count, seconds)
    await reads(store, "few0", seconds)
    start, number = trio.current_time(), 0
    while trio.current_time() < start + seconds / 2:
        await store.log("one0")
        number += 1
    print(f"  states of a log: {number / (trio.current_time() - start):9,.0f} reads/s")


async def sizes(database: PostgresDatabase) -> None:
    """Print how many bytes of the database a line takes, with its indexes."""
    paths = [f"{folder}/{name}\n".encode() for folder, name in files(50_000)]
    for what, count in (("together", 1000), ("alone", 1)):
        lines = paths if count > 1 else paths[:20_000]
        async with running(database.node()) as store:
            for first in range(0, len(lines), count):
                piece = lines[first : first + count]
                record = Batch(first + 1, len(piece), now(), "stdout", b"".join(piece))
                await store.append(what, [record], expected=first + 1, epoch=0, size=first)
            held = store.statistics().bytes
        [(size,)] = await trio.to_thread.run_sync(
            database.execute, "SELECT pg_total_relation_size('batches')"
        )
        written = sum(map(len, lines)) / len(lines)
        print(
            f"  paths that arrive {what}: {written:.0f} bytes written, {held / len(lines):.1f}"
            f" compressed, {float(str(size)) / len(lines):.1f} in the database"
        )
        await trio.to_thread.run_sync(database.clear)
        await trio.to_thread.run_sync(database.execute, "VACUUM FULL batches")


def files(count: int) -> Iterator[tuple[str, str]]:
    """The folders and names of files of this machine."""
    found = ((folder, name) for folder, _, names in os.walk("/usr") for name in names)
    return islice(found, count)


async def main(seconds: float) -> None:
    with (
        running_postgres(fsync="on", autovacuum="on", max_wal_size="1GB") as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        stores: dict[str, Callable[[], Store]] = {
            "SQLite, NORMAL": lambda: SQLiteStore(Path(folder, "normal.db")),
            "SQLite, FULL": lambda: SQLiteStore(Path(folder, "full.db"), synchronous="FULL"),
            "PostgreSQL": PostgresDatabase(server).node,
        }
        for name, make in stores.items():
            print(name)
            async with running(make()) as store:
                await measure(store, seconds)
        await sizes(PostgresDatabase(server))


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
