"""The label that keeps a log for longer."""

from __future__ import annotations

from collections.abc import Mapping

from .durations import parse_duration

__all__ = ["KEEP_LABEL", "kept_seconds"]

KEEP_LABEL = "trio-logs.keep"

_LONGEST = 36_500 * 86_400.0
"""A hundred years: as microseconds, a longer time might not fit into 64 bits."""


def kept_seconds(labels: Mapping[str, str]) -> float | None:
    """How old the lines, and the record, of a workload with these labels may become even if the
    bounds of age are lower, in seconds. None without the label, or if it is no duration."""
    seconds = parse_duration(labels.get(KEEP_LABEL, ""))
    return None if seconds is None else min(seconds, _LONGEST)
