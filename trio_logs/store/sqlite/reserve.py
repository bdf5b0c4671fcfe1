"""A file that holds room on the disk, so that a full disk can be left by deleting."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ...private_files import open_private
from .file import File

__all__ = ["Reserve"]

RESERVE_BYTES = 16 * 1024 * 1024
"""Its size: what the write-ahead log has at most, which must have room in the database before a
deletion has."""

PART = 8
"""It takes no more than that part of a small file system."""


class Reserve:
    """The file beside a database, in threads. Without a database, there is no reserve.

    While it is released, only deletions may use the room. Its return shows that there is more.
    """

    def __init__(self, database: File | None) -> None:
        self._database = database
        self._is_taken = False
        self.is_released = False

    def take(self) -> bool:
        """Have the file take its room, and return whether it does. Without room, there is no file.
        After a release, it also needs a fourth of its size to be left: else the next write would
        release it again."""
        if self._database is None:
            return False
        path = self._database.beside("-reserve")
        try:
            self._allocate(path)
        except OSError:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            self._is_taken = False
            return False
        self._is_taken, self.is_released = True, False
        return True

    def release(self) -> bool:
        """Give its room to deletions; return whether there was any."""
        if self._database is None or not self._is_taken:
            return False
        try:
            # An operator may have deleted the file, to make room on a full disk.
            self._database.beside("-reserve").unlink(missing_ok=True)
        except OSError:
            return False
        self._is_taken, self.is_released = False, True
        return True

    def _allocate(self, path: Path) -> None:
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            system = os.fstatvfs(descriptor)
            size = min(RESERVE_BYTES, system.f_blocks * system.f_frsize // PART)
            if os.fstat(descriptor).st_blocks * 512 < size:
                os.posix_fallocate(descriptor, 0, size)
            free = os.fstatvfs(descriptor)
            if self.is_released and free.f_bavail * free.f_frsize < size // 4:
                raise OSError("too little room is left beside the reserve")
        finally:
            os.close(descriptor)
