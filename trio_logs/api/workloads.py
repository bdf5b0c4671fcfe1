"""The routes of workloads: submit, list, look at, stop, delete."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

import msgspec
from quart import Blueprint, Response, request

from ..errors import InvalidRequestError, InvalidSpecError
from ..records import Status, Workload, WorkloadSpec, rfc3339
from ..service import Service
from ..store import WorkloadQuery
from .answers import UnsupportedMediaError, json_response, no_content

__all__ = ["workload_routes"]

T = TypeVar("T")

Name = Annotated[str, msgspec.Meta(max_length=200)]
MAX_PAGE = 500


class SubmitBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a submission; see the wire contract."""

    command: Annotated[list[str], msgspec.Meta(min_length=1)]
    name: Name | None = None
    env: dict[str, str] | None = None
    cwd: str | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    labels: dict[Annotated[str, msgspec.Meta(min_length=1, max_length=200)], Name] | None = None
    backend: str = "process"
    pty: bool = False


class StopBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a stop request; `grace` is in seconds."""

    grace: Annotated[float, msgspec.Meta(ge=0)] | None = None


def workload_routes(service: Service) -> Blueprint:
    """The routes below `/v1/workloads`."""
    routes = Blueprint("workloads", __name__)
    engine = service.engine

    @routes.post("/v1/workloads")
    async def submit() -> Response:
        body = _decode(await request.get_data(), SubmitBody)
        if not body.command[0]:
            raise InvalidSpecError("command: its first part, the program, is empty")
        spec = WorkloadSpec(
            command=tuple(body.command),
            backend=body.backend,
            name=body.name,
            env=body.env or {},
            cwd=body.cwd,
            timeout=body.timeout,
            labels=body.labels or {},
            pty=body.pty,
        )
        workload, created = await engine.submit(spec, _idempotency_key())
        answer = represent(workload)
        location = f"/v1/workloads/{workload.id}"
        return json_response(answer, 201 if created else 200, {"Location": location})

    @routes.get("/v1/workloads")
    async def page() -> Response:
        query = _page_query()
        found = await engine.list(
            WorkloadQuery(query.limit + 1, query.before, query.status, query.labels)
        )
        shown = found[: query.limit]
        cursor = shown[-1].id if len(found) > len(shown) else None
        return json_response({"workloads": [represent(item) for item in shown], "next": cursor})

    @routes.get("/v1/workloads/<workload_id>")
    async def show(workload_id: str) -> Response:
        return json_response(represent(await engine.get(workload_id)))

    @routes.post("/v1/workloads/<workload_id>/stop")
    async def stop(workload_id: str) -> Response:
        data = await request.get_data()
        body = _decode(data, StopBody) if data.strip() else StopBody()
        return json_response(represent(await engine.stop(workload_id, body.grace)), 202)

    @routes.delete("/v1/workloads/<workload_id>")
    async def delete(workload_id: str) -> Response:
        await engine.delete(workload_id)
        return no_content()

    return routes


def represent(workload: Workload) -> dict[str, Any]:
    """A workload as the wire contract has it. What does not apply yet is null, never absent."""

    def moment(time: int | None) -> str | None:
        return None if time is None else rfc3339(time)

    return {
        "id": workload.id,
        "name": workload.spec.name,
        "backend": workload.spec.backend,
        "command": workload.spec.command,
        "labels": workload.spec.labels,
        "status": workload.status,
        "exit_code": workload.exit_code,
        "signal": workload.signal,
        "error": workload.error,
        "created_at": moment(workload.created_at),
        "started_at": moment(workload.started_at),
        "finished_at": moment(workload.finished_at),
        "lines": workload.lines,
        "bytes": workload.bytes,
        "logs_url": f"/v1/workloads/{workload.id}/logs",
    }


def _decode(data: bytes | str, kind: type[T]) -> T:
    if request.mimetype not in ("application/json", ""):
        raise UnsupportedMediaError("send JSON, with `Content-Type: application/json`")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidSpecError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from error


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= 255):
        raise InvalidRequestError("Idempotency-Key: it has 1 to 255 characters")
    return key


def _page_query() -> WorkloadQuery:
    values = request.args
    for name in values:
        if name not in ("status", "label", "limit", "before"):
            raise InvalidRequestError(
                f"there is no parameter {name[:80]!r}; there are: before, label, limit, status"
            )
        if name != "label" and len(values.getlist(name)) > 1:
            raise InvalidRequestError(f"{name}: give it once")
    status, limit, before = values.get("status"), values.get("limit", "50"), values.get("before")
    if status is not None and status not in set(Status):
        raise InvalidRequestError(f"status: it is one of {', '.join(Status)}")
    if not re.fullmatch(r"[0-9]{1,4}", limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise InvalidRequestError(f"limit: it is a number from 1 to {MAX_PAGE}")
    if before is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", before):
        raise InvalidRequestError("before: it is the `next` of the page before")
    labels = {}
    for label in values.getlist("label"):
        name, equals, value = label.partition("=")
        if not name or not equals:
            raise InvalidRequestError("label: it is written as `name=value`")
        if name in labels:
            raise InvalidRequestError(f"label: a workload has one {name!r}, so give it once")
        labels[name] = value
    return WorkloadQuery(int(limit), before, Status(status) if status else None, labels)
