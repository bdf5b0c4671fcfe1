"""The data folder: who can read it, what is believed in it, and who uses it."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
import trio
from structlog.testing import capture_logs

from tests.command_line import trio_logs
from tests.server_process import running_server
from tests.stores import append, batch, running, workload
from trio_logs.data_folder import ensure_token, read_address, write_address
from trio_logs.errors import DataFolderError, StoreError
from trio_logs.folder_lock import FolderLock
from trio_logs.private_files import make_private, protect, read_private
from trio_logs.records import Batch, WorkloadSpec
from trio_logs.service import open_service
from trio_logs.settings import Settings
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.store.sqlite.file import LOCK_SECONDS

DATABASE = "trio_logs.db"


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Whatever a file's creator asks for, it gets."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


TOKENS = {"token": 0o600, "token.read-only": 0o600}
PRIVATE = {
    **{DATABASE + suffix: 0o600 for suffix in ("", "-wal", "-shm", "-reserve")},
    "lock": 0o600,
}


async def test_all_files_are_private(tmp_path: Path, no_umask: None) -> None:
    """In a folder that others may look into, as one of systemd; SQLite keeps to the mode that the
    database has when it makes the other files."""
    async with open_service(Settings(data=tmp_path)):
        write_address(tmp_path, "http://127.0.0.1:1")
        assert modes(tmp_path) == {**PRIVATE, **TOKENS, "address": 0o644}


def test_a_file_is_private_from_its_first_byte(tmp_path: Path, no_umask: None) -> None:
    make_private(tmp_path / "new")
    assert modes(tmp_path) == {"new": 0o600}


async def test_files_that_others_could_read_become_private(tmp_path: Path) -> None:
    """Those of an earlier version that was killed, or of a restored backup."""
    async with running(SQLiteStore(tmp_path / DATABASE, has_reserve=True)) as store:
        await store.create(workload("kept"))
        for name in PRIVATE.keys() - {"lock"}:
            (tmp_path / name).chmod(0o644)
            shutil.copy(tmp_path / name, tmp_path / f"{name}.copy")
    for name in PRIVATE.keys() - {"lock"}:
        (tmp_path / f"{name}.copy").replace(tmp_path / name)
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o644)
    (tmp_path / "lock").touch(0o644)
    with capture_logs() as logged:
        async with open_service(Settings(data=tmp_path)) as service:
            assert modes(tmp_path) == {**PRIVATE, **TOKENS}
            assert service.token == "secret"
            assert await service.store.workload("kept") is not None
    told = {each["path"] for each in logged if "other users could open" in each["event"]}
    assert told == {str(tmp_path / name) for name in [*PRIVATE, "token"]}


def of_another_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root can give a file away; for others, this process is another user from now on."""
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        uid = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: uid)


async def opened(folder: Path) -> None:
    async with open_service(Settings(data=folder)):
        pass


