"""The store of a node."""

from __future__ import annotations

from typing import ClassVar

import trio

from ..session_methods import SessionMethods
from . import sessions
from .database import Database
from .log_store import PostgresLogs
from .node_store import PostgresNodes
from .record_store import PostgresRecords
from .server import SCHEMA, Server, SynchronousCommit

__all__ = ["PostgresStore"]


class PostgresStore(PostgresLogs, PostgresRecords, SessionMethods, PostgresNodes):
    """A node's store in a PostgreSQL database; see `SharedStore` for the methods.

    `url` is a connection string of libpq; a password in it is neither logged nor part of an error.
    `schema` has the tables: services with different schemas of one database do not know of each
    other. `synchronous_commit` is PostgreSQL's setting,
    https://www.postgresql.org/docs/current/runtime-config-wal.html; None leaves that of the
    database. Raises StoreError if libpq can't read the URL.
    """

    statements: ClassVar = sessions

    def __init__(
        self,
        url: str,
        *,
        schema: str = SCHEMA,
        synchronous_commit: SynchronousCommit | None = None,
    ) -> None:
        super().__init__(Database(Server(url, schema, synchronous_commit)))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with self._database.open(), trio.open_nursery() as nursery:
            nursery.start_soon(self._database.run)
            nursery.start_soon(self._keep_swept)
            task_status.started()
