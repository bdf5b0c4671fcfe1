"""The operations of workloads, except those of their logs."""

from __future__ import annotations

from typing import Any

from ...records import Status
from ..list_query import MAX_PAGE
from .parts import answer, header, json_answer, parameter, ref, refer_to_problems, text

__all__ = [
    "DELETE",
    "ID",
    "LIST",
    "RECORD",
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
            ("push", "pushLog"),
            ("finish", "finishWorkload"),
            ("delete", "deleteWorkload"),
        )
    }


def json_body(schema: str, description: str, example: Any, *, required: bool) -> dict[str, Any]:
    """A request body in JSON."""
    content = {"application/json": {"schema": ref(schema), "example": example}}
    return {"description": description, "required": required, "content": content}


SUBMIT: Operation = {
    "operationId": "submitWorkload",
    "tags": ["workloads"],
    "summary": "Submit a workload",
    "description": "The workload is queued, and runs when its turn comes.",
    "parameters": [
        parameter(
            "Idempotency-Key",
            "Makes the submission safe to repeat: the same key and body get the first workload.",
            {**text(), "minLength": 1, "maxLength": 255},
            "deploy-42",
            where="header",
        )
    ],
    "requestBody": json_body(
        "Submission",
        "What to run.",
        {name: RECORD[name] for name in ("command", "name", "labels")},
        required=True,
    ),
    "responses": {
        "201": {
            **json_answer("The new workload.", _RECORD, _QUEUED, _LOCATION),
            "links": _links(),
        },
        "200": json_answer(
            "The workload that was submitted with this key before.", _RECORD, RECORD, _LOCATION
        ),
        **refer_to_problems(400, 401, 413, 415, 421, 422, 429, 503),
    },
}

LIST: Operation = {
    "operationId": "listWorkloads",
    "tags": ["workloads"],
    "summary": "List workloads, newest first",
    "parameters": [
        parameter("status", "Only workloads of this status.", ref("Status"), Status.RUNNING),
        parameter(
            "label",
            "Only workloads with this label, `name=value`; repeat it to require several labels.",
            {"type": "array", "items": text("^[^=]+=")},
            ["team=demo"],
        ),
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
        **refer_to_problems(401, 404, 409, 421, 503),
    },
}

STOP: Operation = {
    "operationId": "stopWorkload",
    "tags": ["workloads"],
    "summary": "Stop a workload",
    "description": "TERM goes to the whole process group at once, and KILL after the grace."
    " A finished workload does not change.",
    "requestBody": json_body("StopRequest", "May be left out.", {"grace": 2.5}, required=False),
    "responses": {
        "202": json_answer("The workload, which stops within the grace.", _RECORD, RECORD),
        **refer_to_problems(400, 401, 404, 413, 415, 421, 422, 503),
    },
}
