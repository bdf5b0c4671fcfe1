"""The tables. All times are microseconds since the Unix epoch."""

from __future__ import annotations

__all__ = ["SCHEMA"]

SCHEMA = """
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
    created_at INTEGER NOT NULL,
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