def test_root_chooses_who_reads_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a token that an administrator has put there for the group of the service."""
    path = Path("/etc/passwd")
    if os.geteuid() == 0:
        path = tmp_path / "token"
        path.write_text("secret")
        path.chmod(0o640)
        # The service is another user.
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    before = path.stat().st_mode
    with capture_logs() as logged:
        assert read_private(path)
    assert (path.stat().st_mode, logged) == (before, [])


@pytest.mark.parametrize("name", ["lock", *TOKENS, DATABASE, f"{DATABASE}-wal"])
async def test_files_of_another_user_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.touch()
    of_another_user(path, monkeypatch)
    with pytest.RaisesGroup(
        pytest.RaisesExc((DataFolderError, StoreError), match="belongs to another user"),
        flatten_subgroups=True,
        allow_unwrapped=True,
    ):
        await opened(tmp_path)


@pytest.mark.parametrize(
    "name", ["lock", "token", "token.new", DATABASE, f"{DATABASE}-shm", f"{DATABASE}-reserve"]
)
async def test_symbolic_links_are_not_followed(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    data = tmp_path / "data"
    data.mkdir()
    (data / name).symlink_to(victim)
    if name in ("token.new", f"{DATABASE}-reserve"):
        # It only stands in the way of the file that is made.
        await opened(data)
    else:
        with pytest.RaisesGroup(
            pytest.RaisesExc((DataFolderError, StoreError), match="symbolic link"),
            flatten_subgroups=True,
            allow_unwrapped=True,
        ):
            await opened(data)
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("precious", 0o644)


@pytest.mark.parametrize("name", ["address", "address.new"])
def test_the_address_replaces_a_symbolic_link(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / name).symlink_to(victim)
    write_address(tmp_path, "http://127.0.0.1:1")
    assert victim.read_text() == "precious"
    assert read_address(tmp_path) == "http://127.0.0.1:1"
    assert not (tmp_path / "address").is_symlink()


def everyone_may_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o666)


def is_a_link(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (everyone_may_write, "can be written by other users: restart the service"),
        (is_a_link, "symbolic link"),
        (of_another_user, "belongs to another user"),
    ],
)
def test_no_token_is_sent_to_an_address_that_another_user_may_have_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    why: str,
) -> None:
    write_address(tmp_path, "http://127.0.0.1:1")
    spoil(tmp_path / "address", monkeypatch)
    with pytest.raises(DataFolderError, match=why):
        read_address(tmp_path)


def test_a_spoilt_address_is_one_line(tmp_path: Path) -> None:
    write_address(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "address").chmod(0o666)
    found = trio_logs(tmp_path, "ps")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path / 'address'} can be written by other users" in found.stderr


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "is empty"), (b"\xff", "can't use the token in"), (None, "token")]
)
def test_tokens_that_are_none(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "token"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataFolderError, match=why):
        ensure_token(tmp_path / "token")


NAMES = {
    "empty": ("", "--data '': The folder's name is empty"),
    "not UTF-8": ("x\udcff", "is not UTF-8: give another folder"),
    "long": ("/".join(["x" * 100] * 5), "and SQLite takes 490: give a shorter one"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_that_no_service_can_use(tmp_path: Path, kind: str) -> None:
    name, why = NAMES[kind]
    folder = f"{tmp_path}/{name}" if name else ""
    found = trio_logs(tmp_path, "serve", "--bind", "127.0.0.1:0", "--data", folder)
    assert found.returncode in (1, 2)
    assert why in found.stderr.replace("\n", " ")
    assert found.stderr.count("\n") == 1


async def test_the_longest_name(tmp_path: Path) -> None:
    room = 490 - len(os.fsencode(tmp_path)) - 1
    folder = tmp_path.joinpath(*["x" * 99] * (room // 100), "x" * (room % 100 - 1))
    folder = folder.with_name(folder.name + "x" * (490 - len(os.fsencode(folder))))
    assert len(os.fsencode(folder)) == 490
    await opened(folder)
    with pytest.raises(DataFolderError, match="has 491 bytes"):
        await opened(folder.with_name(folder.name + "x"))


async def test_a_lock_that_was_deleted_still_locks(tmp_path: Path) -> None:
    with FolderLock.locked(tmp_path):
        (tmp_path / "lock").unlink()
        with pytest.raises(DataFolderError, match="is in use by process"):
            await opened(tmp_path)
    await opened(tmp_path)


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("other"))
    path.with_name("other").replace(path)


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


@pytest.mark.parametrize(
    ("name", "spoil", "what"),
    [
        (DATABASE, delete, "deleted"),
        (DATABASE, replace, "replaced"),
        (f"{DATABASE}-wal", delete, "deleted"),
        ("lock", delete, "deleted"),
        ("lock", replace, "replaced"),
        (DATABASE, move_folder, "deleted"),
    ],
)
async def test_a_service_ends_when_its_files_are_gone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    spoil: Callable[[Path], None],
    what: str,
) -> None:
    monkeypatch.setattr("trio_logs.folder_lock.LOOK_SECONDS", 0.01)
    data = tmp_path / "data"
    match = f"{'data' if spoil is move_folder else name} was {what} while the service ran"
    with (
        trio.fail_after(20),
        pytest.RaisesGroup(pytest.RaisesExc(DataFolderError, match=match), flatten_subgroups=True),
    ):
        async with open_service(Settings(data=data)) as service:
            await service.engine.submit(WorkloadSpec(("true",)))
            spoil(data / name)
            await trio.sleep_forever()


async def test_a_write_ahead_log_that_sqlite_has_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so when the last connection closes, as after errors of the disk."""
    monkeypatch.setattr("trio_logs.folder_lock.LOOK_SECONDS", 0.01)
    database, log = tmp_path / DATABASE, tmp_path / f"{DATABASE}-wal"
    database.touch()
    log.touch()
    asked: list[bool] = []

    def is_open() -> bool:
        asked.append(len(asked) >= 5)
        return asked[-1]

    with (
        FolderLock.locked(tmp_path) as lock,
        trio.fail_after(20),
        pytest.RaisesGroup(pytest.RaisesExc(DataFolderError, match="-wal was deleted")),
    ):
        async with trio.open_nursery() as nursery:
            await nursery.start(lock.watch, database, is_open)
            log.unlink()
    assert asked == [False] * 5 + [True] * 2


def test_a_database_without_a_write_ahead_log(tmp_path: Path) -> None:
    """As on a file system that can't share memory: none is missed."""
    (tmp_path / DATABASE).touch()
    with FolderLock.locked(tmp_path) as lock:
        assert lock._identify(tmp_path / DATABASE) is None


async def test_the_first_look_at_a_disk_that_hangs_holds_up_no_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, answers, over = threading.Event(), threading.Event(), threading.Event()

    def hang(path: Path) -> os.stat_result:
        reached.set()
        answers.wait(10)
        over.set()
        return os.lstat(path)

    monkeypatch.setattr(Path, "lstat", hang)
    (tmp_path / DATABASE).touch()
    with FolderLock.locked(tmp_path) as lock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lock.watch, tmp_path / DATABASE, lambda: True)
            while not reached.is_set():
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert not over.is_set()
        answers.set()


