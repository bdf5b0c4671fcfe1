"""The lines of one log that match, with the lines around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..records import Batch, Gap, Run
from ..selection import Selection
from ..store import LogStore
from .matches import MAX_FOUND, MatchVisitor
from .searches import Place

__all__ = ["Finding", "FoundLine"]

SLICE_BYTES = 4 * 1024 * 1024
"""Bytes of a log after which a slice ends."""

LINES_BYTES = 64 * 1024
"""About how many bytes of lines one call returns."""

LINE_WEIGHT = 100
"""What a line weighs besides its text."""

MATCHES_AT_ONCE = 500
"""Matches whose lines one read of the store collects."""


@dataclass(frozen=True, slots=True)
class FoundLine:
    """A line that matches, or one of the lines around it. `text` is UTF-8 without the line end;
    `partial` and the others are those of its batch."""

    seq: int
    time: int
    stream: str
    text: bytes
    partial: bool
    is_context: bool


class Finding:
    """Finds the lines of a log that a selection asks for, in order, each once.

    `context` lines before and after each match come with it, whatever their stream, time and text.
    It begins after line `after`, and ends after `limit` matches: with the lines around the last
    one, but before the next match. Lines that the store does not have are left out. Bound: the
    numbers of the matches of one slice, and about 64 KiB of lines.
    """

    def __init__(
        self,
        store: LogStore,
        place: Place,
        workload_id: str,
        selection: Selection,
        *,
        after: int = 0,
        limit: int,
        context: int = 0,
    ) -> None:
        self.workload_id = workload_id
        self._store = store
        self._place = place
        self._selection = selection
        self._context = context
        self._wanted = limit
        # All lines up to this one are searched, and all lines to deliver up to that one delivered.
        self.searched = after
        self._delivered = after
        self._start = after
        self.head: int | None = None
        # The last line to look at.
        self._last = after
        # Matches that are not delivered, and the last one that is.
        self._matches: list[int] = []
        self._last_match: int | None = None
        self.count = 0

    @property
    def looked_at(self) -> int:
        """How many lines were searched."""
        return self.searched - self._start

    @property
    def is_over(self) -> bool:
        """Whether all lines are delivered."""
        return self.head is not None and self.searched >= self._last and self._due() is None

    @property
    def is_limited(self) -> bool:
        """Whether `limit` ended it before the head of the log."""
        return self._wanted <= 0 and self.searched < (self.head or 0)

    async def load(self) -> None:
        """Look up the head of the log, where it ends. Raises StoreError."""
        state = await self._store.log(self.workload_id)
        # A log that was deleted meanwhile has no line.
        head = 0 if state is None else state.lines
        self.head = self._last = max(head, self._start)
        if self._wanted <= 0:
            self._last = self._start
        elif self._selection.since is not None:
            # No earlier line can match.
            since = await self._store.find(self.workload_id, self._selection.since, head)
            self.searched = max(self._start, since - 1)

    async def step(self) -> Sequence[FoundLine]:
        """Take one turn; return the lines that it brought, perhaps none. Call it after `load`, and
        until `is_over`. Raises StoreError. A call that is cancelled loses nothing but time."""
        due = self._due()
        if due is None:
            await self._search()
            return ()
        return await self._collect(*due)

    async def _search(self) -> None:
        """Look for more matches, or for the one that ends the lines after the last match."""
        first = self.searched + 1
        enough = min(self._wanted + 1, MAX_FOUND)
        visitor = MatchVisitor(self._selection, first, self._last, enough=enough, size=SLICE_BYTES)
        await self._place.slice(self.workload_id, first, self._last, visitor)
        searched = self._last if visitor.is_exhausted else visitor.next - 1
        found = visitor.found
        if len(found) > self._wanted:
            # The next page begins with this match.
            self._last = found[self._wanted] - 1
            searched = min(searched, self._last)
            found = found[: self._wanted]
        self._matches += found
        self._wanted -= len(found)
        if self._wanted <= 0:
            newest = self._matches[-1] if self._matches else self._last_match
            assert newest is not None
            self._last = min(self._last, newest + self._context)
            searched = min(searched, self._last)
        self.searched = searched

    def _due(self) -> tuple[list[int], int] | None:
        """The matches whose lines come next, and the last line that may come with them; None if no
        line that was searched is missing."""
        matches = self._matches[:MATCHES_AT_ONCE]
        if len(matches) < len(self._matches):
            return matches, matches[-1]
        newest = matches[-1] if matches else self._last_match
        if newest is None:
            return None
        last = min(newest + self._context, self.searched)
        return (matches, last) if last > self._delivered else None

    async def _collect(self, matches: list[int], last: int) -> Sequence[FoundLine]:
        """Read the lines that are due."""
        first = self._delivered + 1
        known = [] if self._last_match is None else [self._last_match]
        visitor = _Collector(
            _windows([*known, *matches], self._context, first, last), frozenset(matches)
        )
        await self._place.slice(self.workload_id, visitor.first, last, visitor)
        self._delivered = visitor.last if visitor.is_full else last
        delivered = [each for each in matches if each <= self._delivered]
        if delivered:
            self._last_match = delivered[-1]
            del self._matches[: len(delivered)]
        self.count += sum(not line.is_context for line in visitor.lines)
        return visitor.lines


def _windows(matches: Sequence[int], context: int, first: int, last: int) -> list[range]:
    """The lines around these matches from `first` to `last`, as ranges that do not touch."""
    windows: list[range] = []
    for each in matches:
        start, stop = max(each - context, first), min(each + context, last) + 1
        if windows and start <= windows[-1].stop:
            windows[-1] = range(windows[-1].start, max(stop, windows[-1].stop))
        elif start < stop:
            windows.append(range(start, stop))
    return windows


class _Collector:
    """Collects the lines of some windows, until it has enough bytes of them."""

    def __init__(self, windows: Sequence[range], matches: frozenset[int]) -> None:
        self._windows = windows
        self._matches = matches
        self._index = 0
        self.first = windows[0].start
        self.lines: list[FoundLine] = []
        self._bytes = 0
        self.is_full = False
        # The last line that was looked at.
        self.last = 0

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        windows = self._windows
        while self._index < len(windows) and windows[self._index][-1] < run.first:
            self._index += 1
        if self._index == len(windows):
            return False
        if windows[self._index].start <= run.last and isinstance(run, Run):
            record = load()
            if isinstance(record, Batch):
                self._take(record)
        if not self.is_full:
            self.last = run.last
        return not self.is_full

    def _take(self, batch: Batch) -> None:
        lines = batch.text.split(b"\n")
        for window in self._windows[self._index :]:
            if window.start > batch.last:
                break
            for seq in range(max(window.start, batch.first), min(window[-1], batch.last) + 1):
                if self._bytes >= LINES_BYTES:
                    self.is_full = True
                    return
                text = lines[seq - batch.first]
                self._bytes += LINE_WEIGHT + len(text)
                self.last = seq
                self.lines.append(
                    FoundLine(
                        seq,
                        batch.time,
                        batch.stream,
                        text,
                        batch.partial,
                        seq not in self._matches,
                    )
                )
