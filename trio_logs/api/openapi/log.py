"""The operation that reads a log."""

from __future__ import annotations

from typing import Any

from ...records import Reason
from ..parameters import STREAMS, TAIL
from ..query import FILE_NAME
from .parts import answer, header, parameter, ref, refer_to_problems, text
from .selection import SELECTION_PARAMETERS, flag

__all__ = ["LOG_LINES", "LOG_SCHEMAS", "READ"]

_EVENT_ID = text("^([0-9]+|end|stop)?$")
_RESUME = "Resume after this `id`: the number of a line, `end` or `stop`."


LOG_LINES = header(
    "The number of the last line known when the answer began.", text("^[0-9]+$"), "1000"
)

_PARAMETERS = [
    parameter(
        "follow",
        "Keep the answer open until the workload ends. By default true for events, else false. `to`"
        " implies false.",
        flag(),
        "false",
    ),
    *SELECTION_PARAMETERS,
    parameter(
        "tail",
        "Only the last N of the lines asked for; `0`: only new lines.",
        text(f"^({TAIL})$"),
        "100",
    ),
    parameter("limit", "The answer ends after N of the lines asked for.", text("^[0-9]{1,18}$")),
    parameter(
        "unfinished",
        "Also send lines that have not ended, such as prompts and progress bars. Plain text has"
        " none.",
        flag(default=False),
    ),
    parameter(
        "timestamps", "Put the time and a space before each line of text.", flag(default=False)
    ),
    parameter(
        "format",
        "The form of the `data` of an event.",
        {"type": "string", "enum": ["text", "json"], "default": "text"},
    ),
    parameter("last_event_id", f"{_RESUME} The header wins.", _EVENT_ID, "17"),
    parameter(
        "download",
        "Have browsers save the answer: the file's name, or `true` for the workload's id.",
        text(f"^{FILE_NAME}$"),
        "build.log",
    ),
    parameter(
        "code",
        "Stands for the token of this `download`, once: a link can't carry headers.",
        text(),
        "Vfs6uTTWHZUCzmUO2Bxpyg",
    ),
    parameter("Last-Event-ID", _RESUME, _EVENT_ID, "17", where="header"),
]

_END = '"status":"succeeded","reason":"exited","exit_code":0,"signal":null,"error":null'
_EVENTS = f"""\
: open
retry: 2000

id: 1
data: hello

id: 2
data: trouble

event: end
id: end
data: {{{_END},"lines":2,"bytes":14}}

"""
_OBJECTS = f"""\
{{"event":"gap","from":1,"to":4000,"reason":"retention"}}
{{"seq":4001,"time":"2026-01-31T12:00:00.001370Z","stream":"stdout","text":"hello"}}
{{"event":"end",{_END},"lines":4001,"bytes":90000}}
"""

_CONTROLS = ["end", "stop", "gap", "reset", "shutdown", "unfinished"]
_OBJECT_CONTROLS = [*_CONTROLS, "position", "heartbeat"]
_REASONS = [
    *("retention", "store", "damaged", "deleted"),
    *("beyond_head", "not_ended"),
    "draining",
    *("to", "limit"),
]

_EVENT: dict[str, Any] = {
    "type": ["string", "object"],
    "description": "One event. The stream as a whole is text; a client that parses it gets these.",
    "properties": {
        "event": {"enum": ["message", *_CONTROLS]},
        "id": text("^([0-9]+|end|stop)$"),
        "data": text(),
        "retry": {"type": "integer"},
    },
    "required": ["data"],
    "additionalProperties": False,
}

_NDJSON = {**text(), "description": "one `LogLine` or `LogControl` a line"}

