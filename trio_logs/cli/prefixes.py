"""What stands before each line where several logs are printed together."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from ..client import Workload
from .controls import one_line

__all__ = ["Prefixes"]

COLOURS = (36, 33, 32, 35, 34, 31)
"""The colours of the prefixes, in turn."""


class Prefixes:
    """The names that stand before lines, padded to the widest one so far.

    A workload is named by its id if it has no name, or if another one has that name.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._by_id = False
        self._width = 0
        self._count = 0

    def add(self, workloads: Sequence[Workload]) -> list[tuple[str, int]]:
        """The prefix of each of these workloads, and its colour."""
        names = [one_line(each.name or each.id) for each in workloads]
        if len(set(names)) < len(names):
            self._by_id = True
        shown = [
            each.id if self._by_id or name in self._taken else name
            for each, name in zip(workloads, names, strict=True)
        ]
        self._taken.update(shown)
        # A letter may take two cells of a terminal.
        self._width = max([self._width, *map(cell_len, shown)])
        start, self._count = self._count, self._count + len(shown)
        return [
            (f"{name}{' ' * (self._width - cell_len(name))} | ", COLOURS[number % len(COLOURS)])
            for number, name in enumerate(shown, start)
        ]
