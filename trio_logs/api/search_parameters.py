"""The parameters of a search in one log and over many, without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InvalidRequestError
from ..records import Status, Workload
from ..selection import Selection
from .parameters import SELECTION, collect, labels, selection, statuses, whole_number

__all__ = [
    "MAX_MATCHES",
    "POSITION",
    "SEARCH_PARAMETERS",
    "SearchPosition",
    "SearchQuery",
    "parse_matches_query",
    "parse_search_query",
]

MAX_MATCHES = 100_000
DEFAULT_MATCHES = 1_000

_LINES = tuple(name for name in SELECTION if name not in ("from", "to"))
_REPEATABLE = ("label", "status", "workload")
_ONCE = ("name", "limit", "per_workload", "context", "before")
SEARCH_PARAMETERS = (*_LINES, *_REPEATABLE, *_ONCE)

_ID = r"[A-Za-z0-9_-]{1,64}"
POSITION = rf"({_ID})\.([0-9]{{1,18}})\.([0-9]{{1,18}})"
"""A workload, the last line of its log that was searched, and how many lines of it matched."""


@dataclass(frozen=True, slots=True)
class SearchPosition:
    """Where a search goes on: in the log of `workload_id`, after line `line`; `count` lines of that
    log were found before."""

    workload_id: str
    line: int
    count: int

    @classmethod
    def parse(cls, text: str) -> SearchPosition:
        """Raises InvalidRequestError."""
        found = re.fullmatch(POSITION, text)
        if found is None:
            raise InvalidRequestError("before: it is the `next` of the search before")
        return cls(found[1], int(found[2]), int(found[3]))

    def __str__(self) -> str:
        return f"{self.workload_id}.{self.line}.{self.count}"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """`selection` selects lines. `labels`, `statuses`, `name` and `ids` select workloads; an empty
    one, or None, selects all. `limit` is that of all matches, `per_workload` that of each log."""

    selection: Selection
    labels: dict[str, str]
    statuses: frozenset[Status]
    name: str | None
    ids: frozenset[str]
    limit: int
    per_workload: int | None
    context: int
    before: SearchPosition | None

    def selects(self, workload: Workload) -> bool:
        """Whether the log of this workload is searched; its id is not looked at."""
        return (
            (not self.statuses or workload.status in self.statuses)
            and (self.name is None or workload.spec.name == self.name)
            and self.labels.items() <= workload.spec.labels.items()
        )


def parse_matches_query(parameters: Iterable[tuple[str, str]], now: int) -> Selection:
    """Read the parameters of a search in one log. `now` is in microseconds.

    Raises InvalidRequestError for a parameter that is unknown, repeated or malformed, and if the
    filter is missing.
    """
    return _filtered(collect(parameters, SELECTION), now)


def parse_search_query(parameters: Iterable[tuple[str, str]], now: int) -> SearchQuery:
    """Read the parameters of a search over logs. `now` is in microseconds.

    Raises InvalidRequestError for a parameter that is unknown or malformed, or repeated though it
    may not be, and if the filter is missing.
    """
    repeated: dict[str, list[str]] = {name: [] for name in _REPEATABLE}
    rest = []
    for name, value in parameters:
        if name in repeated:
            repeated[name].append(value)
        else:
            rest.append((name, value))
    given = collect(rest, SEARCH_PARAMETERS)
    position = given.get("before")
    return SearchQuery(
        selection=_filtered({name: given[name] for name in _LINES if name in given}, now),
        labels=labels(repeated["label"]),
        statuses=statuses(repeated["status"]),
        name=given.get("name"),
        ids=_ids(repeated["workload"]),
        limit=whole_number(given, "limit", minimum=1, maximum=MAX_MATCHES) or DEFAULT_MATCHES,
        per_workload=whole_number(given, "per_workload", minimum=1),
        context=whole_number(given, "context") or 0,
        before=None if position is None else SearchPosition.parse(position),
    )


def _filtered(given: dict[str, str], now: int) -> Selection:
    if "filter" not in given:
        raise InvalidRequestError("filter: it is missing; it says what to look for")
    return selection(given, now)


def _ids(values: Iterable[str]) -> frozenset[str]:
    ids = frozenset(values)
    if not all(re.fullmatch(_ID, each) for each in ids):
        raise InvalidRequestError("workload: it is the id of a workload")
    return ids
