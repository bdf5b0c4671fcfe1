"""The operation that reads several logs."""

from __future__ import annotations

from typing import Any

from ..parameters import TAIL
from ..several_query import EVENTS_VALUE, MAX_LOGS, WORKLOAD
from .log import LOG_SCHEMAS
from .parts import answer, header, parameter, ref, refer_to_problems, text
from .selection import SELECTION_PARAMETERS, flag

__all__ = ["READ_SEVERAL", "SEVERAL_SCHEMAS"]

_POSITION = r"[0-9]+(\.([0-9]+|end))*"
_RESUME = "Resume after this `id` of an answer with the same parameters."

_PARAMETERS = [
    {
        **parameter(
            "workload",
            "The id of a log, or `ID.N` for what comes after its line N; then `tail` and `since` do"
            f" not apply to that log. {MAX_LOGS} logs at most, each once.",
            {"type": "array", "items": text(f"^{WORKLOAD}$"), "maxItems": MAX_LOGS},
        ),
        "explode": True,
    },
    parameter(
        "events",
        "Add changes of workloads, and keep the answer open: `true` for those that come from now"
        " on, or a position, for those after it.",
        {**text(f"^({EVENTS_VALUE})$"), "default": "false"},
        "true",
    ),
    parameter(
        "follow",
        "Keep the answer open until all workloads have ended.",
        flag(default=True),
        "false",
    ),
    *[each for each in SELECTION_PARAMETERS if each["name"] not in ("from", "to")],
    parameter("tail", "Only the last N of the lines of each log.", text(f"^({TAIL})$"), "100"),
    parameter(
        "unfinished",
        "Also send lines that have not ended, such as prompts and progress bars.",
        flag(default=False),
    ),
    parameter("last_event_id", f"{_RESUME} The header wins.", text(f"^({_POSITION})?$")),
    parameter("Last-Event-ID", _RESUME, text(f"^({_POSITION})?$"), where="header"),
]

_ID = "01kq3v9x7p2m4c8r5t6w0y1z2a"
_LINE = (
    f'{{"workload":"{_ID}","seq":1,"time":"2026-01-31T12:00:00.001370Z","stream":"stdout",'
    '"text":"hello"}'
)
_END = (
    '"status":"succeeded","reason":"exited","exit_code":0,"signal":null,"error":null,'
    '"lines":1,"bytes":6'
)
_EVENTS = f"""\
: open
retry: 2000

id: 0.0

data: {_LINE}

event: end
data: {{"workload":"{_ID}",{_END}}}

id: 0.end

"""
_OBJECTS = f"""\
{{"event":"position","id":"0.0"}}
{_LINE}
{{"event":"end","workload":"{_ID}",{_END}}}
{{"event":"position","id":"0.end"}}
"""

_EVENT: dict[str, Any] = {
    "type": ["string", "object"],
    "description": "One event of several logs. Only positions have an `id`, and nothing else.",
    "properties": {
        "event": {
            "enum": [
                "message",
                *("gap", "reset", "end", "gone", "shutdown", "unfinished"),
                *("workload", "deleted", "progress"),
            ]
        },
        "id": text(f"^{_POSITION}$"),
        "data": text(),
        "retry": {"type": "integer"},
    },
    "additionalProperties": False,
}

_LINE_OF = {
    "description": "A line of the workload's log.",
    "allOf": [ref("LogLine")],
    "properties": {"workload": text()},
    "required": ["workload"],
}

_OF_LOG = ("from", "to", "reason", "detail", "status", "exit_code", "signal", "error")
_CONTROL = LOG_SCHEMAS["LogControl"]["properties"]
_CONTROL_OF: dict[str, Any] = {
    "type": "object",
    "description": "An object about the workload's log that is not a line: `end` with the outcome,"
    " `gap` with the numbers of the missing lines, `reset`, `gone`, or `unfinished` with the `text`"
    " of a line of `stream` that has not ended. See `LogControl`.",
    "properties": {
        "event": {"enum": ["end", "gap", "reset", "gone", "unfinished"]},
        "workload": text(),
        **{name: _CONTROL[name] for name in (*_OF_LOG, "lines", "bytes", "stream", "text")},
    },
    "required": ["event", "workload"],
    "additionalProperties": False,
}

_NDJSON = {
    **text(),
    "description": "one `SeveralLine`, `SeveralControl`, `ChangedWorkload` or `ChangeObject` a"
    " line; the `id` of a `position` is `E.P1.P2`",
}

_DESCRIPTION = f"""\
The objects of the JSON representations of a log, each with its `workload`. What was stored when the
answer began is merged by the time of arrival: lines that arrived together stay together, and ties
come in the order of the parameters. Then lines come as they arrive.

Each log ends with its own `end`. `gone` tells that a log is unknown or was deleted, and counts as
its end. The answer ends when all logs have ended; with `events`, it stays open. 404 comes only if
all logs are unknown, and at most {MAX_LOGS} logs fit into an answer.

An `id` is a position in all of it: `E.P1.P2` has the position in the events, or 0, and then for
each log the number before its next line, or `end`. It is a frame of its own: before the first line,
after 64 KiB or 1 s of lines, after each `end`, and with each heartbeat. A client that resumes gets
lines since that position again, and knows them by `seq`. An id that does not fit the parameters is
400. To change the selection, reconnect with `workload=ID.N` and `events=N`."""

READ_SEVERAL: dict[str, Any] = {
    "operationId": "readLogs",
    "tags": ["logs"],
    "summary": "Read or follow several logs",
    "description": _DESCRIPTION,
    "parameters": _PARAMETERS,
    "responses": {
        "200": answer(
            "The logs.",
            {
                "text/event-stream": {"schema": ref("SeveralEvent"), "example": _EVENTS},
                "application/x-ndjson": {"schema": _NDJSON, "example": _OBJECTS},
            },
            {
                "Cache-Control": header(
                    "No cache or proxy may store or change the answer.",
                    {"const": "no-cache, no-store, no-transform"},
                ),
                "X-Accel-Buffering": header("nginx passes each line on at once.", {"const": "no"}),
            },
        ),
        "204": answer("The client has all logs to their ends: it need not reconnect."),
        **refer_to_problems(400, 401, 404, 406, 421, 429, 503),
    },
}

SEVERAL_SCHEMAS = {
    "SeveralEvent": _EVENT,
    "SeveralLine": _LINE_OF,
    "SeveralControl": _CONTROL_OF,
}
