"""The operations of workloads, except those of their logs."""

from __future__ import annotations

from typing import Any

from ...records import Status
from ..list_query import MAX_PAGE
from ..parameters import MAX_LABELS
from .parts import answer, header, json_answer, parameter, ref, refer_to_problems, text
from .selection import MOMENT, flag

__all__ = [
    "DELETE",
    "ID",
    "LIST",
    "RECORD",
    "RERUN",
    "RESIZE",
    "SHOW",
    "STOP",
    "SUBMIT",
    "WORKLOAD_ID",
    "json_body",
]

Operation = dict[str, Any]

ID = "06b2d5c1f0a3c29e4d7a1b"
_LOCATION = {
    "Location": header(
        "The path of the workload.", {**text(), "format": "uri-reference"}, f"/v1/workloads/{ID}"
    )
}

RECORD = {
    "id": ID,
    "name": "hello",
    "backend": "process",
    "command": ["sh", "-c", "echo hello; echo trouble >&2"],
    "cwd": None,
    "timeout": 60.0,
    "pty": False,
    "labels": {"team": "demo"},
    "status": "succeeded",
    "reason": "exited",
    "exit_code": 0,
    "signal": None,
    "error": None,
    "created_at": "2026-01-31T12:00:00.000001Z",
    "started_at": "2026-01-31T12:00:00.000420Z",
    "finished_at": "2026-01-31T12:00:00.013370Z",
    "lines": 2,
    "bytes": 14,
    "node": "build-1",
    "rerun_of": None,
    "logs_url": f"/v1/workloads/{ID}/logs",
}
_QUEUED = {
    **RECORD,
    "status": "queued",
    "reason": None,
    "exit_code": None,
    "started_at": None,
    "finished_at": None,
    "lines": 0,
    "bytes": 0,
    "node": None,
}
WORKLOAD_ID = parameter(
    "workload_id", "The workload's `id`.", text("^[A-Za-z0-9_-]{1,64}$"), where="path"
)
_RECORD = ref("WorkloadRecord")


def _links() -> dict[str, Any]:
    """Links from an answer to the operations on its workload."""
    return {
        name: {"operationId": operation, "parameters": {"workload_id": "$response.body#/id"}}
        for name, operation in (
            ("show", "showWorkload"),
            ("logs", "readLog"),
            ("stop", "stopWorkload"),
            ("rerun", "rerunWorkload"),
            ("resize", "resizeTerminal"),
            ("push", "pushLog"),
            ("finish", "finishWorkload"),
            ("delete", "deleteWorkload"),
        )
    }


def json_body(schema: str, description: str, example: Any, *, required: bool) -> dict[str, Any]:
    """A request body in JSON."""
    content = {"application/json": {"schema": ref(schema), "example": example}}
    return {"description": description, "required": required, "content": content}


_KEY = parameter(
    "Idempotency-Key",
    "Makes the request safe to repeat: the same key and request get the first workload. The key is"
    " looked up before anything else, and is gone with its workload. The same key for another"
    " request, also on another route, is 422.",
    {**text(), "minLength": 1, "maxLength": 255},
    "deploy-42",
    where="header",
)
_STARTED = {
    "201": {
        **json_answer("The new workload.", _RECORD, _QUEUED, _LOCATION),
        "links": _links(),
    },
    "200": json_answer(
        "The workload of the first request with this key.", _RECORD, RECORD, _LOCATION
    ),
}

SUBMIT: Operation = {
    "operationId": "submitWorkload",
    "tags": ["workloads"],
    "summary": "Submit a workload",
    "description": "The workload is queued, and runs when its turn comes.",
    "parameters": [_KEY],
    "requestBody": json_body(
        "Submission",
        "What to run.",
        {name: RECORD[name] for name in ("command", "name", "labels")},
        required=True,
    ),
    "responses": {
        **_STARTED,
        **refer_to_problems(400, 401, 403, 413, 415, 421, 422, 429, 503),
    },
}

