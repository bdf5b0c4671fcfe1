"""How connections to the database are made."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from traceback import clear_frames
from typing import Literal

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from ...errors import StoreError
from .arrays import ADAPTERS
from .connection import ANSWER_SECONDS, Connection
from .schema import prepare

__all__ = ["SCHEMA", "Server", "SynchronousCommit"]

SynchronousCommit = Literal["off", "local", "remote_write", "on", "remote_apply"]

SCHEMA = "trio_logs"
"""The schema of the tables, unless another one is given."""

_DEFAULTS: dict[str, str | int] = {
    "application_name": "trio-logs",
    # For each address of a host that the URL names.
    "connect_timeout": 5,
    # A network that is cut is noticed after 10 s, on a connection that waits as on one that sends.
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # A standby would refuse commits, and show its readers an earlier state.
    "target_session_attrs": "read-write",
}
"""Parameters of libpq that a URL, or a variable of libpq, may override."""

LOCK_SECONDS = 5.0
"""How long a statement waits for a row that another connection has locked."""

STATEMENT_SHARE = 0.8
"""The part of the seconds that a statement may take after which the server ends it. The node waits
longer: so the end of a slow statement is an answer, and not taken for a database that is away."""

IDLE_SECONDS = 10.0
"""After so long without a statement, the server ends a transaction: its node may be stopped, and
the rows that it has locked would hold up all other nodes."""


class Server:
    """A database, and the schema in it that has the tables.

    `url` is a connection string of libpq,
    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING. It may have a
    password, so no message holds any of it. `synchronous_commit` is PostgreSQL's setting; with
    None, the database's own holds. A connect and a statement may take `seconds` each, whatever the
    URL says; with None, a statement may take ANSWER_SECONDS. Raises StoreError if libpq can't read
    the URL.
    """

    def __init__(
        self,
        url: str,
        schema: str = SCHEMA,
        synchronous_commit: SynchronousCommit | None = None,
        *,
        seconds: int | None = None,
    ) -> None:
        self.schema = schema
        self._url = url
        self._seconds = seconds
        self._synchronous_commit = synchronous_commit
        try:
            given = {*conninfo_to_dict(url), *_given_by_variables()}
            missing = {name: each for name, each in _DEFAULTS.items() if name not in given}
            if seconds is not None:
                missing["connect_timeout"] = seconds
            self._conninfo = make_conninfo(url, **missing, client_encoding="UTF8")
        except psycopg.Error:
            # The message of libpq quotes what it can't read, which may be a part of the password.
            raise StoreError(
                "the URL of the store can't be read: write it as"
                " postgresql://USER@HOST:PORT/DATABASE, with special characters of a password as"
                " %XX"
            ) from None

    def impatient(self, seconds: int) -> Server:
        """The same database, where a connect or a statement may take so long, and a commit does not
        wait for the disk."""
        return Server(self._url, self.schema, "off", seconds=seconds)

    def connect(self) -> Connection:
        """In a thread: a connection in autocommit mode. Raises psycopg.Error or OSError."""
        with ExitStack() as stack:
            try:
                connection = Connection.connect(self._conninfo, autocommit=True, context=ADAPTERS)
            except psycopg.OperationalError as error:
                # psycopg leaves the socket of a connect that timed out to the garbage collector.
                clear_frames(error.__traceback__)
                # libpq gives no reason if no file descriptor is left: this raises OSError then.
                socket.socket(socket.AF_UNIX).close()
                raise
            stack.callback(connection.close)
            connection.arm()
            connection.answer_seconds = self._seconds
            milliseconds = {
                "statement_timeout": STATEMENT_SHARE * (self._seconds or ANSWER_SECONDS),
                "lock_timeout": LOCK_SECONDS,
                "idle_in_transaction_session_timeout": IDLE_SECONDS,
            }
            settings = {name: f"{int(each * 1000)}" for name, each in milliseconds.items()}
            settings["search_path"] = self.schema
            if self._synchronous_commit is not None:
                settings["synchronous_commit"] = self._synchronous_commit
            statements = [
                sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
                for name, value in settings.items()
            ]
            # One round trip for all.
            connection.execute(sql.SQL("; ").join(statements))
            stack.pop_all()
        return connection

    def open_writer(self) -> Connection:
        """A connection to a database with the tables of this version; they are made if this role
        may do so. Raises psycopg.Error, OSError or StoreError."""
        with ExitStack() as stack:
            connection = self.connect()
            stack.callback(connection.close)
            prepare(connection, self.schema)
            connection.first_epoch = _first_epoch(connection)
            stack.pop_all()
        return connection


def _first_epoch(connection: Connection) -> int:
    """The least epoch that the server may give. A failover to a standby that lags loses epochs: the
    new primary must give none of them again, or two nodes would append as the same owner.

    Each promotion begins a new timeline, whose number begins the names of WAL files;
    https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES.
    """
    try:
        row = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
    except (psycopg.ProgrammingError, psycopg.NotSupportedError):
        # A server that only speaks as PostgreSQL does, or a role without the right.
        return 0
    return 0 if row is None else (int(row[0][:8], 16) - 1) << 32


def _given_by_variables() -> set[str]:
    """The parameters that variables such as PGCONNECT_TIMEOUT give."""
    options = Conninfo.get_defaults()
    return {each.keyword.decode() for each in options if each.val != each.compiled}
