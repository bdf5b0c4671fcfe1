"""The tables, and how those of an earlier version become these. All times are microseconds since
the Unix epoch."""

from __future__ import annotations

from typing import Any

import apsw

__all__ = ["prepare"]

VERSION = 2

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
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    lines INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0  -- what `batches` has of it, in bytes of `data`
);
CREATE INDEX IF NOT EXISTS unfinished ON workloads (id) WHERE finished_at IS NULL;
CREATE INDEX IF NOT EXISTS by_status ON workloads (status, id);
CREATE INDEX IF NOT EXISTS trimmable ON workloads (finished_at)
    WHERE finished_at IS NOT NULL AND held > 0;
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
"""

_FROM_1 = """
ALTER TABLE workloads ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
UPDATE workloads SET held =
    (SELECT COALESCE(sum(length(data)), 0) FROM batches WHERE log = number);
DROP TABLE history;
"""


def prepare(connection: apsw.Connection) -> None:
    """Make the tables what they have to be. Raises apsw.Error if they are of a later version."""
    version: Any = connection.pragma("user_version")
    if version > VERSION:
        raise apsw.Error(f"it is of version {version}, and this one reads up to {VERSION}")
    # The first works only before there is any table. `fetchall`: a statement that returns a row
    # would hold up those after it.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL").fetchall()
    with connection:
        if version == 1:
            connection.execute(_FROM_1)
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {VERSION}")
