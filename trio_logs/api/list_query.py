"""The parameters of a request for a list of workloads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from werkzeug.datastructures import MultiDict

from ..errors import InvalidRequestError
from ..store import WorkloadQuery
from .parameters import boolean, collect, labels, moment, statuses

__all__ = ["MAX_PAGE", "PAGE_PARAMETERS", "ListQuery", "parse_list_query"]

MAX_PAGE = 500
_REPEATABLE = ("label", "status")
_SINGLE = ("before", "counts", "id", "limit", "name", "search", "since", "until")
PAGE_PARAMETERS = (*_REPEATABLE, *_SINGLE)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """`counts`: the client also wants to know how many workloads match, on all pages."""

    workloads: WorkloadQuery
    counts: bool


def parse_list_query(values: MultiDict[str, str], now: int) -> ListQuery:
    """Read the parameters of a list. `now` is in microseconds since the Unix epoch.

    Raises InvalidRequestError for a parameter that is unknown, repeated or malformed.
    """
    given = collect(
        ((name, value) for name, value in values.items(multi=True) if name not in _REPEATABLE),
        PAGE_PARAMETERS,
    )
    before = given.get("before")
    if before is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", before):
        raise InvalidRequestError("before: it is the `next` of the page before")
    since, _ = moment(given, "since", now)
    until, _ = moment(given, "until", now)
    query = WorkloadQuery(
        limit=_limit(given.get("limit", "50")),
        before=before,
        statuses=statuses(values.getlist("status")),
        labels=labels(values.getlist("label")),
        name=given.get("name"),
        id=given.get("id"),
        search=given.get("search"),
        since=since,
        until=until,
    )
    return ListQuery(query, boolean(given, "counts", default=False))


def _limit(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MAX_PAGE:
        raise InvalidRequestError(f"limit: it is a number from 1 to {MAX_PAGE}")
    return int(value)
