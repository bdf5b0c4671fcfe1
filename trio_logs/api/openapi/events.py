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

_EVENT: dict[str, Any] = {
    "type": ["string", "object"],
    "description": "One event. The stream as a whole is text; a client that parses it gets these.",
    "properties": {
        "event": {"enum": ["workload", "deleted", "progress", "reset", "shutdown"]},
        "id": text("^[0-9]+$"),
        "data": text(),
        "retry": {"type": "integer"},
    },
    "additionalProperties": False,
}

_NDJSON = {
    **text(),
    "description": "one object a line: the data of an event, with the event's name in `event`, and"
    " its id, if it has one, in `position`",
}

_DESCRIPTION = """\
`event: workload` has the whole workload, a `WorkloadRecord`, whenever more of it changes than
`lines` and `bytes`. `event: deleted` has its `id`. `event: progress` has `id`, `lines` and `bytes`
of a workload whose log has grown; it comes at most once a second for each, and has no id.

The first frame is an id alone. Ids are positions: they grow, and outlive restarts. To miss nothing,
list the workloads, and then resume from the `position` of the first page. Without an id, the answer
has new changes only. A client at the head gets each change. A client that is behind gets at least
the newest state of each workload that changed, or its `deleted`.

`event: reset` says that the id to resume from is older than what is kept (`reason` is `too_old`) or
was never given (`beyond_head`). An id alone follows, and then what is new: list the workloads
again. `event: shutdown` says that the server ends the answer early. A quiet stream carries a
comment every 15 s, or an object `heartbeat` as NDJSON. If the store fails, the answer is cut
without its terminal chunk."""

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

EVENT_SCHEMAS = {"ChangeEvent": _EVENT}
