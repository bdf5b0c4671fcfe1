"""A full disk is left from within: the reserve gives deletions their room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
import trio

from tests.failing_disk import Disk
from tests.failing_disk import disk as disk
from tests.stores import append, append_line, append_noise, batch, noise, running, workload
from trio_logs.errors import StoreError
from trio_logs.records import Outcome, Status
from trio_logs.store import Retention
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.store.sqlite.reserve import RESERVE_BYTES

RESERVE = "x.db-reserve"
FULL = "Make room on its disk."
OK = Outcome(Status.SUCCEEDED, 0)


@contextmanager
def no_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The disk has none for the reserve meanwhile."""

    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        yield


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is looked at each time."""
    monkeypatch.setattr("trio_logs.store.sqlite.writer.ROOM_SECONDS", 0)


async def test_only_deletions_may_use_the_last_room(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = tmp_path / RESERVE
    store = SQLiteStore(tmp_path / "x.db", vfs=disk.name, has_reserve=True)
    with structlog.testing.capture_logs() as logged:
        async with running(store):
            room = os.statvfs(tmp_path)
            size = min(RESERVE_BYTES, room.f_blocks * room.f_frsize // 8)
            assert reserve.stat().st_blocks * 512 >= size
            for name in ("a", "b"):
                await store.create(workload(name))
                await append_noise(store, name, 1, 30)
                await append(store, name, [], outcome=OK)
            await append_line(store, "w", 1)
            with no_room(monkeypatch):
                disk.full_beside(reserve)
                for _ in range(3):
                    with pytest.raises(StoreError, match=FULL):
                        await append_line(store, "w", 2)
                    with pytest.raises(StoreError, match=FULL):
                        await store.create(workload("c"))
                assert not reserve.exists()
                await store.delete("a")
                with trio.fail_after(10):
                    # Its lines go, and the file shrinks to what the other has.
                    while (tmp_path / "x.db").stat().st_size > 36 * 60_000:
                        await trio.sleep(0.001)
                assert await store.workload("a") is None
                assert len(await store.read("b", 1, 10**9)) == 30
                # A smaller bound works, too.
                while await store.trim(Retention(max_bytes=1000)):
                    pass
                assert store.statistics().bytes <= 1000
                with pytest.raises(StoreError, match=FULL):
                    await append_line(store, "w", 2)
            # There is room again, so the reserve returns first.
            disk.healthy()
            await append_line(store, "w", 2)
            assert reserve.exists()
            assert await store.read("w", 1, 10**9) == [batch(1), batch(2)]
    assert [entry["event"].split(":")[0] for entry in logged] == [
        "the disk is full",
        "the disk has room again",
    ]


async def test_innocent_deletions_of_a_group_that_meets_a_full_disk(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(number: int) -> None:
        with pytest.raises(StoreError, match=FULL):
            await append_line(store, f"w{number}", 1)

    store = SQLiteStore(tmp_path / "x.db", vfs=disk.name, has_reserve=True)
    async with running(store):
        await store.create(workload("a"))
        await append(store, "a", [batch(1)], outcome=OK)
        with no_room(monkeypatch):
            disk.full_beside(tmp_path / RESERVE)
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(refused, number)
                nursery.start_soon(store.delete, "a")
            assert await store.workload("a") is None
            assert await store.log("w0") is None
            disk.healthy()


async def test_the_start_on_a_full_disk(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    async with running(SQLiteStore(path, vfs=disk.name, has_reserve=True)) as store:
        await append(store, "w", [noise(number) for number in range(1, 51)])
    with no_room(monkeypatch):
        disk.full_beside(tmp_path / RESERVE)
        store = SQLiteStore(path, vfs=disk.name, has_reserve=True, max_bytes=100_000)
        async with running(store):
            with trio.fail_after(10):
                while store.statistics().bytes > 100_000 or path.stat().st_size > 400_000:
                    await trio.sleep(0.001)
            disk.healthy()


async def test_a_start_that_fails_for_another_reason(tmp_path: Path, disk: Disk) -> None:
    async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name, has_reserve=True)):
        pass
    disk.failing()
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="Check its disk")):
        async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name, has_reserve=True)):
            pass


async def test_a_reserve_that_an_operator_deletes_is_released(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its room is for deletions, too."""
    with structlog.testing.capture_logs() as logged:
        async with running(
            SQLiteStore(tmp_path / "x.db", vfs=disk.name, has_reserve=True)
        ) as store:
            await store.create(workload("a"))
            await append(store, "a", [batch(1)], outcome=OK)
            with no_room(monkeypatch):
                disk.full()
                (tmp_path / RESERVE).unlink()
                with pytest.raises(StoreError, match=FULL):
                    await append_line(store, "w", 1)
                # The disk has a little room now, but not enough for the reserve.
                disk.healthy()
                with pytest.raises(StoreError, match=FULL):
                    await append_line(store, "w", 1)
                await store.delete("a")
            await append_line(store, "w", 1)
            assert (tmp_path / RESERVE).exists()
    assert [entry["event"].split(":")[0] for entry in logged] == [
        "the disk is full",
        "the disk has room again",
    ]


async def test_a_disk_without_room_for_the_reserve(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store works, and each write is tried, as the disk may have a little room."""
    with no_room(monkeypatch):
        async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name, has_reserve=True)) as s:
            assert not (tmp_path / RESERVE).exists()
            await append_line(s, "w", 1)
            disk.full()
            with pytest.raises(StoreError, match=FULL):
                await append_line(s, "w", 2)
            disk.healthy()
            await append_line(s, "w", 2)
