"""The tables, and the migrations from earlier versions.

Times are in microseconds since the Unix epoch. Texts that users choose are UTF-8 in columns of
bytes: they may hold NUL, which PostgreSQL's `text` may not.

A transaction locks rows of `logs` first, those of `workloads` of these logs then, and the one row
of `positions` last.
"""

from __future__ import annotations

from psycopg import sql

from ...errors import StoreError
from .connection import Connection

__all__ = ["VERSION", "prepare"]

VERSION = 2

_SKIPPED = """
-- After a failover, positions go on above all that the database may have lost; see `Transaction`.
CREATE TABLE skipped (
    last bigint NOT NULL,            -- the position of the newest change that it has kept
    base bigint NOT NULL             -- the next change has the position after this one
);
"""

_TABLES = """
-- What an append reads and writes. Its rows are small, and no index has a column that an append
-- changes: so PostgreSQL updates them in place (HOT).
CREATE TABLE logs (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bytea UNIQUE,                 -- NULL for a deleted log, while its batches are being removed
    epoch bigint NOT NULL DEFAULT 0, -- appends need this one
    owner text,                      -- nodes.id
    recorded boolean NOT NULL DEFAULT false, -- it is that of a workload
    queued boolean NOT NULL DEFAULT false, -- it waits for any node
    pushed boolean NOT NULL DEFAULT false, -- a client pushes it, or will
    lines bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,  -- bytes of `data` that its batches have
    streams bytea,                   -- JSON; the state of each stream, see `LogState`
    oldest bigint,                   -- no batch is older; NULL without batches
    keep bigint,                     -- the age in microseconds up to which a label keeps it
    outcome bytea,                   -- JSON; NULL until it has ended
    finished_at bigint,
    trimmable boolean NOT NULL DEFAULT false -- it has ended, and has batches
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX owned ON logs (owner) WHERE owner IS NOT NULL;
CREATE INDEX queue ON logs (id) WHERE queued;
CREATE INDEX abandoned ON logs (id) WHERE pushed AND owner IS NULL AND outcome IS NULL;
CREATE INDEX trimmable ON logs (finished_at) WHERE trimmable;
CREATE INDEX age ON logs (oldest) WHERE oldest IS NOT NULL;
CREATE INDEX kept ON logs (number) WHERE keep IS NOT NULL;
CREATE INDEX deleted ON logs (number) WHERE id IS NULL;

CREATE TABLE batches (
    log bigint NOT NULL,             -- logs.number
    first bigint NOT NULL,           -- the sequence number of its first line
    count bigint NOT NULL,
    time bigint NOT NULL,
    size integer NOT NULL,           -- bytes of its lines
    flags smallint NOT NULL,         -- see `store.rows`
    stream text NOT NULL,            -- or the reason, if the row is a gap
    data bytea NOT NULL,
    PRIMARY KEY (log, first)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.2,
    toast.autovacuum_vacuum_scale_factor = 0.02
);
-- It is compressed already.
ALTER TABLE batches ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE workloads (
    number bigint PRIMARY KEY,       -- logs.number
    id bytea NOT NULL UNIQUE,
    spec bytea NOT NULL,             -- JSON
    idempotency_key bytea UNIQUE,
    fingerprint bytea,
    handle bytea,                    -- what the backend needs to clean up after a crash
    status text NOT NULL,
    exit_code bigint,
    signal bytea,
    error bytea,
    reason bytea,
    created_at bigint NOT NULL,
    started_at bigint,
    finished_at bigint,
    node bytea,                      -- the service instance that runs it
    rerun_of bytea,                  -- the id of the workload that it repeats
    name bytea,                      -- that of `spec`
    labels bytea[],                  -- those of `spec`; see `listing`
    words bytea NOT NULL,            -- what a search looks at; see `listing`
    changed bigint NOT NULL          -- the position of its last change
);
CREATE INDEX by_status ON workloads (status, id);
CREATE INDEX by_name ON workloads (name, id) WHERE name IS NOT NULL;
CREATE INDEX by_label ON workloads USING gin (labels);
CREATE INDEX ended ON workloads (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX unfinished ON workloads (id) WHERE finished_at IS NULL;
CREATE INDEX by_change ON workloads (changed);

-- One row. Its lock is held until a commit ends, so positions are in the order of commits.
CREATE TABLE positions (
    newest bigint NOT NULL,          -- of all changes
    forgotten bigint NOT NULL        -- deletions up to this position are not kept any more
) WITH (fillfactor = 10);
INSERT INTO positions VALUES (0, 0);
CREATE TABLE deletions (
    position bigint PRIMARY KEY,     -- of the change that deleted a workload
    id bytea NOT NULL
);

CREATE TABLE nodes (
    id text PRIMARY KEY,
    host text NOT NULL,
    address text,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    counter bigint NOT NULL,
    draining boolean NOT NULL,
    marks bytea NOT NULL             -- JSON; hashes of the tokens by their kind
) WITH (fillfactor = 10);
CREATE TABLE requests (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    log bigint NOT NULL,             -- logs.number
    content bytea NOT NULL
);
CREATE INDEX requested ON requests (log);
CREATE TABLE remains (
    id bytea PRIMARY KEY,            -- of a workload whose node is gone
    host text NOT NULL,
    backend bytea NOT NULL,
    handle bytea NOT NULL
);

CREATE TABLE sessions (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bytea NOT NULL UNIQUE,        -- a hash of its key
    mark bytea NOT NULL,             -- tells the token that made it from another one
    read_only boolean NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE codes (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bytea NOT NULL UNIQUE,        -- a hash of the code
    mark bytea NOT NULL,
    read_only boolean NOT NULL,
    expires_at bigint NOT NULL,
    download bytea,                  -- what it opens; NULL for a sign-in
    session bytea                    -- the id of the session that asked for it
);
"""

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('trio-logs schema ' || %s, 0))"


def prepare(connection: Connection, schema: str) -> None:
    """Create or migrate the tables, if they are not of this version yet. Raises psycopg.Error, and
    StoreError if a later version has made them."""
    if _version(connection, schema) == VERSION:
        # A role that may only change rows gets this far.
        return
    with connection.transaction():
        # Of several nodes that start, one makes the tables, and the others find them.
        connection.execute(_LOCK, [schema])
        version = _version(connection, schema)
        if version == 0:
            name = sql.Identifier(schema)
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
            connection.execute(_TABLES + _SKIPPED)
            connection.execute("CREATE TABLE version (version integer NOT NULL)")
            connection.execute("INSERT INTO version VALUES (%s)", [VERSION])
        elif version == 1:
            connection.execute(_SKIPPED)
            connection.execute("UPDATE version SET version = %s", [VERSION])


def _version(connection: Connection, schema: str) -> int:
    """The version of the tables; 0 if there are none. Raises StoreError for one that is too
    high."""
    # By a query of the catalog: `to_regclass` may remember that there was no such table.
    found = connection.execute(
        "SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = 'version'",
        [schema],
    ).fetchone()
    if found is None:
        return 0
    table = sql.Identifier(schema, "version")
    rows = connection.execute(sql.SQL("SELECT version FROM {}").format(table)).fetchall()
    version = int(rows[0][0]) if rows else 0
    if version > VERSION:
        raise StoreError(
            f"could not open the database: its tables are of version {version}, and this service"
            f" reads versions up to {VERSION}: install the version that wrote them, or restore an"
            " earlier backup"
        )
    return version
