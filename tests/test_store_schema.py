"""Files of other versions, and damaged ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from tests.stores import append, batch, running
from trio_logs.errors import StoreError
from trio_logs.records import Change, End, Gap, Outcome, Status
from trio_logs.store import LogState, StreamState, WorkloadQuery
from trio_logs.store.sqlite import SQLiteStore

_TABLES = """
CREATE TABLE workloads (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, spec TEXT, idempotency_key TEXT UNIQUE,
    fingerprint BLOB, handle TEXT, status TEXT NOT NULL, exit_code INTEGER, signal TEXT, error TEXT,
    created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER,
    lines INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0%s
);
CREATE INDEX unfinished ON workloads (id) WHERE finished_at IS NULL;
CREATE TABLE batches (
    log INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, time INTEGER NOT NULL,
    stream TEXT NOT NULL, flags INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE UNIQUE INDEX position ON batches (log, first);
CREATE INDEX age ON batches (time, log);
"""
# The tables as these versions made them: these texts never change.
VERSION_1 = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
{_TABLES % ""}
CREATE TABLE history (bytes INTEGER NOT NULL);
INSERT INTO history VALUES (35);
PRAGMA user_version = 1;
"""
VERSION_2 = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
{_TABLES % ", held INTEGER NOT NULL DEFAULT 0"}
CREATE INDEX by_status ON workloads (status, id);
CREATE INDEX trimmable ON workloads (finished_at) WHERE finished_at IS NOT NULL AND held > 0;
PRAGMA user_version = 2;
"""
VERSION_3 = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
{_TABLES % ", held INTEGER NOT NULL DEFAULT 0, reason TEXT, epoch INTEGER NOT NULL DEFAULT 0"}
CREATE INDEX by_status ON workloads (status, id);
CREATE INDEX trimmable ON workloads (finished_at) WHERE finished_at IS NOT NULL AND held > 0;
PRAGMA user_version = 3;
"""
_ADDED_BY_4 = "node TEXT, rerun_of TEXT, name TEXT, labels BLOB, words BLOB, streams TEXT"
VERSION_4 = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
{
    _TABLES
    % (
        ", held INTEGER NOT NULL DEFAULT 0, reason TEXT, epoch INTEGER NOT NULL DEFAULT 0,"
        f" {_ADDED_BY_4}"
    )
}
CREATE INDEX by_status ON workloads (status, id);
CREATE INDEX by_name ON workloads (name, id) WHERE name IS NOT NULL;
CREATE INDEX trimmable ON workloads (finished_at) WHERE finished_at IS NOT NULL AND held > 0;
PRAGMA user_version = 4;
"""
VERSION_6 = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
{
    _TABLES
    % (
        ", held INTEGER NOT NULL DEFAULT 0, reason TEXT, epoch INTEGER NOT NULL DEFAULT 0,"
        f" {_ADDED_BY_4}, changed INTEGER NOT NULL DEFAULT 0"
    )
}
CREATE INDEX by_status ON workloads (status, id);
CREATE INDEX without_record ON workloads (status) WHERE spec IS NULL;
CREATE INDEX by_name ON workloads (name, id) WHERE name IS NOT NULL;
CREATE INDEX trimmable ON workloads (finished_at) WHERE finished_at IS NOT NULL AND held > 0;
CREATE INDEX by_change ON workloads (changed);
CREATE TABLE deletions (position INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE TABLE positions (newest INTEGER NOT NULL, forgotten INTEGER NOT NULL);
INSERT INTO positions VALUES (0, 0);
CREATE TABLE kept (number INTEGER PRIMARY KEY, keep INTEGER NOT NULL);
CREATE INDEX ended ON workloads (finished_at) WHERE finished_at IS NOT NULL AND spec IS NOT NULL;
PRAGMA user_version = 6;
"""
ROWS = """
INSERT INTO workloads (id, spec, status, exit_code, error, created_at, finished_at, lines, bytes)
    VALUES ('done', '{"command":["make","TEST"],"name":"n","labels":{"k":"v"}}', 'failed', 1,
        'sentence', 5, 6, 2, 14);
INSERT INTO workloads (id, status, created_at, lines, bytes) VALUES ('w', 'running', 7, 3, 21);
INSERT INTO batches VALUES (1, 1, 2, 5, 'stdout', 0,
    x'6c696e6520310a6c696e6520320a');
INSERT INTO batches VALUES (2, 1, 3, 9, 'stderr', 5,
    x'28b52ffd2015a900006c696e6520310a6c696e6520320a6c696e6520330a');
"""


# What version 4 adds to the first of these rows.
ROWS_OF_4 = """
UPDATE workloads SET name = 'n', labels = x'ff6b3d76ff',
    words = x'6eff646f6e65ff6d616b652074657374' WHERE id = 'done';
"""


@pytest.mark.parametrize("schema", [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_6])
async def test_a_file_of_an_earlier_version_is_taken_over(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "x.db"
    earlier = apsw.Connection(str(path))
    earlier.execute(schema).fetchall()
    earlier.execute(ROWS).fetchall()
    if schema in (VERSION_4, VERSION_6):
        earlier.execute(ROWS_OF_4).fetchall()
    held = earlier.execute("SELECT sum(length(data)) FROM batches").get
    if schema != VERSION_1:
        earlier.execute(
            "UPDATE workloads SET held = (SELECT sum(length(data)) FROM batches WHERE log = number)"
        )
    earlier.close()
    # A second start finds the tables of this version.
    for _ in range(2):
        async with running(SQLiteStore(path)) as store:
            assert store.statistics().bytes == held == 44
            failed = Outcome(Status.FAILED, 1, error="sentence")
            assert await store.log("done") == LogState(
                2, 14, End(failed, 2, 14), streams={"stdout": StreamState(14)}
            )
            found = await store.workload("done")
            assert found is not None
            assert (found.exit_code, found.error, found.reason) == (1, "sentence", None)
            assert (found.node, found.rerun_of) == (None, None)
            for query in (
                WorkloadQuery(name="n"),
                WorkloadQuery(labels={"k": "v"}),
                WorkloadQuery(search="make test"),
                WorkloadQuery(labels={"k": "v"}, statuses=frozenset([Status.FAILED])),
            ):
                assert [each.id for each in await store.workloads(query)] == ["done"]
                assert (await store.count(query))[Status.FAILED] == 1
            assert await store.read("done", 1, 1) == [batch(1, 2, time=5)]
            last = batch(1, 3, time=9, stream="stderr", partial=True)
            assert await store.read("w", 1, 1) == [last]
            log = await store.log("w")
            assert log is not None
            assert (await store.sessions([b"x"]), await store.codes([b"x"])) == ([], [])
            # Which bytes were of which stream is not known.
            assert log.streams == {"stdout": StreamState(21), "stderr": StreamState(0, True)}
    async with running(SQLiteStore(path)) as store:
        assert await store.fence("w") == 1
        lost = Outcome(Status.LOST, reason="server_lost")
        records = [Gap(4, 5, "store", 10)]
        await store.append("w", records, expected=4, epoch=1, size=21, outcome=lost)
        assert await store.log("w") == LogState(5, 21, End(lost, 5, 21), epoch=1)


@pytest.mark.parametrize("schema", [VERSION_3, VERSION_4])
async def test_a_file_without_positions_gets_them(tmp_path: Path, schema: str) -> None:
    """Its records have no position yet, and take one with their next change."""
    path = tmp_path / "x.db"
    earlier = apsw.Connection(str(path))
    earlier.execute(schema).fetchall()
    earlier.execute(ROWS).fetchall()
    earlier.execute(
        "UPDATE workloads SET reason = 'exited' WHERE id = 'done';"
        "INSERT INTO workloads (id, spec, status, created_at, started_at)"
        """ VALUES ('runs', '{"command":["true"]}', 'running', 8, 9)"""
    ).fetchall()
    earlier.close()
    # A second start finds the tables of this version.
    for turn in range(2):
        async with running(SQLiteStore(path)) as store:
            page = await store.changes(0, 10**9)
            if turn == 0:
                assert (page.changes, page.newest, page.forgotten) == ([], 0, 0)
                done = await store.workload("done")
                assert done is not None
                assert (done.reason, done.node, done.rerun_of, done.lines) == (
                    *("exited", None, None, 2),
                )
                lost = Outcome(Status.LOST, reason="server_lost")
                await append(store, "runs", [batch(1)], outcome=lost, finished_at=10)
                # A log without a record takes none.
                await append(store, "w", [batch(4)], outcome=lost, finished_at=10)
                await store.delete("done")
            else:
                deleted = Change(2, "done", None)
                assert page.changes == [Change(1, "runs", await store.workload("runs")), deleted]


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    later = apsw.Connection(str(path))
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="it is of version 99")):
        async with running(SQLiteStore(path)):
            pass


