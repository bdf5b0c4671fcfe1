"""A store in a PostgreSQL database, which several nodes share. Each batch is a compressed row, and
one transaction commits what all logs of a node have ready.

It needs psycopg, which `pip install 'trio-logs[postgres]'` installs.
"""

from .store import PostgresStore

__all__ = ["PostgresStore"]
