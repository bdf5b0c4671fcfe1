"""A store's life on a disk on which exactly the n-th change fails, for every n.

`python -m tests.disk_campaign` tries every n; `--only N` one of them.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import apsw
import trio

from tests.failing_disk import Disk, failing_disk
from tests.stores import batch, running, workload
from trio_logs.errors import StoreError
from trio_logs.records import Batch, Gap, Outcome, Status
from trio_logs.store import LogState, Retention
from trio_logs.store.sqlite import SQLiteStore

__all__ = ["CODES", "count_changes", "try_failure"]

CODES = {"IOERR": apsw.SQLITE_IOERR, "FULL": apsw.SQLITE_FULL, "READONLY": apsw.SQLITE_READONLY}

T = TypeVar("T")
OK = Outcome(Status.SUCCEEDED, 0, reason="exited")
NOISE = random.Random(1).randbytes(40_000)
"""Does not compress, so that it takes pages of its own."""


class Life:
    """What is done to one store, and what it must hold afterwards."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._expected: dict[str, list[Batch | Gap]] = {}
        self._trimmed = 0

    async def run(self) -> None:
        """Call every method that changes the store; call it again if it fails."""
        await self._again(self._first_start)
        await self._again(self._second_start)
        self._disk.healthy()
        async with running(SQLiteStore(self._path, vfs=self._disk.name)) as store:
            await self._check(store)
            await store.append("after", [batch(1)], expected=1, epoch=0, size=7)

    async def _again(self, start: Callable[[], Awaitable[None]]) -> None:
        """The first start may fail as a whole: then the next one succeeds."""
        try:
            await start()
        except* StoreError as group:
            if "could not open" not in str(group.exceptions[0]):
                raise
            await start()

    async def _first_start(self) -> None:
        async with running(self._store()) as store:
            for record in (batch(1, 3), batch(4, 2), Gap(6, 9, "store", 1), batch(10)):
                await self._append(store, "w", record)
            for number in range(3):
                await self._append(store, "big", self._big(number + 1))
            async with trio.open_nursery() as nursery:
                for name in ("a", "b", "c"):
                    nursery.start_soon(self._append, store, name, batch(1))
            await self._call(lambda: store.create(workload("gone")))
            await self._append(store, "gone", self._big(1))
            await self._end(store, "gone")
            await self._end(store, "w")
            await self._check(store)

    async def _second_start(self) -> None:
        async with running(self._store()) as store:
            await self._append(store, "a", batch(2))
            await self._call(lambda: store.delete("gone"))
            del self._expected["gone"]
            with trio.fail_after(10):
                while store.statistics().bytes > 130_000:
                    await trio.sleep(0.001)
            bound = Retention(max_bytes=80_000)
            while removed := await self._call(lambda: store.trim(bound)):
                self._trimmed += removed
            assert store.statistics().batches_trimmed == self._trimmed > 0
            for name in ("w", "big"):
                await self._forget_trimmed(store, name)
            await self._check(store)
            await self._append(store, "big", self._big(4))
            await self._check(store)

    def _store(self) -> SQLiteStore:
        return SQLiteStore(self._path, synchronous="FULL", vfs=self._disk.name)

    def _big(self, number: int) -> Batch:
        return replace(batch(number), data=NOISE)

    async def _call(self, method: Callable[[], Awaitable[T]]) -> T:
        """One change of the disk fails, so the second call must succeed."""
        try:
            return await method()
        except StoreError:
            return await method()

    async def _append(self, store: SQLiteStore, name: str, record: Batch | Gap) -> None:
        known = self._expected.setdefault(name, [])
        size = sum(len(one.data) for one in [*known, record] if isinstance(one, Batch))

        async def append() -> None:
            await store.append(name, [record], expected=record.first, epoch=0, size=size)

        if record not in known:  # a start that failed begins again
            await self._call(append)
            known.append(record)

    async def _end(self, store: SQLiteStore, name: str) -> None:
        state = await store.log(name)
        assert state is not None

        async def end() -> None:
            await store.append(
                name, [], expected=state.lines + 1, epoch=0, size=state.bytes, outcome=OK
            )

        await self._call(end)

    async def _forget_trimmed(self, store: SQLiteStore, name: str) -> None:
        left = await store.read(name, 1, 10**9)
        count = len(left)
        # Only the oldest may go.
        assert left == self._expected[name][len(self._expected[name]) - count :]
        self._expected[name] = left

    async def _check(self, store: SQLiteStore) -> None:
        """Every append that returned is there, once, and the counters equal a recount."""
        for name, records in self._expected.items():
            assert await store.read(name, 1, 10**9) == records, name
            state = await store.log(name)
            assert isinstance(state, LogState)
            if records:
                assert state.lines == records[-1].last, name
        other = apsw.Connection(str(self._path))
        [(held,)] = other.execute("SELECT COALESCE(sum(length(data)), 0) FROM batches")
        assert store.statistics().bytes == held
        drift = other.execute(
            "SELECT id FROM workloads WHERE held != (SELECT COALESCE(sum(length(data)), 0)"
            " FROM batches WHERE log = number)"
        ).fetchall()
        assert drift == []
        assert other.pragma("integrity_check") == "ok"
        other.close()
        assert store.statistics().writes_waiting == 0


def count_changes() -> int:
    """How many changes of the disk a life makes; about, since threads interleave."""
    return _live(0, apsw.SQLITE_OK)


def try_failure(number: int, code: int) -> None:
    """One life in which that change fails. Raises if anything is wrong afterwards."""
    _live(number, code)


def _live(number: int, code: int) -> int:
    with tempfile.TemporaryDirectory() as folder, failing_disk() as disk:
        disk.fail_nth(number, code)

        async def main() -> None:
            with trio.fail_after(60):
                await Life(Path(folder, "x.db"), disk).run()

        trio.run(main)
        return disk.operations


def main() -> None:
    """Print a line for each code; exit 1 if a change failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.disk_campaign", description=__doc__)
    parser.add_argument("--only", type=int, help="only this change")
    parser.add_argument("--every", type=int, default=1, help="only each K-th change")
    options = parser.parse_args()
    count = count_changes()
    numbers = range(1, count + 1, options.every) if options.only is None else [options.only]
    any_failed = False
    for name, code in CODES.items():
        start = time.monotonic()
        failed = 0
        for number in numbers:
            try:
                try_failure(number, code)
            except Exception as error:  # the next numbers are tried all the same
                failed += 1
                print(f"  --only {number} ({name}): {error!r}")
        taken = time.monotonic() - start
        print(f"{name}: {len(numbers)} changes, {failed} failed, {taken:.0f} s")
        any_failed = any_failed or bool(failed)
    sys.exit(any_failed)


if __name__ == "__main__":
    main()
