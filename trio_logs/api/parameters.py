"""The parameters that requests for log lines share, without I/O.

Every function raises InvalidRequestError for a parameter that it can't read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from ..errors import InvalidRequestError
from ..filtering import Filter
from ..records import Status, parse_duration
from ..selection import Selection

__all__ = [
    "DURATION",
    "LINE",
    "MAX_LABELS",
    "SELECTION",
    "STREAMS",
    "TAIL",
    "UNIX_SECONDS",
    "boolean",
    "collect",
    "labels",
    "moment",
    "selection",
    "statuses",
    "whole_number",
]

SELECTION = ("from", "to", "since", "until", "stream", "filter", "regex", "case", "invert")
"""The parameters that select lines of a log."""

MAX_LABELS = 100
"""Labels that a request may ask for. SQLite refuses a condition of a thousand terms."""

STREAMS = ("stdout", "stderr", "system")

# The OpenAPI document has these patterns, too. `\d` would match the digits of all scripts.
NUMBER = r"[0-9]{1,12}(\.[0-9]+)?"
UNIX_SECONDS = r"[0-9]{1,11}(\.[0-9]+)?"
"""Up to the year 5138: a larger number is a mistake, such as milliseconds."""
_RFC3339 = (
    r"(?P<minute>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:)(?P<second>[0-9]{2})"
    r"(?P<rest>(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))"
)
DURATION = rf"({NUMBER}(d|h|ms|m|s)){{1,5}}"
LINE = r"[1-9][0-9]{0,17}"
_COUNT = r"[0-9]{1,18}"
TAIL = rf"{_COUNT}|all"


def collect(
    parameters: Iterable[tuple[str, str]],
    names: Collection[str],
    aliases: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The values by name, each given once at most. `aliases` are other names of parameters."""
    given: dict[str, str] = {}
    for written, value in parameters:
        name = (aliases or {}).get(written, written)
        if name not in names:
            known = ", ".join(sorted(names))
            raise InvalidRequestError(f"there is no parameter {written[:80]!r}; there are: {known}")
        if name in given:
            raise InvalidRequestError(f"{name}: give it once")
        if written == "sinceSeconds":
            if not re.fullmatch(NUMBER, value):
                raise InvalidRequestError("sinceSeconds: it is a number of seconds")
            value += "s"
        given[name] = value
    return given


def boolean(given: Mapping[str, str], name: str, *, default: bool) -> bool:
    """`true` or `false`."""
    match given.get(name):
        case None:
            return default
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise InvalidRequestError(f"{name}: it is `true` or `false`")


def whole_number(
    given: Mapping[str, str], name: str, *, minimum: int = 0, maximum: int | None = None
) -> int | None:
    """A number of lines, or the number of a line."""
    value = given.get(name)
    if value is None:
        return None
    if (
        not re.fullmatch(_COUNT, value)
        or int(value) < minimum
        or (maximum is not None and int(value) > maximum)
    ):
        bounds = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum:,}"
        raise InvalidRequestError(f"{name}: it is a whole number, {bounds}")
    return int(value)


def moment(given: Mapping[str, str], name: str, now: int) -> tuple[int | None, bool]:
    """A point in time, and whether it was given relative to `now`; both in microseconds since the
    Unix epoch."""
    value = given.get(name)
    if value is None:
        return None, False
    if re.fullmatch(NUMBER, value):
        if not re.fullmatch(UNIX_SECONDS, value):
            raise InvalidRequestError(f"{name}: {value} is too far away; Unix times are in seconds")
        whole, _, fraction = value.partition(".")
        found = int(whole) * 1_000_000 + int(fraction[:6].ljust(6, "0"))
        relative = False
    elif re.fullmatch(DURATION, value):
        found = now - int((parse_duration(value) or 0) * 1_000_000)
        relative = True
    else:
        found = _rfc3339(name, value)
        relative = False
    return max(found, 0), relative


def _rfc3339(name: str, value: str) -> int:
    # RFC 3339, section 5.6, lets a space stand for the `T`. A `+` that the client did not escape in
    # the URL arrives as a space, too: its place tells them apart.
    day, rest = value[:10], value[10:]
    text = (day + ("T" + rest[1:] if rest[:1] == " " else rest).replace(" ", "+")).upper()
    # `fromisoformat` accepts much more than RFC 3339, except leap seconds.
    if found := re.fullmatch(_RFC3339, text):
        leap = found["second"] == "60"
        text = found["minute"] + ("59" if leap else found["second"]) + found["rest"]
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(text)
            return (int(moment.timestamp()) + leap) * 1_000_000 + moment.microsecond
    raise InvalidRequestError(
        f"{name}: it is an RFC 3339 time with its zone (2026-01-31T12:00:00Z),"
        " Unix seconds, or a duration back from now (10m)"
    )


def labels(values: Iterable[str]) -> dict[str, str]:
    """Labels that workloads must have, each written as `name=value`."""
    values = list(values)
    if len(values) > MAX_LABELS:
        raise InvalidRequestError(f"label: give it {MAX_LABELS} times at most")
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name or not equals:
            raise InvalidRequestError("label: write it as `name=value`")
        if name in found:
            raise InvalidRequestError(f"label: a workload has one {name!r}, so give it once")
        found[name] = text
    return found


def statuses(values: Iterable[str]) -> frozenset[Status]:
    """The statuses that workloads may have."""
    try:
        return frozenset(map(Status, values))
    except ValueError:
        raise InvalidRequestError(f"status: it is one of {', '.join(Status)}") from None


def selection(given: Mapping[str, str], now: int, *, resumes: bool = False) -> Selection:
    """The lines that the parameters of SELECTION, `tail` and `limit` ask for.

    A client that `resumes` gets all lines that it missed, even if these are more than the tail, or
    older than a relative `since`.
    """
    first = whole_number(given, "from", minimum=1)
    last = whole_number(given, "to", minimum=1)
    if first is not None and last is not None and first > last:
        raise InvalidRequestError(f"from: line {first} is after line {last}, which `to` names")
    stream = given.get("stream")
    if stream is not None and stream not in STREAMS:
        raise InvalidRequestError(
            "stream: it is `stdout`, `stderr` or `system`; leave it out for all three"
        )
    since, relative = moment(given, "since", now)
    until, _ = moment(given, "until", now)
    tail = None
    if given.get("tail", "all") != "all":
        if not re.fullmatch(TAIL, given["tail"]):
            raise InvalidRequestError("tail: it is a number of lines, or `all`")
        tail = int(given["tail"])
    return Selection(
        tail=None if resumes else tail,
        since=None if resumes and relative else since,
        until=until,
        stream=stream,
        first=first or 1,
        last=last,
        filter=_filter(given),
        limit=whole_number(given, "limit"),
    )


def _filter(given: Mapping[str, str]) -> Filter | None:
    text = given.get("filter")
    if text is None:
        for name in ("regex", "case", "invert"):
            if name in given:
                raise InvalidRequestError(f"{name}: it needs `filter`, which is missing")
        return None
    return Filter(
        text,
        regex=boolean(given, "regex", default=False),
        case=boolean(given, "case", default=True),
        invert=boolean(given, "invert", default=False),
    )
