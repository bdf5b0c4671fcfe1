"""The routes by which the lines of `push` workloads come: bytes from an offset on, and the end."""

from __future__ import annotations

import re
from typing import Any

from quart import Blueprint, Response, request

from ..backends.push import Inbox
from ..errors import ConflictError, InvalidRequestError, NotReadyError
from ..records import Outcome, Status
from ..service import Service
from .answers import UnsupportedMediaError, json_response, no_content
from .bodies import FinishRequest, WorkloadRecord
from .request_body import BODY
from .workloads import decode

__all__ = ["push_routes"]


def push_routes(service: Service) -> Blueprint:
    """The routes that only `push` workloads have."""
    routes = Blueprint("push", __name__)
    engine = service.engine

    async def find(workload_id: str) -> Inbox:
        inbox = service.push.inbox(workload_id)
        if inbox is None:
            workload = await engine.get(workload_id)
            if workload.spec.backend != "push":
                raise ConflictError(
                    f"its lines come from the backend {workload.spec.backend!r}, not from clients"
                )
            if workload.status.final:
                raise ConflictError(f"the workload is {workload.status}: its log has ended")
            raise NotReadyError("the service is starting or shutting down: go on when it is back")
        return inbox

    @routes.post("/v1/workloads/<workload_id>/logs")
    async def receive(workload_id: str) -> Response:
        if request.args:
            raise InvalidRequestError("there are no parameters: a pushed log is one stream")
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise UnsupportedMediaError("send the bytes as they are, without a Content-Encoding")
        inbox = await find(workload_id)
        body: Any = request.scope["extensions"][BODY]
        durable = await inbox.receive(body, _offset())
        return no_content({"Upload-Offset": str(durable)})

    @routes.post("/v1/workloads/<workload_id>/finish")
    async def finish(workload_id: str) -> Response:
        data = await request.get_data()
        body = decode(data, FinishRequest) if data.strip() else FinishRequest()
        outcome = _outcome(body)
        known = await engine.get(workload_id)
        if not (known.spec.backend == "push" and known.status.final):
            await (await find(workload_id)).finish(outcome, body.bytes)
            known = await engine.finished(workload_id)
            if not known.status.final:
                raise NotReadyError("the service is shutting down: finish it when it is back")
        if (known.status, known.exit_code, known.signal) != (
            outcome.status,
            outcome.exit_code,
            outcome.signal,
        ):
            raise ConflictError(f"the workload is {known.status}: it ended another way")
        return json_response(WorkloadRecord.of(known))

    return routes


def _outcome(body: FinishRequest) -> Outcome:
    """What the workload's record will say."""
    if body.signal is not None:
        error = f"The command was ended by {body.signal}."
        return Outcome(Status.FAILED, body.exit_code, body.signal, error)
    if body.exit_code:
        error = f"The command exited with {body.exit_code}."
        return Outcome(Status.FAILED, body.exit_code, error=error)
    return Outcome(Status.SUCCEEDED, body.exit_code)


def _offset() -> int:
    given = request.headers.get("Upload-Offset", "0")
    if not re.fullmatch(r"[0-9]{1,18}", given):
        raise InvalidRequestError("Upload-Offset: it is a number of bytes")
    return int(given)
