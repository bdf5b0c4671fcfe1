"""`python -m trio_logs.store.postgres URL [ROLE]`: make the tables as their owner, for a service
whose role may only read and write rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing

from psycopg import sql

from ...errors import StoreError
from .connection import Connection
from .failures import FAILURES, store_error
from .schema import VERSION
from .server import SCHEMA, Server

__all__ = ["main"]


def main(arguments: Sequence[str]) -> str | None:
    """Make or migrate the tables, and grant a role what the service needs. Returns what went
    wrong."""
    if len(arguments) not in (1, 2):
        return "usage: python -m trio_logs.store.postgres URL [ROLE]"
    url, *roles = arguments
    try:
        server = Server(url)
        with closing(server.open_writer()) as connection:
            for role in roles:
                grant(connection, server.schema, role)
    except StoreError as error:
        return str(error)
    except FAILURES as error:
        return str(store_error("prepare", error, detailed=True))
    print(f"The tables in the schema {SCHEMA} are of version {VERSION}.")
    return None


def grant(connection: Connection, schema: str, role: str) -> None:
    """Let a role read and write the rows of all tables. Raises psycopg.Error."""
    for statement in (
        "GRANT USAGE ON SCHEMA {} TO {}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}",
    ):
        names = map(sql.Identifier, (schema, role))
        connection.execute(sql.SQL(statement).format(*names))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
