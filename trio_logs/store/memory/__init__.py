"""A store in memory, for tests and for embedders whose history may end with the process."""

from .store import MemoryStore

__all__ = ["MemoryStore"]
