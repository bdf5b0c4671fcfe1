"""The routes of workloads: submit, list, show, stop, rerun, resize, delete."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import msgspec
from quart import Response, request

from ..errors import InvalidRequestError, InvalidSpecError
from ..records import Status, Workload, WorkloadSpec, now
from .answers import UnsupportedMediaError, json_response, no_content
from .bodies import (
    Page,
    RerunRequest,
    ResizeRequest,
    StopRequest,
    Submission,
    WorkloadRecord,
)
from .field_errors import explain
from .headers import single_header
from .list_query import parse_list_query
from .openapi import workloads as described
from .routes import AppContext, route

__all__ = ["ROUTES", "decode"]

T = TypeVar("T")


@route("POST", "/v1/workloads", described.SUBMIT)
async def submit(context: AppContext) -> Response:
    body = decode(await request.get_data(), Submission)
    spec = WorkloadSpec(
        command=tuple(body.command or ()),
        backend=body.backend,
        name=body.name,
        env=body.env or {},
        cwd=body.cwd,
        timeout=body.timeout,
        labels=body.labels or {},
        pty=body.pty,
    )
    return _started(*await context.service.engine.submit(spec, _idempotency_key()))


@route("GET", "/v1/workloads", described.LIST)
async def page(context: AppContext) -> Response:
    engine = context.service.engine
    asked = parse_list_query(request.args, now())
    query = asked.workloads
    # Before the page: the client resumes the events from here, and must miss no later change.
    position = engine.changes.position
    # One more than the page has: it tells whether there is a next page.
    found = await engine.list(replace(query, limit=query.limit + 1))
    shown = found[: query.limit]
    cursor = shown[-1].id if found.is_cut or len(found) > len(shown) else None
    answer = Page([WorkloadRecord.of(item) for item in shown], cursor, str(position))
    if asked.counts:
        answer.counts = await engine.count(query)
        answer.total = sum(answer.counts[status] for status in query.statuses or Status)
    return json_response(answer)


@route("GET", "/v1/workloads/{workload_id}", described.SHOW)
async def show(context: AppContext, workload_id: str) -> Response:
    return json_response(WorkloadRecord.of(await context.service.engine.get(workload_id)))


@route("POST", "/v1/workloads/{workload_id}/stop", described.STOP)
async def stop(context: AppContext, workload_id: str) -> Response:
    data = await request.get_data()
    body = decode(data, StopRequest) if data.strip() else StopRequest()
    workload = await context.service.engine.stop(workload_id, body.grace, body.signal)
    return json_response(WorkloadRecord.of(workload), 202)


@route("POST", "/v1/workloads/{workload_id}/rerun", described.RERUN)
async def rerun(context: AppContext, workload_id: str) -> Response:
    data = await request.get_data()
    if data.strip():
        decode(data, RerunRequest)
    return _started(*await context.service.engine.rerun(workload_id, _idempotency_key()))


@route("POST", "/v1/workloads/{workload_id}/resize", described.RESIZE)
async def resize(context: AppContext, workload_id: str) -> Response:
    size = decode(await request.get_data(), ResizeRequest)
    await context.service.engine.resize(workload_id, size.columns, size.rows)
    return no_content()


@route("DELETE", "/v1/workloads/{workload_id}", described.DELETE)
async def delete(context: AppContext, workload_id: str) -> Response:
    await context.service.engine.delete(workload_id)
    return no_content()


ROUTES = (submit, page, show, stop, rerun, resize, delete)


def decode(data: bytes | str, kind: type[T]) -> T:
    """The JSON body of the current request.

    Raises UnsupportedMediaError for another media type, InvalidRequestError if it is not JSON, and
    InvalidSpecError if it is not a `kind`.
    """
    single_header("Content-Type")
    if request.mimetype not in ("application/json", ""):
        raise UnsupportedMediaError("send JSON, with `Content-Type: application/json`")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidSpecError(explain(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from error


def _started(workload: Workload, created: bool) -> Response:
    """The answer to a submission: a new workload, or that of an earlier request with its key."""
    location = f"/v1/workloads/{workload.id}"
    return json_response(
        WorkloadRecord.of(workload), 201 if created else 200, {"Location": location}
    )


def _idempotency_key() -> str | None:
    key = single_header("Idempotency-Key")
    if key is not None and not (0 < len(key) <= 255):
        raise InvalidRequestError("Idempotency-Key: it has 1 to 255 characters")
    return key
