"""Sessions and codes. The functions are those of `SessionStore`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..sessions import MAX_CODES, MAX_SESSIONS, Code, Session
from .arrays import Binaries
from .connection import Connection
from .rows import binary, text
from .transaction import Transaction

__all__ = [
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

_SESSION = "id, mark, read_only, created_at, expires_at"
_CODE = "id, mark, read_only, expires_at, download, session"


def add_code(transaction: Transaction, code: Code, now: int) -> None:
    """Add a code; expired ones go, and `_drop_oldest` looks after the bound."""
    transaction.execute("DELETE FROM codes WHERE expires_at <= %s", [now])
    transaction.execute(
        f"INSERT INTO codes ({_CODE}) VALUES (%s, %s, %s, %s, %s, %s)",
        (
            code.id,
            code.mark,
            code.read_only,
            code.expires_at,
            binary(code.download),
            code.session,
        ),
    )
    _drop_oldest(transaction, "codes", MAX_CODES)


def codes(connection: Connection, ids: Collection[bytes]) -> list[Code]:
    """The codes with these ids."""
    rows = connection.cursor(binary=True).execute(
        f"SELECT {_CODE} FROM codes WHERE id = ANY(%s)", [Binaries(ids)]
    )
    return [_to_code(*row) for row in rows]


def take_code(
    transaction: Transaction,
    ids: Collection[bytes],
    download: str | None,
    now: int,
    sessions: Mapping[bytes, Session],
) -> Code | None:
    """Remove a code, and add the session that its id stands for."""
    rows = transaction.execute(
        "DELETE FROM codes WHERE number = (SELECT number FROM codes WHERE id = ANY(%s)"
        " AND download IS NOT DISTINCT FROM %s AND expires_at > %s ORDER BY number LIMIT 1"
        f" FOR UPDATE) RETURNING {_CODE}",
        (Binaries(ids), binary(download), now),
    )
    for row in rows:
        code = _to_code(*row)
        if code.id in sessions:
            add_session(transaction, sessions[code.id], now)
        return code
    return None


def add_session(transaction: Transaction, session: Session, now: int) -> None:
    """Add a session; expired ones go, and `_drop_oldest` looks after the bound."""
    transaction.execute("DELETE FROM sessions WHERE expires_at <= %s", [now])
    transaction.execute(
        f"INSERT INTO sessions ({_SESSION}) VALUES (%s, %s, %s, %s, %s)",
        (session.id, session.mark, session.read_only, session.created_at, session.expires_at),
    )
    _drop_oldest(transaction, "sessions", MAX_SESSIONS)


def sessions(connection: Connection, ids: Collection[bytes]) -> list[Session]:
    """The sessions with these ids."""
    rows = connection.cursor(binary=True).execute(
        f"SELECT {_SESSION} FROM sessions WHERE id = ANY(%s)", [Binaries(ids)]
    )
    return [Session(*row) for row in rows]


def extend_sessions(transaction: Transaction, expiries: Mapping[bytes, int]) -> None:
    """Have sessions expire later."""
    # In one order: another node may extend the same ones.
    for session_id, expires_at in sorted(expiries.items()):
        transaction.execute(
            "UPDATE sessions SET expires_at = %s WHERE id = %s", (expires_at, session_id)
        )


def end_session(transaction: Transaction, session_id: bytes) -> None:
    """Remove a session."""
    transaction.execute("DELETE FROM sessions WHERE id = %s", [session_id])


def has_other_marks(connection: Connection, marks: Collection[bytes]) -> bool:
    """Whether sessions or codes have other marks than these."""
    others = [f"SELECT 1 FROM {table} WHERE {_OTHER}" for table in ("sessions", "codes")]
    query = " UNION ALL ".join(others) + " LIMIT 1"
    return connection.execute(query, [Binaries(marks)] * 2).fetchone() is not None


def drop_other_marks(transaction: Transaction, marks: Collection[bytes]) -> None:
    """Remove the sessions and codes that have other marks than these."""
    for table in ("sessions", "codes"):
        transaction.execute(f"DELETE FROM {table} WHERE {_OTHER}", [Binaries(marks)])


_OTHER = "mark != ALL(%s)"


def _to_code(
    code_id: bytes, mark: bytes, read_only: bool, expires_at: int, download: Any, session: Any
) -> Code:
    return Code(code_id, mark, read_only, expires_at, text(download), session)


def _drop_oldest(transaction: Transaction, table: str, bound: int) -> None:
    """Remove the rows over the bound: the oldest ones of the mark that has the most."""
    transaction.execute(
        f"DELETE FROM {table} WHERE number IN (SELECT number FROM {table} WHERE mark ="
        f" (SELECT mark FROM {table} GROUP BY mark ORDER BY count(*) DESC LIMIT 1)"
        f" ORDER BY number LIMIT greatest(0, (SELECT count(*) FROM {table}) - %s))",
        [bound],
    )
