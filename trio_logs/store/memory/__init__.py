"""A store in memory, for tests and for embedders whose history may end with the process."""

from .shared import SharedMemoryStore
from .store import MemoryStore
from .tables import MemoryTables

__all__ = ["MemoryStore", "MemoryTables", "SharedMemoryStore"]
