"""The service's hold on its data folder: a lock, and a look now and then whether it is still there.

Two services on one history would number the same lines twice, and the second would end the
workloads of the first. A history that was deleted takes writes, and loses them all.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from .data_folder import check_data_folder
from .errors import DataFolderError
from .private_files import open_private
from .threads import Threads

__all__ = ["FolderLock"]

LOOK_SECONDS = 1.0
"""Seconds between two looks at the files."""

CLOSE_SECONDS = 1.0
"""Seconds that the release of the lock may take."""

T = TypeVar("T")


class FolderLock:
    """A locked data folder. `locked` makes it."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._identities = {
            folder: _identity(folder.stat()),
            folder / "lock": _identity(os.fstat(lock)),
        }
        self._missing = 0

    @classmethod
    @contextmanager
    def locked(cls, folder: Path) -> Iterator[FolderLock]:
        """Lock the folder, which is created if there is none.

        Raises DataFolderError if another process holds the lock, or if the folder can't be used.
        """
        check_data_folder(folder)
        with ExitStack() as stack:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                whole = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, whole)
                lock = open_private(folder / "lock", os.O_RDWR | os.O_CREAT)
                stack.callback(os.close, lock)
            except OSError as error:
                raise DataFolderError(f"can't use the data folder {folder}: {error}") from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The folder, too: the file may be deleted while the service runs.
                _lock_folder(whole)
            except OSError:
                pid = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
                raise DataFolderError(
                    f"the data folder {folder} is in use by process {pid}: stop it, or give"
                    " another folder with --data"
                ) from None
            # The number is for a message only, and a full disk has no room for it.
            with suppress(OSError):
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            yield cls(folder, lock)

    @classmethod
    @asynccontextmanager
    async def held(cls, folder: Path, then: Callable[[], T]) -> AsyncIterator[tuple[FolderLock, T]]:
        """As `locked`, and the result of `then`, both in a thread: a disk that does not answer
        holds up no cancellation. Raises DataFolderError, and the errors of `then`."""
        threads = Threads("data folder at the start", 1)
        try:
            threads.start()
        except RuntimeError as error:
            raise DataFolderError(f"can't use the data folder {folder}: {error}") from error
        stack = ExitStack()

        def take() -> tuple[FolderLock, T]:
            return stack.enter_context(cls.locked(folder)), then()

        try:
            yield await threads.run(take, abandon_on_cancel=True)
        finally:
            # In the same thread: so it comes after a `take` that was given up.
            closing = threads.submit(stack.close)
            threads.close()
            deadline = trio.current_time() + CLOSE_SECONDS
            with trio.CancelScope(deadline=deadline, shield=True):
                await closing.wait()

    @classmethod
    @asynccontextmanager
    async def held_at_once(
        cls, folder: Path, then: Callable[[], T]
    ) -> AsyncIterator[tuple[FolderLock, T]]:
        """As `held`, in this thread."""
        with cls.locked(folder) as lock:
            yield lock, then()

    async def watch(
        self,
        database: Path | None,
        is_open: Callable[[], bool],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Look at the folder, its lock and a SQLite database in use, until cancelled. It has
        started once it knows them.

        `is_open`: whether the database has a connection that writes. SQLite may remove the
        write-ahead log if it has none, as after errors of the disk. Any thread may ask.

        Raises DataFolderError once one of the files is missing or was replaced.
        """
        # The thread has to exist before a limit on processes is reached; see `threads`.
        threads = Threads("data folder", 1)
        threads.start()
        try:
            log = None
            if database is not None:
                identify = partial(self._identify, database)
                log = await threads.run(identify, abandon_on_cancel=True)
            task_status.started()
            while True:
                await trio.sleep(LOOK_SECONDS)
                await threads.run(partial(self._look, log, is_open), abandon_on_cancel=True)
        finally:
            threads.close()

    def _identify(self, database: Path) -> Path | None:
        """Have the database looked at, too; return the path of its write-ahead log. None where the
        file system can't share memory: there, SQLite has no such log."""
        try:
            self._identities[database] = _identity(database.lstat())
        except FileNotFoundError:
            raise _gone(database, "deleted") from None
        log = database.with_name(f"{database.name}-wal")
        return log if log.exists() else None

    def _look(self, log: Path | None, is_open: Callable[[], bool]) -> None:
        for path, identity in self._identities.items():
            found = _find(path, identity, follow=path == self._folder)
            if found != identity:
                raise _gone(path, "deleted" if found is None else "replaced")
        if log is not None:
            # Twice in a row: the connection may have been opened just now.
            self._missing = 0 if _find(log, (0, 0)) or not is_open() else self._missing + 1
            if self._missing > 1:
                raise _gone(log, "deleted")


def _gone(path: Path, what: str) -> DataFolderError:
    return DataFolderError(
        f"{path} was {what} while the service ran, so later records would be lost: the service"
        " ends. Restore it from a backup, or start with an empty data folder"
    )


def _find(path: Path, unknown: tuple[int, int], *, follow: bool = False) -> tuple[int, int] | None:
    """What tells a file from another one with its name; None if it is missing, and `unknown` if the
    disk does not say."""
    try:
        return _identity(path.stat(follow_symlinks=follow))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return unknown


def _lock_folder(descriptor: int) -> None:
    """Lock an open folder. Raises BlockingIOError if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # a network file system locks only files that are open for writing


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
