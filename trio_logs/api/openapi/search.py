"""The operations that search: in one log, and over many."""

from __future__ import annotations

from typing import Any

from ...records import Status
from ..parameters import MAX_LABELS
from ..search_parameters import MAX_MATCHES, POSITION, SEARCH_PARAMETERS
from .parts import answer, header, parameter, refer_to_problems, text
from .selection import SELECTION_PARAMETERS

__all__ = ["MATCHES", "SEARCH", "SEARCH_SCHEMAS"]


def _filtered(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "required": True} if each["name"] == "filter" else each for each in parameters]


_COUNT = {"type": "integer", "minimum": 0}
_LINE = {"type": "integer", "minimum": 1}
_WHOLE = "[0-9]{1,18}"

_TILE: dict[str, Any] = {
    "type": "object",
    "description": "Lines `from` to `to` of the log have `count` matches. `at` are the numbers of"
    " all of them, or of 200 that are evenly spread.",
    "properties": {
        "from": _LINE,
        "to": _LINE,
        "count": _COUNT,
        "at": {"type": "array", "items": _LINE, "maxItems": 200},
    },
    "required": ["from", "to", "count", "at"],
    "additionalProperties": False,
}

_MATCHES_END: dict[str, Any] = {
    "type": "object",
    "description": "The last object: the number of all matches, and of the last line of the log"
    " when the search began.",
    "properties": {"event": {"const": "end"}, "count": _COUNT, "lines": _COUNT},
    "required": ["event", "count", "lines"],
    "additionalProperties": False,
}

_SEARCH_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "An object that is not a line. `progress` comes at least once a second: the"
    " workload whose log is searched, and how many lines of all logs were searched. `end` is the"
    " last object: the number of matches, and of workloads that were searched. If `limit` ended the"
    " search, it is not `complete`; send `next` as `before` to go on.",
    "properties": {
        "event": {"enum": ["progress", "end"]},
        "workload": text(),
        "lines": _COUNT,
        "count": _COUNT,
        "workloads": _COUNT,
        "complete": {"type": "boolean"},
        "next": {"type": ["string", "null"], "pattern": f"^{POSITION}$"},
    },
    "required": ["event"],
    "additionalProperties": False,
}

SEARCH_SCHEMAS = {
    "MatchTile": _TILE,
    "MatchesEnd": _MATCHES_END,
    "SearchEvent": _SEARCH_EVENT,
}

_HEADERS = {
    "Cache-Control": header(
        "No cache or proxy may store or change the answer.",
        {"const": "no-cache, no-store, no-transform"},
    ),
    "X-Accel-Buffering": header("nginx passes each piece on at once.", {"const": "no"}),
}

_TILES = """\
{"from":1,"to":40000,"count":2,"at":[17,940]}
{"from":40001,"to":41000,"count":0,"at":[]}
{"event":"end","count":2,"lines":41000}
"""

_MATCHES_TEXT = """\
Counts the lines that match, and says where they are. The answer is streamed as the search goes on.
Its objects tile the lines asked for without a hole, one for about each 4 MiB of the log. The search
ends at the last line that is known when it begins. Lines that are missing do not match.

At most 8 searches run at once, over all clients; one more is 429. If the workload is deleted during
the answer, or the store fails, the answer is cut without its terminal chunk."""

MATCHES: dict[str, Any] = {
    "operationId": "findMatches",
    "tags": ["logs"],
    "summary": "Find the matches in a log",
    "description": _MATCHES_TEXT,
    "parameters": _filtered(SELECTION_PARAMETERS),
    "responses": {
        "200": answer(
            "The matches.",
            {
                "application/x-ndjson": {
                    "schema": {
                        **text(),
                        "description": "one `MatchTile` a line, and at last `MatchesEnd`",
                    },
                    "example": _TILES,
                }
            },
            {
                **_HEADERS,
                "Log-Lines": header(
                    "The number of the last line that is known; 0 if there is none.",
                    _COUNT,
                    41000,
                ),
            },
        ),
        **refer_to_problems(400, 401, 404, 421, 429, 503),
    },
}

_FOUND = """\
{"seq":16,"time":"2026-01-31T12:00:00.001370Z","stream":"stdout","text":"...","workload":"w2",\
"context":true}
{"seq":17,"time":"2026-01-31T12:00:00.001370Z","stream":"stdout","text":"oops","workload":"w2"}
{"event":"progress","workload":"w1","lines":40000}
{"event":"end","count":1,"workloads":2,"complete":true,"next":null}
"""

_SEARCH_TEXT = f"""\
Lines that match, over the logs of many workloads, newest workload first. The lines of each log are
in order, and each log is searched up to the last line that is known at its turn. The answer is
streamed as the search goes on. Lines that are missing are left out; so is a workload that is
deleted meanwhile.

`limit` counts the matches of the answer, {MAX_MATCHES:,} at most. If it ended the search, `end` has
a `next`: send it as `before`, with the same parameters, to go on, also in the middle of a log.

At most 8 searches run at once, over all clients; one more is 429. An answer without `end` is
incomplete: if the store fails or the server shuts down, it is cut without its terminal chunk."""

_OTHERS = [
    parameter(
        "label",
        "Only workloads with this label, `name=value`. Give it several times for all of them.",
        {"type": "array", "items": text("^[^=]+="), "maxItems": MAX_LABELS},
    ),
    parameter(
        "status",
        "Only workloads with this status. Give it several times for any of them.",
        {"type": "array", "items": {"type": "string", "enum": [*Status]}},
    ),
    parameter(
        "workload",
        "Only the workload with this id. Give it several times for any of them.",
        {"type": "array", "items": text("^[A-Za-z0-9_-]{1,64}$")},
    ),
    parameter("name", "Only workloads with exactly this name.", text()),
    parameter(
        "limit",
        "The search ends after this many matches.",
        {"type": "integer", "minimum": 1, "maximum": MAX_MATCHES, "default": 1000},
    ),
    parameter(
        "per_workload",
        "At most this many matches of each log, the first ones.",
        text("^[1-9][0-9]{0,17}$"),
        "10",
    ),
    parameter(
        "context",
        "Also so many lines before and after each match, whatever their stream, time and text.",
        {"type": "string", "pattern": f"^{_WHOLE}$", "default": "0"},
        "2",
    ),
    parameter("before", "The `next` of the search before.", text(f"^{POSITION}$")),
]

SEARCH: dict[str, Any] = {
    "operationId": "searchLogs",
    "tags": ["logs"],
    "summary": "Search the logs of many workloads",
    "description": _SEARCH_TEXT,
    "parameters": [
        *_filtered([each for each in SELECTION_PARAMETERS if each["name"] in SEARCH_PARAMETERS]),
        *_OTHERS,
    ],
    "responses": {
        "200": answer(
            "The lines.",
            {
                "application/x-ndjson": {
                    "schema": {
                        **text(),
                        "description": "one `FoundObject` or `SearchEvent` a line",
                    },
                    "example": _FOUND,
                }
            },
            _HEADERS,
        ),
        **refer_to_problems(400, 401, 404, 421, 429, 503),
    },
}
