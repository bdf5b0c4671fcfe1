"""What a store does while its disk or its file can't be used, and after it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import apsw
import pytest
import trio
import trio.testing

from tests.disk_campaign import CODES, try_failure
from tests.failing_disk import Disk
from tests.failing_disk import disk as disk
from tests.full_disk import fill_and_free
from tests.stores import append, append_line, batch, running, workload
from trio_logs.errors import FencedError, StoreError
from trio_logs.store.sqlite import SQLiteStore


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("full", "injected SQLITE_FULL. Make room on its disk."),
        ("failing", "injected SQLITE_IOERR. Check its disk."),
        ("read_only", "injected SQLITE_READONLY. Let the service read and write"),
    ],
)
async def test_a_failure_is_confined_to_its_write(
    tmp_path: Path, disk: Disk, fault: str, message: str
) -> None:
    path = tmp_path / "x.db"
    async with running(SQLiteStore(path, vfs=disk.name)) as store:
        await store.create(workload("w"))
        await append(store, "w", [batch(1)])
        getattr(disk, fault)()
        for failed in range(1, 4):
            # The first error is the cause, not "cannot rollback - no transaction is active".
            with pytest.raises(StoreError) as caught:
                await append_line(store, "w", 2)
            assert str(caught.value).startswith(f"could not commit to {path.name}: {message}")
            assert isinstance(caught.value.__cause__, apsw.Error)
            assert store.statistics().writes_failed == failed
        with pytest.raises(StoreError, match=message):
            await store.delete("w")
        assert store.statistics().bytes == 7
        disk.healthy()
        await append_line(store, "w", 2)
        assert await store.read("w", 1, 10**9) == [batch(1), batch(2)]
        assert store.statistics().bytes == 14
        assert await store.workload("w") is not None


async def test_reads_fail_alone_and_recover(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "x.db"
    written = [batch(number) for number in range(1, 101)]
    async with running(SQLiteStore(path, vfs=disk.name)) as store:
        await append(store, "w", written)
        disk.failing()
        with pytest.raises(StoreError, match=f"could not read {path.name}: injected SQLITE_IOERR"):
            await store.read("w", 1, 10**9)
        disk.healthy()
        for _ in range(10):
            assert await store.read("w", 1, 10**9) == written


async def test_an_innocent_write_of_a_failed_group_succeeds(tmp_path: Path, disk: Disk) -> None:
    failed: dict[str, Exception] = {}

    async def attempt(name: str, number: int, epoch: int = 0) -> None:
        try:
            await store.append(name, [batch(number)], expected=number, epoch=epoch, size=7 * number)
        except (FencedError, ValueError) as error:
            failed[name] = error

    async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as store:
        before = store.statistics().commits.count
        disk.hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, "first", 1)
            await disk.wait_until_hung()
            # These wait, so they come in one group.
            for number in range(5):
                nursery.start_soon(attempt, f"innocent{number}", 1)
            nursery.start_soon(attempt, "missing", 3)
            nursery.start_soon(attempt, "fenced", 1, 7)
            await trio.testing.wait_all_tasks_blocked()
            assert store.statistics().writes_waiting == 8
            disk.healthy()
        assert {name: type(error) for name, error in failed.items()} == {
            "missing": FencedError,
            "fenced": FencedError,
        }
        for number in range(5):
            assert await store.read(f"innocent{number}", 1, 1) == [batch(1)]
        assert await store.log("missing") is None
        assert store.statistics().bytes == 6 * 7
        # The refused ones are no failures of the store.
        assert store.statistics().writes_failed == 0
        assert store.statistics().commits.count == before + 6


async def test_a_large_group_is_given_up_soon_on_a_dead_disk(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each error of a dying disk may take seconds.
    monkeypatch.setattr("trio_logs.store.sqlite.writer.APART_SECONDS", 0)
    failed: list[StoreError] = []

    async def attempt(name: str) -> None:
        with pytest.raises(StoreError, match="SQLITE_IOERR") as caught:
            await append_line(store, name, 1)
        failed.append(caught.value)

    async with running(SQLiteStore(tmp_path / "x.db", vfs=disk.name)) as store:
        disk.hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, "first")
            await disk.wait_until_hung()
            for number in range(50):
                nursery.start_soon(attempt, f"w{number}")
            await trio.testing.wait_all_tasks_blocked()
            disk.failing()
            disk.release()
        # No two tasks raise one exception: each adds its own traceback.
        assert len({id(error) for error in failed}) == 51
        assert disk.failures < 10
        assert store.statistics().writes_failed == 51
        disk.healthy()
        await append_line(store, "w0", 1)


async def test_a_programming_error_at_the_start_is_raised_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.store.sqlite.logs.Logs.load", None)
    with pytest.RaisesGroup(TypeError, flatten_subgroups=True):
        async with running(SQLiteStore(tmp_path / "x.db")):
            pass


async def test_threads_start_with_the_store_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with running(SQLiteStore(tmp_path / "x.db")) as store:
        # As under a limit on processes.
        monkeypatch.setattr(threading.Thread, "start", refuse)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(append_line, store, f"w{number}", 1)
                nursery.start_soon(store.read, "w", 1, 1)
        await store.create(workload("x"))
        await store.delete("x")
        assert await store.read("w19", 1, 1) == [batch(1)]
    store = SQLiteStore(tmp_path / "x.db")
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="can't start new thread")):
        async with running(store):
            pass


async def test_a_file_system_fills_up_and_gets_room(tmp_path: Path, disk: Disk) -> None:
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-m", "-r"]
    mount = ["mount", "-t", "tmpfs", "none", str(tmp_path)]
    try:
        probe = await trio.run_process([*namespace, *mount], check=False, capture_stderr=True)
        can_mount = probe.returncode == 0
    except FileNotFoundError:
        can_mount = False
    if can_mount:
        command = [*namespace, sys.executable, "-m", "tests.full_disk", str(tmp_path)]
        done = await trio.run_process(command, capture_stdout=True)
        assert done.stdout == b"filled and freed\n"
    else:
        await fill_and_free(tmp_path / "x.db", disk.full, disk.healthy, vfs=disk.name)


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_one_change_fails(code: int) -> None:
    # Each code tries other changes; `python -m tests.disk_campaign` tries all.
    for number in range(1 + list(CODES.values()).index(code) * 17, 560, 51):
        try_failure(number, code)