LIST: Operation = {
    "operationId": "listWorkloads",
    "tags": ["workloads"],
    "summary": "List workloads, newest first",
    "parameters": [
        parameter(
            "status",
            "Only workloads of this status; repeat it to get those of any of several.",
            {"type": "array", "items": ref("Status")},
            [Status.QUEUED, Status.RUNNING],
        ),
        parameter(
            "label",
            "Only workloads with this label, `name=value`; repeat it to require several labels.",
            {"type": "array", "items": text("^[^=]+="), "maxItems": MAX_LABELS},
            ["team=demo"],
        ),
        parameter("name", "Only workloads with exactly this name.", text(), "hello"),
        parameter("id", "Only workloads whose id starts or ends so.", text(), ID[-6:]),
        parameter(
            "search",
            "Only workloads with this text in their name, their id, or their command with its words"
            " joined by spaces. The case of ASCII letters does not matter.",
            text(),
            "make test",
        ),
        parameter("since", "Only workloads that were created at this time or later.", MOMENT, "1h"),
        parameter("until", "Only workloads that were created at this time or earlier.", MOMENT),
        parameter("counts", "Also answer `total` and `counts`.", flag(default=False)),
        parameter(
            "limit",
            "How many workloads at most.",
            {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50},
        ),
        parameter(
            "before", "The `next` of the previous page.", text("^[A-Za-z0-9_-]{1,64}$"), example=ID
        ),
    ],
    "responses": {
        "200": json_answer(
            "A page.", ref("Page"), {"workloads": [RECORD], "next": None, "position": "17"}
        ),
        **refer_to_problems(400, 401, 421, 503),
    },
}

SHOW: Operation = {
    "operationId": "showWorkload",
    "tags": ["workloads"],
    "summary": "Look at a workload",
    "responses": {
        "200": json_answer("The workload.", _RECORD, RECORD),
        **refer_to_problems(401, 404, 421, 503),
    },
}

DELETE: Operation = {
    "operationId": "deleteWorkload",
    "tags": ["workloads"],
    "summary": "Delete a finished workload and its log",
    "responses": {
        "204": answer("The workload and its log are gone."),
        **refer_to_problems(401, 403, 404, 409, 421, 503),
    },
}

STOP: Operation = {
    "operationId": "stopWorkload",
    "tags": ["workloads"],
    "summary": "Stop a workload",
    "description": "The signal goes to the whole process group at once, and KILL after the grace."
    " A later stop sends its own signal, and can only shorten the grace. A signal that the backend"
    " can't send is 422. A finished workload does not change.",
    "requestBody": json_body(
        "StopRequest", "May be left out.", {"grace": 2.5, "signal": "SIGINT"}, required=False
    ),
    "responses": {
        "202": json_answer("The workload, which stops within the grace.", _RECORD, RECORD),
        **refer_to_problems(400, 401, 403, 404, 413, 415, 421, 422, 503),
    },
}

RERUN: Operation = {
    "operationId": "rerunWorkload",
    "tags": ["workloads"],
    "summary": "Run a workload again",
    "description": "A new workload has the same specification, with its environment, and names this"
    " one in `rerun_of`. A workload that was pushed, or that can't run here any more, is 409.",
    "parameters": [_KEY],
    "requestBody": json_body("RerunRequest", "May be left out.", {}, required=False),
    "responses": {
        **_STARTED,
        **refer_to_problems(400, 401, 403, 404, 409, 413, 415, 421, 422, 429, 503),
    },
}

RESIZE: Operation = {
    "operationId": "resizeTerminal",
    "tags": ["workloads"],
    "summary": "Change the size of a workload's terminal",
    "description": "Its processes get SIGWINCH. A workload without a pseudo-terminal, or one that"
    " does not run, is 409.",
    "requestBody": json_body(
        "ResizeRequest", "The new size.", {"columns": 120, "rows": 40}, required=True
    ),
    "responses": {
        "204": answer("The terminal has this size."),
        **refer_to_problems(400, 401, 403, 404, 409, 413, 415, 421, 422, 503),
    },
}
