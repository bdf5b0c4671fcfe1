"""The parameters of a request for a log, without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

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
from .parameters import SELECTION, boolean, collect, selection

__all__ = [
    "ALIASES",
    "FILE_NAME",
    "NAMES",
    "LogQuery",
    "accepted",
    "parse_log_query",
    "representation",
]

T = TypeVar("T")

ALIASES = {"tailLines": "tail", "sinceSeconds": "since", "sinceTime": "since"}
NAMES = {
    *SELECTION,
    "follow",
    "tail",
    "limit",
    "unfinished",
    "timestamps",
    "format",
    "last_event_id",
    "download",
    "code",
}
_EVENTS, _NDJSON, _TEXT = "text/event-stream", "application/x-ndjson", "text/plain"
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
    unfinished: bool = False
    download: str | None = None


def accepted(headers: Sequence[str]) -> MIMEAccept:
    """The media types of a request's Accept headers, which may be several, or none."""
    # Old Java clients send quality values without their zero; the parser ignores these.
    text = re.sub(r"(q\s*=\s*)(?=\.)", r"\g<1>0", ", ".join(headers))
    return parse_accept_header(text, MIMEAccept)


def representation(accept: MIMEAccept, offered: Mapping[str, T], what: str) -> T:
    """The one of the representations, by media type, that `accept` prefers; by default, the first.

    Raises NotAcceptableError, which calls them `what`, if `accept` has none of them.
    """
    # Parameters such as `charset` do not choose a representation.
    types = MIMEAccept([(value.partition(";")[0].strip(), quality) for value, quality in accept])
    # `best_match` prefers the first of equals, so `*/*` gets the default.
    found = types.best_match([*offered]) if accept else next(iter(offered))
    if found is None:
        *others, last = offered
        raise NotAcceptableError(f"{what} served as {', '.join(others)} or {last}")
    return offered[found]


def parse_log_query(
    parameters: Iterable[tuple[str, str]], accept: MIMEAccept, last_event_id: str | None, now: int
) -> LogQuery:
    """Read the parameters and headers of a request for a log. `now` is in microseconds.

    Raises InvalidRequestError for a parameter that is unknown, repeated or malformed, and
    NotAcceptableError if `accept` has none of the representations.
    """
    given = collect(parameters, NAMES, ALIASES)
    download = _download(given)
    if "code" in given and download is None:
        raise InvalidRequestError("code: it stands for the token of a `download`, which is missing")
    media_type = _representation(accept, is_download=download is not None)
    follow = boolean(
        given,
        "follow",
        default=media_type == _EVENTS and download is None and "to" not in given,
    )
    if follow and "to" in given:
        raise InvalidRequestError("follow: an answer with `to` ends there; leave `follow` out")
    unfinished = boolean(given, "unfinished", default=False)
    times = boolean(given, "timestamps", default=False)
    shape = given.get("format", "text")
    if shape not in ("text", "json"):
        raise InvalidRequestError("format: it is `text` or `json`")
    # The header wins; both must be valid.
    ids = [given.get("last_event_id"), last_event_id]
    after = [None, *(parse_last_event_id(each) for each in ids if each)][-1]
    return LogQuery(
        format=_format(media_type, shape, times=times),
        follow=follow,
        selection=selection(given, now, resumes=after is not None),
        after=after,
        # Plain text has the bytes of lines and nothing else.
        unfinished=unfinished and media_type != _TEXT,
        download=download,
    )


def _representation(accept: MIMEAccept, *, is_download: bool) -> str:
    offered = [_EVENTS, _NDJSON, _TEXT]
    named = (value.partition(";")[0].strip().lower() for value, _ in accept)
    if is_download and not any(value in offered for value in named):
        # A browser that follows a link names none of them.
        return _TEXT
    return representation(accept, {each: each for each in offered}, "a log is")


def _format(media_type: str, shape: str, *, times: bool) -> Format:
    if media_type == _NDJSON:
        return NDJSON
    if media_type == _TEXT:
        return TIMED_TEXT if times else TEXT
    if shape == "json":
        return JSON_EVENTS
    return TIMED_TEXT_EVENTS if times else TEXT_EVENTS


def _download(given: dict[str, str]) -> str | None:
    name = given.get("download")
    if name is None or name in ("false", "0"):
        return None
    if name in ("true", "1"):
        return ""
    if not re.fullmatch(FILE_NAME, name):
        raise InvalidRequestError("download: it is a file's name, or `true`")
    return name
