"""The requests of searches, without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

__all__ = ["MatchOptions", "SearchOptions", "workload_query"]


class _FilterOptions(TypedDict, total=False):
    regex: bool
    case: bool
    invert: bool
    since: str
    until: str
    stream: str
    patience: float


class MatchOptions(_FilterOptions, total=False):
    """Which lines of a log to look at: `first` to `last` (numbers, both included), from `since` to
    `until`, of `stream`. See `FollowOptions` for `regex`, `case`, `invert`, and the forms of times.
    `patience` is how many seconds to try without progress, by default for ever."""

    first: int
    last: int


class SearchOptions(_FilterOptions, total=False):
    """What to search: workloads of any of the statuses, with all labels, with exactly this name,
    and with any of the ids in `workloads`; of their logs, the lines from `since` to `until`, of
    `stream`.

    `limit` is how many lines to find at most, by default all; `per_workload` is that of each log.
    `context` asks for so many lines before and after each match, too. `before` is the `next` of an
    earlier search. The others are those of `MatchOptions`.
    """

    labels: Mapping[str, str]
    status: str | Sequence[str]
    name: str
    workloads: Sequence[str]
    limit: int
    per_workload: int
    context: int
    before: str


def workload_query(options: SearchOptions) -> dict[str, str | Sequence[str]]:
    """The parameters that select workloads, and may be repeated."""
    statuses: Any = options.get("status", ())
    if isinstance(statuses, str):
        statuses = [statuses]
    found = {
        "label": [f"{key}={value}" for key, value in options.get("labels", {}).items()],
        "status": [str(status) for status in statuses],
        "workload": list(options.get("workloads", ())),
    }
    return {name: values for name, values in found.items() if values}
