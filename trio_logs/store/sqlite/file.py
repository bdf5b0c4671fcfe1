"""The database file: how it is opened, and how long its locks are waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

import apsw

from ...private_files import make_private, protect
from .damage import forget
from .schema import prepare

__all__ = ["LOCK_SECONDS", "LOG_BYTES", "File"]

LOCK_SECONDS = 30.0
"""How long a statement waits for a lock that another program holds on the file."""

LOG_BYTES = 16 * 1024 * 1024
"""The size to which the write-ahead log is cut, a few times that at which SQLite copies it into the
database. It grows beyond while readers need it."""

_LOOK_SECONDS = 0.05
"""The longest pause between two looks at such a lock."""


class File:
    """Opens connections, in threads.

    `vfs` names one of SQLite's virtual file systems, https://sqlite.org/vfs.html; None is that of
    the operating system. Once `closing` is set, no statement waits for a lock any more.
    """

    def __init__(
        self, path: Path, synchronous: Literal["NORMAL", "FULL"], vfs: str | None = None
    ) -> None:
        self.path = path
        self.closing = threading.Event()
        self._synchronous = synchronous
        self._vfs = vfs

    def open_writer(self) -> apsw.Connection:
        """A connection for writing, to a file with the tables of this version. Raises apsw.Error or
        OSError."""
        with ExitStack() as stack:
            # SQLite gives its log and its shared memory the mode of the database.
            make_private(self.path)
            forget(str(self.path))
            for suffix in ("-wal", "-shm"):
                # A service that was killed leaves them.
                with suppress(FileNotFoundError):
                    protect(self.beside(suffix))
            connection = self._connect(stack, apsw.SQLITE_OPEN_READWRITE)
            prepare(connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}").fetchall()
            # Without it, the log keeps the largest size that it ever had.
            connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}").fetchall()
            stack.pop_all()
        return connection

    def open_reader(self) -> apsw.Connection:
        """A connection for reading. Raises apsw.Error."""
        with ExitStack() as stack:
            connection = self._connect(stack, apsw.SQLITE_OPEN_READONLY)
            # SQLite opens the file at the first statement.
            connection.execute("SELECT name FROM sqlite_schema LIMIT 1").fetchall()
            stack.pop_all()
        return connection

    def log_size(self) -> int:
        """The bytes of the write-ahead log. Raises OSError."""
        try:
            return self.beside("-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def beside(self, suffix: str) -> Path:
        """A file whose name is that of the database, and more."""
        return self.path.with_name(self.path.name + suffix)

    def _connect(self, stack: ExitStack, flags: int) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), flags=flags, vfs=self._vfs)
        stack.callback(connection.close)
        connection.set_busy_handler(self.lock_waiter())
        return connection

    def lock_waiter(self) -> Callable[[int], bool]:
        """A busy handler, https://sqlite.org/c3ref/busy_handler.html. SQLite's own, of
        `busy_timeout`, can't be cut short when the store closes."""
        since = 0.0

        def wait(earlier: int) -> bool:
            nonlocal since
            now = time.monotonic()
            if earlier == 0:
                since = now
            if now - since >= LOCK_SECONDS:
                return False
            return not self.closing.wait(min(0.001 * 2 ** min(earlier, 10), _LOOK_SECONDS))

        return wait
