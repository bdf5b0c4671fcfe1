"""Waits of a store: for another program's lock, and for a disk that does not answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest
import structlog
import trio
import trio.testing

from tests.failing_disk import Disk
from tests.failing_disk import disk as disk
from tests.stores import append, append_line, batch, running, workload
from trio_logs.errors import StoreError
from trio_logs.records import Outcome, Status
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.store.sqlite.readers import MAX_READERS

OK = Outcome(Status.SUCCEEDED, 0)


def open_files() -> list[str]:
    """The paths of the files that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


async def expect_error(call: Awaitable[object], match: str) -> None:
    with pytest.raises(StoreError, match=match):
        await call


async def test_another_programs_lock_is_waited_out(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with running(SQLiteStore(path)) as store:
        await append_line(store, "w", 1)
        with closing(apsw.Connection(str(path))) as other:
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(append_line, store, "w", 2)
                nursery.start_soon(store.create, workload("x"))
                # As long as a backup tool may take, and more than SQLite's usual five seconds.
                await trio.sleep(6)
                # Reads go on beside it.
                assert await store.read("w", 1, 10**9) == [batch(1)]
                assert store.statistics().writes_waiting == 2
                assert 5 < store.statistics().oldest_wait < 30
                other.execute("COMMIT")
        assert await store.read("w", 2, 1) == [batch(2)]
        assert store.statistics().writes_failed == 0
        assert store.statistics().oldest_wait == 0.0


async def test_the_wait_for_a_lock_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.store.sqlite.file.LOCK_SECONDS", 0.1)
    path = tmp_path / "x.db"
    async with running(SQLiteStore(path)) as store:
        await append_line(store, "w", 1)
        with closing(apsw.Connection(str(path))) as other:
            other.execute("BEGIN IMMEDIATE")
            with trio.fail_after(5):
                await expect_error(append_line(store, "w", 2), "is locked. End the transaction of")
        await append_line(store, "w", 2)
        assert await store.read("w", 1, 10**9) == [batch(1), batch(2)]


async def test_closing_does_not_wait_for_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with trio.open_nursery() as callers:
        async with running(SQLiteStore(path)) as store:
            other = apsw.Connection(str(path))
            other.execute("BEGIN IMMEDIATE")
            callers.start_soon(expect_error, append_line(store, "w", 1), "is locked")
            await trio.testing.wait_all_tasks_blocked()
            # This one is not in the thread yet.
            callers.start_soon(expect_error, append_line(store, "w", 1), "store is closed")
            await trio.testing.wait_all_tasks_blocked()
            start = time.monotonic()
        assert time.monotonic() - start < 3
    other.close()
    for call in (append_line(store, "w", 1), store.read("w", 1, 1)):
        await expect_error(call, "store is closed")


async def test_a_cancelled_write_leaves_the_queue(tmp_path: Path, disk: Disk) -> None:
    async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as store:
        disk.hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append_line, store, "w", 1)
            await disk.wait_until_hung()
            for _ in range(3):
                async with trio.open_nursery() as retries:
                    for _ in range(100):
                        retries.start_soon(append_line, store, "cancelled", 1)
                    await trio.testing.wait_all_tasks_blocked()
                    assert store.statistics().writes_waiting == 101
                    retries.cancel_scope.cancel()
                assert store.statistics().writes_waiting == 1
            disk.healthy()
        assert await store.log("cancelled") is None
        assert await store.read("w", 1, 1) == [batch(1)]


async def test_a_retry_after_a_cancelled_commit_doubles_nothing(tmp_path: Path, disk: Disk) -> None:
    async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as store:
        disk.hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append_line, store, "w", 1)
            await disk.wait_until_hung()
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append_line, store, "w", 1)
            await trio.testing.wait_all_tasks_blocked()
            assert store.statistics().writes_waiting == 2
            disk.healthy()
        assert await store.read("w", 1, 10**9) == [batch(1)]
        assert store.statistics().bytes == 7