_CONTROL: dict[str, Any] = {
    "type": "object",
    "description": "An object that is not a line: `end` with the outcome, `stop` with the `next`"
    " line number, `gap` with the numbers of the missing lines, `reset`, `position` with an `id` to"
    " resume after, `heartbeat`, `unfinished` with the `text` of a line of `stream` that has not"
    " ended, or `shutdown` with the milliseconds of `retry`. `reason` is for"
    " programs: of `end`, that of the workload; of `stop`, `to` or `limit`; of `gap`, `retention`,"
    " `store`, `damaged` or `deleted`; of `reset`, `beyond_head` or `not_ended`; of `shutdown`,"
    " `draining`. `detail` is a sentence for people. Clients ignore events that they do not know.",
    "properties": {
        "event": {"enum": _OBJECT_CONTROLS},
        "from": {"type": "integer", "minimum": 1},
        "to": {"type": "integer", "minimum": 1},
        "reason": {"type": ["string", "null"], "examples": [*Reason, *_REASONS]},
        "detail": text(),
        "next": {"type": "integer", "minimum": 1},
        "id": text("^[0-9]+$"),
        "retry": {"type": "integer", "minimum": 0},
        "status": ref("Status"),
        "exit_code": {"type": ["integer", "null"]},
        "signal": {"type": ["string", "null"]},
        "error": {"type": ["string", "null"]},
        "lines": {"type": "integer", "minimum": 0},
        "bytes": {"type": "integer", "minimum": 0},
        "stream": {"type": "string", "enum": [*STREAMS]},
        "text": text(),
    },
    "required": ["event"],
    "additionalProperties": False,
}

_DESCRIPTION = """\
History first, then new lines as they come, in one answer, with no gap and no duplicate in between.
The URL is the same for a queued, a running and a finished workload. `Accept` chooses the
representation; the default is events.

Each line is an unnamed event whose `id` is its number in the log; with `format=json` its data
is a `LogLine`. `event: end` comes once, after the last line, with the outcome. `event: gap` says
which lines are missing. `event: reset` says that this log does not have the id to resume from.
`event: shutdown` says that the server ends the answer early. These three events have no id. A quiet
stream carries a comment every 15 s. As NDJSON, each line is a `LogLine`, and control events are
objects with their name in `event`.

With `unfinished=true`, `event: unfinished` has the text of a line before its newline arrives: a
prompt, or the newest state of a progress bar. It replaces the text before it on its stream, and the
next line of the stream replaces it; empty text clears it. It has no id. It comes at the head of the
log only, at most four times a second for each stream.

If the workload is deleted during the answer, the last event is a `gap` with the reason `deleted`.
An answer that stops early and can't say so is cut without its terminal chunk: plain text, or any
answer whose store fails.

As in Kubernetes, `tailLines`, `sinceSeconds` and `sinceTime` are other names of `tail` and `since`.

Two `Last-Event-ID` headers are 400, even if both are equal."""

READ: dict[str, Any] = {
    "operationId": "readLog",
    "tags": ["logs"],
    "summary": "Read or follow a log",
    "description": _DESCRIPTION,
    "parameters": _PARAMETERS,
    "responses": {
        "200": answer(
            "The log.",
            {
                "text/event-stream": {"schema": ref("LogEvent"), "example": _EVENTS},
                "application/x-ndjson": {"schema": _NDJSON, "example": _OBJECTS},
                "text/plain": {
                    "schema": {
                        **text(),
                        "description": "The bytes as the workload wrote them, parts of an over-long"
                        " line joined. They need not be UTF-8.",
                    },
                    "example": "hello\ntrouble\n",
                },
            },
            {
                "Cache-Control": header(
                    "No cache or proxy may store or change the answer.",
                    {"const": "no-cache, no-store, no-transform"},
                ),
                "Log-Lines": LOG_LINES,
                "X-Accel-Buffering": header("nginx passes each line on at once.", {"const": "no"}),
                "Content-Disposition": {
                    "description": "With `download`: the file's name.",
                    "schema": text("^attachment; "),
                    "example": 'attachment; filename="build.log"',
                },
            },
        ),
        "204": answer(
            "The client has all that it asked for: it need not reconnect.",
            headers={"Log-Lines": LOG_LINES},
        ),
        **refer_to_problems(400, 401, 404, 406, 421, 429, 503),
    },
}

LOG_SCHEMAS = {"LogEvent": _EVENT, "LogControl": _CONTROL}
