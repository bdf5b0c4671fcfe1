"""Sessions and codes, on a connection. The functions are those of `SessionStore`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import apsw

from ..sessions import MAX_CODES, MAX_SESSIONS, Code, Session

__all__ = [
    "TABLES",
    "add_code",
    "add_session",
    "codes",
    "drop_other_marks",
    "end_session",
    "extend_sessions",
    "has_other_marks",
    "sessions",
    "take_code",
]

TABLES = """
CREATE TABLE IF NOT EXISTS sessions (
    number INTEGER PRIMARY KEY,      -- in the order of creation
    id BLOB NOT NULL UNIQUE,         -- a hash of its key
    mark BLOB NOT NULL,              -- tells the token that made it from another one
    read_only INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS codes (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,         -- a hash of the code
    mark BLOB NOT NULL,
    read_only INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    download TEXT,                   -- what it opens; NULL for a sign-in
    session BLOB                     -- the id of the session that asked for it
);
"""

_SESSION = "id, mark, read_only, created_at, expires_at"
_CODE = "id, mark, read_only, expires_at, download, session"


def add_code(connection: apsw.Connection, code: Code, now: int) -> None:
    """Add a code; expired ones go, and `_drop_oldest` looks after the bound."""
    connection.execute("DELETE FROM codes WHERE expires_at <= ?", (now,))
    connection.execute(
        f"INSERT INTO codes ({_CODE}) VALUES (?, ?, ?, ?, ?, ?)",
        (code.id, code.mark, code.read_only, code.expires_at, code.download, code.session),
    )
    _drop_oldest(connection, "codes", MAX_CODES)


def codes(connection: apsw.Connection, ids: Collection[bytes]) -> list[Code]:
    """The codes with these ids."""
    rows = connection.execute(f"SELECT {_CODE} FROM codes WHERE id IN ({_places(ids)})", [*ids])
    return [Code(id_, mark, bool(read_only), *rest) for id_, mark, read_only, *rest in rows]


def take_code(
    connection: apsw.Connection,
    ids: Collection[bytes],
    download: str | None,
    now: int,
    sessions: Mapping[bytes, Session],
) -> Code | None:
    """Remove a code, and add the session that its id stands for."""
    for code in codes(connection, ids):
        if code.download == download and code.expires_at > now:
            connection.execute("DELETE FROM codes WHERE id = ?", (code.id,))
            if code.id in sessions:
                add_session(connection, sessions[code.id], now)
            return code
    return None


def add_session(connection: apsw.Connection, session: Session, now: int) -> None:
    """Add a session; expired ones go, and `_drop_oldest` looks after the bound."""
    connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
    connection.execute(
        f"INSERT INTO sessions ({_SESSION}) VALUES (?, ?, ?, ?, ?)",
        (session.id, session.mark, session.read_only, session.created_at, session.expires_at),
    )
    _drop_oldest(connection, "sessions", MAX_SESSIONS)


def sessions(connection: apsw.Connection, ids: Collection[bytes]) -> list[Session]:
    """The sessions with these ids."""
    rows = connection.execute(
        f"SELECT {_SESSION} FROM sessions WHERE id IN ({_places(ids)})", [*ids]
    )
    return [Session(id_, mark, bool(read_only), *rest) for id_, mark, read_only, *rest in rows]


def extend_sessions(connection: apsw.Connection, expiries: Mapping[bytes, int]) -> None:
    """Have sessions expire later."""
    connection.executemany(
        "UPDATE sessions SET expires_at = ? WHERE id = ?",
        [(expires_at, session_id) for session_id, expires_at in expiries.items()],
    )


def end_session(connection: apsw.Connection, session_id: bytes) -> None:
    """Remove a session."""
    connection.execute("DELETE FROM sessions WHERE id = ?", (session_id,))


def has_other_marks(connection: apsw.Connection, marks: Collection[bytes]) -> bool:
    """Whether sessions or codes have other marks than these."""
    others = [f"SELECT 1 FROM {table} WHERE {_other(marks)}" for table in ("sessions", "codes")]
    query = " UNION ALL ".join(others) + " LIMIT 1"
    return connection.execute(query, [*marks, *marks]).fetchone() is not None


def drop_other_marks(connection: apsw.Connection, marks: Collection[bytes]) -> None:
    """Remove the sessions and codes that have other marks than these."""
    for table in ("sessions", "codes"):
        connection.execute(f"DELETE FROM {table} WHERE {_other(marks)}", [*marks])


def _other(marks: Collection[bytes]) -> str:
    return f"mark NOT IN ({_places(marks)})"


def _places(values: Collection[bytes]) -> str:
    """The question marks for so many values."""
    return ", ".join("?" * len(values))


def _drop_oldest(connection: apsw.Connection, table: str, bound: int) -> None:
    """Remove the rows over the bound: the oldest ones of the mark that has the most."""
    connection.execute(
        f"DELETE FROM {table} WHERE number IN (SELECT number FROM {table} WHERE mark ="
        f" (SELECT mark FROM {table} GROUP BY mark ORDER BY count(*) DESC LIMIT 1)"
        f" ORDER BY number LIMIT max(0, (SELECT count(*) FROM {table}) - ?))",
        (bound,),
    )