async def test_a_disk_that_hangs_at_the_start_holds_up_no_cancellation(tmp_path: Path) -> None:
    reached, answers = threading.Event(), threading.Event()

    def hang() -> None:
        reached.set()
        answers.wait(60)

    async def start() -> None:
        async with FolderLock.held(tmp_path, hang):
            raise AssertionError("it still waits for the disk")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        while not reached.is_set():
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert not answers.is_set()
    with pytest.raises(DataFolderError, match="in use"), FolderLock.locked(tmp_path):
        pass
    # The thread lets go of the folder once the disk answers.
    answers.set()
    with trio.fail_after(10):
        while True:
            try:
                async with FolderLock.held(tmp_path, lambda: "then") as (_, then):
                    assert then == "then"
                    return
            except DataFolderError:
                await trio.sleep(0.001)


async def test_a_store_tells_whether_it_is_open(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / DATABASE)
    assert not store.is_open
    async with running(store):
        assert store.is_open


def test_the_loud_end(tmp_path: Path) -> None:
    """With its workloads, and with the reason in one line."""
    with running_server(tmp_path / "data") as server:
        answer = server.post("/v1/workloads", {"command": ["sleep", "50"]})
        assert answer.status_code == 201
        (tmp_path / "data" / DATABASE).unlink()
        assert server.process.wait(30) == 1
    assert server.lines[-1].startswith(f"trio-logs: {tmp_path / 'data' / DATABASE} was deleted")
    assert not any("Traceback" in line for line in server.lines)


@pytest.fixture
def small_log(monkeypatch: pytest.MonkeyPatch) -> int:
    """The bytes to which the write-ahead log is cut."""
    for place in ("file", "transactions"):
        monkeypatch.setattr(f"trio_logs.store.sqlite.{place}.LOG_BYTES", 256 * 1024)
    return 256 * 1024


async def grow(store: SQLiteStore, folder: Path, size: int) -> int:
    """Write to the log `one` while a reader needs the write-ahead log; return the lines."""
    await store.create(workload("one"))
    with closing(apsw.Connection(str(folder / DATABASE))) as reader:
        reader.execute("BEGIN; SELECT count(*) FROM workloads").fetchall()
        number = 0
        while (folder / f"{DATABASE}-wal").stat().st_size <= size:
            number += 1
            line = os.urandom(60_000).replace(b"\n", b"") + b"\n"
            await append(store, "one", [Batch(number, 1, 0, "stdout", line)])
    return number


async def test_the_write_ahead_log_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_log: int
) -> None:
    """No write comes that would cut it. Until then, a cut waits for no reader, since writes would
    wait for the cut."""
    monkeypatch.setattr("trio_logs.store.sqlite.log_care.LOOK_SECONDS", 0.01)
    async with running(SQLiteStore(tmp_path / DATABASE)) as store:
        with trio.fail_after(LOCK_SECONDS - 5):
            number = await grow(store, tmp_path, 4 * small_log)
            while (tmp_path / f"{DATABASE}-wal").stat().st_size > small_log:
                await trio.sleep(0.01)
        # It still writes, and has what it had.
        await append(store, "one", [batch(number + 1)])
        state = await store.log("one")
        # It still waits for a lock of another program.
        monkeypatch.setattr("trio_logs.store.sqlite.file.LOCK_SECONDS", 0.3)
        with closing(apsw.Connection(str(tmp_path / DATABASE))) as other:
            other.execute("BEGIN IMMEDIATE")
            start = trio.current_time()
            with pytest.raises(StoreError, match="locked"):
                await append(store, "one", [batch(number + 2)])
            assert trio.current_time() - start >= 0.3
    assert state is not None
    assert state.lines == number + 1


async def test_sqlite_cuts_the_write_ahead_log_at_a_later_write(
    tmp_path: Path, small_log: int
) -> None:
    async with running(SQLiteStore(tmp_path / DATABASE)) as store:
        # SQLite copies a log of 1,000 pages, which are 4 MiB.
        number = await grow(store, tmp_path, 5 * 1024 * 1024)
        # The first one copies the log into the database, the second one begins it anew.
        for more in (1, 2):
            await append(store, "one", [batch(number + more)])
        assert (tmp_path / f"{DATABASE}-wal").stat().st_size <= small_log


@pytest.mark.parametrize("name", [DATABASE, f"{DATABASE}-shm"])
async def test_a_look_at_a_file_keeps_the_locks_of_sqlite(tmp_path: Path, name: str) -> None:
    """The writer looks at the files when it opens them again, while others read."""
    program = (
        "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    async with running(SQLiteStore(tmp_path / DATABASE)):
        protect(tmp_path / name)
        command = [sys.executable, "-S", "-c", program, str(tmp_path / name)]
        found = await trio.run_process(command, capture_stderr=True, check=False)
    assert b"BlockingIOError" in found.stderr
