"""The parameters of a request for a log, without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from ..errors import InvalidRequestError
from ..formats import (
    JSON_EVENTS,
    NDJSON,
    TEXT,
    TEXT_EVENTS,
    TIMED_TEXT,
    TIMED_TEXT_EVENTS,
    Format,
)
from ..selection import Selection
from ..sse import parse_last_event_id
from .answers import NotAcceptableError

__all__ = [
    "ALIASES",
    "DURATION",
    "FILE_NAME",
    "NAMES",
    "NUMBER",
    "STREAMS",
    "TAIL",
    "UNIX_SECONDS",
    "LogQuery",
    "accepted",
    "parse_log_query",
]

ALIASES = {"tailLines": "tail", "sinceSeconds": "since", "sinceTime": "since"}
NAMES = {
    "follow",
    "tail",
    "since",
    "until",
    "stream",
    "timestamps",
    "format",
    "last_event_id",
    "download",
}
STREAMS = ("stdout", "stderr", "system")
_EVENTS, _NDJSON, _TEXT = "text/event-stream", "application/x-ndjson", "text/plain"
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}

# The OpenAPI document has these patterns, too. `\d` would match the digits of all scripts.
NUMBER = r"[0-9]{1,12}(\.[0-9]+)?"
UNIX_SECONDS = r"[0-9]{1,11}(\.[0-9]+)?"
"""Up to the year 5138: a larger number is a mistake, such as milliseconds."""
_RFC3339 = (
    r"(?P<minute>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:)(?P<second>[0-9]{2})"
    r"(?P<rest>(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))"
)
DURATION = rf"({NUMBER}(d|h|ms|m|s)){{1,5}}"
TAIL = r"[0-9]{1,18}|all"
FILE_NAME = r"[^/\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]{0,200}"
"""No folders, no control characters, and no characters that reverse the order of others, so that
one file type looks like another."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """`after` is the position to resume from; with it, `tail` and a relative `since` do not apply.
    `download` is the name of a file, or empty for the default name."""

    format: Format
    follow: bool
    selection: Selection
    after: int | Literal["end", "stop"] | None = None
    download: str | None = None


def accepted(headers: Sequence[str]) -> MIMEAccept:
    """The media types of a request's Accept headers, which may be several, or none."""
    # Old Java clients send quality values without their zero; the parser ignores these.
    text = re.sub(r"(q\s*=\s*)(?=\.)", r"\g<1>0", ", ".join(headers))
    return parse_accept_header(text, MIMEAccept)


def parse_log_query(
    parameters: Iterable[tuple[str, str]], accept: MIMEAccept, last_event_id: str | None, now: int
) -> LogQuery:
    """Read the parameters and headers of a request for a log. `now` is in microseconds.

    Raises InvalidRequestError for a parameter that is unknown, repeated or malformed, and
    NotAcceptableError if `accept` has none of the representations.
    """
    given = _collect(parameters)
    media_type = _representation(accept)
    events = media_type == _EVENTS
    follow = _boolean(given, "follow", default=events)
    times = _boolean(given, "timestamps", default=False)
    shape = given.get("format", "text")
    if shape not in ("text", "json"):
        raise InvalidRequestError("format: it is `text` or `json`")
    stream = given.get("stream")
    if stream is not None and stream not in STREAMS:
        raise InvalidRequestError(
            "stream: it is `stdout`, `stderr` or `system`; leave it out for all three"
        )
    since, relative = _moment(given, "since", now)
    until, _ = _moment(given, "until", now)
    selection = Selection(_tail(given), since, until, stream)
    # The header wins; both must be valid.
    ids = [given.get("last_event_id"), last_event_id]
    after = [None, *(parse_last_event_id(each) for each in ids if each)][-1]
    if after is not None:
        # A reader that resumes gets all lines that it missed, even if these are more than the tail.
        selection = replace(selection, tail=None, since=None if relative else since)
    return LogQuery(
        format=_format(media_type, shape, times=times),
        follow=follow,
        selection=selection,
        after=after,
        download=_download(given),
    )


def _collect(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for written, value in parameters:
        name = ALIASES.get(written, written)
        if name not in NAMES:
            known = ", ".join(sorted(NAMES))
            raise InvalidRequestError(f"there is no parameter {written[:80]!r}; there are: {known}")
        if name in given:
            raise InvalidRequestError(f"{name}: give it once")
        if written == "sinceSeconds":
            if not re.fullmatch(NUMBER, value):
                raise InvalidRequestError("sinceSeconds: it is a number of seconds")
            value += "s"
        given[name] = value
    return given


def _representation(accept: MIMEAccept) -> str:
    # `best_match` prefers the first of equals, so `*/*` gets events.
    if not accept:
        return _EVENTS
    # Parameters such as `charset` do not choose a representation.
    types = MIMEAccept([(value.partition(";")[0].strip(), quality) for value, quality in accept])
    found = types.best_match([_EVENTS, _NDJSON, _TEXT])
    if found is None:
        raise NotAcceptableError(f"a log is served as {_EVENTS}, {_NDJSON} or {_TEXT}")
    return found


def _format(media_type: str, shape: str, *, times: bool) -> Format:
    if media_type == _NDJSON:
        return NDJSON
    if media_type == _TEXT:
        return TIMED_TEXT if times else TEXT
    if shape == "json":
        return JSON_EVENTS
    return TIMED_TEXT_EVENTS if times else TEXT_EVENTS


def _boolean(given: dict[str, str], name: str, *, default: bool) -> bool:
    match given.get(name):
        case None:
            return default
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise InvalidRequestError(f"{name}: it is `true` or `false`")


def _tail(given: dict[str, str]) -> int | None:
    value = given.get("tail", "all")
    if value == "all":
        return None
    if not re.fullmatch(TAIL, value):
        raise InvalidRequestError("tail: it is a number of lines, or `all`")
    return int(value)


def _moment(given: dict[str, str], name: str, now: int) -> tuple[int | None, bool]:
    """A point in time in microseconds, and whether it was given relative to now."""
    value = given.get(name)
    if value is None:
        return None, False
    if re.fullmatch(NUMBER, value):
        if not re.fullmatch(UNIX_SECONDS, value):
            raise InvalidRequestError(f"{name}: {value} is too far away; Unix times are in seconds")
        whole, _, fraction = value.partition(".")
        moment = int(whole) * 1_000_000 + int(fraction[:6].ljust(6, "0"))
        relative = False
    elif re.fullmatch(DURATION, value):
        parts = re.findall(r"([0-9.]+)(d|h|ms|m|s)", value)
        moment = now - int(sum(float(n) * _UNITS[unit] for n, unit in parts) * 1_000_000)
        relative = True
    else:
        moment = _rfc3339(name, value)
        relative = False
    return max(moment, 0), relative


def _rfc3339(name: str, value: str) -> int:
    # A `+` that the client did not escape in the URL arrives as a space.
    text = value.upper().replace(" ", "+")
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


def _download(given: dict[str, str]) -> str | None:
    name = given.get("download")
    if name is None or name in ("false", "0"):
        return None
    if name in ("true", "1"):
        return ""
    if not re.fullmatch(FILE_NAME, name):
        raise InvalidRequestError("download: it is a file's name, or `true`")
    return name
