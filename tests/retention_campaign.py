"""What retention costs in PostgreSQL: `python -m tests.retention_campaign [SECONDS]`.

A store is kept at a bound of compressed bytes while logs grow as fast as they can; the tables must
not grow, too. Beside it, the same rows go into a table that is partitioned by time, of which the
oldest partitions are dropped. PostgreSQL has its own settings of autovacuum.
"""

from __future__ import annotations

import random
import sys
import time
from functools import partial
from itertools import count

import psycopg
import trio

from tests.postgres_server import PostgresServer, running_postgres
from tests.shared_stores import PostgresDatabase
from tests.stores import running
from trio_logs.records import Batch, Outcome, Status, now
from trio_logs.store import Retention, Store

BOUND = 50_000_000
LINES = 200
OK = Outcome(Status.SUCCEEDED, 0)
SETTINGS = {"fsync": "on", "autovacuum": "on", "max_wal_size": "1GB"}


def data_of(rng: random.Random) -> bytes:
    """Lines that compress to about 4 KB."""
    return b"".join(b"%s step %d\n" % (rng.randbytes(8).hex().encode(), n) for n in range(LINES))


async def grow(store: Store, names: count[int], rng: random.Random, deadline: float) -> None:
    """Logs of some hundred batches, one after the other."""
    while trio.current_time() < deadline:
        name, size = f"w{next(names)}", 0
        for number in range(rng.randrange(20, 400)):
            data = data_of(rng)
            size += len(data)
            first = number * LINES + 1
            record = Batch(first, LINES, now(), "stdout", data)
            await store.append(name, [record], expected=first, epoch=0, size=size)
        end = number * LINES + LINES + 1
        await store.append(
            name, [], expected=end, epoch=0, size=size, outcome=OK, finished_at=now()
        )


async def keep(store: Store, deadline: float, spent: list[float]) -> None:
    """Trim as the service does, but each second."""
    while trio.current_time() < deadline:
        start = time.perf_counter()
        while await store.trim(Retention(max_bytes=BOUND)):
            pass
        spent.append(time.perf_counter() - start)
        await trio.sleep(1)


async def report(store: Store, database: PostgresDatabase, deadline: float) -> None:
    start = trio.current_time()
    while trio.current_time() < deadline:
        await trio.sleep(10)
        rows = await trio.to_thread.run_sync(
            database.execute,
            "SELECT pg_total_relation_size('batches'), pg_table_size('logs'),"
            " (SELECT sum(autovacuum_count) FROM pg_stat_all_tables"
            "  WHERE relname LIKE 'pg_toast%' OR relname = 'batches')",
        )
        [(batches, logs, vacuums)] = rows
        held = store.statistics().bytes
        print(
            f"  {trio.current_time() - start:4.0f} s: {held / 1e6:6.1f} MB of lines, batches"
            f" {int(str(batches)) / 1e6:6.1f} MB, logs {int(str(logs)) / 1e6:5.2f} MB,"
            f" {vacuums} vacuums"
        )


async def deletes(server: PostgresServer, seconds: float) -> None:
    database = PostgresDatabase(server)
    rng, names, spent = random.Random(1), count(), list[float]()
    async with running(database.node()) as store:
        deadline = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(grow, store, names, rng, deadline)
            nursery.start_soon(keep, store, deadline, spent)
            nursery.start_soon(report, store, database, deadline)
        commits = store.statistics().commits
        trimmed = store.statistics().batches_trimmed
    took = 1000 * commits.seconds / commits.count
    each = 1e6 * sum(spent) / max(trimmed, 1)
    print(f"  deletes: {commits.count / seconds:.0f} commits/s of {took:.1f} ms")
    print(f"  {trimmed} batches removed in {sum(spent):.1f} s, {each:.0f} us each")


def partitions(server: PostgresServer, seconds: float) -> None:
    """The same rows in partitions of about 10 MB, of which those over the bound are dropped."""
    rng = random.Random(1)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE parts (log bigint, first bigint, count bigint, time bigint, size integer,"
            " flags smallint, stream text, data bytea STORAGE EXTERNAL, part integer,"
            " PRIMARY KEY (log, first, part)) PARTITION BY LIST (part)"
        )
        start, dropped, commits, committing = time.perf_counter(), 0.0, 0, 0.0
        for part in count():
            if time.perf_counter() - start > seconds:
                break
            began = time.perf_counter()
            connection.execute(
                f"CREATE TABLE part{part} PARTITION OF parts FOR VALUES IN ({part})".encode()
            )
            if part >= 5:
                connection.execute(f"DROP TABLE part{part - 5}".encode())
            dropped += time.perf_counter() - began
            for number in range(300):
                rows = [(log, number, rng.randbytes(4000), part) for log in range(8)]
                began = time.perf_counter()
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.executemany(
                        "INSERT INTO parts VALUES (%s, %s, 1, 1, 1, 1, 'stdout', %s, %s)", rows
                    )
                committing += time.perf_counter() - began
                commits += 1
        size = connection.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
        ).fetchone()
    print(
        f"  partitions: {size and float(size[0]) / 1e6:.1f} MB, a commit"
        f" {1000 * committing / commits:.1f} ms, {dropped:.2f} s for {part} partitions"
    )


async def main(seconds: float) -> None:
    print(f"A bound of {BOUND / 1e6:.0f} MB")
    with running_postgres(**SETTINGS) as server:
        await deletes(server, seconds)
        await trio.to_thread.run_sync(partial(partitions, server, min(seconds, 30.0)))


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else 180.0)
