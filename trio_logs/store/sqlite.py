"""A store in one SQLite file: a row a batch, compressed, and one transaction for all topics at
once.

Durability is SQLite's in WAL mode: with `synchronous=NORMAL` a commit survives `kill -9` of this
process, and with `FULL` also a loss of power.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import apsw
import msgspec
import trio
import zstandard

from ..errors import StoreError
from ..records import Batch, End, Outcome, Status, Workload, WorkloadSpec, now
from . import LogState, Retention, Selection, StoreStatistics, WorkloadQuery
from .durations import Durations

__all__ = ["SQLiteStore"]

T = TypeVar("T")

MAX_READERS = 8
"""Reads of history at once; more wait their turn."""

TRIM_ROWS = 500
"""Batches removed in one transaction, so that trimming never holds up appends for long."""

_PARTIAL, _CONTINUES, _ZSTD = 1, 2, 4
_WORTH_COMPRESSING = 256

_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS workloads (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    spec TEXT,                       -- JSON; NULL for a log that has no workload record
    idempotency_key TEXT UNIQUE,
    fingerprint BLOB,
    handle TEXT,                     -- what the backend needs to clean up after a crash
    status TEXT NOT NULL,
    exit_code INTEGER,
    signal TEXT,
    error TEXT,
    created_at INTEGER NOT NULL,     -- microseconds since the Unix epoch, as all times
    started_at INTEGER,
    finished_at INTEGER,
    lines INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS unfinished ON workloads (id) WHERE finished_at IS NULL;
CREATE TABLE IF NOT EXISTS batches (
    log INTEGER NOT NULL,            -- workloads.number
    first INTEGER NOT NULL,          -- the sequence number of its first line
    count INTEGER NOT NULL,
    time INTEGER NOT NULL,
    stream TEXT NOT NULL,
    flags INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS position ON batches (log, first);
CREATE INDEX IF NOT EXISTS age ON batches (time, log);
-- What `batches` holds, in bytes of `data`.
CREATE TABLE IF NOT EXISTS history (bytes INTEGER NOT NULL);
INSERT INTO history SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM history);
PRAGMA user_version = 1;
"""

_WORKLOAD = (
    "id, spec, created_at, status, started_at, finished_at, exit_code, signal, error, lines, bytes"
)


@dataclass(slots=True, eq=False)
class _Write(Generic[T]):
    """One task's part of a group commit."""

    apply: Callable[[apsw.Connection], T]
    done: trio.Event = field(default_factory=trio.Event)
    result: T | None = None


