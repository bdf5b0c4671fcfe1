"""A disk that fails when a test wants it to: one of SQLite's virtual file systems.

It passes every operation on to the default VFS, https://sqlite.org/vfs.html, or fails it. Open a
store on it with `SQLiteStore(path, vfs=disk.name)`. The shared memory of the WAL is not part of it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

__all__ = ["Disk", "disk", "failing_disk"]

CHANGES = frozenset({"open", "write", "sync", "truncate", "delete"})
"""The operations that `fail_nth` counts, and that hang or are slow. The other one is "read"."""

HANG_SECONDS = 60
"""A test that forgets `healthy` gets its threads back after this."""

_numbers = itertools.count()


class Disk(apsw.VFS):  # type: ignore[misc]  # apsw.VFS has no type here
    """The methods switch it, at any time and from any thread."""

    def __init__(self) -> None:
        self.name = f"failing-disk-{next(_numbers)}"
        super().__init__(self.name, "")
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._act: Callable[[str], None] = self._pass
        self.operations = 0
        """The `CHANGES` since `fail_nth`, or since the start."""
        self.failures = 0
        """The operations that failed since the start."""
        self.is_reached = threading.Event()
        """Set once an operation hangs."""

    def healthy(self) -> None:
        """Let every operation pass, those that hang now included."""
        self._act = self._pass
        self.release()

    def release(self) -> None:
        """Let the operations that hang now pass; later ones meet what is switched on then."""
        self._released.set()

    def full(self) -> None:
        """Fail each write with SQLITE_FULL."""
        self._act = self._failing({"write"}, apsw.SQLITE_FULL)

    def failing(self) -> None:
        """Fail each operation with SQLITE_IOERR, reads too."""
        self._act = self._failing({*CHANGES, "read"}, apsw.SQLITE_IOERR)

    def full_beside(self, path: Path) -> None:
        """Fail each write with SQLITE_FULL while that file is there: it has the last room."""

        def act(operation: str) -> None:
            if operation == "write" and path.exists():
                self._fail(apsw.SQLITE_FULL)

        self._act = act

    def fail_sync(self) -> None:
        """Fail each sync with SQLITE_IOERR."""
        self._act = self._failing({"sync"}, apsw.SQLITE_IOERR)

    def read_only(self) -> None:
        """Fail each change with SQLITE_READONLY."""
        self._act = self._failing(CHANGES, apsw.SQLITE_READONLY)

    def slow(self, seconds: float) -> None:
        """Let each change take so long."""

        def act(operation: str) -> None:
            if operation in CHANGES:
                time.sleep(seconds)

        self._act = act

    def hang(self, operations: frozenset[str] = CHANGES) -> None:
        """Let each of these operations wait until `healthy` or `release`."""
        self._released = released = threading.Event()
        self.is_reached.clear()

        def act(operation: str) -> None:
            if operation in operations:
                self.is_reached.set()
                released.wait(HANG_SECONDS)

        self._act = act

    def fail_nth(self, number: int, code: int = apsw.SQLITE_IOERR) -> None:
        """Fail exactly the change with this number, counted from 1; 0 only counts."""
        self.operations = 0

        def act(operation: str) -> None:
            if operation in CHANGES:
                with self._lock:
                    self.operations += 1
                    is_due = self.operations == number
                if is_due:
                    self._fail(code)

        self._act = act

    async def wait_until_hung(self) -> None:
        """Wait until an operation hangs."""
        with trio.fail_after(10):
            while not self.is_reached.is_set():
                await trio.sleep(0.001)

    def _pass(self, operation: str) -> None:
        pass

    def _failing(self, operations: frozenset[str] | set[str], code: int) -> Callable[[str], None]:
        def act(operation: str) -> None:
            if operation in operations:
                self._fail(code)

        return act

    def _fail(self, code: int) -> None:
        with self._lock:
            self.failures += 1
        error = apsw.exception_for(code)
        error.args = (f"injected {apsw.mapping_result_codes[code]}",)
        raise error

    def meet(self, operation: str) -> None:
        """In SQLite's threads: do to an operation what is switched on."""
        self._act(operation)

    # SQLite calls these.

    def xOpen(self, name: Any, flags: list[int]) -> DiskFile:  # noqa: N802
        self.meet("open")
        return DiskFile(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        self.meet("delete")
        super().xDelete(name, sync)

    def excepthook(self, *_: object) -> None:
        """SQLite ignores some failures, such as of a checkpoint after a commit; so does this."""


class DiskFile(apsw.VFSFile):  # type: ignore[misc]  # apsw.VFSFile has no type here
    """A file on the disk."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.meet("read")
        found: bytes = super().xRead(amount, offset)
        return found

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.meet("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.meet("sync")
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.meet("truncate")
        super().xTruncate(size)

    def excepthook(self, *_: object) -> None:
        """See `Disk.excepthook`."""


@contextmanager
def failing_disk() -> Iterator[Disk]:
    """A disk that is healthy until it is switched, and healthy in the end."""
    disk = Disk()
    try:
        yield disk
    finally:
        disk.healthy()
        disk.unregister()


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk for one test; import it by name."""
    with failing_disk() as disk:
        yield disk
