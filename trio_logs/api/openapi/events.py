"""The operation that follows changes of workloads."""

from __future__ import annotations

import json
from typing import Any

from .parts import answer, header, parameter, ref, refer_to_problems, text
from .workloads import ID, RECORD

__all__ = ["EVENT_SCHEMAS", "READ"]

_POSITION = text("^[0-9]*$")
_RESUME = "Resume after this position: an `id` of these events, or the `position` of a list."

_PARAMETERS = [
    parameter("last_event_id", f"{_RESUME} The header wins.", _POSITION, "17"),
    parameter("Last-Event-ID", _RESUME, _POSITION, "17", where="header"),
]

_RECORD = json.dumps(RECORD, separators=(",", ":"))
_PROGRESS = f'"id":"{ID}","lines":1,"bytes":6'
_EVENTS = f"""\
: open
retry: 2000

id: 17

event: progress
data: {{{_PROGRESS}}}

event: workload
id: 18
data: {_RECORD}

event: deleted
id: 19
data: {{"id":"{ID}"}}

"""
_OBJECTS = f"""\
{{"event":"position","id":"17"}}
{{"event":"progress",{_PROGRESS}}}
{{"event":"workload","position":"18",{_RECORD[1:]}
{{"event":"deleted","position":"19","id":"{ID}"}}
"""

_AT = text("^[0-9]+$")
_OTHERS = ["deleted", "progress", "reset", "shutdown"]

_EVENT: dict[str, Any] = {
    "type": ["string", "object"],
    "description": "One event. The stream as a whole is text; a client that parses it gets these.",
    "properties": {
        "event": {"enum": ["workload", *_OTHERS]},
        "id": _AT,
        "data": text(),
        "retry": {"type": "integer"},
    },
    "additionalProperties": False,
}

_CHANGED: dict[str, Any] = {
    "description": "A workload whose record has changed, and the position of the change.",
    "allOf": [ref("WorkloadRecord")],
    "properties": {"event": {"const": "workload"}, "position": _AT},
    "required": ["event", "position"],
}

_OBJECT: dict[str, Any] = {
    "type": "object",
    "description": "Any other event: `deleted` with its `position` and the `id` of the workload,"
    " `progress` with the length of the workload's log, `position` with an `id` to resume after,"
    " `reset`, `heartbeat`, or `shutdown` with the milliseconds of `retry`. `reason` is for"
    " programs: of `reset`, `too_old` or `beyond_head`; of `shutdown`, `draining`. `detail` is a"
    " sentence for people. Clients ignore events that they do not know.",
    "properties": {
        "event": {"enum": [*_OTHERS, "position", "heartbeat"]},
        "position": _AT,
        "id": text(),
        "lines": {"type": "integer", "minimum": 0},
        "bytes": {"type": "integer", "minimum": 0},
        "reason": {"type": "string", "examples": ["too_old", "beyond_head", "draining"]},
        "detail": text(),
        "retry": {"type": "integer", "minimum": 0},
    },
    "required": ["event"],
    "additionalProperties": False,
}

_NDJSON = {**text(), "description": "one `ChangedWorkload` or `ChangeObject` a line"}

_DESCRIPTION = """\
`event: workload` has the whole workload, a `WorkloadRecord`, whenever more of it changes than
`lines` and `bytes`. `event: deleted` has its `id`. `event: progress` has `id`, `lines` and `bytes`
of a workload whose log has grown; it comes at most once a second for each, and has no id.

The first frame is an id alone. Ids are positions: they grow, and outlive restarts. To miss nothing,
list the workloads, and then resume from the `position` of the first page. Without an id, the answer
has new changes only. A client at the head gets each change. A client that is behind gets at least
the newest state of each workload that changed, or its `deleted`.

`event: reset` says that the id to resume from is older than what is kept (`reason` is `too_old`) or
was never given (`beyond_head`). It also comes, as `beyond_head`, after the database has lost
changes in a failover. An id alone follows, and then what is new: list the workloads again.
`event: shutdown` says that the server ends the answer early. A quiet stream carries a comment every
15 s, or an object `heartbeat` as NDJSON. If the store fails, the answer is cut without its terminal
chunk."""

READ: dict[str, Any] = {
    "operationId": "readEvents",
    "tags": ["workloads"],
    "summary": "Follow changes of workloads",
    "description": _DESCRIPTION,
    "parameters": _PARAMETERS,
    "responses": {
        "200": answer(
            "The changes.",
            {
                "text/event-stream": {"schema": ref("ChangeEvent"), "example": _EVENTS},
                "application/x-ndjson": {"schema": _NDJSON, "example": _OBJECTS},
            },
            {
                "Cache-Control": header(
                    "No cache or proxy may store or change the answer.",
                    {"const": "no-cache, no-store, no-transform"},
                ),
                "X-Accel-Buffering": header("nginx passes each event on at once.", {"const": "no"}),
            },
        ),
        **refer_to_problems(400, 401, 406, 421, 429, 503),
    },
}

EVENT_SCHEMAS = {"ChangeEvent": _EVENT, "ChangedWorkload": _CHANGED, "ChangeObject": _OBJECT}
