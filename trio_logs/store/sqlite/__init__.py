"""A store in one SQLite file: a row a batch, compressed, and one transaction for all topics at
once.

Durability is SQLite's in WAL mode: with `synchronous=NORMAL` a commit survives `kill -9` of this
process, and with `FULL` also a loss of power.
"""

from .store import SQLiteStore

__all__ = ["SQLiteStore"]
