"""How the matches in a log go on after their answer broke, without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .found import TileParser
from .progress_resume import ProgressResume
from .records import MatchesEnd, MatchRecord, Tile
from .search_requests import MatchOptions

__all__ = ["MatchesResume"]


class MatchesResume(ProgressResume[MatchRecord]):
    """The matches in one log, up to the last line that is known when the first answer begins."""

    def __init__(self, text: str, options: MatchOptions, address: str) -> None:
        rest = {name: value for name, value in options.items() if name != "patience"}
        super().__init__(text, rest, options.get("patience"), address)
        self._last = options.get("last")
        # The head of the log when the first answer began.
        self._head: int | None = None
        # The last line that was searched.
        self._searched: int | None = None
        self._count = 0

    def _new_parser(self) -> TileParser:
        return TileParser()

    def query(self) -> dict[str, str | Sequence[str]]:
        query = super().query()
        if self._searched is not None:
            query["from"] = str(self._searched + 1)
            if (last := self._end) is not None:
                query["to"] = str(last)
        return query

    def opened(self, headers: Mapping[str, str]) -> Sequence[MatchRecord]:
        lines = headers.get("Log-Lines", "")
        if self._head is None and lines.isdecimal():
            self._head = int(lines)
        return []

    @property
    def _end(self) -> int | None:
        """The last line to search, as far as that is known."""
        known = [line for line in (self._last, self._head) if line is not None]
        return min(known, default=None)

    def flush(self) -> Sequence[MatchRecord]:
        if not self.done and self._head is not None and self._searched == self._end:
            # Only the end is missing, and no request asks for it alone.
            self.done = True
            return [MatchesEnd(self._count, self._head)]
        return []

    def _take(self, record: Any) -> Sequence[MatchRecord]:
        match record:
            case Tile():
                self._searched = record.last
                self._count += record.count
                self.heard = True
                return [record]
            case MatchesEnd():
                self.done = True
                return [MatchesEnd(self._count, record.lines if self._head is None else self._head)]
        raise AssertionError(record)
