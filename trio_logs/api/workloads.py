"""The routes of workloads: submit, list, look at, stop, delete."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from quart import Blueprint, Response, request

from ..errors import InvalidRequestError, InvalidSpecError
from ..records import Status, WorkloadSpec
from ..service import Service
from ..store import WorkloadQuery
from .answers import UnsupportedMediaError, json_response, no_content
from .bodies import Page, StopRequest, Submission, WorkloadRecord

__all__ = ["decode", "workload_routes"]

T = TypeVar("T")

MAX_PAGE = 500
PAGE_PARAMETERS = ("before", "label", "limit", "status")


def workload_routes(service: Service) -> Blueprint:
    """The routes below `/v1/workloads`."""
    routes = Blueprint("workloads", __name__)
    engine = service.engine

    @routes.post("/v1/workloads")
    async def submit() -> Response:
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
        workload, created = await engine.submit(spec, _idempotency_key())
        location = f"/v1/workloads/{workload.id}"
        return json_response(
            WorkloadRecord.of(workload), 201 if created else 200, {"Location": location}
        )

    @routes.get("/v1/workloads")
    async def page() -> Response:
        query = _page_query()
        found = await engine.list(
            WorkloadQuery(query.limit + 1, query.before, query.status, query.labels)
        )
        shown = found[: query.limit]
        cursor = shown[-1].id if len(found) > len(shown) else None
        return json_response(Page([WorkloadRecord.of(item) for item in shown], cursor))

    @routes.get("/v1/workloads/<workload_id>")
    async def show(workload_id: str) -> Response:
        return json_response(WorkloadRecord.of(await engine.get(workload_id)))

    @routes.post("/v1/workloads/<workload_id>/stop")
    async def stop(workload_id: str) -> Response:
        data = await request.get_data()
        body = decode(data, StopRequest) if data.strip() else StopRequest()
        return json_response(WorkloadRecord.of(await engine.stop(workload_id, body.grace)), 202)

    @routes.delete("/v1/workloads/<workload_id>")
    async def delete(workload_id: str) -> Response:
        await engine.delete(workload_id)
        return no_content()

    return routes


def decode(data: bytes | str, kind: type[T]) -> T:
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
        if name not in PAGE_PARAMETERS:
            known = ", ".join(PAGE_PARAMETERS)
            raise InvalidRequestError(f"there is no parameter {name[:80]!r}; there are: {known}")
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
