"""What both clients send, and how they read the answers, without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import quote

import httpx2
import msgspec

from .records import Workload

__all__ = [
    "FOLLOW_TIMEOUT",
    "PUSH_DELAYS",
    "PUSH_TIMEOUT",
    "TIMEOUT",
    "FollowOptions",
    "Page",
    "SubmitOptions",
    "headers",
    "in_words",
    "page_query",
    "path",
    "submission",
]

TIMEOUT = httpx2.Timeout(30, connect=10)

FOLLOW_TIMEOUT = httpx2.Timeout(30, connect=10, read=45)
"""A quiet stream carries a comment every 15 s; three that fail to come are a dead connection."""


PUSH_TIMEOUT = httpx2.Timeout(60, connect=10)
"""A server that takes nothing for so long is tried anew; it may be one that is gone."""

PUSH_DELAYS = (0.5, 5.0)
"""Seconds before sending again after the first failure, and at most: somebody's build waits."""


PAGE = 500
"""Workloads of one page; the server gives no more."""


class Page(msgspec.Struct, frozen=True):
    """Some workloads, newest first, and the cursor of the next page."""

    workloads: list[Workload]
    next: str | None


class SubmitOptions(TypedDict, total=False):
    """What may be said of a workload beside its command; `timeout` is in seconds. With an
    `idempotency_key`, submitting again returns the first one."""

    name: str
    env: dict[str, str]
    cwd: str
    timeout: float
    labels: dict[str, str]
    backend: str
    pty: bool
    idempotency_key: str


class FollowOptions(TypedDict, total=False):
    """Parameters of the wire contract, as `follow=False`: end at the last line known now; and
    `patience`: seconds to go on trying when nothing is heard, by default for ever."""

    tail: int
    since: str
    until: str
    stream: str
    follow: bool
    patience: float


def in_words(error: httpx2.RequestError) -> str:
    """Why there is no answer."""
    if isinstance(error, httpx2.TimeoutException):
        return "it took too long"
    # Some leave it to what they come from, as where a certificate is not accepted.
    found: BaseException | None = error
    while found is not None and not str(found):
        found = found.__cause__ or found.__context__
    return str(found or type(error).__name__)


def headers(token: str | None) -> dict[str, str]:
    """For each request."""
    from .. import __version__

    found = {"User-Agent": f"trio-logs/{__version__}"}
    return found if token is None else {**found, "Authorization": f"Bearer {token}"}


def path(workload_id: str, *rest: str) -> str:
    """The path of a workload, or of something of it."""
    return "/".join(["/v1/workloads", quote(workload_id, safe=""), *rest])


def submission(command: Sequence[str], options: SubmitOptions) -> dict[str, Any]:
    """The body of a submission."""
    if isinstance(command, str):
        raise TypeError('command: give a list, such as ["ls", "-l"]; no shell reads one text')
    fields = {name: value for name, value in options.items() if name != "idempotency_key"}
    return {"command": list(command), **fields}


def page_query(
    status: str | None, labels: Mapping[str, str] | None, before: str | None, left: int | None
) -> list[tuple[str, str]]:
    """The parameters of one page, where so many workloads are wanted yet."""
    query = [("limit", str(PAGE if left is None else min(left, PAGE)))]
    query += [("label", f"{key}={value}") for key, value in (labels or {}).items()]
    query += [(key, value) for key, value in (("status", status), ("before", before)) if value]
    return query