async def test_a_damaged_row_is_a_gap_and_the_rest_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    written = [replace(batch(n, 100, time=n), data=b"%d\n" % n * 100) for n in range(1, 401, 100)]
    async with running(SQLiteStore(path)) as store:
        await append(store, "w", written)
    other = apsw.Connection(str(path))
    # No frame at all; and a frame that is cut short.
    other.execute("UPDATE batches SET data = x'00' WHERE first = 101")
    [(data,)] = other.execute("SELECT data FROM batches WHERE first = 201")
    other.execute("UPDATE batches SET data = ? WHERE first = 201", (data[:-1],))
    # An empty frame whose header announces 2**62 bytes.
    huge = b"\x28\xb5\x2f\xfd\xe0" + (1 << 62).to_bytes(8, "little") + b"\x01\x00\x00"
    other.execute("UPDATE batches SET data = ? WHERE first = 301", (huge,))
    other.close()
    async with running(SQLiteStore(path)) as store:
        found = await store.read("w", 1, 10**9)
        assert found == [
            written[0],
            Gap(101, 200, "damaged"),
            Gap(201, 300, "damaged"),
            Gap(301, 400, "damaged"),
        ]
        await append(store, "w", [batch(401)])
        assert await store.read("w", 401, 1) == [batch(401)]
