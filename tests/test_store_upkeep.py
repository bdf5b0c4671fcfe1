"""What a store does between commits: checkpoints, which a disk may refuse, and the space of lines
that it has removed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
import structlog
import trio

from tests.failing_disk import Disk
from tests.failing_disk import disk as disk
from tests.stores import append, append_line, append_noise, noise, running, workload
from trio_logs.errors import StoreError
from trio_logs.records import Outcome, Status
from trio_logs.store import Retention
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.upkeep import keep_trimmed

MIB = 1024 * 1024
OK = Outcome(Status.SUCCEEDED, 0)


def size(path: Path) -> int:
    """The bytes of the database and of its write-ahead log."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


async def test_a_disk_that_does_not_sync_takes_no_writes(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "x.db"
    log = path.with_name("x.db-wal")
    async with running(SQLiteStore(path, vfs=disk.name)) as store:
        await append_line(store, "w", 1)
        disk.fail_sync()
        lines = 0
        with pytest.raises(StoreError, match=r"SQLITE_IOERR.*Check its disk") as caught:
            while lines < 200:
                await append_noise(store, "big", lines + 1, 1)
                lines += 1
        assert str(caught.value).startswith("could not commit to x.db")
        # What was committed before stays, and the log does not grow any more.
        largest = log.stat().st_size
        assert largest < 5 * MIB
        for _ in range(3):
            with pytest.raises(StoreError, match="SQLITE_IOERR"):
                await append_line(store, "w", 2)
        assert log.stat().st_size == largest
        assert store.statistics().writes_failed == 4
        assert len(await store.read("big", 1, 10**9)) == lines
        assert path.stat().st_size <= 4096
        disk.healthy()
        await append_line(store, "w", 2)
        # The log has been copied into the file, and begins anew.
        assert path.stat().st_size > 2 * MIB
        await append_noise(store, "big", lines + 1, 60)
        assert log.stat().st_size < largest + 100_000
        assert len(await store.read("big", 1, 10**9)) == lines + 60


async def test_a_checkpoint_that_a_reader_cuts_short_does_not_end_a_failure(
    tmp_path: Path, disk: Disk
) -> None:
    path = tmp_path / "x.db"
    async with running(SQLiteStore(path, vfs=disk.name)) as store:
        await append_line(store, "w", 1)
        with closing(apsw.Connection(str(path))) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM batches").get == 1
            disk.fail_sync()
            with pytest.raises(StoreError, match="SQLITE_IOERR"):
                await append_noise(store, "big", 1, 100)
            # The log syncs, but the reader needs a part of it, so the file does not.
            disk.healthy()
            await append_line(store, "w", 2)
            disk.fail_sync()
        with pytest.raises(StoreError, match="SQLITE_IOERR"):
            await append_line(store, "w", 3)
        disk.healthy()
        await append_line(store, "w", 3)
        assert path.stat().st_size > MIB
        assert len(await store.read("w", 1, 10**9)) == 3


async def test_one_line_says_that_the_disk_does_not_sync(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while nobody writes."""
    monkeypatch.setattr("trio_logs.store.sqlite.log_care.LOOK_SECONDS", 0.001)
    with structlog.testing.capture_logs() as logged:
        async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as store:
            disk.fail_sync()
            with pytest.raises(StoreError, match="SQLITE_IOERR"):
                await append_noise(store, "big", 1, 100)
            with trio.fail_after(10):
                while disk.failures < 10:
                    await trio.sleep(0.001)
            disk.healthy()
            with trio.fail_after(10):
                while (tmp_path / "x.db").stat().st_size < 2 * MIB:
                    await trio.sleep(0.001)
    [entry] = logged
    assert "the write-ahead log can't be copied into the database" in entry["event"]
    assert "SQLITE_IOERR" in entry["error"]


async def test_writers_keep_the_history_within_its_bound(tmp_path: Path) -> None:
    """Without any call of `trim`."""
    path = tmp_path / "x.db"
    bound = 2 * MIB
    highest = largest = 0
    async with running(SQLiteStore(path, max_bytes=bound)) as store:
        await append_noise(store, "finished", 1, 20)
        await append(store, "finished", [], outcome=OK)
        for number in range(1, 201):
            await append_noise(store, f"w{number % 2}", (number + 1) // 2, 1)
            highest = max(highest, store.statistics().bytes)
            largest = max(largest, size(path))
        # One group of writes is beyond the bound until the writer has removed as much.
        assert bound < highest <= bound + 60_000
        # The write-ahead log and free pages have 4 MiB each.
        assert largest <= bound + 9 * MIB
        assert await store.read("finished", 1, 10**9) == []
        # What is left is the newest of each.
        for name in ("w0", "w1"):
            left = await store.read(name, 1, 10**9)
            assert 0 < len(left) < 40
            assert left[-1].last == 100
        assert store.statistics().batches_trimmed == 220 - sum(
            [len(await store.read(name, 1, 10**9)) for name in ("w0", "w1")]
        )


async def test_a_smaller_bound_is_kept_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with running(SQLiteStore(path)) as store:
        await append_noise(store, "w", 1, 150)
    assert size(path) > 8 * MIB
    async with running(SQLiteStore(path, max_bytes=MIB)) as store:
        await append_line(store, "other", 1)
        with trio.fail_after(20):
            # Nobody else writes: the store goes on by itself.
            while store.statistics().bytes > MIB or path.stat().st_size > 6 * MIB:
                await trio.sleep(0.001)


@pytest.mark.parametrize("way", ["delete", "trim"])
async def test_the_file_system_gets_space_back_at_once(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.db"
    async with running(SQLiteStore(path)) as store:
        await store.create(workload("w"))
        await append_noise(store, "w", 1, 250)
        await append(store, "w", [], outcome=OK)
        before = path.stat().st_size
        assert before > 14 * MIB
        if way == "delete":
            await store.delete("w")
        else:
            while await store.trim(Retention(max_bytes=0)):
                pass
        with trio.fail_after(20):
            while path.stat().st_size > 2 * MIB:
                await trio.sleep(0.001)
        # The write-ahead log is reused meanwhile.
        assert size(path) < 8 * MIB
        await append_line(store, "other", 1)


async def test_space_is_given_back_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.MonkeyPatch.context() as patch:
        # A store that is killed before it gives anything back.
        patch.setattr("trio_logs.store.sqlite.free_pages.MANY_PAGES", 10**9)
        async with running(SQLiteStore(path)) as store:
            await append_noise(store, "w", 1, 150)
            while await store.trim(Retention(max_bytes=0)):
                pass
    assert path.stat().st_size > 8 * MIB
    async with running(SQLiteStore(path)):
        with trio.fail_after(20):
            while path.stat().st_size > 2 * MIB:
                await trio.sleep(0.001)


async def test_a_bound_that_no_removal_can_keep_is_no_reason_to_spin(tmp_path: Path) -> None:
    async with running(SQLiteStore(tmp_path / "x.db", max_bytes=1)) as store:
        await append_line(store, "w", 1)
        with trio.fail_after(10):
            while store.statistics().bytes:
                await trio.sleep(0.001)
        commits = store.statistics().commits.count
        await append_line(store, "w", 2)
        assert store.statistics().commits.count <= commits + 2


async def test_other_stores_are_trimmed_before_the_time(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with running(MemoryStore()) as store, trio.open_nursery() as nursery:
        nursery.start_soon(keep_trimmed, store, Retention(max_bytes=100_000))
        await trio.sleep(0.5)
        await append(store, "w", [noise(number) for number in range(1, 5)])
        assert store.statistics().bytes > 200_000
        await trio.sleep(1)
        assert store.statistics().bytes <= 100_000
        nursery.cancel_scope.cancel()
