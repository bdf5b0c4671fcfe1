"""The free pages of the file, which removed rows leave, and which the file system gets back."""

from __future__ import annotations

from typing import Any

import apsw

__all__ = ["FreePages"]

KEPT_PAGES, MANY_PAGES = 256, 1024
"""Free pages that the file keeps for later lines, and the number beyond which it gives pages back.
Without the distance, a history at its bound would shrink and grow all the time."""

SHRINK_PAGES = 250
"""Pages that one transaction gives back: it copies up to as many pages."""

CAREFUL_PAGES = 20
"""The same while the disk is full."""


class FreePages:
    """`may_be_many`: rows were removed since `look`. `is_shrinking`: `shrink` has something to do.
    `is_careful`: the disk is full, so each step has to be small, and all free pages go."""

    def __init__(self) -> None:
        self.may_be_many = False
        self.is_shrinking = False
        self.is_careful = False

    def look(self, connection: apsw.Connection) -> None:
        """Decide whether `shrink` has something to do. Raises apsw.Error."""
        free: Any = connection.pragma("freelist_count")
        enough = KEPT_PAGES if self.is_shrinking else MANY_PAGES
        self.is_shrinking = free > (0 if self.is_careful else enough)
        self.may_be_many = False

    def shrink(self, connection: apsw.Connection) -> None:
        """Give some free pages at the end of the file back. The file system has them after the next
        checkpoint. Raises apsw.Error."""
        pages = CAREFUL_PAGES if self.is_careful else SHRINK_PAGES
        connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        self.look(connection)
