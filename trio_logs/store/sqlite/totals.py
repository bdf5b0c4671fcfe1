"""What the store counts of all logs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Totals"]


@dataclass(frozen=True, slots=True)
class Totals:
    """The bytes of `data` in all rows, and how many rows retention has removed since the start."""

    bytes: int = 0
    trimmed: int = 0
