"""What schemathesis is to know of the service, and checks of its own. It loads this file."""

from __future__ import annotations

import json
import os
import zlib
from typing import Any

import httpx2
import schemathesis
from openapi_schema_validator import OAS31Validator
from schemathesis import Case, CheckContext, HookContext, Response

# The server's, not the app's; RFC 9110 and 9112 say what they are.
SERVERS = {"content-length", "content-type", "date", "server", "transfer-encoding", "connection"}
BACKENDS = ["process", "push"]
PUSHING = ["pushLog", "finishWorkload"]
NDJSON = {
    "readLog": ("LogLine", "LogControl"),
    "findMatches": ("MatchTile", "MatchesEnd"),
    "searchLogs": ("FoundObject", "SearchEvent"),
    "readEvents": ("ChangedWorkload", "ChangeObject"),
    "readLogs": ("SeveralLine", "SeveralControl", "ChangedWorkload", "ChangeObject"),
}
REPRESENTATIONS = ["*/*", "text/event-stream", "application/x-ndjson", "text/plain"]


@schemathesis.hook
def filter_case(context: HookContext, case: Case) -> bool:
    """Leave out what the service refuses although a schema can't say so."""
    query = case.query or {}
    labels = query.get("label")
    if isinstance(labels, list):
        names = [str(label).partition("=")[0] for label in labels]
        if len(names) > len(set(names)):
            return False
    if case.operation.path == "/v1/logs" and not _is_of_logs(case):
        return False
    return not _is_contradictory(query)


def _is_of_logs(case: Case) -> bool:
    """Whether a request for several logs has any, each once, and no position of other ones."""
    query = case.query or {}
    logs = [str(each).partition(".")[0] for each in _listed(query.get("workload"))]
    ids = [query.get("last_event_id"), (case.headers or {}).get("Last-Event-ID")]
    is_asking = logs or str(query.get("events", "false")) != "false"
    return bool(is_asking) and len(logs) == len(set(logs)) and not any(ids)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _is_contradictory(query: dict[str, Any]) -> bool:
    """Whether parameters of a log contradict each other."""
    if "code" in query and "download" not in query:
        return True
    if "filter" not in query and {"regex", "case", "invert"} & set(query):
        return True
    if str(query.get("regex")) in ("true", "1"):
        # Not every text is an expression.
        return True
    if "to" not in query:
        return False
    if str(query.get("follow")) in ("true", "1"):
        return True
    numbers = [str(query.get(name, "1")) for name in ("from", "to")]
    return all(map(str.isdecimal, numbers)) and int(numbers[0]) > int(numbers[1])


@schemathesis.hook
def map_case(context: HookContext, case: Case) -> Case:
    """What a schema leaves open: a backend that is installed, and each representation of a log."""
    body = case.body
    if isinstance(body, dict) and "command" in body and isinstance(body.get("backend", ""), str):
        body["backend"] = _one_of(BACKENDS, body)
        if body["backend"] == "push" and case.meta.generation.mode.is_positive:
            # What is pushed has no process that could be given these.
            for name in ("env", "cwd", "pty"):
                body.pop(name, None)
    if case.operation.path.endswith("}/logs"):
        case.headers["Accept"] = _one_of(REPRESENTATIONS, case.query)
    if case.operation.path in ("/v1/events", "/v1/logs"):
        case.headers["Accept"] = _one_of(REPRESENTATIONS[:3], case.query)
    return case


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """What is valid is pushed to a workload that runs, and has at least one of several logs; in
    sequences, links lead to one."""
    made_alone = case.meta.phase.name != "stateful" and case.meta.generation.mode.is_positive
    operation = case.operation.definition.raw.get("operationId")
    if made_alone and operation in PUSHING:
        case.path_parameters["workload_id"] = _submitted(case, "push")
    elif made_alone and operation == "readLogs" and (logs := _listed(case.query.get("workload"))):
        _, dot, line = str(logs[0]).partition(".")
        case.query["workload"] = [_submitted(case, "process") + dot + line, *logs[1:]]


def _submitted(case: Case, backend: str) -> str:
    """The id of a new workload."""
    headers = {"Authorization": f"Bearer {os.environ['TRIO_LOGS_TOKEN']}"}
    body = {"command": ["x"], "backend": backend}
    url = f"{case.operation.schema.get_base_url().rstrip('/')}/v1/workloads"
    return str(httpx2.post(url, headers=headers, json=body).json()["id"])


def _one_of(choices: list[str], case: object) -> str:
    """The same one when the case is made again."""
    return choices[zlib.crc32(repr(case).encode()) % len(choices)]


@schemathesis.check
def headers_are_documented(ctx: CheckContext, response: Response, case: Case) -> None:
    """No answer has a header that its description lacks."""
    described = _described(case, response)
    # A case may be sent with a method that is not described.
    if described is not None and response.request.method == case.operation.method.upper():
        known = SERVERS | {name.lower() for name in described.get("headers", {})}
        assert set(response.headers) <= known, f"undocumented: {set(response.headers) - known}"


@schemathesis.check
def ndjson_is_as_described(ctx: CheckContext, response: Response, case: Case) -> None:
    """Each line of NDJSON is one of the objects that its operation has."""
    if response.headers.get("content-type") != ["application/x-ndjson"]:
        return
    components = case.operation.schema.raw_schema["components"]
    names = NDJSON[case.operation.definition.raw["operationId"]]
    either = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    validator = OAS31Validator({"oneOf": either, "components": components})
    *lines, rest = response.content.split(b"\n")
    assert rest == b""
    for line in lines:
        validator.validate(json.loads(line))


def _described(case: Case, response: Response) -> dict[str, Any] | None:
    document = case.operation.schema.raw_schema
    found = case.operation.definition.raw["responses"].get(str(response.status_code))
    if found is not None and "$ref" in found:
        found = document["components"]["responses"][found["$ref"].rpartition("/")[2]]
    return found