async def test_a_deletion_that_is_cancelled_is_swept(tmp_path: Path, disk: Disk) -> None:
    async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as store:
        await store.create(workload("w"))
        await append(store, "w", [batch(1)], outcome=OK)
        disk.hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.delete, "w")
            await disk.wait_until_hung()
            nursery.cancel_scope.cancel()
        disk.healthy()
        with trio.fail_after(5):
            while store.statistics().bytes:
                await trio.sleep(0.001)


async def test_sweeping_goes_on_after_a_failure_and_never_spins(tmp_path: Path, disk: Disk) -> None:
    store = SQLiteStore(tmp_path / "x.db", synchronous="FULL", vfs=disk.name)
    with structlog.testing.capture_logs() as logged:
        async with running(store):
            await store.create(workload("w"))
            await append(store, "w", [batch(1)], outcome=OK)
            # A commit ends with a sync: what follows meets a full disk.
            disk.hang(frozenset({"sync"}))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.delete, "w")
                await disk.wait_until_hung()
                disk.full()
                disk.release()
                start = trio.current_time()
            with trio.fail_after(5):
                while store.statistics().writes_failed < 3:
                    await trio.sleep(0.001)
            assert trio.current_time() - start >= 0.1 + 0.2
            assert [entry["retry_in"] for entry in logged] == [0.1, 0.2, 0.4][: len(logged)]
            assert store.statistics().bytes == 7
            disk.healthy()
            with trio.fail_after(5):
                while store.statistics().bytes:
                    await trio.sleep(0.001)


async def test_closing_does_not_wait_for_ever_for_a_disk_that_hangs(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.store.sqlite.database.CLOSE_SECONDS", 0.1)
    path = tmp_path / "x.db"
    store = SQLiteStore(path, vfs=disk.name)
    with structlog.testing.capture_logs() as logged:
        async with trio.open_nursery() as callers, running(store):
            disk.hang()
            unknown = append_line(store, "w", 1)
            callers.start_soon(expect_error, unknown, "the disk does not answer")
            await disk.wait_until_hung()
            start = time.monotonic()
    assert time.monotonic() - start < 4
    [entry] = logged
    assert entry["event"].startswith("the disk does not answer")
    assert (entry["path"], entry["unknown_writes"]) == (str(path), 1)
    disk.healthy()
    # The threads close the file once the disk answers: the last one removes the WAL.
    with trio.fail_after(5):
        while path.with_name("x.db-wal").exists():
            await trio.sleep(0.001)
    async with running(SQLiteStore(path)) as store:
        assert await store.read("w", 1, 1) == [batch(1)]


async def test_closing_does_not_wait_for_ever_for_reads_that_hang(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.store.sqlite.database.READS_SECONDS", 0.1)
    async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as store:
        await append_line(store, "w", 1)
        disk.hang(frozenset({"read"}))
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(store.read, "w", 1, 10**9)
            await disk.wait_until_hung()
            # Reads are cancellable at once; those that hang keep their threads.
            nursery.cancel_scope.cancel()
        start = time.monotonic()
    assert time.monotonic() - start < 3
    # The threads that hung close their connections.
    disk.healthy()
    with trio.fail_after(5):
        while any("x.db" in link for link in open_files()):
            await trio.sleep(0.001)


async def test_a_read_that_waits_while_others_hang_fails_at_the_close(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.store.sqlite.database.READS_SECONDS", 0.1)
    errors: list[str] = []

    async def read(store: SQLiteStore) -> None:
        try:
            await store.read("w", 1, 10**9)
        except StoreError as error:
            errors.append(str(error))

    async with trio.open_nursery() as callers:
        async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as store:
            await append_line(store, "w", 1)
            disk.hang(frozenset({"read"}))
            for _ in range(2 * MAX_READERS):
                callers.start_soon(read, store)
            await disk.wait_until_hung()
        disk.healthy()
    assert errors.count("could not read x.db: the store is closed") >= MAX_READERS
