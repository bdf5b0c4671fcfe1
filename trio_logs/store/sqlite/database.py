"""The file: one connection that writes, and some beside it that read, each in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import apsw
import trio

from ...errors import StoreError
from ..durations import Durations
from .schema import prepare

__all__ = ["Database"]

T = TypeVar("T")

MAX_READERS = 8
"""Reads at once; more wait their turn."""


BUSY_MILLISECONDS = 5000
"""How long a commit waits for others who write to the file, though nobody should."""


@dataclass(slots=True, eq=False)
class _Write(Generic[T]):
    """One task's part of a group commit."""

    apply: Callable[[apsw.Connection], T]
    repeats: bool = False
    done: trio.Event = field(default_factory=trio.Event)
    result: T | None = None


class Database:
    """`opened` is called in the writer's thread, once the file is open."""

    def __init__(
        self,
        path: Path,
        synchronous: Literal["NORMAL", "FULL"],
        *,
        opened: Callable[[apsw.Connection], None],
    ) -> None:
        self._path = path
        self._synchronous = synchronous
        self._opened = opened
        # At most one write for each task that waits for it: bounded by the live topics and
        # requests.
        self._pending: list[_Write[Any]] = []
        self._wake = trio.Event()
        self._readers: list[apsw.Connection] = []
        self._read_limit = trio.CapacityLimiter(MAX_READERS)
        self._write_limit = trio.CapacityLimiter(1)
        self.commits = Durations()
        self.writes_waiting = 0
        self.reads = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit, in one transaction, what all have ready; until cancelled. Then close."""
        with self._translated("open"):
            writer = await trio.to_thread.run_sync(self._open, limiter=self._write_limit)
        try:
            task_status.started()
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                writes, self._pending = self._pending, []
                with self._translated("commit to"):
                    await trio.to_thread.run_sync(
                        self._commit, writer, writes, limiter=self._write_limit
                    )
                for write in writes:
                    write.done.set()
                    if not write.repeats:
                        self.writes_waiting -= 1
                    elif write.result:
                        self.repeat(write.apply)
        finally:
            owners = [object() for _ in range(MAX_READERS)]
            with trio.CancelScope(shield=True):
                # Reads under way: a thread can't be cancelled, and each is bounded.
                for owner in owners:
                    await self._read_limit.acquire_on_behalf_of(owner)
            for connection in [*self._readers, writer]:
                connection.close()
            # Who comes too late is told that it is closed.
            for owner in owners:
                self._read_limit.release_on_behalf_of(owner)

    async def write(self, apply: Callable[[apsw.Connection], T]) -> T:
        """Have this done in the next transaction, in the writer's thread; return its result once
        that is durable."""
        write = _Write(apply)
        self._pending.append(write)
        self.writes_waiting += 1
        self._wake.set()
        await write.done.wait()
        return write.result  # type: ignore[return-value]  # set before `done`

    def repeat(self, apply: Callable[[apsw.Connection], object]) -> None:
        """Have this done in the next transaction, and again until it returns nothing that counts;
        nobody waits for it."""
        self._pending.append(_Write(apply, repeats=True))
        self._wake.set()

    async def read(self, query: Callable[[apsw.Connection], T]) -> T:
        """The result of a query, which is made in a thread."""
        self.reads += 1
        with self._translated("read"):
            return await trio.to_thread.run_sync(self._query, query, limiter=self._read_limit)

    # In threads.

    def _open(self) -> apsw.Connection:
        with ExitStack() as stack:
            writer = self._connect(stack)
            # Somebody may look into the file with a tool of SQLite's.
            writer.set_busy_timeout(BUSY_MILLISECONDS)
            prepare(writer)
            writer.execute(f"PRAGMA synchronous = {self._synchronous}").fetchall()
            self._path.chmod(0o600)
            self._opened(writer)
            # All of them now: a read must not fail because clients have taken every descriptor.
            readers = [self._connect(stack, apsw.SQLITE_OPEN_READONLY) for _ in range(MAX_READERS)]
            for reader in readers:
                # SQLite opens the file at the first statement.
                reader.execute("SELECT number FROM workloads LIMIT 1").fetchall()
            self._readers = readers
            # From here on, `run` closes them.
            stack.pop_all()
        return writer

    def _connect(
        self, stack: ExitStack, flags: int = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    ) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=flags)
        stack.callback(connection.close)
        return connection

    def _commit(self, connection: apsw.Connection, writes: list[_Write[Any]]) -> None:
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        try:
            for write in writes:
                write.result = write.apply(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        self.commits.add(time.perf_counter() - start)

    def _query(self, query: Callable[[apsw.Connection], T]) -> T:
        # `list.pop` and `append` are atomic; the limiter sees to it that there is one left.
        connection = self._readers.pop()
        try:
            return query(connection)
        finally:
            self._readers.append(connection)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, OSError) as error:
            raise StoreError(f"could not {what} {self._path}: {error}") from error
