"""The requests of the client, without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import quote

import httpx2
import msgspec

from .records import Node, Workload

__all__ = [
    "FOLLOW_TIMEOUT",
    "PUSH_TIMEOUT",
    "REQUEST_DELAYS",
    "TIMEOUT",
    "FollowOptions",
    "ListOptions",
    "NodeList",
    "Page",
    "Position",
    "SeveralOptions",
    "SubmitOptions",
    "aged",
    "encoded",
    "headers",
    "in_words",
    "list_query",
    "page_query",
    "path",
    "submission",
]

TIMEOUT = httpx2.Timeout(30, connect=10)

FOLLOW_TIMEOUT = httpx2.Timeout(30, connect=10, read=45)
"""Seconds. A quiet stream carries a comment every 15 s: without three of them, it is dead."""


PUSH_TIMEOUT = httpx2.Timeout(60, connect=10)
"""Seconds. A server that takes no bytes for so long may be gone: the client connects anew."""

REQUEST_DELAYS = (0.5, 5.0)
"""Seconds before sending again: after the first failure, and at most. A build waits meanwhile."""


_WIRE_NAMES = {"first": "from", "last": "to"}
"""Parameters that have another name on the wire."""

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}
_PART = r"([0-9]{1,12}(?:\.[0-9]+)?)(d|h|ms|m|s)"

PAGE = 500
"""Workloads in one page: the server's maximum."""


class Page(msgspec.Struct, frozen=True):
    """A page of workloads, newest first, and the cursor of the next page."""

    workloads: list[Workload]
    next: str | None


class NodeList(msgspec.Struct, frozen=True):
    """The nodes of the server's store, by id."""

    nodes: list[Node]


class Position(msgspec.Struct, frozen=True):
    """The part of a page that says which changes it has."""

    position: str


class SubmitOptions(TypedDict, total=False):
    """The options of a submission; `timeout` is in seconds. A second submission with the same
    `idempotency_key` returns the first workload."""

    name: str
    env: dict[str, str]
    cwd: str
    timeout: float
    labels: dict[str, str]
    backend: str
    pty: bool
    idempotency_key: str


class ListOptions(TypedDict, total=False):
    """Which workloads: of any of the statuses, with all labels, with exactly this name, an id that
    starts or ends so, a text in name, id or command, and a time of creation in the forms of the
    wire contract, such as `10m`."""

    status: str | Sequence[str] | None
    labels: Mapping[str, str] | None
    name: str | None
    id: str | None
    search: str | None
    since: str | None
    until: str | None


class FollowOptions(TypedDict, total=False):
    """Which lines of a log to read. They apply in this order: lines `first` to `last` (numbers,
    both included), from `since` to `until`, of `stream`, that `filter` matches, of those the last
    `tail`, of those the first `limit`.

    `since` and `until` are RFC 3339 times, Unix seconds, or durations back from now such as `10m`.
    `filter` is a text, or an RE2 expression with `regex`; `case=False` ignores case, and `invert`
    asks for the lines that do not match. `tail` and `limit` count whole lines.

    `follow=False` ends at the last line known now, and `last` implies it. `unfinished` asks for
    `Unfinished` records, too, and `head` for a `Head` at the start of each answer. `patience` is
    how many seconds to try without a log, by default for ever.
    """

    first: int
    last: int
    since: str
    until: str
    stream: str
    filter: str
    regex: bool
    case: bool
    invert: bool
    tail: int
    limit: int
    follow: bool
    unfinished: bool
    head: bool
    patience: float


class SeveralOptions(TypedDict, total=False):
    """Which lines of each of several logs to read. See `FollowOptions`."""

    since: str
    until: str
    stream: str
    filter: str
    regex: bool
    case: bool
    invert: bool
    tail: int
    follow: bool
    unfinished: bool
    patience: float


# What OSError and ssl.SSLError add to the words of the system.
_PYTHON_ONLY = re.compile(r"\[Errno -?[0-9]+\] |\[SSL: \w+\] | \(_ssl\.c:[0-9]+\)")


def in_words(error: httpx2.RequestError) -> str:
    """The reason for a missing answer, in words."""
    if isinstance(error, httpx2.TimeoutException):
        return "it took too long"
    # An error without a message has one in its cause, for example a refused certificate.
    found: BaseException | None = error
    while found is not None and not str(found):
        found = found.__cause__ or found.__context__
    text = str(found or type(error).__name__)
    if "[SSL: WRONG_VERSION_NUMBER]" in text:
        return "it does not speak TLS: its address begins with http://"
    return _PYTHON_ONLY.sub("", text)


def headers(token: str | None) -> dict[str, str]:
    """The headers of every request."""
    from .. import __version__

    found = {"User-Agent": f"trio-logs/{__version__}"}
    return found if token is None else {**found, "Authorization": f"Bearer {token}"}


def path(workload_id: str, *rest: str) -> str:
    """The path of a workload, or of a part of it."""
    return "/".join(["/v1/workloads", quote(workload_id, safe=""), *rest])


def submission(command: Sequence[str], options: SubmitOptions) -> dict[str, Any]:
    """The body of a submission."""
    if isinstance(command, str):
        raise TypeError('command: give a list, such as ["ls", "-l"]; no shell reads one text')
    fields = {name: value for name, value in options.items() if name != "idempotency_key"}
    return {"command": list(command), **fields}


def list_query(options: ListOptions) -> list[tuple[str, str]]:
    """The parameters that select workloads."""
    given = dict(options)
    labels: Any = given.pop("labels", None) or {}
    statuses: Any = given.pop("status", None) or ()
    if isinstance(statuses, str):
        statuses = [statuses]
    return [
        *(("label", f"{key}={value}") for key, value in labels.items()),
        *(("status", str(status)) for status in statuses),
        *((name, str(value)) for name, value in given.items() if value is not None),
    ]


def page_query(options: ListOptions, before: str | None, left: int | None) -> list[tuple[str, str]]:
    """The parameters of one page, if `left` more workloads are wanted."""
    query = [("limit", str(PAGE if left is None else min(left, PAGE))), *list_query(options)]
    return query if before is None else [*query, ("before", before)]


def encoded(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as parameters on the wire."""
    return {
        _WIRE_NAMES.get(name, name): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in options.items()
    }


def aged(query: Mapping[str, str], seconds: float) -> dict[str, str]:
    """Parameters that mean the same although `seconds` have passed: `since` and `until` may be
    durations back from now."""
    found = dict(query)
    for name in ("since", "until"):
        value = found.get(name, "")
        if re.fullmatch(rf"(?:{_PART})+", value):
            back = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, value))
            found[name] = f"{back + seconds:.3f}s"
    return found
