"""What a reader of several logs asks for, and what it gets of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..selection import Selection
from .pending import Found

__all__ = ["EVERYTHING", "Gone", "Item", "LogPlace", "PartRecord"]

EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A log, and the place to resume from: the number of the last line that the reader has, or
    "end"; None means from the first line that `selection` asks for. `ended`: the reader has its
    end, so no record is due."""

    workload_id: str
    selection: Selection = EVERYTHING
    after: int | Literal["end"] | None = None
    ended: bool = False

    @property
    def first(self) -> int | None:
        """The line to subscribe from, before the first line asked for is found; None for new lines
        only."""
        return None if self.selection.tail == 0 and self.after is None else 1


@dataclass(frozen=True, slots=True)
class Gone:
    """The last record of a log that is unknown, or was deleted."""


PartRecord: TypeAlias = Found | Gone

Item: TypeAlias = tuple[int, PartRecord]
"""The place of a log among the parameters, and a record of that log."""