class SQLiteStore:
    """See `LogStore` for the methods. `path` is the database file; its folder must exist.

    `synchronous` is SQLite's setting: "NORMAL" survives `kill -9`, "FULL" also a power loss.
    """

    def __init__(self, path: Path, *, synchronous: Literal["NORMAL", "FULL"] = "NORMAL") -> None:
        self._path = path
        self._synchronous = synchronous
        # At most one write for each task that waits for it: bounded by the live topics and
        # requests.
        self._pending: list[_Write[Any]] = []
        self._wake = trio.Event()
        self._readers: list[apsw.Connection] = []
        self._read_limit = trio.CapacityLimiter(MAX_READERS)
        self._write_limit = trio.CapacityLimiter(1)
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._writes_waiting = 0
        self._commits = Durations()
        self._reads = 0
        self._bytes = 0
        self._trimmed = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._translated("open"):
            writer = await trio.to_thread.run_sync(self._open_writer, limiter=self._write_limit)
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
                self._writes_waiting -= len(writes)
                for write in writes:
                    write.done.set()
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

    # The writer's thread.

    def _open_writer(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path))
        # `fetchall`: a statement that returns a row would hold up those after it.
        connection.execute(_SCHEMA).fetchall()
        connection.execute(f"PRAGMA synchronous = {self._synchronous}").fetchall()
        self._bytes = _integer(connection, "SELECT bytes FROM history")
        self._path.chmod(0o600)
        # All of them now: a read must not fail because clients have taken every descriptor.
        self._readers = [
            apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            for _ in range(MAX_READERS)
        ]
        for reader in self._readers:
            # SQLite opens the file at the first statement.
            reader.execute("SELECT count(*) FROM history").fetchall()
        return connection

    def _commit(self, connection: apsw.Connection, writes: list[_Write[Any]]) -> None:
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        try:
            for write in writes:
                write.result = write.apply(connection)
            connection.execute("UPDATE history SET bytes = ?", (self._bytes,))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        self._commits.add(time.perf_counter() - start)

    async def _write(self, apply: Callable[[apsw.Connection], T]) -> T:
        write = _Write(apply)
        self._pending.append(write)
        self._writes_waiting += 1
        self._wake.set()
        await write.done.wait()
        return write.result  # type: ignore[return-value]  # set before `done`

    # The readers' threads.

    async def _read(self, query: Callable[[apsw.Connection], T]) -> T:
        self._reads += 1
        with self._translated("read"):
            return await trio.to_thread.run_sync(self._query, query, limiter=self._read_limit)

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

    # Workload records.

    async def create(
        self, workload: Workload, *, key: str | None = None, fingerprint: bytes = b""
    ) -> None:
        spec = msgspec.json.encode(workload.spec).decode()
        row = (workload.id, spec, key, fingerprint, workload.status, workload.created_at)
        await self._write(
            lambda connection: connection.execute(
                "INSERT INTO workloads (id, spec, idempotency_key, fingerprint, status, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
        )

    async def find_key(self, key: str) -> tuple[str, bytes] | None:
        return await self._read(
            lambda connection: connection.execute(
                "SELECT id, fingerprint FROM workloads WHERE idempotency_key = ?", (key,)
            ).fetchone()
        )

    async def start(self, workload_id: str, started_at: int) -> None:
        await self._write(
            lambda connection: connection.execute(
                "UPDATE workloads SET status = ?, started_at = ? WHERE id = ?",
                (Status.RUNNING, started_at, workload_id),
            )
        )

    async def remember(self, workload_id: str, handle: str) -> None:
        await self._write(
            lambda connection: connection.execute(
                "UPDATE workloads SET handle = ? WHERE id = ?", (handle, workload_id)
            )
        )

    async def workload(self, workload_id: str) -> Workload | None:
        return await self._read(
            lambda connection: _first(
                _workloads(connection, "id = ? AND spec IS NOT NULL", (workload_id,))
            )
        )

    async def workloads(self, query: WorkloadQuery) -> list[Workload]:
        where, values = ["spec IS NOT NULL"], list[Any]()
        if query.before is not None:
            where.append("id < ?")
            values.append(query.before)
        if query.status is not None:
            where.append("status = ?")
            values.append(query.status)
        for name, value in query.labels.items():
            where.append(
                "EXISTS (SELECT 1 FROM json_each(spec, '$.labels') WHERE key = ? AND value = ?)"
            )
            values += [name, value]
        condition = " AND ".join(where) + " ORDER BY id DESC LIMIT ?"
        return await self._read(
            lambda connection: list(_workloads(connection, condition, (*values, query.limit)))
        )

    async def unfinished(self) -> list[tuple[Workload, str | None]]:
        def query(connection: apsw.Connection) -> list[tuple[Workload, str | None]]:
            condition = "finished_at IS NULL AND spec IS NOT NULL ORDER BY id"
            handles = dict(
                connection.execute("SELECT id, handle FROM workloads WHERE finished_at IS NULL")
            )
            return [(found, handles[found.id]) for found in _workloads(connection, condition)]

        return await self._read(query)

    async def delete(self, workload_id: str) -> None:
        def apply(connection: apsw.Connection) -> None:
            of_log = "FROM batches WHERE log = (SELECT number FROM workloads WHERE id = ?)"
            size = f"SELECT COALESCE(sum(length(data)), 0) {of_log}"
            self._bytes -= _integer(connection, size, (workload_id,))
            connection.execute(f"DELETE {of_log}", (workload_id,))
            connection.execute("DELETE FROM workloads WHERE id = ?", (workload_id,))

        await self._write(apply)

    # Logs.

    async def log(self, workload_id: str) -> LogState | None:
        row = await self._read(
            lambda connection: connection.execute(
                "SELECT lines, bytes, finished_at, status, exit_code, signal, error"
                " FROM workloads WHERE id = ?",
                (workload_id,),
            ).fetchone()
        )
        if row is None:
            return None
        lines, size, finished_at, status, *rest = row
        if finished_at is None:
            return LogState(lines, size)
        return LogState(lines, size, End(Outcome(Status(status), *rest), lines, size))

    async def append(
        self,
        workload_id: str,
        batches: Sequence[Batch],
        *,
        outcome: Outcome | None = None,
        finished_at: int = 0,
    ) -> None:
        def apply(connection: apsw.Connection) -> None:
            row = connection.execute(
                "SELECT number FROM workloads WHERE id = ?", (workload_id,)
            ).fetchone()
            if row is None:
                connection.execute(
                    "INSERT INTO workloads (id, status, created_at) VALUES (?, ?, ?)",
                    (workload_id, Status.RUNNING, now()),
                )
                row = (connection.last_insert_rowid(),)
            number = row[0]
            if batches:
                rows = [self._row(number, batch) for batch in batches]
                connection.executemany("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
                self._bytes += sum(len(row[-1]) for row in rows)
                connection.execute(
                    "UPDATE workloads SET lines = ?, bytes = bytes + ? WHERE number = ?",
                    (batches[-1].last, sum(len(batch.data) for batch in batches), number),
                )
            if outcome is not None:
                connection.execute(
                    "UPDATE workloads SET status = ?, exit_code = ?, signal = ?, error = ?,"
                    " finished_at = ?, handle = NULL WHERE number = ?",
                    (
                        outcome.status,
                        outcome.exit_code,
                        outcome.signal,
                        outcome.error,
                        finished_at,
                        number,
                    ),
                )

        await self._write(apply)

    def _row(self, number: int, batch: Batch) -> tuple[Any, ...]:
        flags = (_PARTIAL if batch.partial else 0) | (_CONTINUES if batch.continues else 0)
        data = batch.data
        if len(data) >= _WORTH_COMPRESSING:
            data = self._compressor.compress(data)
            flags |= _ZSTD
        return number, batch.first, batch.count, batch.time, batch.stream, flags, data

    async def read(self, workload_id: str, first: int, max_bytes: int) -> list[Batch]:
        def query(connection: apsw.Connection) -> list[Batch]:
            left = max_bytes
            found: list[Batch] = []
            decompressor = zstandard.ZstdDecompressor()
            for start, count, time_, stream, flags, data in connection.execute(
                "SELECT first, count, time, stream, flags, data FROM batches"
                " WHERE log = (SELECT number FROM workloads WHERE id = :id)"
                " AND first >= COALESCE((SELECT max(first) FROM batches WHERE log ="
                " (SELECT number FROM workloads WHERE id = :id) AND first <= :first), 0)"
                " ORDER BY first",
                {"id": workload_id, "first": first},
            ):
                if start + count <= first:
                    continue
                if flags & _ZSTD:
                    data = decompressor.decompress(data)
                partial, continues = bool(flags & _PARTIAL), bool(flags & _CONTINUES)
                found.append(Batch(start, count, time_, stream, data, partial, continues))
                left -= found[-1].weight
                if left <= 0:
                    break
            return found

        return await self._read(query)

    async def seek(self, workload_id: str, selection: Selection, head: int) -> int:
        where, values = ["log = :log", "first BETWEEN :start AND :head"], dict[str, Any]()
        if selection.stream is not None:
            where.append("stream = :stream")
            values["stream"] = selection.stream
        if selection.until is not None:
            where.append("time <= :until")
            values["until"] = selection.until
        admitted = (
            f"SELECT first, count FROM batches WHERE {' AND '.join(where)} ORDER BY first DESC"
        )

        def query(connection: apsw.Connection) -> int:
            row = connection.execute(
                "SELECT number FROM workloads WHERE id = ?", (workload_id,)
            ).fetchone()
            log = row[0] if row else None
            start = 1
            if selection.since is not None:
                # From the end: what is asked for is mostly recent.
                before = connection.execute(
                    "SELECT first + count FROM batches WHERE log = ? AND time < ?"
                    " ORDER BY first DESC LIMIT 1",
                    (log, selection.since),
                ).fetchone()
                start = before[0] if before else 1
            if selection.tail is None:
                return start
            position, wanted = head + 1, selection.tail
            for first, count in connection.execute(
                admitted, {"log": log, "start": start, "head": head, **values}
            ):
                if wanted == 0:
                    break
                taken = min(wanted, count)
                wanted -= taken
                position = first + count - taken
            return start if wanted else position

        return await self._read(query)

    async def trim(self, retention: Retention) -> int:
        def apply(connection: apsw.Connection) -> int:
            removed = 0
            if retention.max_age is not None:
                oldest = now() - int(retention.max_age * 1_000_000)
                removed = self._remove(connection, f"time < {oldest}")
            if retention.max_bytes is not None:
                for finished in ("IS NOT NULL", "IS NULL"):
                    excess = self._bytes - retention.max_bytes
                    if removed or excess <= 0:
                        break
                    owner = f"SELECT 1 FROM workloads WHERE number = log AND finished_at {finished}"
                    removed = self._remove(connection, f"EXISTS ({owner})", excess)
            connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
            return removed

        removed = await self._write(apply)
        self._trimmed += removed
        return removed

    def _remove(
        self, connection: apsw.Connection, condition: str, excess: float = float("inf")
    ) -> int:
        """Remove the oldest batches that meet the condition, until `excess` bytes are free."""
        rows = []
        for rowid, size in connection.execute(
            f"SELECT rowid, length(data) FROM batches WHERE {condition}"
            f" ORDER BY time LIMIT {TRIM_ROWS}"
        ):
            rows.append((rowid,))
            self._bytes -= size
            excess -= size
            if excess <= 0:
                break
        connection.executemany("DELETE FROM batches WHERE rowid = ?", rows)
        return len(rows)

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            self._commits.statistics(),
            self._writes_waiting,
            self._reads,
            self._bytes,
            self._trimmed,
        )


def _integer(connection: apsw.Connection, query: str, values: Sequence[Any] = ()) -> int:
    """The one value of a query that has one."""
    [(value,)] = connection.execute(query, values).fetchall()
    assert isinstance(value, int)
    return value


def _first(items: Iterator[T]) -> T | None:
    return next(items, None)


def _workloads(
    connection: apsw.Connection, condition: str, values: Sequence[Any] = ()
) -> Iterator[Workload]:
    for row in connection.execute(f"SELECT {_WORKLOAD} FROM workloads WHERE {condition}", values):
        workload_id, spec, created_at, status, *rest = row
        spec = msgspec.json.decode(spec, type=WorkloadSpec)
        yield Workload(workload_id, spec, created_at, Status(status), *rest)
