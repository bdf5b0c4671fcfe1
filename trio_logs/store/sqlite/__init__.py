"""A store in one SQLite file. Each batch is a compressed row, and one transaction commits what all
logs have ready.

Durability is SQLite's in WAL mode: with `synchronous=NORMAL` a commit survives `kill -9` of this
process, and with `FULL` also a loss of power. Source: https://sqlite.org/wal.html.
"""

from .store import SQLiteStore

__all__ = ["SQLiteStore"]
