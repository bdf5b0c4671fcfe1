"""How much of a request's body the server takes."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["BodyBound", "too_long"]

MAX_SMALL_CHUNKS = 1_000
SMALL_BYTES = 16
"""A body that the app holds as a whole is refused if it comes in more chunks than that, of fewer
bytes on average. Parsing it costs a thousand times as much as its bytes are worth."""


class BodyBound:
    """Counts the chunks and bytes of one body. `limit`: the most bytes that it may have, or None if
    the app reads it piece by piece, at any length."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._bytes = 0
        self.chunks = 0

    def add(self, size: int) -> None:
        """Count a chunk, or a part of one."""
        self.chunks += 1
        self._bytes += size

    def fault(self) -> tuple[HTTPStatus, str] | None:
        """The status and the detail of the refusal of what was counted, or None."""
        if self._limit is None:
            return None
        if self._bytes > self._limit:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_long(self._limit)
        if self.chunks > MAX_SMALL_CHUNKS and self._bytes < SMALL_BYTES * self.chunks:
            detail = "the body comes in chunks of a few bytes: send larger ones"
            return HTTPStatus.BAD_REQUEST, detail
        return None


def too_long(limit: int) -> str:
    """The detail of a 413."""
    return f"a request's body has at most {limit} bytes"
