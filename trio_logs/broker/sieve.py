"""Visitors of stored logs that pick lines, each for one slice of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from ..picking import Picker
from ..records import Batch, Gap, Run
from ..selection import LineRun, Selection, Tail
from .searches import SLICE_SECONDS

__all__ = ["Sieve", "TailSieve", "pick_slice"]


class Sieve:
    """Picks lines from line `next` on, until it has about `max_found` bytes on the wire, has looked
    at `max_seen` bytes, or its time is over.

    `next` is then the first line that it did not look at, `found` the batches and gaps that are
    asked for, and `seen` the bytes after the last of these. It stops before a hole, which only the
    broker can explain: then `hole` is the first line after the hole. `is_late`: it met a line after
    `until`. `picker` is in the state after the last line.
    """

    def __init__(self, picker: Picker, first: int, max_found: int, max_seen: int) -> None:
        self.picker = picker
        self.next = first
        self.found: list[Batch | Gap] = []
        self.seen = 0
        self.hole: int | None = None
        self.is_late = False
        self._max_found = max_found
        self._max_seen = max_seen
        self._deadline = 0.0

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        if not self._deadline:
            # The time in which the slice waited for a thread does not count.
            self._deadline = perf_counter() + SLICE_SECONDS
        if run.first > self.next:
            self.hole = run.first
            return False
        picker = self.picker
        if isinstance(run, Run):
            if picker.is_late(run):
                self.is_late = True
                return False
            if not picker.wants(run):
                picker.skip(run)
                self.next = run.last + 1
                return self._goes_on()
        record = load()
        if isinstance(record, Gap):
            gap = picker.pick_gap(Gap(self.next, record.last, record.reason))
            self._keep([] if gap is None else [gap], 0)
            self.next = record.last + 1
        else:
            # The first batch may begin before the line that is next.
            batch = record.since(max(self.next, record.first))
            parts, last = picker.pick_until(batch, self._deadline)
            self._keep(parts, len(batch.until(last).data))
            self.next = last + 1
        return self._goes_on()

    def _keep(self, found: list[Batch] | list[Gap], size: int) -> None:
        if found:
            self.found += found
            self._max_found -= sum(each.weight for each in found)
            self.seen = 0
        else:
            self.seen += size
        self._max_seen -= size

    def _goes_on(self) -> bool:
        return (
            not self.picker.done
            and self._max_found > 0
            and self._max_seen > 0
            and perf_counter() < self._deadline
        )


def pick_slice(picker: Picker, batch: Batch) -> tuple[Picker, list[Batch], int]:
    """In a thread: pick from a batch until the time of a slice is over. Returns the picker after
    it, the parts, and the last line looked at."""
    picker = picker.copy()
    return picker, *picker.pick_until(batch, perf_counter() + SLICE_SECONDS)


class TailSieve:
    """Finds where the last lines of a selection with a filter begin. It sees runs newest first, in
    several slices, until `tail` is done.

    `next` is the newest line of the next run to show; it may have been looked at in part.
    """

    def __init__(self, selection: Selection, tail: Tail) -> None:
        self.next = tail.next
        self._selection = selection
        self._tail = tail
        self._deadline = 0.0
        # Of the batch that begins at this line: the lines found, and the last one looked at.
        self._first = 0
        self._numbers: list[int] = []
        self._last = 0

    def begin(self) -> None:
        """A slice begins."""
        self._deadline = 0.0

    @property
    def has_seen(self) -> bool:
        """Whether this slice showed a run."""
        return self._deadline > 0

    def visit(self, run: Run | Gap, load: Callable[[], Batch | Gap]) -> bool:
        if isinstance(run, Run) and self._selection.admits(run):
            record = load()
            return self.see(record if isinstance(record, Batch) else run)
        return self.see(run)

    def see(self, run: Run | Batch | Gap) -> bool:
        """Take a batch, or what is known of one without its data; whether the slice goes on."""
        if not self._deadline:
            # The time in which the slice waited for a thread does not count.
            self._deadline = perf_counter() + SLICE_SECONDS
        if isinstance(run, Gap):
            self.next = run.first - 1
        elif isinstance(run, Batch) and self._selection.admits(run):
            self._look(run)
        else:
            self._take(run, ())
        return not self._tail.done and perf_counter() < self._deadline

    def _look(self, batch: Batch) -> None:
        """Look at a batch until the time is over; go on there if it was looked at before."""
        assert self._selection.filter is not None
        rest = batch
        if batch.first == self._first:
            rest = batch.since(self._last + 1)
        else:
            self._first, self._numbers = batch.first, []
        numbers, self._last = self._selection.filter.numbers_until(rest, self._deadline)
        self._numbers += numbers
        if self._last == batch.last:
            self._take(batch, self._numbers)

    def _take(self, run: LineRun, numbers: Sequence[int]) -> None:
        self.next = run.first - 1
        self._tail.take(run, numbers)
