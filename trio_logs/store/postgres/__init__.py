"""A store in a PostgreSQL database, which several nodes share. Each batch is a compressed row, and
one transaction commits what all logs of a node have ready.

It needs psycopg, which the extra `postgres` of trio-logs installs.
"""

from .store import PostgresStore

__all__ = ["PostgresStore"]
