"""The tables, and the migrations from earlier versions. All times are microseconds since the Unix
epoch."""

from __future__ import annotations

from typing import Any

import apsw

from .kept import TABLE as KEPT_TABLE
from .listing import LABELS_TABLE, labels_of_6
from .sessions import TABLES as SESSION_TABLES
from .workloads import index_workloads

__all__ = ["prepare"]

VERSION = 7

_SCHEMA = """
CREATE TABLE IF NOT EXISTS workloads (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    spec TEXT,                       -- JSON; NULL for a log that has no workload record
    idempotency_key TEXT UNIQUE,
    fingerprint BLOB,
    handle TEXT,                     -- what the backend needs to clean up after a crash
    status TEXT NOT NULL,            -- or 'deleted', while its batches are being removed
    exit_code INTEGER,
    signal TEXT,
    error TEXT,
    reason TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    lines INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0, -- bytes of `data` that its rows of `batches` have
    epoch INTEGER NOT NULL DEFAULT 0, -- appends to its log need this one
    node TEXT,                       -- the service instance that runs it
    rerun_of TEXT,                   -- the id of the workload that it repeats
    name TEXT,                       -- that of `spec`
    words BLOB,                      -- what a search looks at; see `listing`
    streams TEXT,                    -- JSON; the state of each stream, see `LogState`
    changed INTEGER NOT NULL DEFAULT 0 -- the position of its last change; 0 before the first one
);
CREATE INDEX IF NOT EXISTS unfinished ON workloads (id) WHERE finished_at IS NULL;
CREATE INDEX IF NOT EXISTS by_status ON workloads (status, id);
CREATE INDEX IF NOT EXISTS without_record ON workloads (status) WHERE spec IS NULL;
CREATE INDEX IF NOT EXISTS by_name ON workloads (name, id, status) WHERE name IS NOT NULL;
CREATE INDEX IF NOT EXISTS trimmable ON workloads (finished_at)
    WHERE finished_at IS NOT NULL AND held > 0;
CREATE INDEX IF NOT EXISTS by_change ON workloads (changed);
CREATE TABLE IF NOT EXISTS deletions (
    position INTEGER PRIMARY KEY,    -- of the change that deleted a workload
    id TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS positions (
    newest INTEGER NOT NULL,         -- of all changes; the table has one row
    forgotten INTEGER NOT NULL       -- deletions up to this position are not kept any more
);
INSERT INTO positions SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM positions);
CREATE TABLE IF NOT EXISTS batches (
    log INTEGER NOT NULL,            -- workloads.number
    first INTEGER NOT NULL,          -- the sequence number of its first line
    count INTEGER NOT NULL,
    time INTEGER NOT NULL,
    stream TEXT NOT NULL,            -- of a gap, its reason
    flags INTEGER NOT NULL,          -- see `rows`
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS position ON batches (log, first);
CREATE INDEX IF NOT EXISTS age ON batches (time, log);
"""

_FROM_1 = """
ALTER TABLE workloads ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
UPDATE workloads SET held =
    (SELECT COALESCE(sum(length(data)), 0) FROM batches WHERE log = number);
DROP TABLE history;
"""

_FROM_2 = """
ALTER TABLE workloads ADD COLUMN reason TEXT;
ALTER TABLE workloads ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
"""

_FROM_3 = """
ALTER TABLE workloads ADD COLUMN node TEXT;
ALTER TABLE workloads ADD COLUMN rerun_of TEXT;
ALTER TABLE workloads ADD COLUMN name TEXT;
ALTER TABLE workloads ADD COLUMN words BLOB;
ALTER TABLE workloads ADD COLUMN streams TEXT;
"""

_FROM_4 = """
ALTER TABLE workloads ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
"""


def prepare(connection: apsw.Connection) -> None:
    """Create or migrate the tables. Raises apsw.Error if a later version has made them."""
    version: Any = connection.pragma("user_version")
    if version > VERSION:
        raise apsw.Error(
            f"it is of version {version}, and this service reads versions up to {VERSION}: install"
            " the version that wrote it, or restore an earlier backup"
        )
    # SQLite takes `auto_vacuum` only before the first table. `fetchall`: a statement that is left
    # in its first row keeps the later ones from running.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL").fetchall()
    with connection:
        if version == 1:
            connection.execute(_FROM_1)
        if version in (1, 2):
            connection.execute(_FROM_2)
        if version in (1, 2, 3):
            connection.execute(_FROM_3)
        if version in (1, 2, 3, 4):
            connection.execute(_FROM_4)
        if version < VERSION:
            # Before version 7, it had no status.
            connection.execute("DROP INDEX IF EXISTS by_name")
        connection.execute(_SCHEMA)
        connection.execute(LABELS_TABLE)
        connection.execute(KEPT_TABLE)
        # New in version 6.
        connection.execute(SESSION_TABLES)
        if version in (1, 2, 3):
            index_workloads(connection)
        if version in (4, 5, 6):
            # The column stays: to drop it would write all records anew.
            labels_of_6(connection)
        if version != VERSION:
            # Even the same number is a write, which a full disk refuses.
            connection.execute(f"PRAGMA user_version = {VERSION}")
