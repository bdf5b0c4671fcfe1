"""The parameters of a request for a list of workloads."""

from __future__ import annotations

import re

from werkzeug.datastructures import MultiDict

from ..errors import InvalidRequestError
from ..records import Status
from ..store import WorkloadQuery

__all__ = ["MAX_PAGE", "PAGE_PARAMETERS", "parse_list_query"]

MAX_PAGE = 500
PAGE_PARAMETERS = ("before", "label", "limit", "status")


def parse_list_query(values: MultiDict[str, str]) -> WorkloadQuery:
    """Read the parameters of a list.

    Raises InvalidRequestError for a parameter that is unknown, repeated or malformed.
    """
    for name in values:
        if name not in PAGE_PARAMETERS:
            known = ", ".join(PAGE_PARAMETERS)
            raise InvalidRequestError(f"there is no parameter {name[:80]!r}; there are: {known}")
        if name != "label" and len(values.getlist(name)) > 1:
            raise InvalidRequestError(f"{name}: give it once")
    status, limit, before = values.get("status"), values.get("limit", "50"), values.get("before")
    if status is not None and status not in set(Status):
        raise InvalidRequestError(f"status: it is one of {', '.join(Status)}")
    if not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise InvalidRequestError(f"limit: it is a number from 1 to {MAX_PAGE}")
    if before is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", before):
        raise InvalidRequestError("before: it is the `next` of the page before")
    labels: dict[str, str] = {}
    for label in values.getlist("label"):
        name, equals, value = label.partition("=")
        if not name or not equals:
            raise InvalidRequestError("label: write it as `name=value`")
        if name in labels:
            raise InvalidRequestError(f"label: a workload has one {name!r}, so give it once")
        labels[name] = value
    return WorkloadQuery(int(limit), before, Status(status) if status else None, labels)
