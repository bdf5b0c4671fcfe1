"""The operations that write the log of a workload that runs elsewhere."""

from __future__ import annotations

from typing import Any

from ...backends.inbox import STREAMS
from .parts import answer, header, json_answer, parameter, problem, ref, refer_to_problems, text
from .workloads import RECORD, json_body

__all__ = ["FINISH", "PUSH"]

_OFFSET = text("^[0-9]{1,18}$")
_DURABLE = {
    "Upload-Offset": header("How many bytes of the stream are durable.", _OFFSET, "1048576"),
}


def _conflict(**more: dict[str, Any]) -> dict[str, Any]:
    offset = {
        "description": "The offset to send again from, if bytes are missing.",
        "schema": _OFFSET,
        "example": "0",
    }
    return {
        "409": problem(
            409,
            "Bytes are missing, a newer request sends the stream, or the workload has ended.",
            "byte 14 is not where stdout ends: 0 were received",
            {"Upload-Offset": offset, **more},
        )
    }


PUSH: dict[str, Any] = {
    "operationId": "pushLog",
    "tags": ["logs"],
    "summary": "Send the output of a workload that runs elsewhere",
    "description": "For workloads with the backend `push`. The body may have any length. Its lines"
    " are delivered as they arrive, and the service reads it only as fast as the log takes it."
    " Bytes that the service has already are skipped, so a client may send bytes again if it does"
    " not know whether they arrived. A newer request replaces an older one, which gets 409. If"
    " bytes are missing, 409 has the offset to send again from in `Upload-Offset`; 409 without it"
    " means to send no more. stdout and stderr have requests and offsets of their own. HEAD of the"
    " log answers `Upload-Offset` and `Upload-Offset-Stderr`.",
    "parameters": [
        parameter(
            "Upload-Offset",
            "The offset of the body's first byte in its stream, counted from 0; by default 0.",
            _OFFSET,
            "1048576",
            where="header",
        ),
        parameter(
            "Upload-Stream",
            "The stream that the bytes belong to.",
            {"type": "string", "enum": [*STREAMS], "default": "stdout"},
            where="header",
        ),
    ],
    "requestBody": {
        "description": "The bytes, as they are.",
        "required": True,
        "content": {"application/octet-stream": {"schema": text(), "example": "one\ntwo\n"}},
    },
    "responses": {
        "204": answer("All whole lines of the body are durable.", headers=_DURABLE),
        **_conflict(),
        **refer_to_problems(400, 401, 403, 404, 415, 421, 503),
    },
}

FINISH: dict[str, Any] = {
    "operationId": "finishWorkload",
    "tags": ["workloads"],
    "summary": "Say how a workload ended that ran elsewhere",
    "description": "For workloads with the backend `push`: the log ends. With `bytes`, it ends only"
    " if the service has received that many of both streams together; otherwise 409 has the offsets"
    " of both. A second, equal request changes nothing.",
    "requestBody": json_body(
        "FinishRequest", "May be left out.", {"exit_code": 0, "bytes": 14}, required=False
    ),
    "responses": {
        "200": json_answer(
            "The workload, which has finished.",
            ref("WorkloadRecord"),
            {**RECORD, "backend": "push", "command": []},
        ),
        **_conflict(
            **{
                "Upload-Offset-Stderr": {
                    "description": "The offset to send stderr again from, if bytes are missing.",
                    "schema": _OFFSET,
                    "example": "0",
                }
            }
        ),
        **refer_to_problems(400, 401, 403, 404, 413, 415, 421, 422, 503),
    },
}
